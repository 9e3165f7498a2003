"""Pixels to millimetres: targets that are drawn here, certificates, and what is refused of both."""

import json
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection.calibration import Certificate, load, parse, text_of
from evident_manufacturing.inspection.targets import KnownLength, calibrate_dot_grid, calibrate_known_pitch

CERTIFICATE = Certificate("cam1-2026", date(2026, 1, 1), date(2026, 12, 31), "cam1")


def grid(
    mm_per_pixel: tuple[float, float] = (0.02, 0.02), pitch: float = 1.0, angle: float = 4.0, bright: bool = False
) -> np.ndarray:
    """Dots of a third of the pitch, 7 x 6, turned, as a camera with such pixels sees them."""
    fine = 4
    image = np.full((440 * fine, 520 * fine), 235, np.uint8)
    turn = np.deg2rad(angle)
    for i in range(-3, 4):
        for j in range(-2, 4):
            mm = np.array([np.cos(turn) * i - np.sin(turn) * j, np.sin(turn) * i + np.cos(turn) * j]) * pitch
            x, y = (mm / mm_per_pixel + (260, 200)) * fine
            axes = pitch / 6 * fine / np.array(mm_per_pixel)
            cv2.ellipse(
                image,
                tuple(round(float(each) * 16) for each in (x, y)),
                tuple(round(float(each) * 16) for each in axes),
                0,
                0,
                360,
                25,
                -1,
                cv2.LINE_8,
                4,
            )
    image = cv2.resize(image, (520, 440), interpolation=cv2.INTER_AREA)
    return 255 - image if bright else image


@pytest.mark.parametrize("angle", [0.0, 4.0, -20.0])
@pytest.mark.parametrize("pixel", [(0.02, 0.02), (0.02, 0.026), (0.025, 0.018)])
@pytest.mark.parametrize("bright", [False, True])
def test_a_dot_grid_gives_both_sides_of_a_pixel(angle: float, pixel: tuple[float, float], bright: bool) -> None:
    made = calibrate_dot_grid(grid(pixel, angle=angle, bright=bright), 1.0, CERTIFICATE)
    assert made.mm_per_pixel == pytest.approx(pixel, rel=1e-3)
    assert made.residual_mm < 0.1 * max(pixel)
    assert made.scale_uncertainty < 0.001
    assert (made.id, made.camera, made.method, made.points) == ("cam1-2026", "cam1", "dot_grid", 42)


def test_the_targets_own_uncertainty_is_carried() -> None:
    made = calibrate_dot_grid(grid(), 1.0, CERTIFICATE, pitch_uncertainty_mm=0.01)
    assert made.scale_uncertainty == pytest.approx(0.01, rel=0.01)


def test_bad_targets_are_refused() -> None:
    image = grid()
    with pytest.raises(InvalidInput, match="0 dots"):
        calibrate_dot_grid(np.full_like(image, 200), 1.0, CERTIFICATE)
    tilt = cv2.getPerspectiveTransform(
        np.float32([[0, 0], [520, 0], [520, 440], [0, 440]]), np.float32([[90, 0], [430, 0], [520, 440], [0, 440]])
    )
    with pytest.raises(InvalidInput, match="grid"):
        calibrate_dot_grid(cv2.warpPerspective(image, tilt, (520, 440), borderValue=235), 1.0, CERTIFICATE)
    with pytest.raises(InvalidInput, match="turn"):
        calibrate_dot_grid(grid(angle=45), 1.0, CERTIFICATE)
    stray = image.copy()
    cv2.circle(stray, (284, 226), 8, 25, -1)
    with pytest.raises(InvalidInput, match="1 of 43 dots"):
        calibrate_dot_grid(stray, 1.0, CERTIFICATE)


