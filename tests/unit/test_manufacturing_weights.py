"""What the shipped detectors are trained on, and that the gate of an export goes by places."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.schema import Detection
from evident_manufacturing.training import gates
from evident_manufacturing.training.weights import NAMES, Training, pictures

ONE = Detection(bbox=(10.0, 10.0, 40.0, 40.0), kind="short", score=0.801)
OTHER = Detection(bbox=(300.0, 300.0, 340.0, 340.0), kind="open", score=0.8)


@pytest.fixture
def training(tmp_path):
    """One pair of 640 x 640 with a defect, and one generated board."""
    folder = tmp_path / "train"
    folder.mkdir()
    template = np.full((640, 640), 255, np.uint8)
    test = template.copy()
    test[100:120, 100:120] = 0
    cv2.imwrite(str(folder / "a.png"), np.hstack([template, test]))
    (folder / "a.txt").write_text("90 90 130 130 5")
    return Training(tmp_path, tmp_path, tmp_path, generated=1, minutes=1.0, device="cpu", batch=2, workers=1)


def test_the_plain_detector_sees_templates_as_boards_without_a_defect(training):
    fused, plain = ({each.name: each for each in pictures(training, name)} for name in NAMES)
    assert set(fused) == {"a", "made.1000000"}
    assert set(plain) - set(fused) == {"a.template"}
    clean = plain["a.template"]
    assert (len(clean.boxes), len(clean.classes)) == (0, 0)
    assert np.array_equal(clean.test, plain["a"].template)
    assert len(plain["a"].boxes) == len(fused["a"].boxes) == 1


@pytest.mark.parametrize(
    ("theirs", "apart"),
    [
        ([OTHER, ONE], 0.0),
        ([ONE, OTHER.model_copy(update={"score": 0.7})], 0.1),
        ([ONE], 1.0),
        ([], 2.0),
    ],
    ids=["in another order", "another score", "one is missing", "none"],
)
def test_an_export_is_compared_place_by_place(monkeypatch, theirs, apart):
    monkeypatch.setattr(detect, "predict", lambda *_, **__: [theirs])
    detector = SimpleNamespace(detect=lambda *_, **__: [[ONE, OTHER]])
    assert gates._parity(Path("a.pt"), detector, []) == pytest.approx(apart)
