"""Lines of a statement: label, printed values and the canonical item that each states."""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

from .books import Books

Family = Literal["us", "ifrs", "zh", "hk"]
Role = Literal["line", "heading", "total", "per_share", "shares"]
Values = tuple[Decimal | None, ...]

FINANCE = Path(__file__).parents[3] / "verticals" / "evident_finance" / "risk_report" / "data"


@cache
def items() -> dict[str, dict[str, object]]:
    """The canonical items as the service declares them: the vocabulary of the truth."""
    return tomllib.loads((FINANCE / "items.toml").read_text("utf-8"))


@cache
def _labels() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((Path(__file__).parent / "data" / "labels.toml").read_text("utf-8"))


def labels(family: Family, key: str) -> list[str]:
    """All names of a line in that family of statements; IFRS falls back on the US ones."""
    table = _labels()
    if key in table[family]:
        return table[family][key]
    if family == "ifrs":
        return table["us"][key]
    raise KeyError(f"labels.toml has no {key!r} in [{family}]")


@dataclass(frozen=True)
class Line:
    """One printed line: a value for each year, newest first, in the scale of the page; None prints a blank.

    The item's value is ``-printed`` where ``flip`` is set: costs shown in parentheses. A zero prints a dash.
    """

    label: str
    printed: Values = ()
    item: str | None = None
    flip: bool = False
    role: Role = "line"
    depth: int = 0
    note: str = ""
    decimals: int | None = None

    @property
    def stated(self) -> Values:
        """The values of the item, in its own sign."""
        return tuple(-v if v is not None and self.flip else v for v in self.printed)


@dataclass
class Sheet:
    """Writes the lines of one statement out of the books.

    ``decimals`` is how many digits after the point a tick stands for; ``vague`` collects items of which the printed
    lines do not say clearly whether they are there, so that no truth is claimed of them.
    """

    books: Books
    years: Sequence[int]
    family: Family
    rng: random.Random
    name: str
    decimals: int = 0
    issued: int = 0
    adjust: dict[int, dict[str, int]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    vague: set[str] = field(default_factory=set)

    def amount(self, name: str, year: int) -> int:
        """Ticks of that name, adjusted to this form of statement where it draws a line elsewhere."""
        return self.adjust.get(year, {}).get(name, self.books[year].get(name, 0))

    def heading(self, key: str, depth: int = 0) -> None:
        """A line without values."""
        self.lines.append(Line(self._label(key), role="heading", depth=depth))

    def blank(self, key: str, depth: int = 1) -> None:
        """A line that the standard form has and this company leaves empty."""
        self.lines.append(Line(self._label(key), tuple(None for _ in self.years), depth=depth))

    def add(
        self,
        key: str,
        amount: str = "",
        *,
        item: str | None = "",
        sign: int = 1,
        role: Role = "line",
        depth: int = 1,
        unlabelled: bool = False,
    ) -> None:
        """One line of amounts, left out where all are zero; ``item=""`` takes the amount's name if it is an item."""
        amount = amount or key
        values = [self.amount(amount, year) * sign for year in self.years]
        if not any(values) and role == "line":
            return
        if item == "":
            item = amount if amount in items() else None
        unit = Decimal(1).scaleb(-self.decimals)
        self.lines.append(
            Line(
                "" if unlabelled else self._label(key),
                tuple(Decimal(v) * unit for v in values),
                item,
                sign < 0,
                role,
                depth,
                decimals=self.decimals,
            )
        )

    def total(
        self, key: str, amount: str = "", *, item: str | None = "", sign: int = 1, unlabelled: bool = False
    ) -> None:
        """A sub-total or total: ruled above, always printed."""
        self.add(key, amount, item=item, sign=sign, role="total", depth=0, unlabelled=unlabelled)

    def per_share(self, key: str, shares: str) -> None:
        """Net income to common shareholders over a number of shares, two decimals."""
        values = tuple(
            (Decimal(self.amount("net_income", year)) / Decimal(self.amount(shares, year))).quantize(Decimal("0.01"))
            for year in self.years
        )
        self.lines.append(Line(self._label(key), values, key, role="per_share", depth=1, decimals=2))

    def shares(self, key: str, scale: int = 1) -> None:
        """A weighted number of shares; with ``scale`` printed in full although money is in thousands or millions."""
        values = tuple(
            Decimal(self.amount(key, year) * scale + (self.rng.randrange(scale) if scale > 1 else 0))
            for year in self.years
        )
        self.lines.append(Line(self._label(key), values, key, role="shares", depth=1, decimals=0))

    def note(self, probability: float, style: str) -> None:
        """Give lines their reference into the notes."""
        number = 2
        for i, line in enumerate(self.lines):
            stated = any(value is not None for value in line.printed)
            if line.role == "line" and stated and self.rng.random() < probability:
                number += 1
                self.lines[i] = replace(line, note=style.format(number))

    def _label(self, key: str) -> str:
        text = self.rng.choice(labels(self.family, key))
        if "{" not in text:
            return text
        issued = self.issued or self.rng.randrange(90, 900)
        return text.format(
            name=self.name,
            par=self.rng.choice(("0.01", "0.001", "1.00")),
            n=f"{self.rng.choice((500, 1000, 2000)):,},000,000",
            m=f"{issued},{self.rng.randrange(100, 999)},{self.rng.randrange(100, 999)}",
            k=f"{issued - 3},{self.rng.randrange(100, 999)},{self.rng.randrange(100, 999)}",
        )
