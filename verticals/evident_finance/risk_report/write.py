"""The assessment as a report: one plan, two languages, and nothing that the verifier refuses."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Fact, InputRef, Language, Report
from evident_core.write import Outline, Phrasebook, Vocabulary, compose, phrase_lexicon
from evident_core.write.phrasebook import Label
from evident_core.write.quantities import year
from evident_core.write.vocabulary import LANGUAGES
from evident_finance.risk_report.schema import Assessment

_TABLES = ("items", "ratios", "scores")


def write(input_: InputRef, facts: Iterable[Fact], assessment: Assessment) -> Report:
    """The report in English and Chinese; each of its sentences has passed the verifier.

    A sentence that does not pass is held back, and the report says how many were.

    Raises:
        Unverified: The report as a whole does not trace back; that is a defect of this service.
    """
    known = {fact.id: fact for fact in (*facts, *assessment.facts)}
    return compose(
        _title(known),
        (input_,),
        known.values(),
        assessment.claims,
        outlines=outlines(),
        phrasebook=phrasebook(),
        vocabulary=vocabulary(),
        remarks="data_quality",
    )


def _title(facts: Mapping[str, Fact]) -> dict[Language, str]:
    company, ended = facts.get("filing.company"), facts.get("filing.fiscal_year_end")
    title: dict[Language, str] = {"en": "Risk report", "zh": "风险分析报告"}
    if ended and ended.value:
        day = date.fromisoformat(str(ended.value))
        title = {"en": f"{title['en']} for {year(day, 'en')}", "zh": f"{year(day, 'zh')}{title['zh']}"}
    if company and company.value:
        title = {"en": f"{company.value}: {title['en'].lower()}", "zh": f"{company.value}：{title['zh']}"}
    return title


@cache
def outlines() -> tuple[Outline, ...]:
    """The sections of the report, in order."""
    return tuple(
        Outline(
            key=entry["key"],
            title=entry["title"],
            topics=tuple(entry["topics"]),
            predicates=tuple(entry.get("predicates", ())),
            most=entry.get("most", 1000),
        )
        for entry in _data("phrases")["section"]
    )


@cache
def phrasebook() -> Phrasebook:
    """All phrases of the service, with the labels of items, ratios and scores."""
    table = _data("phrases")
    categories, risks = _labels(_data("topics")["category"]), _labels(_data("rules")["risk"])
    words = table["words"] | {
        "category": {key: {"en": f"On {_within(of['en'])}", "zh": f"{of['zh']}风险"} for key, of in categories.items()},
        "risk": {key: {"en": f"{of['en']} risk", "zh": f"{of['zh']}风险"} for key, of in (categories | risks).items()},
    }
    return Phrasebook.load({**table, "words": words, "label": _default_labels() | table["label"]})


@cache
def vocabulary() -> Vocabulary:
    """What the verifier knows of this service: the labels of its facts, the words for their values, its judgements."""
    book = phrasebook()
    axes: dict[str, Any] = {
        f"word_{table}": {"backed_by": "value"}
        | {value: {"values": [value], "en": [word["en"]], "zh": [word["zh"]]} for value, word in words.items()}
        for table, words in book.words.items()
    }
    labels: dict[str, dict[str, Any]] = {
        name: {language: _spellings(label, language) for language in LANGUAGES} for name, label in book.labels.items()
    }
    for risk in book.words["risk"]:
        labels |= {
            f"matrix.{risk}.{part}": {"same": part, **words} for part, words in _data("vocabulary")["matrix"].items()
        }
    made = Vocabulary.load(_data("vocabulary"), {"axes": axes, "labels": labels})
    anywhere = _data("vocabulary")["lexicon"]
    return made.with_lexicon(
        {language: phrase_lexicon(book, anywhere[language], language, made) for language in LANGUAGES}
    )


def _spellings(label: Label, language: Language) -> list[str]:
    text = label.text[language]
    return [text, text.removeprefix("the ")] if language == "en" else [text]


def _default_labels() -> dict[str, dict[str, Any]]:
    """Labels of the tables as they stand within a sentence: "Revenue" is "revenue", "EBITDA" stays."""
    labels: dict[str, dict[str, Any]] = {}
    for table in _TABLES:
        for name, entry in _data(table).items():
            if isinstance(entry, dict) and "label" in entry:
                english = entry["label"]["en"]
                labels[name] = {
                    "en": _within(english),
                    "zh": entry["label"]["zh"],
                    "plural": table == "items" and english.partition(",")[0].endswith("s"),
                    "instant": entry.get("statement") == "balance_sheet",
                }
    return labels


def _within(label: str) -> str:
    """A label as it stands within an English sentence."""
    first = label.partition(" ")[0]
    return label if not first[1:].islower() or first in _PROPER else label[0].lower() + label[1:]


_PROPER = ("Altman", "Beneish", "Ohlson", "Piotroski", "Sloan", "DuPont")


def _labels(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry["label"] for key, entry in table.items()}


@cache
def _data(table: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / f"{table}.toml").read_text("utf-8"))
