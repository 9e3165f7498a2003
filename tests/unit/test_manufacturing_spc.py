"""Charts, run rules and alarms: against their definitions, and quiet where nothing happens."""

import itertools
import math
import random
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.assess.camera import (
    EXCESS,
    SceneChange,
    frozen_camera,
    frozen_scene,
    half_scan,
    image_statistics,
    scene_change,
)
from evident_manufacturing.inspection.assess.spc import (
    mean_drift,
    mix_drift,
    p_chart,
    psi,
    run_rules,
    score_drift,
    u_chart,
)


def test_the_p_chart_of_a_hand_reckoned_example() -> None:
    chart = p_chart([12, 8, 6, 14], [100, 80, 80, 110])
    assert chart.centre == pytest.approx(40 / 370)
    first = chart.points[0]
    sigma = math.sqrt(40 / 370 * 330 / 370 / 100)
    assert (first.value, first.z) == (0.12, pytest.approx((0.12 - 40 / 370) / sigma))
    assert (first.lower, first.upper) == (pytest.approx(40 / 370 - 3 * sigma), pytest.approx(40 / 370 + 3 * sigma))


def test_limits_widen_for_small_samples_and_stay_within_what_can_be() -> None:
    chart = p_chart([1, 1], [10, 1000], centre=0.01)
    assert chart.points[0].upper > chart.points[1].upper
    assert chart.points[0].lower == 0
    assert p_chart([1], [1], centre=0.9).points[0].upper == 1


def test_the_u_chart_takes_more_defects_than_parts() -> None:
    chart = u_chart([30, 10], [10, 10])
    assert chart.centre == 2
    assert chart.points[0].upper == pytest.approx(2 + 3 * math.sqrt(0.2))
    assert u_chart([50], [10], centre=2.0).points[0].signals == ("beyond_3_sigma",)


def test_a_line_without_defects_alarms_at_the_first() -> None:
    chart = p_chart([0, 0, 1], [50, 50, 50], centre=0.0)
    assert [point.signals for point in chart.points] == [(), (), ("beyond_3_sigma",)]


@pytest.mark.parametrize(("bad", "inspected"), [([], []), ([1], [1, 2]), ([2], [1]), ([-1], [1]), ([0], [0])])
def test_charts_of_what_cannot_be_are_refused(bad: list[int], inspected: list[int]) -> None:
    with pytest.raises(InvalidInput):
        p_chart(bad, inspected)


@pytest.mark.parametrize("centre", [-0.1, 1.1, math.nan])
def test_centres_that_are_no_share_are_refused(centre: float) -> None:
    with pytest.raises(InvalidInput):
        p_chart([1], [10], centre=centre)


RULES = [
    ("beyond_3_sigma", [3.01], [3.0]),
    ("nine_on_one_side", [0.5] * 9, [0.5] * 8),
    ("nine_on_one_side", [-0.5] * 9, [*[-0.5] * 8, 0.5]),
    ("six_in_a_row", [-1, -0.6, -0.2, 0.1, 0.3, 0.4], [-0.6, -0.2, 0.1, 0.3, 0.4]),
    ("six_in_a_row", [1, 0.6, 0.2, -0.1, -0.3, -0.4], [1, 0.6, 0.2, 0.2, -0.3, -0.4]),
    ("fourteen_alternating", [0.1, -0.1] * 7, [0.1, -0.1] * 6),
    ("two_of_three", [2.1, 0, 2.1], [2.1, 0, -2.1]),
    ("two_of_three", [-2.1, -2.2], [2.1, 0, 0, 2.1]),
    ("four_of_five", [1.1, 1.2, 0, 1.1, 1.2], [1.1, 1.2, 0, 1.1, 0.9]),
]


