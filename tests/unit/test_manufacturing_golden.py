"""Template and test: alignment, what it refuses, differences and their sizes, on boards that are drawn here."""

import tracemalloc
from datetime import date
from decimal import Decimal

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive import laying
from evident_manufacturing.inspection.perceive.align import align, lay, warp
from evident_manufacturing.inspection.perceive.difference import difference, followed, mask_of, rle_of, stack
from evident_manufacturing.inspection.perceive.measure import measure
from evident_manufacturing.inspection.schema import Calibration, Candidate, Size

FINE = 4


def board(seed: int = 1, size: int = 400, width: int = 16) -> np.ndarray:
    """Dark traces and pads on a bright ground, with smooth edges; no symmetry."""
    rng = np.random.default_rng(seed)
    canvas = np.full((size * FINE, size * FINE), 255, np.uint8)
    for _ in range(12):
        points = (rng.integers(1, 9, (3, 2)) * size // 10 * FINE).astype(np.int32)
        points[1] = points[0][0], points[2][1]
        cv2.polylines(canvas, [points], isClosed=False, color=0, thickness=width * FINE)
        cv2.circle(canvas, points[0].tolist(), 18 * FINE, 0, -1)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def moved(image: np.ndarray, dx: float, dy: float, angle: float = 0.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2), angle, 1.0)
    matrix[:, 2] += (dx, dy)
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def trace(shape: tuple[int, int] = (160, 160), top: int = 60, bottom: int = 90) -> np.ndarray:
    """One horizontal dark trace."""
    image = np.full(shape, 255, np.uint8)
    image[top:bottom] = 0
    return image


@pytest.mark.parametrize(("dx", "dy", "angle"), [(0, 0, 0), (3.4, -2.7, 0), (-14.2, 9.6, 0.4), (8, 5, 2.5), (0, 0, -3)])
def test_the_shift_and_turn_are_found(dx: float, dy: float, angle: float) -> None:
    template = board()
    found = align(moved(template, dx, dy, angle), template)
    assert (found.dx, found.dy) == pytest.approx((dx, dy), abs=0.25)
    assert found.angle == pytest.approx(angle, abs=0.06)
    assert found.confidence > 0.97


def test_a_warped_template_lies_on_the_test() -> None:
    template = board(2)
    test = moved(template, 6.3, -4.8, 1.2)
    laid, reached = lay(template, align(test, template), test.shape)
    assert np.mean(np.abs(laid.astype(int) - test)[reached] > 96) < 0.001
    assert 0.9 < reached.mean() < 1.0
    assert np.array_equal(laid, warp(template, align(test, template), test.shape))


def test_a_board_that_is_stretched_in_places_is_followed() -> None:
    template = board(3, size=640)
    y, x = np.mgrid[:640, :640].astype(np.float32)
    x, y = x + 3 * np.sin(y / 110), y + 3 * np.cos(x / 120)
    bent = cv2.remap(template, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alignment = align(bent, template)
    stiff = alignment.model_copy(update={"bend": ()})
    assert len(difference(bent, warp(template, stiff, bent.shape)).candidates) > 0
    laid, reached = lay(template, alignment, bent.shape)
    assert difference(bent, laid, valid=reached).candidates == ()


def test_a_template_can_be_laid_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    template = board(4)
    alignment = align(moved(template, 5.2, -3.1, 0.7), template)
    whole, reached = lay(template, alignment, template.shape)
    band, inside = lay(template, alignment, template.shape, rows=(100, 170))
    assert np.abs(whole[100:170].astype(int) - band).max() <= 1
    assert np.array_equal(reached[100:170], inside)
    monkeypatch.setattr(laying, "_BAND", 9_000)
    assert np.abs(lay(template, alignment, template.shape)[0].astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: image[:, ::-1], "mirrored left to right"),
        (lambda image: image[::-1], "mirrored top to bottom"),
        (lambda image: image[::-1, ::-1], "turned by 180 degrees"),
        (lambda image: np.rot90(image), "turned by 270 degrees"),
        (lambda image: np.rot90(image, 3), "turned by 90 degrees"),
        (lambda image: np.rot90(image[:, ::-1]), "mirrored left to right and turned by 90 degrees"),
        (lambda image: 255 - image, "as a negative (dark and bright exchanged)"),
        (lambda _: board(99), "foreign"),
        (lambda image: np.random.default_rng(0).integers(0, 256, image.shape, np.uint8), "foreign"),
        (lambda image: np.zeros_like(image), "blank"),
        (lambda image: np.full_like(image, 255), "blank"),
        (lambda image: image[:-10], "size"),
    ],
)
def test_a_template_that_is_not_this_boards_is_refused_by_name(change, reason) -> None:  # type: ignore[no-untyped-def]
    test = board()
    with pytest.raises(InvalidInput) as refused:
        align(test, np.ascontiguousarray(change(test)))
    assert refused.value.details["reason"] == reason


