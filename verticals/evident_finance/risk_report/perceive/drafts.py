"""Candidate statements: stretches of pages under one title, rebuilt as rows and columns."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from evident_finance.risk_report.perceive.dates import dates_in
from evident_finance.risk_report.perceive.grid import Grid, grid_of
from evident_finance.risk_report.perceive.heads import Head, read_head
from evident_finance.risk_report.perceive.items import Match, Placed, matches, names_an_item, place, rejoined
from evident_finance.risk_report.perceive.lines import GridRow, Line, parts_of
from evident_finance.risk_report.perceive.pages import Announcement, announcement
from evident_finance.risk_report.perceive.red import signed_by_colour
from evident_finance.risk_report.perceive.units import currency_in, scale_in, share_scale_in
from evident_finance.risk_report.schema import PageWords, StatementKind

_NEVER_NEGATIVE = frozenset(
    {"total_assets", "total_current_assets", "total_liabilities_and_equity", "total_liabilities", "revenue"}
    | {"cash_and_equivalents", "inventories", "cash_beginning", "cash_end"}
)
_FOLIO = re.compile(r"[-–—\s]*(?:F-|S-)?\d{1,4}(?:\s*/\s*\d{1,4})?[-–—\s]*")


@dataclass
class Draft:
    """A candidate statement. ``rows`` have one cell for each of ``head.periods``."""

    kind: StatementKind
    announced: Announcement | None
    pages: tuple[int, ...]
    rows: list[GridRow]
    head: Head
    head_text: str
    width: int
    kept: tuple[int, ...]
    placed: list[Placed] = field(default_factory=list)
    matched: list[Match] = field(default_factory=list)

    @property
    def currency(self) -> str | None:
        """The currency that the head names."""
        return currency_in(self.head_text)

    @property
    def scale(self) -> int | None:
        """The scale that the head gives."""
        return scale_in(self.head_text)

    def share_scale(self, scale: int) -> int:
        """The scale of share counts."""
        return share_scale_in(self.head_text, scale)

    @property
    def distinct(self) -> int:
        """How many different items its rows may be."""
        return len({match.item for match in self.matched})


@dataclass
class _Stretch:
    """The lines of one page that belong together under one title (None: the page began without one)."""

    page: int
    announced: Announcement | None
    lines: list[Line]
    beside: bool = False


def drafts(pages: Sequence[int], words: Callable[[int], PageWords], year_end: date | None) -> list[Draft]:
    """All candidate statements on the pages, in order."""
    out: list[Draft] = []
    for number in pages:
        page = words(number)
        parts = parts_of(page)
        stretches = _stretches(number, _without_folio(parts[0], page.height))
        stretches += [_Stretch(number, None, part, beside=True) for part in parts[1:]]
        for stretch in stretches:
            grid = grid_of(stretch.lines, page.rules, names_an_item)
            if grid is None:
                continue
            last = out[-1] if out else None
            if last is not None and _goes_on(last, stretch, grid, year_end):
                _extend(last, stretch, grid, year_end)
                continue
            draft = _draft(stretch, grid, year_end) if sum(row.filled for row in grid.rows) > 1 else None
            if draft is not None:
                out.append(draft)
    for draft in out:
        draft.rows = signed_by_colour(draft.rows, {m.row for m in draft.matched if m.item in _NEVER_NEGATIVE})
    return out


def _without_folio(lines: list[Line], height: float) -> list[Line]:
    """The lines without page numbers at the top and bottom of the page."""
    ends = {id(line) for line in (*lines[:2], *lines[-2:])}
    return [line for line in lines if not (_FOLIO.fullmatch(line.text) and id(line) in ends and _at_edge(line, height))]


def _at_edge(line: Line, height: float) -> bool:
    return not 0.12 * height < line.bbox[1] < 0.8 * height


def _stretches(number: int, lines: Sequence[Line]) -> list[_Stretch]:
    """The page cut at each line that announces a statement (a title may take two lines)."""
    cuts: list[tuple[int, Announcement]] = []
    skip = -1
    for index, line in enumerate(lines):
        if index <= skip:
            continue
        found = announcement(line.text)
        after = lines[index + 1] if index + 1 < len(lines) else None
        if found is None and after and _close(line, after) and not (_has_amount(line) or announcement(after.text)):
            found = announcement(f"{line.text} {after.text}")
            skip = index + 1 if found else skip
        if found is not None and not _has_amount(line):
            if cuts and cuts[-1][1].kind is found.kind and index - cuts[-1][0] <= 3:
                continue
            cuts.append((index, found))
    out = []
    if not cuts or cuts[0][0] > 0:
        first = cuts[0][0] if cuts else len(lines)
        out.append(_Stretch(number, None, list(lines[:first])))
    ends = [*(start for start, _ in cuts[1:]), len(lines)]
    for (start, found), end in zip(cuts, ends, strict=bool(cuts)):
        out.append(_Stretch(number, found, list(lines[start:end])))
    if len(out) > 1 and out[0].announced is None and grid_of(out[0].lines) is None:
        out[1].lines = (
            out[0].lines + out[1].lines
        )  # what stands above the title (the company, the unit) is part of its head
        out = out[1:]
    return out


def _close(line: Line, after: Line) -> bool:
    return after.bbox[1] - line.bbox[3] < 1.2 * line.height


def _has_amount(line: Line) -> bool:
    return any(
        "," in word.text and sum(c.isdigit() for c in word.text) >= 4 and not word.text.endswith(",")
        for word in line.words
    )


def _goes_on(last: Draft, stretch: _Stretch, grid: Grid, year_end: date | None) -> bool:
    """Whether a stretch continues the statement before it."""
    if stretch.page - last.pages[-1] > 1 or len(grid.columns) < len(last.head.periods) - 1:
        return False
    if last.announced is not None and last.announced.kind is None:
        return stretch.announced is None
    if stretch.beside:
        return True
    if stretch.announced is None:
        head = read_head(grid.head, grid.columns, year_end)
        other = head is not None and not {period for period in head.periods if period} <= set(last.head.periods)
        done = bool(_LAST[last.kind] & {match.item for match in last.matched})
        closed = done and (head is not None or last.kind is StatementKind.BALANCE_SHEET)
        return stretch.page > last.pages[-1] and not closed and not other
    if (
        last.announced is None
        or stretch.announced.kind is not last.kind
        or stretch.announced.parent is not last.announced.parent
    ):
        return False
    kind = last.kind
    again = {m.item for m in matches(place(grid.rows, kind), grid.rows, kind)} & {m.item for m in last.matched}
    return len(again) <= 0.34 * max(1, len({m.row for m in matches(place(grid.rows, kind), grid.rows, kind)}))


_LAST = {
    StatementKind.BALANCE_SHEET: {"total_liabilities_and_equity"},
    StatementKind.INCOME_STATEMENT: {"eps_diluted"},
    StatementKind.CASH_FLOW: {"cash_end"},
}


def _extend(last: Draft, stretch: _Stretch, grid: Grid, year_end: date | None) -> None:
    head = read_head(grid.head, grid.columns, year_end) if stretch.announced or grid.head else None
    rows = _aligned(rejoined(grid.rows), len(grid.columns), head, last)
    last.pages = (*last.pages, stretch.page) if stretch.page != last.pages[-1] else last.pages
    last.rows = last.rows + rows
    last.placed = place(last.rows, last.kind)
    last.matched = matches(last.placed, last.rows, last.kind)


def _aligned(rows: list[GridRow], count: int, head: Head | None, draft: Draft) -> list[GridRow]:
    """Rows of a continuation with their cells in the columns of the first page."""
    known = draft.head.periods
    order: list[int | None]
    if head is not None and set(known) <= set(head.periods):
        order = [head.periods.index(period) for period in known]
    elif count == draft.width:
        order = list(draft.kept)
    elif count >= len(known):
        order = list(range(count - len(known), count))
    else:
        order = [None] * (len(known) - count) + list(range(count))
    return [replace(row, cells=[None if i is None else row.cells[i] for i in order]) for row in rows]


def _draft(stretch: _Stretch, grid: Grid, year_end: date | None) -> Draft | None:
    rows = rejoined(grid.rows)
    announced = stretch.announced
    kinds = [announced.kind] if announced and announced.kind else list(StatementKind)
    best = max(
        ((kind, place(rows, kind)) for kind in kinds),
        key=lambda each: len({m.item for m in matches(each[1], rows, each[0])}),
    )
    head = read_head(grid.head, grid.columns, year_end)
    text = "\n".join(line.text for line in grid.head)
    if head is None:
        return None
    if announced is None and not dates_in(text) and len(rows) < 4:
        return None
    width, kept = len(head.periods), tuple(i for i, period in enumerate(head.periods) if period is not None)
    head = Head(
        tuple(head.periods[i] for i in kept),
        tuple(head.labels[i] for i in kept),
        tuple(head.restated[i] for i in kept),
        tuple(head.superseded[i] for i in kept),
    )
    for row in rows:
        row.cells = [row.cells[i] for i in kept]
    kind, placed = best
    return Draft(kind, announced, (stretch.page,), rows, head, text, width, kept, placed, matches(placed, rows, kind))
