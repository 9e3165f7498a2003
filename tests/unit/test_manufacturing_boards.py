"""The generated boards: what their truth says is what their pictures show."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pcb_boards import ADDED, KINDS, OTHER_KINDS, Defect, Sample, dot_grid, generate
from pcb_boards.flaws import extent, stretches

SAMPLES = Path(__file__).parents[2] / "sample_data" / "manufacturing"
SEEDS = range(25)


@pytest.fixture(scope="module")
def boards() -> list[Sample]:
    return [generate(seed, defects=8) for seed in SEEDS]


@pytest.fixture(scope="module")
def aligned() -> list[Sample]:
    return [generate(seed, defects=8, shift=0.0, turn=0.0) for seed in SEEDS]


def _laid_under(board: Sample) -> np.ndarray:
    """The template moved to where the truth says that it lies under the test."""
    h, w = board.test.shape
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), board.angle, 1.0)
    matrix[:, 2] += (board.dx, board.dy)
    return cv2.warpAffine(board.template, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _changed(board: Sample) -> np.ndarray:
    return (cv2.absdiff(_laid_under(board), board.test) > 127).astype(np.uint8)


def _window(mask: np.ndarray, defect: Defect, grow: float = 1.0) -> np.ndarray:
    x0, y0, x1, y1 = defect.bbox
    return mask[int(y0 - grow) : int(np.ceil(y1 + grow)), int(x0 - grow) : int(np.ceil(x1 + grow))]


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]); from pcb_boards import generate; b = generate(5);"
        "print(hashlib.sha256(b.template.tobytes() + b.test.tobytes() + repr(b.defects).encode()).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code, str(SAMPLES)], capture_output=True, check=True).stdout
        for _ in (1, 2)
    }
    assert len(runs) == 1
    assert not np.array_equal(generate(5).test, generate(6).test)


def test_every_kind_is_there_as_often_as_the_others(boards: list[Sample]) -> None:
    kinds = [defect.kind for board in boards for defect in board.defects]
    assert len(kinds) == 8 * len(boards)
    assert min(kinds.count(kind) for kind in KINDS) > len(kinds) / len(KINDS) / 2


def test_the_measured_difference_has_the_stated_size(aligned: list[Sample]) -> None:
    # Free copper and pinholes touch nothing, so that the difference there is the defect and no more.
    errors, areas = [], []
    for board in aligned:
        changed = _changed(board)
        for defect in board.defects:
            if defect.kind not in ("copper", "pinhole"):
                continue
            outline = cv2.findContours(_window(changed, defect), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
            sides = cv2.minAreaRect(np.concatenate(outline))[1]
            length, width = (max(sides) + 1) / board.px_per_mm, (min(sides) + 1) / board.px_per_mm
            errors.append((length - defect.length_mm, width - defect.width_mm))
            areas.append((_window(changed, defect).sum() / board.px_per_mm**2, defect.area_mm2))
    assert len(errors) > 40
    assert np.percentile(np.abs(errors), 95) < 0.03
    assert abs(np.mean(errors)) < 0.01
    seen, true = np.array(areas).T
    assert seen.sum() == pytest.approx(true.sum(), rel=0.1)


def test_what_changed_is_of_the_right_material(aligned: list[Sample]) -> None:
    for board in aligned:
        for defect in board.defects:
            change = _window(board.test, defect, 0).astype(int) - _window(board.template, defect, 0)
            assert (change.sum() < 0) == (defect.kind in ADDED), defect


def test_every_defect_is_visible(boards: list[Sample]) -> None:
    for board in boards:
        changed = _changed(board)
        for defect in board.defects:
            share = _window(changed, defect).sum() / board.px_per_mm**2 / defect.area_mm2
            assert share > (0.5 if defect.width_mm > 0.1 else 0.3), (defect, share)


def test_boxes_contain_the_defect_and_label_boxes_overstate_it(boards: list[Sample]) -> None:
    ratios = []
    for board in boards:
        for defect in board.defects:
            x0, y0, x1, y1 = defect.bbox
            a0, b0, a1, b1 = defect.label_box
            assert 0 <= a0 < x0 < x1 < a1 <= 640
            assert 0 <= b0 < y0 < y1 < b1 <= 640
            # The smallest rectangle of any direction fits into the upright box along its diagonal.
            assert defect.width_mm <= defect.length_mm <= np.hypot(x1 - x0, y1 - y0) / board.px_per_mm + 0.01
            assert 0 < defect.area_mm2 <= defect.length_mm * defect.width_mm * 1.05
            ratios += [(a1 - a0) / (x1 - x0), (b1 - b0) / (y1 - y0)]
    assert 1.5 < np.median(ratios) < 4


def test_defects_keep_apart(boards: list[Sample]) -> None:
    for board in boards:
        boxes = [defect.bbox for defect in board.defects]
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) > 0


@pytest.mark.parametrize("place", [{}, {"shift": 20.0, "turn": 2.0}])
def test_a_clean_board_differs_from_its_template_by_its_edges_only(place: dict[str, float]) -> None:
    for seed in range(10):
        board = generate(seed, defects=0, **place)
        assert not board.defects
        inner = np.zeros((640, 640), np.uint8)
        inner[40:-40, 40:-40] = 1
        thick = cv2.erode(_changed(board) & inner, np.ones((4, 4), np.uint8))
        assert not thick.any()
        assert (board.test != board.template).any()


def test_boards_without_defects_and_full_ones_both_come_by_chance() -> None:
    counts = [len(generate(seed, size=256).defects) for seed in range(60)]
    assert 0 in counts
    assert max(counts) > 6


def test_size_and_kinds_are_as_asked() -> None:
    for seed in range(6):
        board = generate(seed, defects=6, kinds=("spur", "copper"), sizes_mm=(0.08, 0.2))
        assert board.defects
        assert {defect.kind for defect in board.defects} <= {"spur", "copper"}
        # A quarter of a pixel of tolerance below.
        assert all(0.08 - 0.25 / 48 - 1e-9 <= d.length_mm <= 0.2 + 1e-9 for d in board.defects)


def test_a_scale_of_its_own() -> None:
    board = generate(3, size=320, px_per_mm=24.0, defects=5, sizes_mm=(0.2, 0.8))
    assert board.test.shape == (320, 320)
    assert all(d.length_mm <= 0.8 for d in board.defects)
    with pytest.raises(ValueError, match="100 pixels is too small"):
        generate(0, size=100)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ((slice(0, 80), slice(90, 110)), 2),
        ((slice(0, 30), slice(90, 110)), 1),
        ((slice(35, 45), slice(90, 110)), 0),
        ((slice(0, 56), slice(90, 110)), None),
    ],
    ids=["cut through", "notch", "hole", "notch that nearly goes through"],
)
def test_the_outline_tells_the_kind(cut: tuple[slice, slice], expected: int | None) -> None:
    bar = np.zeros((200, 200), np.uint8)
    bar[60:140] = 255
    defect = np.zeros_like(bar)
    rows = slice(cut[0].start + 60, cut[0].stop + 60)
    defect[rows, cut[1]] = 255
    if expected is None:
        defect[rows.stop : rows.stop + 20, 99:101] = 255
    assert stretches(defect, bar) == expected


def test_the_extent_of_a_known_rectangle() -> None:
    for angle in (0.0, 20.0, 45.0):
        canvas = np.zeros((400, 400), np.uint8)
        corners = cv2.boxPoints(((200.0, 200.0), (159.0, 79.0), angle))
        cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
        length, width = extent(cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0])
        assert (length, width) == pytest.approx((40.0, 20.0), abs=0.3)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_the_other_kinds_are_drawn_and_visible(kind: str) -> None:
    boards = [generate(seed, defects=3, kinds=(kind,)) for seed in range(12)]
    found = [(board, defect) for board in boards for defect in board.defects]
    assert len(found) >= 6
    for board, defect in found:
        assert defect.kind == kind
        assert _window(_changed(board), defect).sum() / board.px_per_mm**2 > 0.4 * defect.area_mm2


@pytest.mark.parametrize("scale", [(48.0, 48.0), (40.0, 50.0)])
def test_the_dots_have_the_stated_pitch(scale: tuple[float, float]) -> None:
    picture = dot_grid(px_per_mm=scale, pitch_mm=1.0, angle=0.0)
    _, _, stats, centres = cv2.connectedComponentsWithStats((picture < 128).astype(np.uint8))
    centres = centres[1:]
    assert len(centres) > 80
    assert stats[1:, cv2.CC_STAT_AREA].std() < 15
    for axis, pitch in enumerate(scale):
        index = np.rint((centres[:, axis] - centres[:, axis].min()) / pitch)
        assert np.polyfit(index, centres[:, axis], 1)[0] == pytest.approx(pitch, abs=0.02)


def test_the_shipped_samples_are_what_the_generator_makes() -> None:
    truth = json.loads((SAMPLES / "truth.json").read_text("utf-8"))
    assert len(truth) == 6
    board = generate(9, defects=8, compressed=False)
    stored = truth["board_2"]
    assert [d["kind"] for d in stored["defects"]] == [d.kind for d in board.defects]
    assert [d["length_mm"] for d in stored["defects"]] == pytest.approx([d.length_mm for d in board.defects], abs=1e-3)
    for key, picture in (("template", board.template), ("test", board.test)):
        shipped = cv2.imread(str(SAMPLES / stored[key]), cv2.IMREAD_GRAYSCALE)
        assert (shipped != picture).mean() < 1e-3
    assert any(not entry["defects"] for entry in truth.values())
    certificate = json.loads((SAMPLES / "calibration.json").read_text("utf-8"))
    assert certificate["mm_per_pixel"] == pytest.approx([1 / 48, 1 / 48])
    assert (
        sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc") < 400 * 1024
    )
