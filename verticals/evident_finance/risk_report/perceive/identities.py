"""Accounting identities: they weigh what was read, and what is left over is shown."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from evident_finance.risk_report.perceive.labels import DATA


@dataclass(frozen=True)
class Identity:
    """``left`` equals the signed sum of ``terms``; ``optional`` ones count as nil where no such line is printed."""

    name: str
    label: dict[str, str]
    left: str
    terms: tuple[tuple[int, str], ...]
    optional: frozenset[str]
    derives: tuple[str, ...] = ()
    weak: bool = False

    @property
    def formula(self) -> str:
        """The identity as a person reads it."""
        first, *rest = self.terms
        return f"{self.left} = {'−' if first[0] < 0 else ''}{first[1]}" + "".join(
            f" {'+' if s > 0 else '−'} {n}" for s, n in rest
        )


@dataclass(frozen=True)
class Check:
    """An identity tried on one period's values: what it leaves over, and how much rounding could explain."""

    identity: Identity
    residual: Decimal
    tolerance: Decimal
    used: tuple[str, ...]
    together: str = ""

    @property
    def holds(self) -> bool:
        """Whether rounding explains the residual."""
        return abs(self.residual) <= self.tolerance


@cache
def identities() -> tuple[Identity, ...]:
    """All identities of ``data/identities.toml``."""
    with (DATA / "identities.toml").open("rb") as file:
        table = tomllib.load(file)
    return tuple(
        Identity(
            name=name,
            label=entry["label"],
            left=entry["left"],
            terms=tuple((-1 if term.startswith("-") else 1, term.lstrip("+-")) for term in entry["terms"]),
            optional=frozenset(entry.get("optional", ())),
            derives=tuple(entry.get("derives", ())),
            weak=entry.get("weak", False),
        )
        for name, entry in table.items()
    )


def check(identity: Identity, values: Mapping[str, Decimal], unit: Decimal) -> Check | None:
    """The identity on one period's values, or None where a needed term is not there.

    ``unit`` is the value of the last printed digit: each term may be rounded by half of it.
    """
    needed = [identity.left, *(name for _, name in identity.terms if name not in identity.optional)]
    if any(name not in values for name in needed):
        return None
    used = [(sign, name) for sign, name in identity.terms if name in values]
    total = sum((sign * values[name] for sign, name in used), Decimal(0))
    return Check(
        identity, values[identity.left] - total, unit * len(used), (identity.left, *(name for _, name in used))
    )


def derive(identity: Identity, item: str, values: Mapping[str, Decimal]) -> tuple[Decimal, str, tuple[str, ...]] | None:
    """The item's value by the identity with its formula and what went in; None where a needed term is not there."""
    others = [(1, identity.left), *((-sign, name) for sign, name in identity.terms)]
    own = next(sign for sign, name in others if name == item)
    rest = [(-sign * own, name) for sign, name in others if name != item]
    if any(name not in values for _, name in rest if name not in identity.optional):
        return None
    used = [(sign, name) for sign, name in rest if name in values]
    formula = f"{item} =" + "".join(f" {'+' if sign > 0 else '−'} {name}" for sign, name in used).replace(" + ", " ", 1)
    return sum((sign * values[name] for sign, name in used), Decimal(0)), formula, tuple(name for _, name in used)