def test_a_template_of_another_scale_is_refused() -> None:
    test = board(5)
    zoom = cv2.getRotationMatrix2D((199.5, 199.5), 0, 1.25)
    with pytest.raises(InvalidInput) as refused:
        align(test, cv2.warpAffine(test, zoom, test.shape[::-1], borderValue=255))
    assert refused.value.details["reason"] == "scale"
    assert refused.value.details["scale"] == pytest.approx(0.8, abs=0.02)


def test_a_turned_template_of_an_oblong_board_is_told_by_its_size() -> None:
    oblong = board()[:300]
    with pytest.raises(InvalidInput, match="turn one of them by 90 degrees"):
        align(oblong, np.ascontiguousarray(np.rot90(oblong)))


def test_parallel_lines_do_not_slide() -> None:
    test = trace()
    assert align(test, trace()).dx == pytest.approx(0, abs=0.05)
    assert align(test, trace(top=62, bottom=92)).dy == pytest.approx(-2, abs=0.1)


def test_jitter_of_an_edge_is_no_difference_and_a_bite_is_one() -> None:
    template = trace()
    test = template.copy()
    test[60:62, 20:50] = 255  # an edge that moved by two pixels
    assert difference(test, template).candidates == ()
    test[60:72, 100:112] = 255
    (bite,) = difference(test, template).candidates
    assert not bite.added
    assert bite.bbox == (100, 60, 112, 72)
    assert bite.area == 144
    assert bite.contrast == pytest.approx(1.0)


def test_thin_lines_that_are_missing_or_added_are_found() -> None:
    template = trace()
    template[120:123, 10:150] = 0
    test = trace()
    test[30:33, 40:80] = 0
    added, missing = difference(test, template).candidates
    assert (added.added, added.bbox) == (True, (40, 30, 80, 33))
    assert (missing.added, missing.bbox) == (False, (10, 120, 150, 123))
    assert {each.added for each in difference(test, template, conductor="bright").candidates} == {True, False}
    assert not difference(test, template, conductor="bright").candidates[0].added


def test_a_difference_around_another_keeps_both() -> None:
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    cv2.circle(test, (100, 100), 60, 0, 8)
    test[96:104, 96:104] = 0
    ring, dot = difference(test, template).candidates
    assert dot.bbox == (96, 96, 104, 104)
    assert ring.area > 1500


def test_nothing_is_compared_where_the_template_does_not_reach() -> None:
    template, test = trace(), trace()
    test[100:120, 0:20] = 0
    reached = np.ones(test.shape, bool)
    assert len(difference(test, template, valid=reached).candidates) == 1
    reached[:, :24] = False
    assert difference(test, template, valid=reached).candidates == ()


def test_the_map_is_signed_and_stacked_around_128() -> None:
    template = trace()
    test = template.copy()
    test[60:75, 40:60] = 255
    test[120:135, 40:60] = 0
    found = difference(test, template)
    assert found.map.dtype == np.float32
    assert (found.map.min(), found.map.max()) == (-1.0, 1.0)
    stacked = stack(test, template, found.map)
    assert stacked.dtype == np.uint8
    assert stacked.shape == (160, 160, 3)
    assert [stacked[y, 50, 0] for y in (67, 127, 30)] == [255, 1, 128]
    assert np.array_equal(stacked[..., 1], template)
    assert np.array_equal(stacked[..., 2], test)


def test_pictures_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidInput, match="160 x 160 and the template 160 x 150"):
        difference(trace(), trace()[:150])
    with pytest.raises(InvalidInput, match="float64"):
        difference(trace().astype(float), trace())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="float64"):
        align(trace().astype(float), trace())  # type: ignore[arg-type]


