"""How many parts of a lot to inspect, and how many bad ones let it pass: single sampling after ISO 2859-1:1999.

The tables are ``data/iso2859.tsv``, cell by cell as the standard prints them, arrows too: an arrow leads to the first
plan below or above it in its column, with that plan's sample size. A sample as large as the lot is 100 % inspection.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import Field

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen

Inspection = Literal["normal", "tightened", "reduced"]
LEVELS = ("S-1", "S-2", "S-3", "S-4", "I", "II", "III")
INSPECTIONS: tuple[Inspection, ...] = ("normal", "tightened", "reduced")
HIGHEST_PERCENT = 10.0
"""Up to this AQL is a percentage of nonconforming parts; above it, nonconformities per 100 parts (clause 5.2)."""


class Plan(Frozen):
    """A single sampling plan.

    Attributes:
        letter: Code letter of the plan in use, after the arrows.
        sample_size: Parts to inspect.
        accept: Ac: the lot passes with so many nonconforming parts in the sample, or fewer.
        reject: Re: with so many it does not.
        whole_lot: The sample is the whole lot.
    """

    letter: str
    sample_size: int
    accept: int
    reject: int
    aql: float
    inspection: Inspection
    whole_lot: bool = False


class Standing(Frozen):
    """What the switching rules remember from lot to lot (clauses 9.3 and 9.4).

    Attributes:
        score: The switching score of normal inspection; reduced inspection is open from 30 on.
        recent: Of the last lots on original inspection under ``inspection``, whether each was accepted; newest last.
        failed_tightened: Lots not accepted since tightened inspection began.
        stopped: Five were not accepted under tightened inspection: no more lots until the process is put right.
    """

    inspection: Inspection = "normal"
    score: int = Field(default=0, ge=0)
    recent: tuple[bool, ...] = ()
    failed_tightened: int = Field(default=0, ge=0)
    stopped: bool = False


class LotDecision(Frozen):
    """Whether a lot passes: ``accepted`` is None while parts of the sample are still to be inspected."""

    plan: Plan
    inspected: int
    nonconforming: int
    accepted: bool | None


def code_letter(lot_size: int, level: str = "II") -> str:
    """The code letter of table 1.

    Raises:
        InvalidInput: The lot has less than two parts, or there is no such inspection level.
    """
    if level not in LEVELS:
        raise InvalidInput(f"{level!r} is not an inspection level; there are {', '.join(LEVELS)}.", level=level)
    if lot_size < 2:
        raise InvalidInput(f"A lot of {lot_size} cannot be sampled; lots have 2 parts or more.", lot_size=lot_size)
    for least, most, letters in _letters():
        if least <= lot_size <= most:
            return letters[LEVELS.index(level)]
    raise InvalidInput(f"No code letter for a lot of {lot_size}.", lot_size=lot_size)


def aqls() -> tuple[float, ...]:
    """The 26 acceptance quality limits of the tables, from 0.01 to 1000."""
    return _tables()["normal"].aqls


def plan(lot_size: int, aql: float, level: str = "II", inspection: Inspection = "normal") -> Plan:
    """The plan for a lot.

    Args:
        lot_size: Parts in the lot.
        aql: One of :func:`aqls`; percent nonconforming, above 10 nonconformities per 100 parts.
        level: Inspection level.
        inspection: The severity in force, of :class:`Standing`.

    Raises:
        InvalidInput: There is no such AQL, level or severity, or the lot is too small to sample.
    """
    found = by_letter(code_letter(lot_size, level), aql, inspection)
    if found.sample_size >= lot_size:
        return found.model_copy(update={"sample_size": lot_size, "whole_lot": True})
    return found


def by_letter(letter: str, aql: float, inspection: Inspection = "normal") -> Plan:
    """The plan of a code letter, its arrows followed.

    Raises:
        InvalidInput: There is no such letter, AQL or severity, or the table is blank there.
    """
    if inspection not in INSPECTIONS:
        raise InvalidInput(
            f"{inspection!r} is not a severity; there are {', '.join(INSPECTIONS)}.", inspection=inspection
        )
    table = _tables()[inspection]
    if letter not in table.letters or aql not in table.aqls:
        known = ", ".join(f"{each:g}" for each in table.aqls)
        raise InvalidInput(
            f"There is no plan for code letter {letter} and AQL {aql:g}; the AQLs are {known}.", letter=letter, aql=aql
        )
    row, column = table.letters.index(letter), table.aqls.index(aql)
    while (cell := table.cells[row][column]) in ("v", "^"):
        row += 1 if cell == "v" else -1
    if cell == "-":
        raise InvalidInput(f"The table is blank at code letter {letter} and AQL {aql:g}.", letter=letter, aql=aql)
    return Plan(
        letter=table.letters[row],
        sample_size=table.sizes[row],
        accept=int(cell),
        reject=int(cell) + 1,
        aql=aql,
        inspection=inspection,
    )


def lot_decision(plan: Plan, nonconforming: int, inspected: int) -> LotDecision:
    """Whether a lot passes by what its sample showed so far.

    A lot fails as soon as Re is reached; it passes only when the sample is complete.

    Args:
        plan: Of the lot.
        nonconforming: Parts of the sample that do not conform (above AQL 10: nonconformities).
        inspected: Parts of the sample that were inspected.

    Raises:
        InvalidInput: A count is negative, or there are more bad parts than were inspected.
    """
    counted = plan.aql > HIGHEST_PERCENT
    if min(nonconforming, inspected) < 0 or (nonconforming > inspected and not counted):
        raise InvalidInput(
            f"{nonconforming} nonconforming among {inspected} inspected parts cannot be.",
            nonconforming=nonconforming,
            inspected=inspected,
        )
    accepted = False if nonconforming >= plan.reject else True if inspected >= plan.sample_size else None
    return LotDecision(plan=plan, inspected=inspected, nonconforming=nonconforming, accepted=accepted)


def switch(standing: Standing, decision: LotDecision, *, steady: bool = True, reduce: bool = False) -> Standing:
    """The severity for the next lot, after one on original inspection (lots that come back do not count).

    Args:
        standing: Before this lot.
        decision: On this lot; it must be complete.
        steady: Production runs at a steady rate; without it there is no reduced inspection (9.3.3.1 b, 9.3.4 b).
        reduce: Who is responsible finds reduced inspection desirable (9.3.3.1 c).

    Raises:
        InvalidInput: The lot is not decided yet, or was inspected under another severity, or inspection is stopped.
    """
    if decision.accepted is None:
        raise InvalidInput(
            f"The lot is not decided: {decision.inspected} of {decision.plan.sample_size} parts are inspected."
        )
    if standing.stopped:
        raise InvalidInput("Inspection is stopped after five lots failed under tightened inspection; resume it first.")
    if decision.plan.inspection != standing.inspection:
        raise InvalidInput(
            f"The lot was inspected under {decision.plan.inspection} inspection, and {standing.inspection} is in force."
        )
    recent = (*standing.recent, decision.accepted)[-5:]
    if standing.inspection == "tightened":
        failed = standing.failed_tightened + (not decision.accepted)
        if failed >= 5:
            return standing.model_copy(update={"recent": recent, "failed_tightened": failed, "stopped": True})
        if len(recent) == 5 and all(recent):
            return Standing()
        return standing.model_copy(update={"recent": recent, "failed_tightened": failed})
    if standing.inspection == "reduced":
        return standing.model_copy(update={"recent": recent}) if decision.accepted and steady else Standing()
    if recent.count(False) >= 2:
        return Standing(inspection="tightened")
    score = _score(standing.score, decision)
    if score >= 30 and steady and reduce:
        return Standing(inspection="reduced")
    return Standing(score=score, recent=recent)


def resume(standing: Standing) -> Standing:
    """Tightened inspection again after the process was put right (clause 9.4)."""
    return Standing(inspection="tightened") if standing.stopped else standing


def _score(score: int, decision: LotDecision) -> int:
    """The switching score of clause 9.3.3.2: +3 where the lot would pass one AQL tighter too, +2 where Ac is 0 or 1."""
    if not decision.accepted:
        return 0
    if decision.plan.accept <= 1:
        return score + 2
    known = aqls()
    tighter = by_letter(decision.plan.letter, known[known.index(decision.plan.aql) - 1])
    return score + 3 if decision.nonconforming <= tighter.accept else 0


class _Table(Frozen):
    aqls: tuple[float, ...]
    letters: tuple[str, ...]
    sizes: tuple[int, ...]
    cells: tuple[tuple[str, ...], ...]


@cache
def _sections() -> dict[str, list[list[str]]]:
    text = (files("evident_manufacturing.inspection") / "data" / "iso2859.tsv").read_text("utf-8")
    sections: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("["):
            rows = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            rows.append(line.split("\t"))
    return sections


@cache
def _letters() -> list[tuple[int, float, list[str]]]:
    _, *rows = _sections()["code letters"]
    return [(int(row[0]), math.inf if row[1] == "-" else int(row[1]), row[2:]) for row in rows]


@cache
def _tables() -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    for inspection in INSPECTIONS:
        head, *rows = _sections()[inspection]
        tables[inspection] = _Table(
            aqls=tuple(float(each) for each in head[2:]),
            letters=tuple(row[0] for row in rows),
            sizes=tuple(int(row[1]) for row in rows),
            cells=tuple(tuple(row[2:]) for row in rows),
        )
    return tables
