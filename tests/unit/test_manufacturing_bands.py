"""Line scans: bands find what the whole shows, and a template is followed over a large board."""

import tracemalloc
from itertools import pairwise

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive import bands, joined
from evident_manufacturing.inspection.perceive.align import align, lay
from evident_manufacturing.inspection.perceive.bands import look, views
from evident_manufacturing.inspection.perceive.difference import difference, exceeding
from evident_manufacturing.inspection.perceive.joined import Joined
from evident_manufacturing.inspection.perceive.pyramid import align_large
from evident_manufacturing.inspection.schema import Alignment, Candidate, Detection

STILL = Alignment(confidence=1.0)


def board(seed: int, height: int, width: int) -> np.ndarray:
    """Dark traces and pads on a bright ground."""
    chance, image = np.random.default_rng(seed), np.full((height, width), 255, np.uint8)
    for _ in range(height * width // 12_000):
        x, y, across = (int(chance.integers(0, each)) for each in (width, height, 160))
        cv2.line(image, (x, y), (x + across, y + int(chance.integers(0, 160))), 0, int(chance.integers(6, 14)))
        cv2.circle(image, (x, y), 14, 0, -1)
    return cv2.GaussianBlur(image, (3, 3), 0.6)


def flawed(template: np.ndarray, seed: int) -> np.ndarray:
    """With specks, and with slanted lines of the other brightness: they break where they cross, and meet again."""
    chance, test = np.random.default_rng(seed), template.copy()
    height, width = template.shape
    for _ in range(40):
        x, y = int(chance.integers(0, width)), int(chance.integers(0, height))
        end = x + int(chance.integers(-200, 200)), y + int(chance.integers(-200, 200))
        line = cv2.line(np.zeros_like(test), (x, y), end, 1, int(chance.integers(1, 9)))
        test[line > 0] = 255 - test[line > 0]
    return test


def known(candidates: list[Candidate] | tuple[Candidate, ...]) -> list[tuple[object, ...]]:
    return sorted((each.bbox, each.mask_rle, each.area, each.contrast, each.added) for each in candidates)


def misfit(template: np.ndarray, alignment: Alignment, bent: np.ndarray) -> float:
    """Mean difference of grey levels of the template, laid, from where it should lie."""
    laid, valid = lay(template, alignment, bent.shape)
    return float(np.mean(np.abs(laid.astype(int) - bent)[valid]))


@pytest.mark.parametrize("seed", range(6))
def test_differences_that_seams_cut_are_put_together(seed: int) -> None:
    template = board(seed, 420, 500)
    test = flawed(template, seed + 50)
    brighter, darker = exceeding(test, template)
    cuts = [0, *sorted(set(np.random.default_rng(seed).integers(1, 420, 30).tolist())), 420]
    plus, minus = Joined(500, added=True), Joined(500, added=False)
    for top, bottom in pairwise(cuts):
        first, last = max(0, top - 8), min(420, bottom + 8)
        for sign, strength in ((plus, darker), (minus, brighter)):
            sign.add(strength[first:last], top, (top - first, bottom - first))
    whole = difference(test, template).candidates
    assert len(whole) > 5
    assert known([*plus.all(), *minus.all()]) == known(whole)


def test_what_is_too_large_for_memory_is_given_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    template = np.full((600, 600), 255, np.uint8)
    test = template.copy()
    cv2.line(test, (10, 10), (590, 590), 0, 8)
    test[300:310, 20:200] = 0
    (whole,) = {each.area for each in difference(test, template).candidates if each.area > 3000}
    monkeypatch.setattr(joined, "LARGEST", 20_000)
    sign = Joined(600, added=True)
    strength = exceeding(test, template)[1]
    for top in range(0, 600, 50):
        first, last = max(0, top - 8), min(600, top + 58)
        sign.add(strength[first:last], top, (top - first, top + 50 - first))
    found = sign.all()
    sizes = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (each.bbox for each in found)]
    assert max(sizes) <= 20_000
    assert (20.0, 300.0, 200.0, 310.0) in [each.bbox for each in found]
    assert sum(each.area for each in found) == whole + 1800


def test_bands_find_what_the_whole_shows() -> None:
    template = board(9, 1500, 700)
    moved = Alignment(dx=3.3, dy=-2.6, angle=0.05, confidence=1.0, bend=(((0.4, 0.1),), ((-0.3, 0.2),)))
    test = flawed(lay(template, moved, template.shape)[0], 4)
    laid, valid = lay(template, moved, test.shape)
    np.copyto(laid, test, where=~valid)
    inputs: list[np.ndarray] = []

    def seen(images: object) -> list[list[Detection]]:
        inputs.extend(images)  # type: ignore[call-overload]
        return [[] for _ in inputs]

    detections, candidates = look(test, template, moved, seen)
    assert detections == []
    assert known(candidates) == known(difference(test, laid, valid=valid).candidates)
    assert [each.shape for each in inputs] == [(640, 640, 3)] * len(inputs)
    assert np.array_equal(inputs[0][..., 1], laid[:640, :640])
    assert np.array_equal(inputs[-1][..., 2], test[-640:, -640:])