@pytest.mark.parametrize(("rule", "signalling", "quiet"), RULES)
def test_each_run_rule_speaks_when_it_is_complete_and_not_before(
    rule: str, signalling: list[float], quiet: list[float]
) -> None:
    assert rule in run_rules(signalling)[-1]
    assert all(rule not in each for each in run_rules(quiet))
    mirrored = [-each for each in signalling]
    assert rule in run_rules(mirrored)[-1]


def test_a_line_in_control_is_mostly_quiet() -> None:
    rng = random.Random(7)
    bad = [sum(rng.random() < 0.05 for _ in range(200)) for _ in range(300)]
    chart = p_chart(bad, [200] * 300, centre=0.05)
    assert sum("beyond_3_sigma" in point.signals for point in chart.points) <= 4
    worse = p_chart([*bad[:20], *[30] * 3], [200] * 23, centre=0.05)
    assert all("beyond_3_sigma" in point.signals for point in worse.points[-3:])


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 500), min_size=1)


@given(COUNTS, COUNTS)
def test_psi_is_symmetric_in_nothing_moved_and_never_negative(one: dict[str, int], other: dict[str, int]) -> None:
    if not sum(one.values()) or not sum(other.values()):
        with pytest.raises(InvalidInput):
            psi(one, other)
        return
    assert psi(one, one) == 0
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))


def test_a_mix_that_moves_is_seen_and_chance_is_not() -> None:
    usual = {"open": 200, "short": 200, "spur": 100}
    assert mix_drift(usual, {"open": 82, "short": 78, "spur": 40}).state == "steady"
    assert mix_drift(usual, {"open": 20, "short": 160, "spur": 20}).state == "alarm"
    assert mix_drift(usual, {"open": 60, "short": 60, "spur": 10, "scratch": 70}).state == "alarm"
    assert mix_drift(usual, {"open": 3}).state == "unknown"
    assert mix_drift({}, {}).state == "unknown"
    rng = random.Random(3)
    draws = (Counter(rng.choices(list(usual), list(usual.values()), k=50)) for _ in range(400))
    states = [mix_drift(usual, draw).state for draw in draws]
    assert states.count("alarm") <= 4
    assert states.count("steady") >= 360


def test_scores_that_sink_are_seen() -> None:
    rng = random.Random(1)
    usual = [min(1.0, rng.betavariate(8, 2)) for _ in range(600)]
    same = [min(1.0, rng.betavariate(8, 2)) for _ in range(200)]
    sunk = [rng.betavariate(4, 4) for _ in range(200)]
    assert score_drift(usual, same).state == "steady"
    assert score_drift(usual, sunk).state == "alarm"
    with pytest.raises(InvalidInput):
        score_drift(usual, [1.2])


def test_a_mean_that_moves_is_seen() -> None:
    rng = random.Random(2)
    usual = [rng.gauss(120, 2) for _ in range(100)]
    assert mean_drift(usual, [rng.gauss(116, 2) for _ in range(20)]).state == "alarm"
    assert mean_drift(usual[:5], usual).state == "unknown"
    assert mean_drift([120.0] * 50, [120.01] * 10).state == "steady"
    quiet = [mean_drift(usual, [rng.gauss(120, 2) for _ in range(20)]).state for _ in range(300)]
    assert quiet.count("alarm") <= 1
    assert quiet.count("steady") >= 290


