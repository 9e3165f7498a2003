"""What is known of a generated report: each figure's value, place and status."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

BBox = tuple[float, float, float, float]
Status = Literal["presented", "not_presented", "dash"]


@dataclass(frozen=True)
class Place:
    """Where a figure is printed, and under which label: page from 1, box in points from the upper left as displayed."""

    page: int
    bbox: BBox
    text: str
    label: str = ""


@dataclass(frozen=True)
class Figure:
    """An item's value in whole units of the currency (or per share, or shares).

    ``dash`` is a printed dash: zero and "not there" are both right answers. A ``not_presented`` item has no line in any
    primary statement; ``places`` are all its cells in the primary consolidated statements.
    """

    value: Decimal | None
    status: Status = "presented"
    places: tuple[Place, ...] = ()


@dataclass
class Truth:
    """All that a right reading of the report gives, and the layout it was printed in."""

    company: str
    language: Literal["en", "zh"]
    currency: str
    scale: int
    fiscal_year_end: date
    periods: tuple[date, ...]
    items: dict[str, dict[str, Figure]] = field(default_factory=dict)
    statements: dict[str, tuple[int, ...]] = field(default_factory=dict)
    switches: dict[str, object] = field(default_factory=dict)
