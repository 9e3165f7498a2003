"""JSON facts in the style of xBRL-JSON (OIM 1.0): each fact with concept, entity, period and unit as dimensions.

What xBRL-JSON has no place for (pages, boxes, claims, sentences) stands under ``evident``, keyed by the same fact ids.
"""

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from evident_core.evidence import Fact, PageBox
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Analysis


def to_json(analysis: Analysis) -> bytes:
    """The whole analysis: OIM facts, and under ``evident`` their sources, claims, sentences and statements."""
    items = Items.load()
    facts = (*analysis.reading.facts, *analysis.assessment.facts)
    ends = sorted({fact.period for fact in facts if fact.period})
    document: dict[str, Any] = {
        "documentInfo": {
            "documentType": "https://xbrl.org/2021/xbrl-json",
            "namespaces": {
                "evident": "urn:evident:finance",
                "iso4217": "http://www.xbrl.org/2003/iso4217",
                "xbrl": "https://xbrl.org/2021",
                "sha256": "urn:evident:input",
            },
        },
        "facts": {fact.id: _oim(fact, analysis.input.sha256, ends, items) for fact in facts if fact.value is not None},
        "evident": {
            "version": analysis.version,
            "input": analysis.input.model_dump(),
            "pages": analysis.page_count,
            "language": analysis.language,
            "facts": {fact.id: fact.model_dump(mode="json", exclude={"id"}, exclude_defaults=True) for fact in facts},
            "claims": [claim.model_dump(mode="json") for claim in analysis.report.claims],
            "sections": [section.model_dump(mode="json") for section in analysis.report.sections],
            "statements": [statement.model_dump(mode="json") for statement in analysis.reading.statements],
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _oim(fact: Fact, entity: str, ends: list[str], items: Items) -> dict[str, Any]:
    dimensions = {"concept": f"evident:{fact.name}", "entity": f"sha256:{entity}"}
    if fact.period:
        dimensions["period"] = _period(fact, ends, items)
    if fact.subject:
        dimensions["evident:subject"] = fact.subject
    entry: dict[str, Any] = {"value": str(fact.value), "dimensions": dimensions}
    if isinstance(fact.value, Decimal):
        dimensions["unit"] = _unit(fact.unit or "1")
        if fact.status == "presented":
            entry["decimals"] = _decimals(fact)
    return entry


def _unit(unit: str) -> str:
    if len(unit) == 3 and unit.isalpha() and unit.isupper():
        return f"iso4217:{unit}"
    return "xbrl:pure" if unit == "1" else f"evident:{unit}"


def _period(fact: Fact, ends: list[str], items: Items) -> str:
    """An instant, or start/end where the filing prints the year before too (OIM writes the day after the last)."""
    end = date.fromisoformat(fact.period or "")
    instant = f"{end + timedelta(days=1)}T00:00:00"
    if items.is_instant(fact.name):
        return instant
    before = [each for each in ends if each < end.isoformat()]
    if before and 300 < (end - date.fromisoformat(before[-1])).days < 400:
        return f"{date.fromisoformat(before[-1]) + timedelta(days=1)}T00:00:00/{instant}"
    return instant


def _decimals(fact: Fact) -> int:
    """To how many decimal places the printed figure is accurate (-6: to the million), from its scale and its print."""
    printed = next((source.where.quote for source in fact.sources if isinstance(source.where, PageBox)), "")
    shown = fact.number / fact.scale
    places = max(0, -int(shown.normalize().as_tuple().exponent)) if printed else 0
    return places - (len(str(fact.scale)) - 1)
