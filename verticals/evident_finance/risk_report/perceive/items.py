"""Which canonical item a line of a statement is: names, the section it stands in, and the heading above it."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from evident_finance.risk_report.perceive.labels import DATA, key
from evident_finance.risk_report.perceive.lines import GridRow
from evident_finance.risk_report.perceive.totals import name_totals
from evident_finance.risk_report.perceive.wraps import one_row
from evident_finance.risk_report.schema import StatementKind

_TAIL = (
    r"(?:net|total)?(?:(?:less|net|netof|before)(?:of)?(?:accum|allow|reserve|discount|unamort|capital|tax|cash|issu|deprec|amort|income"
    r"|valuation|provision).*|after(?:income)?tax.*)?(?:note[a-z]{0,2}|of|at|and|respectively)*"
)

_PER_SHARE = re.compile(r"per(?:common|ordinary)?share|每股")
"""Headings that hold until the next: a profit under them is earnings per share, not their end."""


@dataclass(frozen=True)
class Item:
    """A canonical item: where it stands, how its sign and measure are stored, and the names it is printed under."""

    name: str
    statement: StatementKind
    outflow: bool
    measure: str
    sections: frozenset[str]
    names: tuple[re.Pattern[str], ...]
    not_under: re.Pattern[str] | None
    label: dict[str, str]


@cache
def catalogue() -> dict[str, Item]:
    """All items of ``data/items.toml`` by name, in the order in which statements print them."""
    with (DATA / "items.toml").open("rb") as file:
        table = tomllib.load(file)
    return {
        name: Item(
            name=name,
            statement=StatementKind(entry["statement"]),
            outflow=entry.get("sign") == "outflow",
            measure=entry.get("measure", "money"),
            sections=frozenset(entry.get("section", ())),
            names=tuple(
                re.compile(pattern.replace("、?", "").replace("、", "") + (_TAIL if language == "en" else ""))
                for language in ("en", "zh")
                for pattern in entry["names"][language]
            ),
            not_under=re.compile(entry["not_under"]) if "not_under" in entry else None,
            label=entry["label"],
        )
        for name, entry in table.items()
    }


_ASSETS, _LIABILITIES, _EQUITY = "assets", "liabilities", "equity"
_SECTIONS: dict[StatementKind, tuple[tuple[re.Pattern[str], str], ...]] = {
    StatementKind.BALANCE_SHEET: tuple(
        (re.compile(pattern), section)
        for pattern, section in (
            (r"currentassets|流动资产", "current_assets"),
            (
                r"(?:non-?current|long-?term|other|fixed)assets|非流动资产|investmentsandotherassets|propertyplantandequipment",
                "noncurrent_assets",
            ),
            (r"assets|资产|资产总额?", _ASSETS),
            (r"currentliabilities|流动负债|creditors?(?:amounts)?falling.*within.*", "current_liabilities"),
            (
                r"(?:non-?current|long-?term|other)liabilities|非流动负债|long-?termdebt.*|creditors?.*after.*",
                "noncurrent_liabilities",
            ),
            (r"liabilities|负债|(?:liabilities|负债)(?:and|和|及|与).*|equityandliabilities|权益及负债", _LIABILITIES),
            (
                r"(?:.*(?:stockholders|shareholders|shareowners|owners|members).*(?:equity|deficit|interest|investment|funds)|(?:total)?(?:equity|capitalandreserves)"
                r"|(?:所有者|股东)权益(?:或股东权益)?|权益|资本及储备|股本及储备|equity(?:deficit)?|equityattributable.*|capitalandreserves|.*应占权益)",
                _EQUITY,
            ),
        )
    ),
    StatementKind.CASH_FLOW: tuple(
        (re.compile(pattern), section)
        for pattern, section in (
            (
                r".*operatingactivities.*|operations|operating|.*fromoperations|经营活动.*|.*经营(?:活动|业务).*现金流.*",
                "operating",
            ),
            (r".*investingactivities.*|investing|.*investmentactivities|投资活动.*", "investing"),
            (r".*financingactivities.*|financing|筹资活动.*|融资活动.*", "financing"),
            (r".*supplement.*|non-?cash.*|cashpaid.*|补充资料.*|.*otherinformation.*|cashpayments.*", "supplemental"),
        )
    ),
    StatementKind.INCOME_STATEMENT: (),
}
_AFTER = {
    "total_current_assets": "noncurrent_assets",
    "total_noncurrent_assets": _ASSETS,
    "total_assets": _LIABILITIES,
    "total_current_liabilities": "noncurrent_liabilities",
    "total_noncurrent_liabilities": _LIABILITIES,
    "total_liabilities": _EQUITY,
    "equity_parent": _EQUITY,
    "operating_cash_flow": "investing",
    "investing_cash_flow": "financing",
    "financing_cash_flow": "ending",
}


_CLOSES = {
    "noncurrent_assets": (_ASSETS, "current_assets"),
    "noncurrent_liabilities": (_LIABILITIES, "current_liabilities"),
}


@dataclass(frozen=True)
class Match:
    """A row that may be an item: ``rank`` 0 is the preferred name; lower is better."""

    item: str
    row: int
    rank: float
    section: str


@dataclass(frozen=True)
class Placed:
    """A row with its key, the key of the heading above it, and its section of the statement."""

    key: str
    heading: str
    section: str


def place(rows: Sequence[GridRow], kind: StatementKind) -> list[Placed]:
    """Each row with the heading it stands under and the section it belongs to, from top to bottom."""
    placed: list[Placed] = []
    totals = name_totals(rows)
    section, heading, heading_indent = "", "", 0.0
    for index, row in enumerate(rows):
        own = totals.get(index) or key(row.label)
        if not row.filled and own:
            section = next((name for pattern, name in _SECTIONS[kind] if pattern.fullmatch(own)), section)
            heading, heading_indent = own, row.indent
            placed.append(Placed(own, "", section))
            continue
        if own.startswith(("total", "net")) and row.indent <= heading_indent + 1:
            placed.append(Placed(own, heading, section))
            heading = heading if own == "total" or _PER_SHARE.search(heading) else ""
        else:
            placed.append(Placed(own, heading, section))
        after = _section_after(own, kind, section)
        if after in _CLOSES and section == _CLOSES[after][0]:
            placed = _closed(placed, *_CLOSES[after])
        section = after
    return placed


def _closed(placed: list[Placed], general: str, classified: str) -> list[Placed]:
    """Lines above "Total current assets" are current even where no heading says so."""
    first = len(placed)
    while first > 0 and placed[first - 1].section == general:
        first -= 1
    return placed[:first] + [replace(place, section=classified) for place in placed[first:]]


def _section_after(own: str, kind: StatementKind, section: str) -> str:
    for item, after in _AFTER.items():
        entry = catalogue()[item]
        if entry.statement is kind and any(pattern.fullmatch(own) for pattern in entry.names[:8]):
            return after
    return section


def matches(placed: Sequence[Placed], rows: Sequence[GridRow], kind: StatementKind) -> list[Match]:
    """Every (item, row) that the names allow."""
    found: list[Match] = []
    sectioned = {place.section for place in placed}
    for index, (where, row) in enumerate(zip(placed, rows, strict=True)):
        if not row.filled or not where.key:
            continue
        for item in catalogue().values():
            if item.statement is not kind or not _fits(item, where, sectioned):
                continue
            rank = _rank(item, where)
            if rank is not None:
                found.append(Match(item.name, index, rank, where.section))
    return found


def _fits(item: Item, where: Placed, sectioned: set[str]) -> bool:
    if item.not_under is not None and item.not_under.search(where.heading):
        return False
    if not item.sections or not where.section or where.section in item.sections:
        return True
    if item.name.startswith(("other_current", "current_")):
        return False
    general = where.section.removeprefix("current_").removeprefix("noncurrent_")
    classified = {f"current_{general}", f"noncurrent_{general}"} & sectioned
    return (
        general == where.section
        and not classified
        and bool({f"current_{general}", f"noncurrent_{general}"} & item.sections)
    )


def _rank(item: Item, where: Placed) -> float | None:
    for rank, pattern in enumerate(item.names):
        if ">" in pattern.pattern:
            if where.heading and pattern.fullmatch(f"{where.heading}>{where.key}"):
                return rank
        elif pattern.fullmatch(where.key):
            return rank
    return None


@lru_cache(maxsize=20_000)
def names_an_item(label: str) -> bool:
    """Whether some item is printed under this label, wherever it stands."""
    own = key(label)
    return bool(own) and any(
        pattern.fullmatch(own) for item in catalogue().values() for pattern in item.names if ">" not in pattern.pattern
    )


def rejoined(rows: Sequence[GridRow]) -> list[GridRow]:
    """Rows in which a label broken over two lines is one again, where only both lines together name an item."""
    out: list[GridRow] = []
    for row in rows:
        last = out[-1] if out else None
        if (
            last is not None
            and last.filled is not row.filled
            and last.label
            and row.label
            and not last.label.rstrip().endswith((":", "："))
            and row.bbox[1] - last.bbox[3] < 0.8 * row.lines[0].height
            and not names_an_item((last if last.filled else row).label)
            and (row.filled or not (names_an_item(row.label) or _opens_section(row.label)))
            and (names_an_item(joined := f"{last.label} {row.label}") or _named_under(out[-2:-1], joined))
            and not (row.filled and _heads(last, row))
            and not re.match(r"(?i)(?:dis)?continu", row.label)
        ):
            out[-1] = one_row(last, row)
        else:
            out.append(row)
    return out


def _named_under(above: Sequence[GridRow], label: str) -> bool:
    return bool(above) and not above[0].filled and bool(above[0].label) and _under(above[0].label, label)


def _opens_section(label: str) -> bool:
    own = key(label)
    return any(pattern.fullmatch(own) for sections in _SECTIONS.values() for pattern, _ in sections)


def _heads(heading: GridRow, row: GridRow) -> bool:
    """Whether the row is an item by standing under the heading (Earnings per share > Basic)."""
    return _under(heading.label, row.label)


@lru_cache(maxsize=20_000)
def _under(heading: str, label: str) -> bool:
    path = f"{key(heading)}>{key(label)}"
    return any(
        pattern.fullmatch(path) for item in catalogue().values() for pattern in item.names if ">" in pattern.pattern
    )
