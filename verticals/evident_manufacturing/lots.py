"""The caller's lots, of boards that name one: their verdicts, and the severity that each product is inspected under."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from sqlalchemy import select

from evident_core.errors import Conflict, InvalidInput, NotFound
from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import Job, Result, now
from evident_manufacturing import versions
from evident_manufacturing.desk import TASK, specification_of
from evident_manufacturing.inspection.assess.lot_rule import LotRule
from evident_manufacturing.inspection.assess.lots import LotPart, LotResult, judge_lots, parts_of
from evident_manufacturing.inspection.assess.sampling import Standing
from evident_manufacturing.inspection.schema import Decision
from evident_manufacturing.lot_boards import Member, newest_boards
from evident_manufacturing.station_alarms import key_of
from evident_manufacturing.texts import in_both

_RESUMED: Final = "lots resumed"


class Lot(LotResult):
    """A lot of a product.

    Attributes:
        specification: That of its first board, which gives the plan; empty: it was judged without one.
        why: What the verdict rests on, in words, by language.
        notes: What else a person should know of it.
    """

    product: str
    specification: str
    why: dict[str, str]
    notes: tuple[dict[str, str], ...] = ()


class ProductLots(Frozen):
    """The lots of one product, the newest first, and the severity under which its next one is inspected."""

    product: str
    standing: Standing
    lots: tuple[Lot, ...]


class Lots(Frozen):
    """The lots of all products, the product of the newest lot first.

    Attributes:
        cut: There are more boards than are read, so that earlier lots count for nothing here.
    """

    products: tuple[ProductLots, ...]
    cut: bool = False


class LotBoard(Frozen):
    """A part of a lot, as it was inspected last.

    Attributes:
        job_id: Of its newest inspection.
        original: What was decided when it was first inspected.
        sampled: It is of the sample.
    """

    part_id: str
    job_id: str
    decision: Decision
    original: Decision
    inspected: datetime
    sampled: bool


class LotBoards(Frozen):
    """A lot and its boards, in the order in which they were first inspected."""

    lot: Lot
    boards: tuple[LotBoard, ...]


def lots() -> Lots:
    """The caller's lots."""
    boards, cut = newest_boards()
    resumed = _resumes()
    found = [
        ProductLots(product=product, standing=standing, lots=judged[::-1])
        for product, them in boards.items()
        for judged, standing in [_judge(product, them, resumed[product])]
    ]
    return Lots(products=tuple(sorted(found, key=lambda each: each.lots[0].began, reverse=True)), cut=cut)


def lot_boards(product: str, lot: str) -> LotBoards:
    """One of the caller's lots with its boards.

    Raises:
        NotFound: There is none of that name; the message says which there are.
    """
    boards, _ = newest_boards()
    them = boards.get(product, {})
    if lot not in them:
        known = ", ".join(list(them)[:10]) or "none"
        raise NotFound(f"There is no lot {lot!r} of {product!r}; its newest lots are: {known}.", lot=lot)
    judged, _ = _judge(product, them, _resumes()[product])
    found = next(each for each in judged if each.lot == lot)
    sample = found.plan.sample_size if found.plan else 0
    parts = parts_of(each.judged for each in them[lot])
    return LotBoards(lot=found, boards=tuple(_lot_board(each, n < sample) for n, each in enumerate(parts)))


def resume(product: str, reason: str) -> Standing:
    """Resume inspection that was stopped, under tightened inspection: the process was put right (9.4).

    Args:
        product: Whose inspection is stopped.
        reason: What was put right, for the record.

    Raises:
        InvalidInput: No reason is given.
        NotFound: There are no lots of this product.
        Conflict: Its inspection is not stopped.
    """
    if not reason.strip():
        raise InvalidInput("Say what was put right, so that the record has it.")
    standings = {each.product: each.standing for each in lots().products}
    if product not in standings:
        raise NotFound(f"There are no lots of {product!r}.", product=product)
    if not standings[product].stopped:
        raise Conflict(f"Inspection of {product} is not stopped: it is {standings[product].inspection}.")
    frame, at = current_frame(), now()
    owner = frame.caller.id
    with frame.store.session() as session:
        options = {"product": product, "at": at.isoformat(), "reason": reason.strip()}
        key = key_of(_RESUMED, f"{product} {at.isoformat()}")
        values = {"owner": owner, "service": TASK.service, "version": _RESUMED, "key": key}
        session.add(Result(**values, options=options, body=json.dumps(options).encode()))
        frame.audit.append(session, owner, "lots.resume", product, reason=reason.strip())
    return next(each.standing for each in lots().products if each.product == product)


def _judge(
    product: str, boards: dict[str, list[Member]], resumed: Sequence[datetime]
) -> tuple[tuple[Lot, ...], Standing]:
    first = {name: min(them, key=lambda each: each.judged.inspected) for name, them in boards.items()}
    results, standing = judge_lots(
        {name: [each.judged for each in them] for name, them in boards.items()}, _rules(first), resumed
    )
    return tuple(_in_words(product, first[each.lot].specification, each) for each in results), standing


def _in_words(product: str, specification: str, result: LotResult) -> Lot:
    plan, values = result.plan, {"specification": specification, "bad": result.nonconforming, "n": result.inspected}
    if plan:
        values |= {"size": plan.sample_size, "accept": plan.accept, "reject": plan.reject}
    reason = "no_specification" if result.reason == "no_rule" and not specification else result.reason
    notes = []
    if result.mended:
        notes.append(in_both("lot.mended", n=result.mended))
    if result.weak:
        notes.append(in_both("lot.weak", n=result.weak))
    if result.rule and result.parts > result.rule.size:
        notes.append(in_both("lot.larger", parts=result.parts, size=result.rule.size))
    return Lot(
        **dict(result),
        product=product,
        specification=specification,
        why=in_both(f"lot.why_{reason}", **values),
        notes=tuple(notes),
    )


def _lot_board(part: LotPart, sampled: bool) -> LotBoard:
    return LotBoard(
        part_id=part.newest.part_id,
        job_id=part.newest.job_id,
        decision=part.newest.decision,
        original=part.first.decision,
        inspected=part.newest.inspected,
        sampled=sampled,
    )


def _rules(boards: Mapping[str, Member]) -> dict[str, LotRule | None]:
    """The rule of the specification that a board's verdict cites, by lot."""
    jobs = {each.judged.job_id for each in boards.values()}
    query = select(Job.id, Job.options["specification"].as_string()).where(Job.id.in_(jobs))
    with current_frame().store.reading() as session:
        texts = {row[0]: row[1] or "" for row in session.execute(query)}
    kept = {each.specification: "" for each in boards.values()}
    for name in kept:
        with suppress(NotFound):  # an agent's may have been kept here after it told of the board, or not at all
            kept[name] = versions.text_of("specification", name) if name else ""
    found: dict[str, LotRule | None] = {}
    for lot, board in boards.items():
        read = [specification_of(each) for each in (texts.get(board.judged.job_id, ""), kept[board.specification])]
        found[lot] = next((each.lot for each in read if each and each.name == board.specification), None)
    return found


def _resumes() -> dict[str, list[datetime]]:
    mine = Result.owner == current_frame().caller.id, Result.service == TASK.service, Result.version == _RESUMED
    found: dict[str, list[datetime]] = defaultdict(list)
    with current_frame().store.reading() as session:
        for options in session.scalars(select(Result.options).where(*mine)):
            found[options["product"]].append(datetime.fromisoformat(options["at"]))
    return found
