"""``evident manufacturing calibrate``: from the sample picture of a target to a certificate, and what it refuses."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evident_core.errors import Conflict, EvidentError, InvalidInput, NotFound, UnsupportedMedia
from evident_manufacturing.calibrate_cli import calibrate
from evident_manufacturing.inspection.calibration import load

SAMPLES = Path(__file__).parents[2] / "sample_data" / "manufacturing"
DOTS = SAMPLES / "calibration_dots.png"
SIDES = (("48,48", "336,48"), ("48,48", "48,336"), ("48,336", "336,336"))
LENGTHS = [word for start, end in SIDES for word in ("--length", start, end, "6")]


def run(image: Path, output: Path, *given: str) -> Result:
    return CliRunner().invoke(calibrate, [str(image), *given, "-o", str(output)])


def test_a_picture_of_a_dot_grid_becomes_the_certificate_that_is_told(tmp_path: Path) -> None:
    output, today = tmp_path / "相机.json", datetime.now(UTC).date()
    done = run(DOTS, output, "--pitch", "1.0", "--uncertainty", "0.001", "--camera", "[red]top")
    assert done.exit_code == 0, done.output
    made = load(output)
    assert json.loads(output.read_text("utf-8"))["method"] == "dot_grid"
    assert made.mm_per_pixel == pytest.approx((1 / 48, 1 / 48), rel=1e-4)  # as the generator drew it
    assert made.scale_uncertainty == pytest.approx(0.001, rel=0.01)
    assert made.residual_mm < 0.05 / 48
    assert (made.points, made.camera, made.id) == (49, "[red]top", f"[red]top-{today}")
    assert today <= made.made <= made.valid_until - timedelta(days=365)
    told = {line[:18].strip(): line[18:].split() for line in done.stdout.splitlines()}
    assert told["mm per pixel, x"] == told["mm per pixel, y"] == ["0.0208333", "48", "px/mm"]
    assert told["dots"] == ["49"]
    assert told["valid until"][0] == str(made.valid_until)
    assert told["scale uncertainty"] == ["0.1", "%", "0.01", "mm", "on", "10", "mm"]
    assert told["residual"][1] == "mm"
    assert told["camera"] == ["[red]top"]


def test_known_lengths_become_a_certificate_too(tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    done = run(DOTS, output, *LENGTHS, "--id", "C7", "--valid-until", "2999-12-31", "--json")
    assert done.exit_code == 0, done.output
    made = load(output)
    assert done.stdout == output.read_text("utf-8")
    assert made.mm_per_pixel == pytest.approx((1 / 48, 1 / 48))
    assert (made.method, made.points, made.id, made.valid_until.year) == ("known_pitch", 3, "C7", 2999)


def test_a_certificate_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    output.write_text("mine")
    done = run(DOTS, output, "--pitch", "1")
    assert isinstance(done.exception, Conflict)
    assert "--force replaces it" in done.exception.message
    assert output.read_text() == "mine"
    assert run(DOTS, output, "--pitch", "1", "--force").exit_code == 0
    assert load(output).points == 49


@pytest.mark.parametrize(
    ("image", "given", "error", "says"),
    [
        ("board_1_test.png", ["--pitch", "1"], InvalidInput, "do not lie on the grid"),
        ("calibration.json", ["--pitch", "1"], UnsupportedMedia, "is JSON text"),
        ("none.png", ["--pitch", "1"], NotFound, "no file"),
        (DOTS.name, [], InvalidInput, "one of them"),
        (DOTS.name, ["--pitch", "1", *LENGTHS], InvalidInput, "one of them"),
        (DOTS.name, ["--pitch", "nan"], InvalidInput, "above 0"),
        (DOTS.name, ["--pitch", "1000"], InvalidInput, "another unit"),
        (DOTS.name, ["--pitch", "1", "--uncertainty", "nan"], InvalidInput, "one standard deviation in mm"),
        (DOTS.name, ["--pitch", "1", "--uncertainty", "-1"], InvalidInput, "one standard deviation in mm"),
        (DOTS.name, ["--pitch", "1", "--valid-until", "2020-01-01"], InvalidInput, "earlier"),
        (
            DOTS.name,
            ["--length", "10,10", "400,10", "5"],
            InvalidInput,
            "400,10 of length 1 is not on calibration_dots",
        ),
        (DOTS.name, ["--length", "nan,10", "40,10", "5"], InvalidInput, "is not on calibration_dots"),
        (DOTS.name, [*LENGTHS, "--length", "9,9", "99,9", "6"], InvalidInput, "number 4 of 6 mm"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused_in_a_sentence(
    tmp_path: Path, image: str, given: list[str], error: type[EvidentError], says: str
) -> None:
    done = run(SAMPLES / image, tmp_path / "c.json", *given)
    assert isinstance(done.exception, error)
    assert says in done.exception.message
    assert not list(tmp_path.iterdir())


def test_a_point_that_is_none_is_a_wrong_command_line(tmp_path: Path) -> None:
    done = run(DOTS, tmp_path / "c.json", "--length", "10", "100,10", "5")
    assert done.exit_code == 2
    assert "'10' is no point; give X,Y in pixels" in done.stderr


def test_a_picture_that_is_badly_lit_is_remarked_on(tmp_path: Path) -> None:
    import cv2

    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), cv2.imread(str(DOTS), cv2.IMREAD_GRAYSCALE) // 5)
    done = run(dark, tmp_path / "c.json", "--pitch", "1")
    assert done.exit_code == 0
    assert "dark.png: the brightest pixels have level" in done.stderr
