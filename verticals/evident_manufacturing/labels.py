"""What people say of defects: labels that are kept with each board, and the set of them that training reads."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator
from sqlalchemy import select

from evident_core.errors import InvalidInput, NotFound
from evident_core.evidence import BBox, Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import Revision
from evident_manufacturing.desk import Desk, open_desk
from evident_manufacturing.inspection.schema import KINDS, Defect
from evident_manufacturing.line import Board, labelled

Action = Literal["confirm", "reject", "relabel", "add", "clean"]
_AT_ONCE: Final = 1000
"""Ids in one question to the database, which takes so many and no more."""


class NewLabel(BaseModel):
    """What a person says of a defect, of one that was missed, or of the whole board."""

    action: Action = Field(description="`add`: a defect was missed. `clean`: there is nothing on the whole board.")
    defect: int | None = Field(None, ge=1, description="Its number; none for `add` and `clean`.")
    kind: str = Field("", max_length=40, description="Of `relabel` and `add`: what it is.")
    bbox: BBox | None = Field(None, description="Of `add`: x0, y0, x1, y1 in pixels of the board.")
    reason: str = Field("", max_length=1000)
    after: int | None = Field(None, ge=0, description="Number of the last label seen; refused if there is a newer.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.action == "add":
            if self.bbox is None or self.defect is not None:
                raise ValueError("add needs a bbox, and no number of a defect")
            if not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
                raise ValueError(f"the corners {self.bbox} are swapped; give x0, y0, x1, y1")
        elif self.action == "clean":
            if self.bbox is not None or self.defect is not None or self.kind:
                raise ValueError("clean is said of the whole board; give no defect, no kind and no bbox")
        elif self.defect is None:
            raise ValueError(f"{self.action} needs the number of a defect")
        if self.action in ("add", "relabel") and self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of defect; there are {', '.join(KINDS)}")
        return self


class Label(Frozen):
    """One label as it is kept; ``number`` counts the labels of a board. That of ``clean`` has the whole board's box."""

    number: int
    action: Action
    defect: int | None
    kind: str
    bbox: BBox
    by: str
    at: str
    reason: str


class Labels(BaseModel):
    """All labels of one board, first to last; of two on one defect the later one holds."""

    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Said:
    """What holds of a board by its labels.

    Attributes:
        clean: Nothing that was found is a defect, but for what ``defects`` says.
        defects: The label that holds of each defect that has one.
        added: Defects that were missed.
    """

    clean: bool
    defects: dict[int, Label]
    added: tuple[Label, ...]

    def decided(self, numbers: Iterable[int]) -> set[int]:
        """Which of the defects with these numbers somebody has decided on."""
        return {each for each in numbers if self.clean or each in self.defects}


class Entry(Frozen):
    """A defect as the label set holds it."""

    kind: str
    bbox: BBox


class LabelledBoard(Frozen):
    """A board on each of whose defects a person has decided."""

    job_id: str
    image: str
    template: str
    name: str
    labels: int
    entries: tuple[Entry, ...]


class LabelSet(Frozen):
    """All that people have said, as of now.

    Attributes:
        version: SHA-256 of its boards: the same labels are the same version, whoever gave them and when.
        boards: Complete ones, with a template, by their pictures' hashes.
        incomplete: How many boards have labels, and defects without one.
        without_template: How many complete boards lack a template or a picture, which the layout needs.
        other_kind: How many complete boards have a defect of a kind that the detector cannot be taught; they are left
            out, because without it they would teach that there is nothing.
    """

    version: str
    boards: tuple[LabelledBoard, ...]
    incomplete: int
    without_template: int
    other_kind: int = 0


