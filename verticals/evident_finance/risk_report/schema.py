"""The values that pass between the steps of the risk report.

Fact ids are ``<item>@<period>`` (``revenue@2018-12-31``); facts about the document are ``filing.<name>``, text findings
``passage.<topic>#<n>``, identity checks ``check.<identity>@<period>``, ratios and scores ``<ratio>@<period>``.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum

from evident_core.evidence import BBox, Claim, Fact, Frozen, InputRef, Language, Report


class Word(Frozen):
    """A printed word: ``bbox`` (x0, top, x1, bottom) in points from the page's upper left corner as displayed."""

    text: str
    bbox: BBox
    size: float = 0.0
    bold: bool = False
    red: bool = False


class Rule(Frozen):
    """A ruling line or thin rectangle on a page (underlines of columns and totals, cell borders)."""

    bbox: BBox


class PageWords(Frozen):
    """What is printed on one page, with places. ``source`` tells a text layer from recognised pixels."""

    page: int
    width: float
    height: float
    words: tuple[Word, ...]
    rules: tuple[Rule, ...] = ()
    recognised: bool = False


class StatementKind(StrEnum):
    """The three primary statements."""

    BALANCE_SHEET = "balance_sheet"
    INCOME_STATEMENT = "income_statement"
    CASH_FLOW = "cash_flow"


class Cell(Frozen):
    """One number as printed (``text``) and as read (``value``, in the statement's scale; None for a dash or n/a)."""

    text: str
    value: Decimal | None
    page: int
    bbox: BBox


class Row(Frozen):
    """A line of a statement. ``cells`` has one entry a column; ``item`` is the canonical item it was mapped to."""

    label: str
    page: int
    bbox: BBox
    cells: tuple[Cell | None, ...]
    depth: int = 0
    heading: bool = False
    item: str | None = None


class Column(Frozen):
    """A column of a statement: the date its period ends, what its head says, and whether it is marked as restated."""

    period: date
    label: str
    restated: bool = False


class Statement(Frozen):
    """A primary statement rebuilt from its pages. ``scale`` multiplies each cell; per-share rows are not scaled."""

    kind: StatementKind
    title: str
    scope: str
    pages: tuple[int, ...]
    currency: str
    scale: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Reading(Frozen):
    """What was perceived in a filing: all facts, and the statements they were read from."""

    facts: tuple[Fact, ...]
    statements: tuple[Statement, ...]


class Assessment(Frozen):
    """What the rules conclude: computed facts (ratios, scores; each Derived) and claims."""

    facts: tuple[Fact, ...]
    claims: tuple[Claim, ...]


class Analysis(Frozen):
    """All that the service knows of one filing; every export and page is made from this.

    ``page_sizes`` are width and height of each page in points as displayed: the space in which boxes are given.
    """

    input: InputRef
    page_sizes: tuple[tuple[float, float], ...]
    language: Language
    reading: Reading
    assessment: Assessment
    report: Report
    version: str

    @property
    def page_count(self) -> int:
        """How many pages the filing has."""
        return len(self.page_sizes)


class Facts:
    """Facts by name and period, for rules: ``facts.get("revenue", "2018-12-31")``."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.all = tuple(facts)
        self._by_id = {fact.id: fact for fact in self.all}

    def by_id(self, fact_id: str) -> Fact | None:
        """The fact of that id, or None."""
        return self._by_id.get(fact_id)

    def get(self, name: str, period: str | None = None) -> Fact | None:
        """The fact ``name@period`` (``name`` alone for facts without period), or None. It may be NOT_PRESENTED."""
        return self._by_id.get(f"{name}@{period}" if period else name)

    def number(self, name: str, period: str) -> Decimal | None:
        """The value of a numeric fact, or None where it is absent or not presented."""
        fact = self.get(name, period)
        return fact.value if fact is not None and isinstance(fact.value, Decimal) else None

    def named(self, name: str) -> tuple[Fact, ...]:
        """All facts of that name, in the order they were read."""
        return tuple(fact for fact in self.all if fact.name == name)

    @property
    def periods(self) -> tuple[str, ...]:
        """Period ends of the primary statements, newest first: those with a total of assets, revenue or profit."""
        ends = {
            fact.period
            for fact in self.all
            if fact.period and fact.value is not None and fact.name in ("total_assets", "revenue", "net_income")
        }
        return tuple(sorted(ends, reverse=True))
