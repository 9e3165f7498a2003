"""What people say of defects: labels that are kept with each board, in the order in which they came."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator
from sqlalchemy import select

from evident_core.errors import InvalidInput, NotFound
from evident_core.evidence import BBox, Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import Job, Revision
from evident_manufacturing.desk import ARRIVED, TASK, Desk, Options, light, open_desk, specification_of
from evident_manufacturing.inspection.schema import KINDS
from evident_manufacturing.line import Board

Action = Literal["confirm", "reject", "relabel", "add", "clean", "leave_out", "undo"]
LEAST_SIDE: Final = 2
"""Pixels that the box of an added defect has a side at least; a smaller one is a slip of the hand."""
_AT_ONCE: Final = 1000
"""Ids in one question to the database, which takes so many and no more."""


class NewLabel(BaseModel):
    """What a person says of a defect, of one that was missed, or of the whole board."""

    action: Action = Field(
        description="`add`: a defect was missed. `clean`: there is nothing on the whole board. `leave_out`: the label "
        "set goes without this board. `undo`: a label is taken back."
    )
    defect: int | None = Field(None, ge=1, description="Its number, for `confirm`, `reject` and `relabel`.")
    kind: str = Field("", max_length=40, description="Of `relabel` and `add`: what it is.")
    bbox: BBox | None = Field(None, description="Of `add`: x0, y0, x1, y1 in pixels of the board.")
    undoes: int | None = Field(None, ge=1, description="Of `undo`: the number of the label that is taken back.")
    reason: str = Field("", max_length=1000)
    after: int | None = Field(None, ge=0, description="Number of the last label seen; refused if there is a newer.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.action == "add":
            if self.bbox is None or self.defect is not None:
                raise ValueError("add needs a bbox, and no number of a defect")
            if not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
                shown = " ".join(f"{each:g}" for each in self.bbox)
                raise ValueError(f"the corners {shown} are swapped; give x0, y0, x1, y1")
            wide, high = self.bbox[2] - self.bbox[0], self.bbox[3] - self.bbox[1]
            if min(wide, high) < LEAST_SIDE:
                raise ValueError(f"the box is {wide:g} x {high:g} pixels; give one of at least {LEAST_SIDE} a side")
        elif self.action in ("clean", "leave_out", "undo"):
            if self.bbox is not None or self.defect is not None or self.kind:
                of = "a label" if self.action == "undo" else "the whole board"
                raise ValueError(f"{self.action} is said of {of}; give no defect, no kind and no bbox")
        elif self.defect is None:
            raise ValueError(f"{self.action} needs the number of a defect")
        if (self.action == "undo") is (self.undoes is None):
            raise ValueError("undo, and nothing else, needs the number of the label that is taken back, as undoes")
        return self


class Label(Frozen):
    """One label as it is kept; ``number`` counts the labels of a board.

    That of ``clean`` and ``leave_out`` has the whole board's box; that of ``undo`` is of what ``undoes`` was of.
    """

    number: int
    action: Action
    defect: int | None
    kind: str
    bbox: BBox
    by: str
    at: str
    reason: str
    undoes: int | None = None


class Labels(BaseModel):
    """All labels of one board, first to last; of two on one defect the later one holds, of one taken back neither."""

    labels: tuple[Label, ...]


class LastSaid(Frozen):
    """The newest label of the caller's that is not taken back, and whose board it is of."""

    job_id: str
    part_id: str
    label: Label


@dataclass(frozen=True)
class Said:
    """What holds of a board by its labels.

    Attributes:
        clean: Nothing that was found is a defect, but for what ``defects`` says.
        defects: The label that holds of each defect that has one.
        added: Defects that were missed.
        left_out: The label set goes without this board, until that is taken back.
        undone: Numbers of the labels that were taken back: as if they had not been said.
    """

    clean: bool
    defects: dict[int, Label]
    added: tuple[Label, ...]
    left_out: bool = False
    undone: frozenset[int] = frozenset()

    @property
    def nothing(self) -> bool:
        """Nobody has said anything that still holds."""
        return not (self.clean or self.defects or self.added or self.left_out)

    def decided(self, numbers: Iterable[int]) -> set[int]:
        """Which of the defects with these numbers somebody has decided on."""
        return {each for each in numbers if self.clean or each in self.defects}


def kinds_of(options: Options) -> tuple[str, ...]:
    """What a person may call a defect of a board: the detector's kinds, then those of the board's specification."""
    specification = specification_of(options.specification)
    return specification.kinds if specification else KINDS