def test_memory_does_not_grow_with_the_length_of_a_scan() -> None:
    def peak(height: int) -> int:
        template = np.tile(board(5, 700, 900), (height // 700, 1))
        test = flawed(template, 6)
        tracemalloc.start()
        look(test, template, STILL, lambda images: [[] for _ in images])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    short, long = peak(1400), peak(5600)
    assert long < 1.2 * short


def test_what_lies_near_each_other_is_looked_at_in_one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_AHEAD", 100)
    template = board(11, 900, 800)
    test = flawed(template, 12)
    candidates = difference(test, template).candidates

    def box(x: float, y: float, score: float) -> Detection:
        return Detection(bbox=(x, y, x + 40, y + 30), kind="open", score=score)

    seen = [box(*each.bbox[:2], 0.01) for each in candidates[::2]] + [box(700, 850, 0.5), box(705, 855, 0.4)]
    parts = list(views(test, template, STILL, seen, candidates))
    assert known([c.model_copy(update={"bbox": v.on_board(c.bbox)}) for v in parts for c in v.found.candidates]) == (
        known(candidates)
    )
    assert sorted(v.on_board(d.bbox) for v in parts for d in v.seen) == sorted(each.bbox for each in seen)
    assert sum({(700, 850), (705, 855)} <= {v.on_board(d.bbox)[:2] for d in v.seen} for v in parts) == 1
    for part in parts:
        h, w = part.test.shape
        view = np.s_[part.top : part.top + h, part.left : part.left + w]
        assert np.array_equal(part.test, test[view])
        assert np.array_equal(part.laid, template[view])
    assert not list(views(test, template, STILL, [box(300, 300, 0.01)], ()))


def test_groups_do_not_grow_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "LARGEST", 10_000)
    blank = np.full((700, 700), 255, np.uint8)
    stairs = [
        Detection(bbox=(x, x, x + 60.0, x + 60.0), kind="open", score=0.9) for x in np.arange(0.0, 600.0, 40).tolist()
    ]
    parts = list(views(blank, blank, STILL, stairs, ()))
    assert sum(len(part.seen) for part in parts) == len(stairs)
    assert max(len(part.seen) for part in parts) == 2


def test_a_template_is_found_on_reduced_pictures_and_refined_on_the_whole() -> None:
    template = board(21, 1300, 1500)
    y, x = np.mgrid[:1300, :1500].astype(np.float32)
    bent = cv2.remap(
        template, x - 7.4 + 1.5 * np.sin(y / 300), y + 5.2, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    test = flawed(bent, 3)
    found = align_large(test, template, reduced=600 * 700)
    assert found.residual < 1.0
    assert found.confidence > 0.9
    factor = 3
    small = [cv2.resize(each, (500, 433), interpolation=cv2.INTER_AREA) for each in (test[:1299], template[:1299])]
    rough = align(*small)
    rough = rough.model_copy(
        update={
            "dx": factor * rough.dx,
            "dy": factor * rough.dy,
            "bend": tuple(tuple((factor * a, factor * b) for a, b in row) for row in rough.bend),
        }
    )
    refined, unrefined = (misfit(template, each, bent) for each in (found, rough))
    assert refined < 0.75 * unrefined
    assert refined < 2 * misfit(template, align(test, template), bent)


def test_a_large_template_of_another_board_or_size_is_refused() -> None:
    test = board(31, 1200, 1200)
    with pytest.raises(InvalidInput, match="not of this board"):
        align_large(test, board(32, 1200, 1200), reduced=600 * 600)
    with pytest.raises(InvalidInput, match="1200 x 1100 pixels and the board 1200 x 1200"):
        align_large(test, test[:1100], reduced=600 * 600)
    with pytest.raises(InvalidInput, match="mirrored left to right"):
        align_large(test, np.ascontiguousarray(test[:, ::-1]), reduced=600 * 600)


def test_what_reduced_pictures_cannot_tell_apart_is_refused_at_full_size() -> None:
    test = board(41, 1200, 1200)
    template = test.copy()
    for row in range(200, 960, 40):  # a comb, and in the other what is between its teeth
        test[row : row + 20, 200:1000] = 0
        template[row : row + 20, 200:1000] = 255
        test[row + 20 : row + 40, 200:1000] = 255
        template[row + 20 : row + 40, 200:1000] = 0
    small = [cv2.resize(each, (300, 300), interpolation=cv2.INTER_AREA) for each in (test, template)]
    assert align(*small).confidence > 0.7
    with pytest.raises(InvalidInput, match="not of this board"):
        align_large(test, template, reduced=300 * 300)


def test_a_lamp_that_drifts_does_not_make_a_template_foreign_where_nothing_is_on_the_board() -> None:
    template = board(51, 1500, 1200)
    template[500:1100] = 253
    test = template.copy()
    test[template > 250] -= 2
    assert align_large(test, template, reduced=600 * 750).confidence > 0.95