@pytest.mark.parametrize("pitch", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pitch_that_is_no_length_is_refused(pitch: float) -> None:
    with pytest.raises(InvalidInput, match="above 0"):
        calibrate_dot_grid(grid(), pitch, CERTIFICATE)


@pytest.mark.parametrize("uncertainty", [-0.001, float("nan"), float("inf")])
def test_an_uncertainty_that_is_none_is_refused(uncertainty: float) -> None:
    with pytest.raises(InvalidInput, match="pitch_uncertainty_mm"):
        calibrate_dot_grid(grid(), 1.0, CERTIFICATE, pitch_uncertainty_mm=uncertainty)
    across = KnownLength((10, 10), (510, 10), 10.0)
    with pytest.raises(InvalidInput, match="length_uncertainty_mm"):
        calibrate_known_pitch([across], CERTIFICATE, length_uncertainty_mm=uncertainty)


def test_a_pitch_in_micrometres_is_refused() -> None:
    with pytest.raises(InvalidInput, match="another unit"):
        calibrate_dot_grid(grid(), 1000.0, CERTIFICATE)


def test_known_lengths_give_the_pixel() -> None:
    across = KnownLength((10, 10), (510, 10), 10.0)
    made = calibrate_known_pitch([across], CERTIFICATE)
    assert made.mm_per_pixel == pytest.approx((0.02, 0.02))
    assert made.residual_mm > 0
    both = [across, KnownLength((10, 10), (10, 410), 12.0), KnownLength((10, 10), (310, 410), float(np.hypot(6, 12)))]
    assert calibrate_known_pitch(both, CERTIFICATE).mm_per_pixel == pytest.approx((0.02, 0.03))


def test_known_lengths_that_contradict_each_other_are_refused() -> None:
    good = [KnownLength((0, y), (500, y), 10.0) for y in range(0, 60, 10)]
    with pytest.raises(InvalidInput, match=r"number 7 of 0\.5 mm"):
        calibrate_known_pitch([*good, KnownLength((0, 70), (500, 70), 0.5)], CERTIFICATE)
    with pytest.raises(InvalidInput, match="at least one"):
        calibrate_known_pitch([], CERTIFICATE)
    with pytest.raises(InvalidInput, match="shorter than 2 pixels"):
        calibrate_known_pitch([KnownLength((5, 5), (5, 5), 1.0)], CERTIFICATE)


def test_a_certificate_survives_its_file(tmp_path: Path) -> None:
    made = calibrate_dot_grid(grid(), 1.0, CERTIFICATE)
    path = tmp_path / "相机一.json"
    path.write_text(text_of(made), encoding="utf-8")
    assert load(path) == made
    path.write_text("\ufeff" + json.dumps(made.model_dump(mode="json")), encoding="utf-8")
    assert load(path) == made
    with pytest.raises(NotFound, match="dot grid"):
        load(tmp_path / "none.yaml")
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidInput, match="as text"):
        load(path)


GOOD = """
id: c1
mm_per_pixel: [0.02083, 0.02083]
residual_mm: 0.001
method: dot_grid
made: 2026-01-01
valid_until: 2026-12-31
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[0.02083, 0.02083]", "[48.0, 48.0]", "0.020833"),
        ("[0.02083, 0.02083]", "[0.000001, 0.000001]", "another unit"),
        ("[0.02083, 0.02083]", "[0.02, 0.2]", "as long as wide"),
        ("[0.02083, 0.02083]", "[-0.02, 0.02]", "not between"),
        ("[0.02083, 0.02083]", "[.nan, 0.02]", "not between"),
        ("[0.02083, 0.02083]", "0.02", "mm_per_pixel"),
        ("2026-12-31", "2025-12-31", "earlier"),
        ("residual_mm: 0.001", "residual_mm: 1.0", "micrometres"),
        ("residual_mm: 0.001", "residual_mm: -1", "residual_mm"),
        ("id: c1", "id: c1\nunit: inch", "'inch'"),
        ("id: c1", "id: c1\npixels: 3", "pixels"),
        ("id: c1", "id: c1\nscale_uncertainty: 0.5", "measures nothing"),
        ("dot_grid", "guess", "method"),
        ("id: c1", "id: [", "neither YAML nor JSON"),
    ],
)
def test_certificates_that_contradict_themselves_are_refused(old: str, new: str, says: str) -> None:
    assert parse(GOOD).id == "c1"
    with pytest.raises(InvalidInput, match=says):
        parse(GOOD.replace(old, new))
    with pytest.raises(InvalidInput, match="mapping"):
        parse("just text")


def test_what_is_no_certificate_is_said_by_the_files_name() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.yaml is no calibration certificate"):
        parse("product: demo\nlimits: {}\n", name="spec.yaml")
    with pytest.raises(InvalidInput, match=r"^c\.yaml: -0\.02 mm per pixel"):
        parse(GOOD.replace("[0.02083, 0.02083]", "[-0.02, 0.02]"), name="c.yaml")
    with pytest.raises(InvalidInput, match=r"^c\.json is neither YAML nor JSON from line 2 on; [^\n]*$"):
        parse('{"id": "c1",\n', name="c.json")
