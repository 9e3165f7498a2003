"""The label set: what training reads of all that people have said, and what is left out of it, and why."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from evident_core.evidence import BBox, Frozen
from evident_manufacturing.inspection.perceive.arbiter import overlap
from evident_manufacturing.inspection.schema import KINDS, Defect, Inspection
from evident_manufacturing.labels import Label, Said, all_labels, said
from evident_manufacturing.line import Board, labelled

Reason = Literal["incomplete", "without_template", "other_kind", "contradiction", "by_person"]
WHY: Final[dict[Reason, str]] = {
    "incomplete": "Nobody has decided on some of their defects yet.",
    "without_template": "They have no template, or a picture is not here, which the layout needs.",
    "other_kind": "They have defects of kinds that the detector does not have; without those they would teach that "
    "there is nothing.",
    "contradiction": "Parts of one and the same picture have different labels; which hold, nobody has decided yet.",
    "by_person": "A person said that the set goes without them.",
}
"""Why boards that have labels are left out of the set."""


_SAME: Final = 0.5
"""Overlap (IoU) from which two boxes of a kind are of one defect."""


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


class Claimant(Frozen):
    """One of the parts of a contradiction.

    Attributes:
        entries: Its defects by its labels.
        added: Those of them that a person added, in the order in which that was said.
        width: Of its picture, pixels.
        height: The same.
    """

    job_id: str
    part_id: str
    entries: tuple[Entry, ...]
    added: tuple[Entry, ...] = ()
    width: int
    height: int


class Contradiction(Frozen):
    """Parts with one and the same picture, and different labels; ``image`` is its SHA-256."""

    image: str
    boards: tuple[Claimant, ...]

    @property
    def agreed(self) -> frozenset[Entry]:
        """The defects that all of them have, as each of them has it."""
        every = [each.entries for each in self.boards]
        return frozenset(one for some in every for one in some if all(_match(one, others) for others in every))


class LabelSet(Frozen):
    """All that people have said, as of now.

    Attributes:
        version: SHA-256 of its boards: the same labels are the same version, whoever gave them and when.
        boards: Complete ones, with a template, by their pictures' hashes.
        incomplete: How many boards have labels, and defects without one.
        without_template: How many complete boards lack a template or a picture, which the layout needs.
        other_kind: How many complete boards have a defect of a kind that the detector cannot be taught; they are left
            out, because without it they would teach that there is nothing.
        other_kinds: How many defects of each such kind those have.
        contradictions: What is left out until a person decides which labels hold.
        by_person: How many boards a person has left out.
    """

    version: str
    boards: tuple[LabelledBoard, ...]
    incomplete: int
    without_template: int
    other_kind: int = 0
    other_kinds: dict[str, int] = Field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()
    by_person: int = 0

    @property
    def left_out(self) -> dict[Reason, int]:
        """How many boards with labels are not in the set, by the reason; none where it is none."""
        counted: dict[Reason, int] = {
            "incomplete": self.incomplete,
            "without_template": self.without_template,
            "other_kind": self.other_kind,
            "contradiction": sum(len(each.boards) for each in self.contradictions),
            "by_person": self.by_person,
        }
        return {reason: boards for reason, boards in counted.items() if boards}


@dataclass(frozen=True)
class _Complete:
    """A board on each of whose defects somebody has decided."""

    board: Board
    inspection: Inspection
    labels: Sequence[Label]
    holds: tuple[Label, ...]

    @property
    def part(self) -> Claimant:
        inspection = self.inspection
        added = sorted((each for each in self.holds if each.action == "add"), key=lambda each: each.number)
        return Claimant(
            job_id=self.board.job_id,
            part_id=self.board.part_id,
            entries=tuple(Entry(kind=each.kind, bbox=each.bbox) for each in self.holds),
            added=tuple(Entry(kind=each.kind, bbox=each.bbox) for each in added),
            width=inspection.width,
            height=inspection.height,
        )


def label_set() -> LabelSet:
    """The labels of all boards that are complete.

    Of a part whose picture was inspected twice the newer labels hold. Two parts of one picture are one board of the set
    where they say the same, and none where they do not.
    """
    boards = labelled()
    known = all_labels(boards)
    pictures: dict[str, list[_Complete]] = {}
    incomplete = without = other = by_person = 0
    for board in boards:
        labels = known.get(board.result_id or "", ())
        if board.record is None or (holds := said(labels)).nothing:
            continue
        inspection = board.record.inspection
        if holds.left_out:
            by_person += 1
        elif len(holds.decided(each.number for each in inspection.defects)) < len(inspection.defects):
            incomplete += 1
        else:
            pictures.setdefault(inspection.input.sha256, []).append(
                _Complete(board, inspection, labels, _defects(holds))
            )
    held, contradictions, kinds = list[LabelledBoard](), list[Contradiction](), Counter[str]()
    for image in sorted(pictures):
        parts = _newest_labels(pictures[image])
        if any(not _alike(parts[0].part.entries, each.part.entries) for each in parts[1:]):
            told = sorted((each.part for each in parts), key=lambda part: part.part_id)
            contradictions.append(Contradiction(image=image, boards=tuple(told)))
            continue
        paired = [found for each in parts if (found := _paired(each)) is not None]
        unknown = [each.kind for each in paired[0].entries if each.kind not in KINDS] if paired else []
        if not paired:
            without += len(parts)
        elif unknown:
            other += len(parts)
            kinds.update(unknown)
        else:
            held.append(paired[0])
    whole = [[each.image, each.template, [entry.model_dump(mode="json") for entry in each.entries]] for each in held]
    return LabelSet(
        version=hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest(),
        boards=tuple(held),
        incomplete=incomplete,
        without_template=without,
        other_kind=other,
        other_kinds=dict(sorted(kinds.items())),
        contradictions=tuple(contradictions),
        by_person=by_person,
    )


def _alike(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    """Whether two parts of one picture have the same defects: as many, and each of a kind where another's box lies.

    Boxes of two inspections differ by what the models that drew them differ.
    """
    left = list(others)
    for each in some:
        if (match := _match(each, left)) is None:
            return False
        left.remove(match)
    return not left


def _match(entry: Entry, among: Sequence[Entry]) -> Entry | None:
    """The one of the same kind whose box overlaps most; None: none is the same defect."""
    near = [(overlap(one.bbox, entry.bbox), one) for one in among if one.kind == entry.kind]
    most, found = max(near, key=lambda each: each[0], default=(0.0, None))
    return found if most >= _SAME else None


def _newest_labels(boards: Sequence[_Complete]) -> list[_Complete]:
    """Each part once: of one that was inspected twice, the board that was labelled last."""
    parts: dict[str, _Complete] = {}
    for each in boards:  # the newest board first, which stays where both were labelled in one second
        known = parts.setdefault(each.board.part_id, each)
        if each.labels[-1].at > known.labels[-1].at:
            parts[each.board.part_id] = each
    return list(parts.values())


def _defects(holds: Said) -> tuple[Label, ...]:
    """The labels of what is a defect, in reading order."""
    every = sorted((*holds.defects.values(), *holds.added), key=lambda one: (one.bbox[1], one.bbox[0]))
    return tuple(each for each in every if each.action != "reject")


def _paired(complete: _Complete) -> LabelledBoard | None:
    """The board as the set has it; None: it lacks a template, or a picture."""
    board = complete.board
    if not (board.pictured and board.template):
        return None
    inspection = complete.inspection
    if inspection.template is None:
        return None
    return LabelledBoard(
        job_id=board.job_id,
        image=inspection.input.sha256,
        template=inspection.template.sha256,
        name=inspection.input.name,
        labels=len(complete.labels),
        entries=tuple(_taught(each, inspection.defects) for each in complete.holds),
    )


def _taught(label: Label, defects: Sequence[Defect]) -> Entry:
    """A defect as the detector is taught it.

    A kind that a description names is none of the detector's: it learns what it took such a defect for, which is what
    the description is compared for next time.
    """
    taken = {each.number: each.naming.instead_of for each in defects if each.naming}
    kind = label.kind if label.kind in KINDS else taken.get(label.defect or 0, label.kind)
    return Entry(kind=kind, bbox=label.bbox)
