"""Documents that boards are judged by, kept by version: specifications and certificates; and what one would change."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, Self

import numpy as np
from pydantic import model_validator
from sqlalchemy import select

from evident_core.errors import Conflict, NotFound
from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import Input, Job, JobInput
from evident_manufacturing.desk import TASK, Options, shipped_specification, specification_of
from evident_manufacturing.inspection.assess import CalibrationState, Specification
from evident_manufacturing.inspection.assess.judge import findings, verdict
from evident_manufacturing.inspection.assess.judge import judged as counted
from evident_manufacturing.inspection.calibration import parse
from evident_manufacturing.inspection.perceive.aligner import Whole, unit
from evident_manufacturing.inspection.perceive.naming import as_detected, by_description, refuse_unclear
from evident_manufacturing.inspection.schema import Decision, Inspection, Verdict
from evident_manufacturing.likeness import vectors_of
from evident_manufacturing.line import Board

Kind = Literal["specification", "calibration"]
_MEDIA_TYPES: Final[dict[Kind, str]] = {
    "specification": "application/vnd.evident.specification+yaml",
    "calibration": "application/vnd.evident.calibration+yaml",
}


class Document(Frozen):
    """One version of a document: ``name`` is ``product@version`` of a specification, the id of a certificate."""

    name: str
    sha256: str
    created: datetime | None = None


class Template(Frozen):
    """A golden sample that was sent with a board before."""

    id: str
    name: str


class Change(Frozen):
    """A board on which a specification would decide otherwise than was decided.

    Attributes:
        reasons: The rules that the new decision rests on; none where it is to accept.
        no_longer: The rules that the old decision rested on and that would not be met.
    """

    job_id: str
    part_id: str
    before: Decision
    after: Decision
    reasons: tuple[str, ...]
    no_longer: tuple[str, ...]


class Preview(Frozen):
    """What a specification would have decided on past boards.

    Attributes:
        specification: Its ``product@version``.
        boards: How many past boards of its product there are.
        without_product: How many past boards name no product; they are left out.
        before: How many of them were decided how.
        after: The same, by this specification.
        changes: The boards whose decision changes, newest first.
    """

    specification: str
    boards: int
    without_product: int
    before: dict[Decision, int]
    after: dict[Decision, int]
    changes: tuple[Change, ...]


def keep(kind: Kind, text: str) -> Document:
    """Keep a document as the version that it says it is.

    Raises:
        InvalidInput: It is none; the message names the line.
        Conflict: Another document of that version is kept already, or ships with the service.
    """
    name = checked(text).name if kind == "specification" else parse(text).id
    frame = current_frame()
    _refuse_another(kind, name, text)
    row = frame.store.put_input(
        text.encode(), name=_file_name(name), owner=frame.caller.id, media_type=_MEDIA_TYPES[kind], max_bytes=1 << 20
    )
    frame.record(f"{kind}.keep", row.id, sha256=row.sha256, name=name)
    return Document(name=name, sha256=row.sha256, created=row.created)


class SentOptions(Options):
    """What a board is judged by that is sent with the text of its specification."""

    @model_validator(mode="after")
    def _no_other_version(self) -> Self:
        if specification := specification_of(self.specification):
            _refuse_another("specification", specification.name, self.specification)
        return self


def checked(text: str) -> Specification:
    """A specification by whose descriptions, where it has some, kinds can be told apart.

    Raises:
        InvalidInput: It is none, or its descriptions are unclear; the message says which.
    """
    specification = Specification.load(text)
    refuse_unclear(specification.descriptions)
    return specification


def documents(kind: Kind) -> tuple[Document, ...]:
    """The caller's documents of a kind, newest first."""
    return tuple(
        Document(name=row.name.removesuffix(".yaml"), sha256=row.sha256, created=row.created) for row in _rows(kind)
    )


def text_of(kind: Kind, name: str) -> str:
    """The text of a kept document; the specification that ships is always there.

    Raises:
        NotFound: There is none of that name.
    """
    for row in _rows(kind):
        if row.name == _file_name(name):
            return current_frame().store.input_path(row).read_text("utf-8")
    if kind == "specification" and name == shipped_name():
        return shipped_specification()
    known = ", ".join(each.name for each in documents(kind)) or "none"
    raise NotFound(f"There is no {kind} {name[:200]!r}; there are: {known}.", name=name[:200])


def shipped_name() -> str:
    """``product@version`` of the specification that comes with the service."""
    return Specification.load(shipped_specification()).name


