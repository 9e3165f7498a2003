"""Golden differencing on the real boards of DeepPCB: what is accepted, refused and found. Prints its figures (-s)."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.ingest import quality, read
from evident_manufacturing.inspection.perceive.align import align, lay
from evident_manufacturing.inspection.perceive.difference import difference
from evident_manufacturing.inspection.perceive.measure import measure

PCB = Path(__file__).parents[3] / "shared" / "data" / "pcb"
PAIRS = sorted(PCB.glob("group*/*/*_temp.jpg"))[::8]
pytestmark = pytest.mark.skipif(not PAIRS, reason=f"the real boards are not at {PCB}")


def images(template: Path) -> tuple[np.ndarray, np.ndarray]:
    test = read(template.with_name(template.name.replace("_temp", "_test")))
    return test.gray, read(template, allow_blank=True).gray


def labels(template: Path) -> np.ndarray:
    path = template.parents[1] / f"{template.parent.name}_not" / template.name.replace("_temp.jpg", ".txt")
    return np.array([line.split() for line in path.read_text().splitlines()], float).reshape(-1, 5)


def test_true_templates_are_accepted_and_every_defect_is_a_candidate() -> None:
    accepted = found = overlapping = known = candidates = true = 0
    widths: list[float] = []
    for path in PAIRS:
        test, template = images(path)
        alignment = align(test, template)
        accepted += alignment.confidence > 0.7
        laid, reached = lay(template, alignment, test.shape)
        seen = difference(test, laid, valid=reached).candidates
        for candidate in seen:
            size = measure(candidate, test, laid, None, jitter=alignment.residual)
            assert 0 < size.width.value <= size.length.value
            widths.append(float(size.length.value))
        boxes, wanted = np.array([each.bbox for each in seen]).reshape(-1, 4), labels(path)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        within = (middles[None] >= wanted[:, None, :2] - 2) & (middles[None] <= wanted[:, None, 2:4] + 2)
        grown = boxes + np.array([-8, -8, 8, 8])
        low = np.maximum(grown[None, :, :2], wanted[:, None, :2])
        high = np.minimum(grown[None, :, 2:], wanted[:, None, 2:4])
        both = np.clip(high - low, 0, None).prod(axis=2)
        areas = (grown[:, 2:] - grown[:, :2]).prod(axis=1)[None] + (wanted[:, 2:4] - wanted[:, :2]).prod(axis=1)[
            :, None
        ]
        hit = both / (areas - both) >= 0.33
        inside = within.all(axis=2)
        known, candidates = known + len(wanted), candidates + len(seen)
        found, true = found + int(inside.any(axis=1).sum()), true + int(inside.any(axis=0).sum())
        overlapping += int(hit.any(axis=1).sum())
    print(  # noqa: T201
        f"\n{len(PAIRS)} pairs: accepted {accepted}; {known} labels, {candidates} candidates; recall by middle "
        f"{found / known:.4f}, at IoU 0.33 with boxes grown by 8 px {overlapping / known:.4f}; "
        f"precision {true / candidates:.3f}; median length {np.median(widths):.1f} px"
    )
    assert accepted == len(PAIRS)
    assert found / known >= 0.995
    assert overlapping / known >= 0.99
    assert true / candidates >= 0.85


def test_false_templates_are_refused() -> None:
    refused, tried, named = 0, 0, 0
    for index, path in enumerate(PAIRS[::4]):
        test, template = images(path)
        other = images(PAIRS[(4 * index + 37) % len(PAIRS)])[1]
        for false, reason in (
            (other, ""),
            (template[:, ::-1], "mirrored left to right"),
            (template[::-1, ::-1], "turned by 180 degrees"),
            (np.rot90(template), "turned by 270 degrees"),
        ):
            tried += 1
            try:
                align(test, np.ascontiguousarray(false))
            except InvalidInput as error:
                refused += 1
                named += not reason or error.details["reason"] == reason
    print(f"\n{tried} false templates: {refused} refused, {named} with the reason by name")  # noqa: T201
    assert refused / tried >= 0.97
    assert named / tried >= 0.95


def test_real_boards_are_sharp_and_well_exposed_and_blurred_ones_are_told() -> None:
    remarked, blurred = 0, 0
    boards = [read(path.with_name(path.name.replace("_temp", "_test"))) for path in PAIRS]
    for board in boards:
        remarked += bool(quality(board))
        soft = cv2.GaussianBlur(board.gray, (0, 0), 2.5)
        blurred += "blurred" in [
            note.code for note in quality(type(board)(board.input, soft, board.width, board.height))
        ]
    print(f"\n{len(boards)} boards: {remarked} remarked as they are, {blurred} told as blurred by 2.5 px")  # noqa: T201
    assert remarked / len(boards) <= 0.01
    assert blurred / len(boards) >= 0.99
