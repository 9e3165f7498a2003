"""Numbers that the text states in a known shape: debt by year of maturity, shares of customers and suppliers."""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from evident_core.evidence import Fact, Polarity
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.findings import candidates
from evident_finance.risk_report.perceive.passages.prose import Prose, Span
from evident_finance.risk_report.perceive.passages.topics import vocabulary

_AMOUNT = r"\(?[$€£] ?\(?[\d,]+(?:\.\d+)?\)?|(?<![\d.,-])\d[\d,]*(?:\.\d+)?|[—–-](?= |$)"
_LATER = r"thereafter|after|beyond|later years"
_ROW = re.compile(
    rf"^(?:fiscal |year )*(?P<year>20\d\d(?! and)|{_LATER}|20\d\d and (?:thereafter|beyond))\b[ :.…]*(?P<rest>.*)$"
)
_TOTAL = re.compile(r"^(?:total\b.*?)?(?P<rest>\$? ?\d[\d,.]*)$")
_INLINE = re.compile(rf"(?P<year>20\d\d|{_LATER}) ?[-–—:] ?\$ ?(?P<amount>\d[\d,]*(?:\.\d+)?)")
_THROUGH = re.compile(r"(?P<first>20\d\d) (?:through|to) (?P<last>20\d\d) (?:are|were|is) (?P<list>.*?),? respectively")
_STATED = re.compile(r"\$ ?(?P<amount>\d[\d,]*(?:\.\d+)?) ?(?P<scale>million|billion)")
_SCALE = re.compile(r"\b(?:in |\()(?P<scale>thousands|millions|billions)\b")
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_LINES = 18


@dataclass(frozen=True)
class Due:
    """What falls due in a year (None: later than all that are listed), and the line that says so."""

    year: int | None
    amount: Decimal
    line: Span


@dataclass(frozen=True)
class Schedule:
    """Debt by year, under the sentence that announces it. ``checked``: the amounts add up to the printed total."""

    announced: Span
    dues: tuple[Due, ...]
    scale: int
    checked: bool


def debt_maturities(prose: Prose, facts: tuple[Fact, ...]) -> list[Draft]:
    """The schedule of debt maturities: ``debt_maturity@<year>`` for each year, and the passage that announces it."""
    if prose.language != "en":
        return []
    known = {fact.name: fact for fact in facts}
    schedules = list(_schedules(prose, known.get("filing.scale")))
    if not schedules:
        return []
    schedule = max(schedules, key=lambda each: (each.checked, len(each.dues)))
    finding = vocabulary().topic["debt_maturities"].finding["en"]
    name = "passage.debt_maturities"
    drafts = [Draft(f"{name}#1", name, schedule.announced, note=f"{Polarity.PRESENT}: {finding}")]
    currency, year_end = known.get("filing.currency"), known.get("filing.fiscal_year_end")
    unit = (
        str(currency.value)
        if currency and currency.value
        else "USD"
        if "united states" in prose.plain[:20_000]
        else None
    )
    last_day = date.fromisoformat(str(year_end.value)) if year_end and year_end.value else None
    if unit is None or not schedule.scale:
        return drafts
    for due in schedule.dues:
        period = _year_end(due.year, last_day)
        key = f"@{period or due.year}" if due.year else ".thereafter"
        drafts.append(
            Draft(
                id=f"debt_maturity{key}",
                name="debt_maturity",
                span=due.line,
                value=_whole(due.amount * schedule.scale),
                unit=unit,
                scale=schedule.scale,
                period=period,
                subject=str(due.year or "thereafter"),
                confidence=0.97 if schedule.checked else 0.85,
                note="the years add up to the printed total"
                if schedule.checked
                else "no printed total to check against",
            )
        )
    return drafts


def _year_end(year: int | None, last_day: date | None) -> str | None:
    """The end of a later fiscal year where it is certain: the same month's last day, not that of a 52/53-week year."""
    if year is None or last_day is None or last_day.day != monthrange(last_day.year, last_day.month)[1]:
        return None
    return date(year, last_day.month, monthrange(year, last_day.month)[1]).isoformat()


def _schedules(prose: Prose, scale: Fact | None) -> Iterator[Schedule]:
    topic = vocabulary().topic["debt_maturities"]
    for announced in candidates(prose, topic):
        text = prose.plain[announced.start : announced.end]
        match = next((found for cue in topic.cue if (found := cue.search(text, "en"))), None)
        if match is None or topic.reject.search(text, "en"):
            continue
        first = prose.line_at(announced.start + match.start()).start
        lines = prose.lines(Span(first, min(len(prose.text), first + 2400)))[:_LINES]
        near = scale_near(prose, Span(max(0, announced.start - 200), lines[min(6, len(lines) - 1)].end), scale)
        for dues, total, factor in (
            _inline(prose, announced, near),
            _listed(prose, lines, near),
            _ranged(prose, lines, near),
        ):
            if not _plausible(dues):
                continue
            matches = total is not None and abs(sum(due.amount for due in dues) - total) <= len(dues)
            if total is None or matches:
                yield Schedule(_announcement(prose, announced, first), tuple(dues), factor, matches)
            break