def templates() -> tuple[Template, ...]:
    """The golden samples that the caller's boards were compared with, the last used first."""
    frame = current_frame()
    query = (
        select(Input.id, Input.name)
        .join(JobInput, JobInput.input_id == Input.id)
        .join(Job, Job.id == JobInput.job_id)
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, JobInput.position == 1)
        .order_by(Job.created.desc())
        .limit(200)
    )
    with frame.store.reading() as session:
        found = {row.id: row.name for row in session.execute(query)}
    return tuple(Template(id=each, name=name) for each, name in found.items())


def preview(specification: Specification, past: Sequence[Board]) -> Preview:
    """What a specification would have decided on past boards of its product.

    Args:
        specification: Of a product; boards that name another one, or none, are left out.
        past: The newest first.
    """
    judged = [
        (board, board.record.inspection)
        for board in past
        if board.record and _product(board.record.inspection) == specification.product
    ]
    vectors = vectors_of([board.result_id or "" for board, _ in judged]) if specification.described else {}
    after = [
        (board, inspection, judge(inspection, specification, vectors.get(board.result_id or "")))
        for board, inspection in judged
    ]
    return Preview(
        specification=specification.name,
        boards=len(judged),
        without_product=sum(1 for board in past if board.record and not _product(board.record.inspection)),
        before=_counted([inspection.verdict.decision for _, inspection in judged]),
        after=_counted([decided.decision for _, _, decided in after]),
        changes=tuple(
            Change(
                job_id=board.job_id,
                part_id=inspection.part.part_id,
                before=inspection.verdict.decision,
                after=decided.decision,
                reasons=_rules(decided),
                no_longer=tuple(each for each in _rules(inspection.verdict) if each not in _rules(decided)),
            )
            for board, inspection, decided in after
            if decided.decision is not inspection.verdict.decision
        ),
    )


def judge(inspection: Inspection, specification: Specification, vectors: Whole | None = None) -> Verdict:
    """What a specification says of a board that was inspected before, from what was measured then.

    Args:
        inspection: Of that board.
        specification: It describes kinds of its own: then they are named anew, from ``vectors``.
        vectors: Of the board's defects; None, or none: a kind that was named then stays where it is described now.
    """
    if vectors is not None and len(vectors) == len(inspection.defects):
        defects = by_description(inspection.defects, unit(vectors.astype(np.float32)), specification.descriptions)
    else:
        defects = as_detected(inspection.defects, but=specification.descriptions)
    state = _state(inspection)
    calibration = inspection.calibration if state is CalibrationState.VALID else None
    found = findings(
        defects,
        specification,
        width=inspection.width,
        height=inspection.height,
        alignment=inspection.alignment,
        mm_per_pixel=calibration.mm_per_pixel if calibration else None,
    )
    described = [each.number for each in counted(defects, specification) if each.naming]
    return verdict(
        found, specification, calibration=state, template=inspection.template is not None, described=described
    )


def _product(inspection: Inspection) -> str:
    """Which product a board is: as was said, or that of the specification which its verdict cites; empty: unknown."""
    return inspection.part.product or inspection.verdict.specification.rpartition("@")[0]


def _rules(decided: Verdict) -> tuple[str, ...]:
    """The rules that a decision rests on, with their limits."""
    return tuple(f"{each.rule} {each.limit}".strip() for each in decided.reasons if each.decision is decided.decision)


def _state(inspection: Inspection) -> CalibrationState:
    """How the calibration stood on the day of the inspection, as its verdict says."""
    rules = {reason.rule for reason in inspection.verdict.reasons}
    for state in (CalibrationState.MISSING, CalibrationState.EXPIRED):
        if f"calibration_{state}" in rules:
            return state
    return CalibrationState.VALID


def _counted(decisions: Sequence[Decision]) -> dict[Decision, int]:
    counted = Counter(decisions)
    return {decision: counted[decision] for decision in Decision}


def _refuse_another(kind: Kind, name: str, text: str) -> None:
    """See that a version that is kept, or ships, is cited for one text alone."""
    known = [current_frame().store.input_path(row).read_bytes() for row in _rows(kind) if row.name == _file_name(name)]
    if kind == "specification" and name == shipped_name():
        known.append(shipped_specification().encode())
    if any(each != text.encode() for each in known):
        what = "version number" if kind == "specification" else "id"
        raise Conflict(
            f"{name} is kept already and says something else; what verdicts cite never changes, so give this one "
            f"another {what}.",
            name=name,
        )


def _rows(kind: Kind) -> list[Input]:
    frame = current_frame()
    query = select(Input).where(Input.owner == frame.caller.id, Input.media_type == _MEDIA_TYPES[kind])
    with frame.store.reading() as session:
        return list(session.scalars(query.order_by(Input.created.desc())))


def _file_name(name: str) -> str:
    # The store shows the last part of a name with slashes, as it would of a path.
    return f"{name.replace('/', '∕').replace(chr(92), '∖')[:200]}.yaml"