def test_a_mask_survives_its_run_lengths() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((rng.integers(1, 9), rng.integers(1, 9))) > 0.5
        h, w = mask.shape
        candidate = Candidate(bbox=(3, 4, 3 + w, 4 + h), mask_rle=rle_of(mask), area=1, contrast=0.5, added=True)
        assert np.array_equal(mask_of(candidate), mask)


SQUARE = Calibration(
    id="c",
    mm_per_pixel=(0.02, 0.02),
    residual_mm=0.001,
    method="dot_grid",
    made=date(2026, 1, 1),
    valid_until=date(2027, 1, 1),
    scale_uncertainty=0.001,
)


def measured(test: np.ndarray, template: np.ndarray, calibration: Calibration | None = None) -> Size:
    (candidate,) = difference(test, template).candidates
    return measure(candidate, test, template, calibration)


def within(quantity, true: float, unit: str) -> bool:  # type: ignore[no-untyped-def]
    assert quantity.unit == unit
    assert quantity.uncertainty > 0
    return abs(float(quantity.value) - true) <= float(quantity.uncertainty)


@pytest.mark.parametrize("angle", [0, 17, 30, 45, 77, 90])
def test_a_turned_bar_has_its_length_width_and_area(angle: float) -> None:
    template = np.full((200, 200), 255, np.uint8)
    fine = np.full((1600, 1600), 255, np.uint8)
    corners = cv2.boxPoints(((803.0, 797.0), (40 * 8, 12 * 8), angle))
    cv2.fillPoly(fine, [np.round(corners).astype(np.int32)], 0)
    test = cv2.resize(fine, (200, 200), interpolation=cv2.INTER_AREA)
    size = measured(test, template)
    assert float(size.length.value) == pytest.approx(40, abs=0.8)
    assert float(size.width.value) == pytest.approx(12, abs=0.8)
    assert float(size.area.value) == pytest.approx(480, abs=12)
    in_mm = measured(test, template, SQUARE)
    assert within(in_mm.length, 0.8, "mm")
    assert within(in_mm.width, 0.24, "mm")
    assert within(in_mm.area, 0.192, "mm2")


@pytest.mark.parametrize("angle", [0, 25, 45, 70])
@pytest.mark.parametrize(("length", "width"), [(36, 10), (24, 8), (20, 20)])
def test_pointed_ends_are_not_lost_to_blur_and_round_ones_not_added_to(length: int, width: int, angle: float) -> None:
    template = np.full((200, 200), 255, np.uint8)
    fine = np.full((1600, 1600), 255, np.uint8)
    cv2.ellipse(fine, ((803.0, 797.0), (length * 8, width * 8), angle), 0, cv2.FILLED)
    blurred = cv2.GaussianBlur(cv2.resize(fine, (200, 200), interpolation=cv2.INTER_AREA), (0, 0), 0.9)
    size = measured(np.asarray(blurred, np.uint8), template)
    assert float(size.length.value) == pytest.approx(length, abs=0.6)
    assert float(size.width.value) == pytest.approx(width, abs=0.6)


def test_pixels_that_are_not_square_give_the_true_size() -> None:
    oblong = SQUARE.model_copy(update={"mm_per_pixel": (0.02, 0.03)})
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    test[90:110, 60:120] = 0  # 1.2 mm x 0.6 mm
    size = measured(test, template, oblong)
    assert float(size.length.value) == pytest.approx(1.2, abs=0.01)
    assert float(size.width.value) == pytest.approx(0.6, abs=0.01)
    assert float(size.area.value) == pytest.approx(0.72, abs=0.02)


def test_a_defect_is_followed_along_the_edge_that_hid_its_end() -> None:
    template = trace()  # dark from row 60 to 89
    test = template.copy()
    test[90:100, 60:70] = 0
    test[90:92, 70:85] = 0  # two pixels: an edge may move so far
    (seen,) = difference(test, template).candidates
    assert seen.bbox[2] <= 72
    whole = followed(seen, test, template)
    assert whole.bbox == (60, 90, 85, 100)
    assert whole.area == 130
    shorter = template.copy()
    shorter[90:100, 60:70] = 0
    (alone,) = difference(shorter, template).candidates
    assert followed(alone, shorter, template) == alone