def _announcement(prose: Prose, sentence: Span, line: int) -> Span:
    """The sentence up to its colon, without what stands on lines before one that opens it."""
    start = line if sentence.start < line and prose.text[line : line + 1].isupper() else sentence.start
    colon = prose.text.find(":", line, sentence.end)
    return Span(
        start, colon + 1 if colon > start and not _INLINE.search(prose.plain, colon, sentence.end) else sentence.end
    )


_Read = tuple[list[Due], Decimal | None, int]


def _inline(prose: Prose, announced: Span, scale: int) -> _Read:
    """In the sentence itself: "2023–$0.0; 2024–$5,472.9", or "2020 through 2024 are $6 million, …, respectively"."""
    after = Span(announced.start, min(len(prose.text), announced.end + 300))
    text = prose.plain[after.start : after.end]
    dues = []
    for match in _INLINE.finditer(text):
        amount, year = _number(match["amount"]), match["year"]
        line = Span(after.start + match.start(), after.start + match.end())
        if amount is not None:
            dues.append(Due(int(year) if year.isdigit() else None, amount, line))
    if dues:
        return dues, None, scale
    through = _THROUGH.search(prose.plain, announced.start, announced.end)
    if through is None:
        return [], None, scale
    years = range(int(through["first"]), int(through["last"]) + 1)
    stated = list(_STATED.finditer(prose.plain, through.start("list"), through.end("list")))
    if len(stated) != len(years):
        return [], None, scale
    return (
        [
            Due(year, Decimal(each["amount"].replace(",", "")) * _SCALES[each["scale"]], announced)
            for year, each in zip(years, stated, strict=True)
        ],
        None,
        1,
    )


def _listed(prose: Prose, lines: list[Span], scale: int) -> _Read:
    """A year and its amount on each line, with the total under them."""
    dues: list[Due] = []
    for line in lines:
        text = prose.plain[line.start : line.end].strip()
        if match := _ROW.match(text):
            if re.search(r"[a-z]", match["rest"]):
                continue
            amounts = _amounts(match["rest"])
            if len(amounts) != 1 or amounts[0] is None:
                return [], None, scale
            dues.append(Due(int(match["year"]) if match["year"].isdigit() else None, amounts[0], line))
        elif dues:
            total = _TOTAL.match(text)
            return dues, _number(total["rest"]) if total else None, scale
    return dues, None, scale


def _ranged(prose: Prose, lines: list[Span], scale: int) -> _Read:
    """Years across, amounts under them; among several rows the one that is unlabelled or a total, else the only one."""
    for n, line in enumerate(lines):
        text = re.sub(
            r"^\(?(?:dollars )?(?:in )?(?:thousands|millions|billions)\)? ",
            "",
            prose.plain[line.start : line.end].strip(),
        )
        heads = re.findall(rf"\b20\d\d\b|{_LATER}|total", text)
        if len(re.findall(r"\b20\d\d\b", text)) < 3 or re.sub(rf"\b20\d\d\b|{_LATER}|and|total|\W", "", text):
            continue
        years = [int(head) if head.isdigit() else None for head in heads]
        for i in range(1, len(years)):
            if years[i] is not None and years[i] == years[i - 1]:
                years[i] = None  # "After 2023" broken over two lines stands as a second 2023.
        rows = []
        for row in lines[n + 1 : n + 9]:
            label, amounts = _labelled(prose.plain[row.start : row.end].strip())
            if len(amounts) == len(heads) and None not in amounts:
                rows.append((row, label, [amount for amount in amounts if amount is not None]))
        chosen = [row for row in rows if not row[1] or "total" in row[1]][-1:] or (rows if len(rows) == 1 else [])
        for row, _, cells in chosen:
            by_head = list(zip(heads, years, cells, strict=True))
            total = next((amount for head, _, amount in by_head if head == "total"), None)
            return [Due(year, amount, row) for head, year, amount in by_head if head != "total"], total, scale
    return [], None, scale


def _labelled(text: str) -> tuple[str, list[Decimal | None]]:
    label = re.match(r"[^\d$—–]*", text)
    at = label.end() if label else 0
    return text[:at].strip(), _amounts(text[at:])


def _amounts(text: str) -> list[Decimal | None]:
    return [Decimal(0) if found in "—–-" else _number(found) for found in re.findall(_AMOUNT, text.replace("$ ", "$"))]


def _whole(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount


def _number(text: str) -> Decimal | None:
    digits = re.sub(r"[^\d.]", "", text)
    return Decimal(digits) if digits.strip(".") else None


def scale_near(prose: Prose, span: Span, scale: Fact | None) -> int:
    """The scale stated beside the table, else the filing's, else the one most often stated in it; 0 where none is."""
    found = _SCALE.findall(prose.plain[span.start : span.end])
    if not found and scale is not None and scale.value:
        return int(scale.number) if isinstance(scale.value, Decimal) else int(str(scale.value))
    found = found or _SCALE.findall(prose.plain)
    return _SCALES[max(set(found), key=found.count)[:-1]] if found else 0


def _plausible(dues: list[Due]) -> bool:
    years = [due.year for due in dues if due.year]
    return len(years) >= 3 and years == list(range(years[0], years[0] + len(years))) and any(due.amount for due in dues)