def board(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grey = np.full((240, 320), 40, np.uint8)
    for _ in range(40):
        y, x = rng.integers(0, 230), rng.integers(0, 300)
        grey[y : y + 8, x : x + rng.integers(10, 90)] = 200
    return np.clip(grey + rng.normal(0, 2, grey.shape), 0, 255).astype(np.uint8)


def test_image_statistics_follow_lamp_and_lens() -> None:
    usual = image_statistics(board())
    dim = image_statistics((board() * 0.7).astype(np.uint8))
    blurred = board().astype(np.float32)
    for axis in (0, 1):
        blurred = sum(np.roll(blurred, shift, axis) for shift in (-2, -1, 0, 1, 2)) / 5
    soft = image_statistics(blurred.astype(np.uint8))
    assert dim.brightness < 0.75 * usual.brightness
    assert dim.contrast < 0.75 * usual.contrast
    assert dim.sharpness == pytest.approx(usual.sharpness, rel=0.1)
    assert soft.sharpness < 0.3 * usual.sharpness
    assert soft.brightness == pytest.approx(usual.brightness, rel=0.05)
    assert image_statistics(np.zeros((5, 5), np.uint8)).sharpness == 0


@pytest.mark.parametrize("shape", [(2, 9), (9, 9, 3)])
def test_images_that_are_no_grey_ones_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        image_statistics(np.zeros(shape, np.uint8))


def test_repeated_frames_are_a_frozen_camera() -> None:
    assert frozen_camera(["a", "b", "b", "b"])
    assert not frozen_camera(["b", "b", "a", "b"])
    assert not frozen_camera(["b", "b"])
    with pytest.raises(InvalidInput):
        frozen_camera(["a"], repeats=1)


def seen(grey: np.ndarray, noise: float, seed: int, *, gain: float = 1.0) -> np.ndarray:
    """A sensor's frame of a scene: read noise, shot noise that grows with the light, and a lamp."""
    light = grey.astype(float) * 0.6 * gain + 30
    spread = noise * np.sqrt(0.2 + light / 255)
    return np.clip(np.rint(light + np.random.default_rng(seed).normal(0, 1, grey.shape) * spread), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0, 8.0])
@pytest.mark.parametrize("gain", [1.0, 0.9, 1.05])
def test_one_scene_differs_by_nothing_but_noise(noise: float, gain: float) -> None:
    change = scene_change(seen(board(), noise, 1), seen(board(), noise, 2, gain=gain))
    assert change.none
    assert change.excess < EXCESS / 2


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0, 8.0])
def test_a_part_that_moved_or_another_part_is_a_change(noise: float) -> None:
    size = (320, 240)
    before = seen(board(), noise, 1)
    for distance in (0.25, 1.0, 4.0):
        shift = np.array([[1, 0, distance], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(board(), shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        assert not scene_change(before, seen(moved, noise, 2)).none
    other = board()
    other[100:112, 100:124] = 255 - other[100:112, 100:124]  # the same but for one defect
    assert not scene_change(before, seen(other, noise, 2)).none
    assert scene_change(before, before[:-1]).moved == math.inf


def test_a_dark_camera_is_a_frozen_scene_and_one_change_breaks_it() -> None:
    dark = [seen(np.zeros((64, 64), np.uint8), 2.0, seed) for seed in range(5)]
    changes = [scene_change(*pair) for pair in itertools.pairwise(dark)]
    assert frozen_scene(changes)
    assert not frozen_scene(changes[1:])
    assert not frozen_scene([*changes, SceneChange(moved=0.4, excess=1.0)])
    assert not frozen_scene([*changes, SceneChange(moved=0.0, excess=50.0)])
    with pytest.raises(InvalidInput):
        frozen_scene(changes, repeats=1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_scan_that_stops_is_seen_at_its_border(share: float, grey: int) -> None:
    whole = board()
    rows, columns = int(240 * share), int(320 * share)
    for border, part in {
        "top": np.s_[:rows], "bottom": np.s_[-rows:], "left": np.s_[:, :columns], "right": np.s_[:, -columns:],
    }.items():  # fmt: skip
        scan = whole.copy()
        scan[part] = grey
        assert half_scan(scan, whole) == border


def test_margins_that_are_meant_to_be_blank_are_not_missing() -> None:
    margin = board()
    margin[-60:] = 255
    assert half_scan(margin, margin) is None
    assert half_scan(board(), board()) is None
    assert half_scan(np.zeros((50, 50), np.uint8), board()[:50, :50]) is None
    with pytest.raises(InvalidInput):
        half_scan(board(), board()[:-1])
