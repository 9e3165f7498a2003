"""Each hand-read line item against what was read: value, sign, scale, year, page, box, and the table's own row."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from evident_core.evidence import Fact, Frozen, Status
from evident_finance.risk_report.evaluate.gold import GoldItem
from evident_finance.risk_report.evaluate.measurement import Measured, place_of
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.perceive.labels import squash
from evident_finance.risk_report.perceive.numbers import is_dash, parse_number
from evident_finance.risk_report.schema import Facts, Row

CERTAIN = 0.5
"""A wrong value is silent when it is said to be presented with at least this confidence."""

_AMOUNT = re.compile(r"[(（]?[-－−–—]?[$€£¥]?\s?\d[\d,，.]*[)）]?|[-－−–—]")


class Miss(Frozen):
    """A line item that was not read as the hand-read figures say; ``why`` is value, unit, place, item or document."""

    document: str
    item: str
    expected: str
    found: str
    why: str


@dataclass
class Tally:
    """Counts while documents are read."""

    items: int = 0
    right: int = 0
    silent: int = 0
    absent: int = 0
    honoured: int = 0
    placed: int = 0
    pages: int = 0
    boxes: int = 0
    documents: int = 0
    documents_right: int = 0
    lines: int = 0
    clean_lines: int = 0
    misses: list[Miss] = field(default_factory=list)

    def document(self, doc: str, entries: Sequence[GoldItem], measured: Measured) -> None:
        """Compare all line items of a document."""
        before, facts = len(self.misses), Facts(measured.facts)
        for entry in entries:
            self._item(doc, entry, facts, measured)
        self.documents += 1
        self.documents_right += len(self.misses) == before

    def unread(self, doc: str, entries: Sequence[GoldItem], why: str) -> None:
        """Count a document that could not be read: every item is missed, none silently."""
        self.documents += 1
        self.items += len(entries)
        for entry in entries:
            self.misses.append(
                Miss(document=doc, item=entry.item, expected=_expected(entry), found=why, why="document")
            )

    def _item(self, doc: str, entry: GoldItem, facts: Facts, measured: Measured) -> None:
        self.items += 1
        names = Items.load().names
        if entry.item not in names:
            near = difflib.get_close_matches(entry.item, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self._miss(doc, entry, _expected(entry), f"an item that this service does not know{hint}", "item")
            return
        end = entry.fiscal_year_end or next(iter(facts.periods), "")
        fact = facts.get(entry.item, end)
        if not entry.presented:
            self._absent(doc, entry, fact)
            return
        prior = next((each for each in facts.named(entry.item) if _year_before(each.period, end)), None)
        for expected, found in ((entry.value, fact), (entry.prior_value, prior)):
            if expected is None:
                continue
            value = expected * entry.scale
            if found is None or found.value != value:
                self._wrong(doc, entry, f"{value:f}", found, "value")
                return
            if not _same_unit(entry.unit, found.unit):
                self._wrong(doc, entry, f"{value:f} {entry.unit}", found, "unit")
                return
        self.right += 1
        if fact is not None and entry.value is not None:
            self._place(doc, entry, fact, measured)
            self._line(entry, measured)

    def _absent(self, doc: str, entry: GoldItem, fact: Fact | None) -> None:
        self.absent += 1
        if fact is None or fact.status is not Status.PRESENTED:
            self.honoured += 1
            self.right += 1
        else:
            self._wrong(doc, entry, "not presented", fact, "value")

    def _wrong(self, doc: str, entry: GoldItem, expected: str, found: Fact | None, why: str) -> None:
        self.silent += found is not None and found.status is Status.PRESENTED and found.confidence >= CERTAIN
        said = "nothing" if found is None else f"{_said(found)} ({found.status}, {found.confidence:.2f})"
        self._miss(doc, entry, expected, said, why)

    def _place(self, doc: str, entry: GoldItem, fact: Fact, measured: Measured) -> None:
        """Whether the fact stands on the page read by hand, and its box there holds that number and no other."""
        if entry.page is None:
            return
        where = place_of(fact)
        self.placed += 1
        page = where is not None and where.page == entry.page
        printed = measured.printed.get(fact.id, "")
        box = page and entry.value is not None and _prints(printed, entry.value)
        self.pages += page
        self.boxes += box
        if not box:
            found = "derived, no place" if where is None else f"page {where.page}, in the box: {printed or 'no word'}"
            self._miss(doc, entry, f"page {entry.page}, in the box: {entry.value}", found, "place")

    def _line(self, entry: GoldItem, measured: Measured) -> None:
        """Whether the rebuilt table has the printed line as a row: its label, each number a cell of its own."""
        if entry.line is None:
            return
        rows = (row for statement in measured.statements for row in statement.rows if entry.page in (None, row.page))
        self.lines += 1
        self.clean_lines += any(_is_line(row, entry.line) for row in rows)

    def _miss(self, doc: str, entry: GoldItem, expected: str, found: str, why: str) -> None:
        self.misses.append(Miss(document=doc, item=entry.item, expected=expected, found=found, why=why))


def split_line(line: str, columns: int) -> tuple[str, tuple[Decimal | None, ...]]:
    """Label and last numbers of a printed line, a dash as None: ``"Net sales $ 32,765 $ 31,657"`` with two columns."""
    words = line.split("||")[0].split()
    numbers: list[Decimal | None] = []
    while words and len(numbers) < columns and (_AMOUNT.fullmatch(words[-1]) or words[-1] in "$€£¥()"):
        word = words.pop()
        if is_dash(word) or parse_number(word) is not None:
            numbers.insert(0, parse_number(word))
    label = " ".join(words).rstrip("$€£¥ ")
    return re.sub(r"\s[一二三四五六七八九十]+、\d+$", "", label), tuple(numbers)


def _is_line(row: Row, line: str) -> bool:
    label, numbers = split_line(line, len(row.cells))
    cells = [cell for cell in row.cells if cell is not None]
    alone = all(parse_number(cell.text) == cell.value for cell in cells)
    return alone and squash(label) in squash(row.label) and tuple(cell.value for cell in cells) == numbers


def _prints(printed: str, value: Decimal) -> bool:
    """Whether the words are the number, whatever its sign, separators and currency mark (a dash is nil)."""
    text = re.sub(r"[\s,，'$€£¥()（）+\-–—−－]", "", unicodedata.normalize("NFKC", printed))
    try:
        return Decimal(text or 0) == abs(value) and (bool(text) or bool(printed))
    except ArithmeticError:
        return False


def _expected(entry: GoldItem) -> str:
    return f"{entry.value * entry.scale:f}" if entry.value is not None else "not presented"


def _said(fact: Fact) -> str:
    return f"{fact.value:f} {fact.unit}" if isinstance(fact.value, Decimal) else str(fact.value)


def _same_unit(expected: str | None, found: str | None) -> bool:
    """Whether the currency is the expected one; other units are written in too many ways to compare."""
    code = {"RMB": "CNY"}.get(expected or "", expected or "")
    return not re.fullmatch(r"[A-Z]{3}", code) or found in (code, "1")


def _year_before(period: str | None, end: str) -> bool:
    if not period or not end:
        return False
    return 350 <= (date.fromisoformat(end) - date.fromisoformat(period)).days <= 380