def test_what_is_left_of_a_conductor_is_its_gap() -> None:
    template = trace()
    bite, hole, cut = template.copy(), template.copy(), template.copy()
    bite[60:72, 70:90] = 255
    hole[66:80, 70:84] = 255
    cut[60:90, 70:84] = 255
    assert measured(bite, template, SQUARE).gap.value == Decimal("0.360")  # type: ignore[union-attr]
    assert measured(hole, template, SQUARE).gap.value == Decimal("0.120")  # type: ignore[union-attr]
    assert measured(cut, template, SQUARE).gap.value == 0  # type: ignore[union-attr]


def test_what_is_left_of_a_pad_lies_across_it_though_the_ground_around_is_one() -> None:
    template = np.full((200, 200), 255, np.uint8)
    template[60:100, 20:180] = 0
    bite = template.copy()
    bite[60:72, 92:104] = 255
    assert measured(bite, template, SQUARE).gap.value == pytest.approx(Decimal("0.56"), abs=Decimal("0.04"))  # type: ignore[union-attr]
    corner = template.copy()
    corner[60:72, 150:162] = 255  # 18 pixels from the pad's end, and 28 from its other side
    assert measured(corner, template, SQUARE).gap.value == pytest.approx(Decimal("0.38"), abs=Decimal("0.04"))  # type: ignore[union-attr]
    cut = template.copy()
    cut[60:100, 75:84] = 255
    assert measured(cut, template, SQUARE).gap.value == 0  # type: ignore[union-attr]


def test_a_bite_as_large_as_a_board_takes_memory_by_its_pixels_alone() -> None:
    template = np.full((900, 900), 255, np.uint8)
    template[100:800, 100:800] = 0
    bite = template.copy()
    bite[100:770, 150:750] = 255
    tracemalloc.start()
    size = measured(bite, template, SQUARE)
    assert tracemalloc.get_traced_memory()[1] < 200 * bite.size
    tracemalloc.stop()
    assert size.gap.value == Decimal("0.600")  # type: ignore[union-attr]


def test_where_nothing_lies_within_reach_the_gap_is_known_to_exceed_it() -> None:
    template = np.full((200, 200), 255, np.uint8)
    island = template.copy()
    island[90:100, 90:104] = 0
    size = measured(island, template, SQUARE)
    assert size.gap is None
    assert size.gap_over.value == Decimal("0.960")  # type: ignore[union-attr]
    near = template.copy()
    near[130:140, 90:104] = 0
    island[130:140, 90:104] = 0
    size = measured(island, near, SQUARE)
    assert size.gap_over is None
    assert size.gap.value == Decimal("0.600")  # type: ignore[union-attr]


def test_what_is_left_between_conductors_is_its_gap() -> None:
    template = trace()
    template[110:140] = 0  # the clearance is 20 px
    spur, short, island = template.copy(), template.copy(), template.copy()
    spur[90:98, 70:82] = 0
    short[90:110, 70:82] = 0
    island[96:102, 70:82] = 0
    assert measured(spur, template, SQUARE).gap.value == Decimal("0.240")  # type: ignore[union-attr]
    assert measured(short, template, SQUARE).gap.value == 0  # type: ignore[union-attr]
    assert measured(island, template, SQUARE).gap.value == Decimal("0.120")  # type: ignore[union-attr]
    oblong = SQUARE.model_copy(update={"mm_per_pixel": (0.02, 0.03)})
    assert float(measured(spur, template, oblong).gap.value) == pytest.approx(0.36, abs=0.02)  # type: ignore[union-attr]


def test_a_gap_that_is_out_of_reach_is_not_told() -> None:
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    test[90:100, 90:100] = 0
    assert measured(test, template).gap is None


def test_uncertainty_follows_the_budget() -> None:
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    test[90:110, 60:120] = 0
    (candidate,) = difference(test, template).candidates
    exact = measure(candidate, test, template, None, jitter=0.0)
    assert exact.length.uncertainty == Decimal("0.8")  # 2 x sqrt(2) / sqrt(12)
    loose = measure(candidate, test, template, SQUARE, jitter=1.0)
    u = 2 * np.hypot(np.hypot(np.sqrt(2) * np.hypot(1 / np.sqrt(12), 1.0) * 0.02, 0.001), 1.2 * 0.001)
    assert float(loose.length.uncertainty) == pytest.approx(u, abs=0.0006)