def label(job_id: str, new: NewLabel) -> Labels:
    """Keep what a person says of a defect of the caller's board.

    Raises:
        NotFound: There is no such board or defect.
        Conflict: Somebody labelled it meanwhile.
    """
    frame = current_frame()
    desk = open_desk(job_id)
    change: dict[str, Any] = {"action": new.action, "defect": new.defect, "kind": new.kind, "bbox": new.bbox}
    if new.action == "add":
        _refuse_outside(desk, new.bbox)
    elif new.action == "clean":
        change["bbox"] = (0.0, 0.0, float(desk.inspection.width), float(desk.inspection.height))
    else:
        defect = next((each for each in desk.inspection.defects if each.number == new.defect), None)
        if defect is None:
            raise NotFound(f"There is no defect {new.defect} on this board.", defect=new.defect)
        change |= {"bbox": defect.bbox, "kind": new.kind if new.action == "relabel" else defect.kind}
    by = frame.caller.name or frame.caller.id
    row = frame.store.revise(desk.result_id, frame.caller.id, change, author=by, reason=new.reason, after=new.after)
    frame.record("defect.label", job_id, defect=new.defect, label=new.action, number=row.number)
    return labels_of(desk.result_id)


def labels_of(result_id: str) -> Labels:
    """The labels of a board."""
    return Labels(labels=tuple(map(_label, current_frame().store.revisions(result_id, current_frame().caller.id))))


def said(labels: Sequence[Label]) -> Said:
    """What holds: of two labels on one thing the later one, and after ``clean`` nothing that was said before."""
    clean, defects, added = False, dict[int, Label](), list[Label]()
    for each in labels:
        if each.action == "clean":
            clean, defects, added = True, {}, []
        elif each.defect is None:
            added.append(each)
        else:
            defects[each.defect] = each
    return Said(clean, defects, tuple(added))


def label_set() -> LabelSet:
    """The labels of all boards that are complete; of a picture that was inspected twice, the newer labels."""
    boards = labelled()
    known = all_labels(boards)
    complete: dict[str, LabelledBoard] = {}
    incomplete = without = other = 0
    for board in boards:
        labels = known.get(board.result_id or "", ())
        if not labels or board.record is None:
            continue
        inspection = board.record.inspection
        if len(said(labels).decided(each.number for each in inspection.defects)) < len(inspection.defects):
            incomplete += 1
        elif inspection.template is None or not (board.pictured and board.template):
            without += 1
        elif (found := _entries(labels, inspection.defects)) is None:
            other += 1
        else:
            complete.setdefault(
                inspection.input.sha256,
                LabelledBoard(
                    job_id=board.job_id,
                    image=inspection.input.sha256,
                    template=inspection.template.sha256,
                    name=inspection.input.name,
                    labels=len(labels),
                    entries=found,
                ),
            )
    held = tuple(complete[each] for each in sorted(complete))
    whole = [[each.image, each.template, [entry.model_dump(mode="json") for entry in each.entries]] for each in held]
    version = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    return LabelSet(version=version, boards=held, incomplete=incomplete, without_template=without, other_kind=other)


def _entries(labels: Sequence[Label], defects: Sequence[Defect]) -> tuple[Entry, ...] | None:
    """What is a defect by these labels, in reading order; None: one is of a kind that the detector cannot be taught.

    A kind that a description names is none of the detector's: it learns what it took such a defect for, which is what
    the description is compared for next time.
    """
    known = said(labels)
    taken = {each.number: each.naming.instead_of for each in defects if each.naming}
    entries = []
    for each in sorted((*known.defects.values(), *known.added), key=lambda one: (one.bbox[1], one.bbox[0])):
        if each.action == "reject":
            continue
        kind = each.kind if each.kind in KINDS else taken.get(each.defect or 0, "")
        if kind not in KINDS:
            return None
        entries.append(Entry(kind=kind, bbox=each.bbox))
    return tuple(entries)


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


def _refuse_outside(desk: Desk, bbox: BBox | None) -> None:
    width, height = desk.inspection.width, desk.inspection.height
    if bbox is None or min(bbox[:2]) < 0 or bbox[2] > width or bbox[3] > height:
        raise InvalidInput(f"The box {bbox} does not lie on the board of {width} x {height} pixels.", bbox=bbox)
