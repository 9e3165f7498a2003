"""Charts as SVG: each bar and point carries the id of the fact it shows, so that a reader can open its page.

No chart library keeps evidence on its marks; these are a few rectangles and lines. Colours come from CSS classes
(``s1`` … ``s3``) with presentation attributes as the fallback outside of our pages.
"""

from collections.abc import Sequence
from decimal import Decimal
from xml.etree import ElementTree as ET

from evident_core.evidence import Fact, Language
from evident_finance.risk_report.export.places import Places
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Analysis, Facts

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 12, 12, 48, 28
COLOURS = ("#1f5f8b", "#c47a1c", "#4f7f52")

CHARTS: dict[str, tuple[dict[Language, str], tuple[str, ...]]] = {
    "performance": ({"en": "Revenue and profit", "zh": "收入与利润"}, ("revenue", "operating_income", "net_income")),
    "cash": (
        {"en": "Operating cash flow and capital expenditure", "zh": "经营现金流与资本开支"},
        ("operating_cash_flow", "capex", "free_cash_flow"),
    ),
    "capital": (
        {"en": "Assets, liabilities and equity", "zh": "资产、负债与权益"},
        ("total_assets", "total_liabilities", "total_equity"),
    ),
}


def charts(analysis: Analysis, language: Language) -> dict[str, str]:
    """Each chart for which at least one series has a value in at least one period: name -> SVG."""
    facts = Facts((*analysis.reading.facts, *analysis.assessment.facts))
    places = Places(analysis)
    drawn = {}
    for name, (title, series) in CHARTS.items():
        found = [(item, _series(facts, item)) for item in series]
        if any(found_facts for _, found_facts in found):
            drawn[name] = _bars(title[language], [(item, each) for item, each in found if each], language, places)
    return drawn


def _series(facts: Facts, item: str) -> list[Fact]:
    periods = sorted(facts.periods[:5])
    found = [facts.get(item, period) for period in periods]
    if item == "total_equity" and not any(f is not None and f.value is not None for f in found):
        found = [facts.get("equity_parent", period) for period in periods]
    return [fact for fact in found if fact is not None and isinstance(fact.value, Decimal)]


def _bars(title: str, series: Sequence[tuple[str, list[Fact]]], language: Language, places: Places) -> str:
    items = Items.load()
    periods = sorted({fact.period or "" for _, facts in series for fact in facts})
    values = [fact.number for _, facts in series for fact in facts]
    high, low = max(Decimal(0), *values), min(Decimal(0), *values)
    span = (high - low) or Decimal(1)
    plot = HEIGHT - TOP - BOTTOM

    def y(value: Decimal) -> float:
        return round(TOP + float((high - value) / span) * plot, 1)

    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "class": "chart",
            "role": "img",
            "font-family": "'Segoe UI', 'Liberation Sans', Arial, 'PingFang SC', 'Noto Sans CJK SC', sans-serif",
        },
    )
    ET.SubElement(svg, "title").text = title
    _text(svg, LEFT, 16, title, size=13, weight="600")
    at = float(LEFT)
    for index, (item, _) in enumerate(series):
        label = items.label(item, language)
        _rect(svg, at, 26, 9, 9, index)
        _text(svg, at + 13, 34, label, size=10)
        at += 24 + sum(10 if ord(c) > 0x2E80 else 5.4 for c in label)
    group = (WIDTH - LEFT - RIGHT) / len(periods)
    bar = min(38.0, group * 0.8 / len(series))
    for column, period in enumerate(periods):
        middle = LEFT + group * (column + 0.5)
        _text(svg, middle, HEIGHT - 8, period, size=10, anchor="middle")
        for index, (_, facts) in enumerate(series):
            fact = next((each for each in facts if each.period == period), None)
            if fact is None:
                continue
            x = middle + (index - len(series) / 2) * bar
            top, bottom = sorted((y(fact.number), y(Decimal(0))))
            mark = _rect(svg, x + 1, top, bar - 2, max(bottom - top, 0.8), index)
            mark.set("data-evidence", fact.id)
            for box in places.boxes(fact.id)[:1]:
                mark.set("data-page", str(box.page))
                mark.set("data-bbox", ",".join(f"{side:.1f}" for side in box.bbox))
            ET.SubElement(
                mark, "title"
            ).text = f"{items.label(fact.name, language)} {period}: {fact.number:,} {fact.unit}"
            place = top - 3 if fact.number >= 0 else bottom + 9
            _text(svg, x + bar / 2, place, short(fact.number, language), size=8.5, anchor="middle")
    ET.SubElement(
        svg,
        "line",
        {
            "x1": str(LEFT),
            "x2": str(WIDTH - RIGHT),
            "y1": str(y(Decimal(0))),
            "y2": str(y(Decimal(0))),
            "class": "axis",
            "stroke": "#888",
        },
    )
    return ET.tostring(svg, encoding="unicode")


def short(value: Decimal, language: Language) -> str:
    """A chart label: 32.8bn, 4.1m; 328亿, 1.2万."""
    steps: tuple[tuple[int, str], ...] = (
        ((10**8, "亿"), (10**4, "万")) if language == "zh" else ((10**9, "bn"), (10**6, "m"), (10**3, "k"))
    )
    for step, name in steps:
        if abs(value) >= step:
            scaled = value / step
            return f"{scaled:,.0f}{name}" if abs(scaled) >= 100 else f"{scaled:,.1f}{name}"
    return f"{value:,.0f}"


def _rect(svg: ET.Element, x: float, y: float, width: float, height: float, index: int) -> ET.Element:
    return ET.SubElement(
        svg,
        "rect",
        {
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "width": f"{width:.1f}",
            "height": f"{height:.1f}",
            "class": f"s{index + 1}",
            "fill": COLOURS[index],
        },
    )


def _text(
    svg: ET.Element, x: float, y: float, text: str, *, size: float, anchor: str = "start", weight: str = "400"
) -> None:
    ET.SubElement(
        svg,
        "text",
        {
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "font-size": str(size),
            "text-anchor": anchor,
            "font-weight": weight,
            "fill": "currentColor",
        },
    ).text = text