def label(job_id: str, new: NewLabel) -> Labels:
    """Keep what a person says of a defect of the caller's board; a label that is taken back already stays so.

    Raises:
        NotFound: There is no such board, defect or label.
        InvalidInput: The kind is none of the board's, the box is not on it, or what would be undone is an undoing.
        Conflict: Somebody labelled it meanwhile.
    """
    frame = current_frame()
    desk = open_desk(job_id)
    change: dict[str, Any] = {"action": new.action, "defect": new.defect, "kind": new.kind, "bbox": new.bbox}
    if new.action in ("add", "relabel") and new.kind not in (kinds := kinds_of(desk.options)):
        raise InvalidInput(f"{new.kind!r} is no kind of defect of this board; there are {', '.join(kinds)}.")
    if new.action == "undo":
        labels = labels_of(desk.result_id)
        if new.undoes in said(labels.labels).undone:
            return labels
        undone = _undoable(labels.labels, new.undoes)
        change |= {"undoes": undone.number, "defect": undone.defect, "kind": undone.kind, "bbox": undone.bbox}
    elif new.action == "add":
        _refuse_outside(desk, new.bbox)
    elif new.action in ("clean", "leave_out"):
        change["bbox"] = (0.0, 0.0, float(desk.inspection.width), float(desk.inspection.height))
    else:
        defect = next((each for each in desk.inspection.defects if each.number == new.defect), None)
        if defect is None:
            raise NotFound(f"There is no defect {new.defect} on this board.", defect=new.defect)
        change |= {"bbox": defect.bbox, "kind": new.kind if new.action == "relabel" else defect.kind}
    by = frame.caller.name or frame.caller.id
    row = frame.store.revise(desk.result_id, frame.caller.id, change, author=by, reason=new.reason, after=new.after)
    undoes = {"undoes": new.undoes} if new.action == "undo" else {}
    frame.record("defect.label", job_id, defect=change["defect"], label=new.action, number=row.number, **undoes)
    return labels_of(desk.result_id)


def labels_of(result_id: str) -> Labels:
    """The labels of a board."""
    return Labels(labels=tuple(map(_label, current_frame().store.revisions(result_id, current_frame().caller.id))))


def said(labels: Sequence[Label]) -> Said:
    """What holds: of two labels on one thing the later one, and after ``clean`` nothing that was said before."""
    clean, left_out, defects, added = False, False, dict[int, Label](), list[Label]()
    undone = frozenset(each.undoes for each in labels if each.undoes is not None)
    for each in labels:
        if each.action == "undo" or each.number in undone:
            continue
        if each.action == "leave_out":
            left_out = True
        elif each.action == "clean":
            clean, defects, added = True, {}, []
        elif each.defect is None:
            added.append(each)
        else:
            defects[each.defect] = each
    return Said(clean, defects, tuple(added), left_out, undone)


def last_said() -> LastSaid | None:
    """What the caller said last, on whichever board, and has not taken back."""
    owner = current_frame().caller.id
    query = (
        select(Revision, Job.id)
        .join(Job, Job.result_id == Revision.result_id)
        .where(Job.owner == owner, Job.service == TASK.service, Job.run.in_((TASK.run, ARRIVED)))
        .order_by(Revision.created.desc(), Revision.number.desc(), Job.created.desc())
        .execution_options(yield_per=50)
    )
    undone: dict[str, frozenset[int]] = {}
    with current_frame().store.reading() as session:
        for row, job_id in session.execute(query):
            each = _label(row)
            # Asked of the board's labels, and not of those that came before: a clock may have been set back.
            if row.result_id not in undone:
                undone[row.result_id] = said(labels_of(row.result_id).labels).undone
            if each.undoes is None and each.number not in undone[row.result_id]:
                part = light(row.result_id).inspection.part
                return LastSaid(job_id=job_id, part_id=part.part_id, label=each)
    return None


def all_labels(boards: Sequence[Board]) -> dict[str, tuple[Label, ...]]:
    """The labels of many boards at once, by the ids of their results."""
    ids = [board.result_id for board in boards if board.result_id]
    found: dict[str, tuple[Label, ...]] = {}
    with current_frame().store.reading() as session:
        for first in range(0, len(ids), _AT_ONCE):
            of_some = Revision.result_id.in_(ids[first : first + _AT_ONCE])
            for row in session.scalars(select(Revision).where(of_some).order_by(Revision.result_id, Revision.number)):
                found[row.result_id] = (*found.get(row.result_id, ()), _label(row))
    return found


def _label(row: Revision) -> Label:
    return Label.model_validate(
        {**row.change, "number": row.number, "by": row.author, "at": row.created.isoformat(timespec="seconds")}
        | {"reason": row.reason}
    )


def _undoable(labels: Sequence[Label], number: int | None) -> Label:
    found = next((each for each in labels if each.number == number), None)
    if found is None:
        raise NotFound(f"There is no label {number} on this board.", label=number)
    if found.action == "undo":
        raise InvalidInput(f"Label {number} takes back another one; say anew what holds instead.", label=number)
    return found


def _refuse_outside(desk: Desk, bbox: BBox | None) -> None:
    width, height = desk.inspection.width, desk.inspection.height
    if bbox is None or min(bbox[:2]) < 0 or bbox[2] > width or bbox[3] > height:
        shown = " ".join(f"{each:g}" for each in bbox or ())
        raise InvalidInput(f"The box {shown} does not lie on the board of {width} x {height} pixels.", bbox=bbox)
