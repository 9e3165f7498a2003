"""The caller's boards that name a lot, by product and lot: what a lot's verdict needs of each, read once."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import func, select

from evident_core.web.frame import current_frame
from evident_core.web.tables import Job, Result
from evident_manufacturing.desk import ARRIVED, TASK
from evident_manufacturing.inspection.assess.lots import Judged
from evident_manufacturing.inspection.schema import Decision
from evident_manufacturing.kept import Kept

MOST: Final = 10_000
"""Boards that are read, the newest; lots that began before them are left out."""
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a lot needs of a board's record."""

    part_id: str
    product: str
    lot: str
    specification: str
    decision: Decision
    weak: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Member:
    """A board of a lot: as its lot's verdict takes it, and ``product@version`` of what it was judged by."""

    judged: Judged
    specification: str


Boards = dict[str, dict[str, list[Member]]]


def newest_boards() -> tuple[Boards, bool]:
    """The caller's newest boards that name a lot, by product and lot; and whether there are more."""
    owner = current_frame().caller.id
    query = select(func.count(), func.max(Job.created), func.max(Job.finished)).where(
        Job.owner == owner, Job.service == TASK.service, Job.result_id.is_not(None)
    )
    with current_frame().store.reading() as session:
        state = session.execute(query).one()
    # An open page asks every few seconds: boards that came or went change their number or the newest times.
    return _boards.get(f"{owner} {MOST} {tuple(state)}", _read_boards)


def _read_boards() -> tuple[Boards, bool]:
    mine = (Job.owner == current_frame().caller.id, Job.service == TASK.service, Job.run.in_((TASK.run, ARRIVED)))
    lot = Job.options["lot"].as_string()
    query = (
        select(Job.id, Job.result_id, Job.finished)
        .where(*mine, Job.result_id.is_not(None), Job.finished.is_not(None), lot != "")
        .order_by(Job.finished.desc())
    )
    with current_frame().store.reading() as session:
        rows = session.execute(query.limit(MOST + 1)).all()
        cut = len(rows) > MOST
        earlier = set(session.scalars(select(lot).where(*mine, Job.finished <= rows[-1].finished))) if cut else set()
    found: Boards = defaultdict(lambda: defaultdict(list))
    known = _judgements([row.result_id for row in rows[:MOST]])
    for row in rows[:MOST]:
        each = known.get(row.result_id)
        if each and each.lot not in earlier:
            judged = Judged(each.part_id, each.decision, row.finished, each.revision, each.weak, row.id)
            found[each.product][each.lot].append(Member(judged, each.specification))
    return {product: dict(lots) for product, lots in found.items()}, cut


def _judgements(result_ids: Sequence[str]) -> dict[str, Judgement]:
    """What lots need of records, of which only the new ones are read; one that was deleted meanwhile is left out."""
    frame, found = current_frame(), dict[str, Judgement]()
    new = _known.missing(result_ids)
    for start in range(0, len(new), _AT_ONCE):
        query = select(Result.id, Result.body).where(Result.id.in_(new[start : start + _AT_ONCE]))
        with frame.store.reading() as session:
            for result_id, body in session.execute(query):
                found[result_id] = _known.get(result_id, partial(_judgement, body))

    def alone(result_id: str) -> Judgement:  # another request may have put it out of memory meanwhile
        return _judgement(frame.store.result(result_id, frame.caller.id).body)

    return found | {each: _known.get(each, partial(alone, each)) for each in set(result_ids) - set(new)}


def _judgement(body: bytes) -> Judgement:
    record = json.loads(body)
    part, verdict = record["inspection"]["part"], record["inspection"]["verdict"]
    return Judgement(
        part_id=part["part_id"],
        product=part["product"] or verdict["specification"].rpartition("@")[0],
        lot=part["lot"],
        specification=verdict["specification"],
        decision=Decision(verdict["decision"]),
        weak=verdict["weak"],
        revision=(record.get("event") or part).get("revision", 1),
    )


_known: Final = Kept[Judgement](2 * MOST)
_boards: Final = Kept[tuple[Boards, bool]](8)
