"""Retraining: which boards of a label set are held back, pieces for the network, and the rule of a recommendation."""

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection.evaluate.metrics import Boxes
from evident_manufacturing.inspection.evaluate.pairs import Pair
from evident_manufacturing.training.comparison import KIND_LOST, Measured, compare, judge, sentence
from evident_manufacturing.training.curve import Curve, table
from evident_manufacturing.training.detector import cut, label_lines
from evident_manufacturing.training.retrain import gather
from evident_manufacturing.training.rounds import Point

MEASURED = Measured(
    version="a",
    map_iou33=0.98,
    map50=0.97,
    precision=0.99,
    recall=0.97,
    f1=0.98,
    threshold=0.5,
    by_kind={"open": 0.97, "short": 0.99},
    called=1,
)


def label_set(target, names):
    """A label set as the review page gives it."""
    image = np.full((64, 64), 255, np.uint8)
    done, jpeg = cv2.imencode(".jpg", image)
    assert done
    with zipfile.ZipFile(target, "w") as packed:
        for name in names:
            packed.writestr(f"labels_a/{name}_test.jpg", jpeg.tobytes())
            packed.writestr(f"labels_a/{name}_temp.jpg", jpeg.tobytes())
            packed.writestr(f"labels_a/{name}.txt", "10 10 30 30 2\n")
        packed.writestr("trainval.txt", "".join(f"labels_a/{name}.jpg labels_a/{name}.txt\n" for name in names))
        packed.writestr("labels.json", '{"version": "cafe"}')
    return target


def test_a_board_stays_held_back_when_the_set_grows(tmp_path):
    names = [f"{number:016x}" for number in range(60)]
    train, held, version = gather(label_set(tmp_path / "small.zip", names[:30]))
    more, kept, _ = gather(label_set(tmp_path / "large.zip", names))
    assert version == "cafe"
    assert len(train) + len(held) == 30
    assert {each.name for each in held} <= {each.name for each in kept}
    assert {each.name for each in train} <= {each.name for each in more}
    assert 4 < len(kept) < 24
    assert train[0].classes.tolist() == [1]


def test_a_label_set_that_is_none_is_refused(tmp_path):
    with pytest.raises(NotFound, match="There is no label set"):
        gather(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("labels")
    with pytest.raises(InvalidInput, match=r"text\.zip is not a ZIP"):
        gather(tmp_path / "text.zip")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    with pytest.raises(InvalidInput, match=r"^empty\.zip is no label set"):
        gather(tmp_path / "empty.zip")
    with pytest.raises(NotFound, match=r"There is no trainval\.txt"):
        gather(tmp_path)


def test_a_large_board_is_cut_and_a_small_one_filled_up():
    rng = np.random.default_rng(0)
    board = cv2.resize(rng.integers(0, 2, (50, 75), np.uint8) * 255, (1200, 800), interpolation=cv2.INTER_NEAREST)
    boxes = np.array([[10, 20, 30, 50], [1150, 760, 1190, 790]], np.float32)
    pieces = cut(Pair("large", board, board.copy(), boxes, np.array([0, 5])))
    assert {each.test.shape for each in pieces} == {(640, 640)}
    assert len({each.name for each in pieces}) == len(pieces) == 6
    assert [each.classes.tolist() for each in pieces] == [[0], [], [], [], [], [5]]
    assert pieces[-1].boxes.tolist() == [[590.0, 600.0, 630.0, 630.0]]
    (small,) = cut(Pair("small", board[:400, :500], board[:400, :500], boxes[:1], np.array([0])))
    assert small.test.shape == (640, 640)
    assert np.array_equal(small.test[:400, :500], board[:400, :500])
    assert small.boxes.tolist() == boxes[:1].tolist()
    assert cut(small) == [small]


def test_labels_are_written_in_shares_of_the_picture():
    labels = Boxes(np.array([[10.0, 20.0, 30.0, 60.0]]), np.array([3]), np.ones(1))
    assert label_lines(labels, 100, 200) == "3 0.100000 0.400000 0.100000 0.400000"


def test_a_model_that_is_no_worse_is_promoted():
    (finding,) = judge(MEASURED, MEASURED, 500)
    assert finding.rule == "no_worse"
    allowed = MEASURED.model_copy(update={"map_iou33": 0.985, "by_kind": {"open": 0.97 - KIND_LOST / 2, "short": 1.0}})
    assert [each.rule for each in judge(MEASURED, allowed, 500)] == ["no_worse"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("map_lower", {"map_iou33": 0.979}),
        ("f_lower", {"f1": 0.97}),
        ("more_false_calls", {"called": 2}),
        ("kind_lost", {"by_kind": {"open": 0.93, "short": 1.0}, "map_iou33": 0.99}),
    ],
)
def test_whatever_is_worse_keeps_the_model_in_use(rule, change):
    (finding,) = judge(MEASURED, MEASURED.model_copy(update=change), 500)
    assert finding.rule == rule
    assert finding.kind == ("open" if rule == "kind_lost" else "")
    assert sentence(finding).endswith(".")


def test_few_labels_say_nothing():
    (finding,) = judge(MEASURED, MEASURED, 49)
    assert (finding.rule, finding.candidate) == ("too_few_labels", 49)


def test_nothing_to_compare_on_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no labelled pair"):
        compare(tmp_path, tmp_path, [])


def test_comparing_needs_no_pytorch():
    check = "import sys; import evident_manufacturing.training.comparison; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


def test_a_curve_is_told_as_a_table():
    point = Point(
        strategy="loop",
        seed=1,
        round=0,
        labels=50,
        images=7,
        steps=100,
        taught=90,
        left_out=3,
        right=0.96,
        recalled=0.97,
        map_iou33=0.9,
        map50=0.8,
        by_kind={},
        seconds=(9.0, 1.0),
    )
    curve = Curve(
        images=100,
        labels=500,
        validation_images=9,
        validation_labels=60,
        batch=8,
        shares=(0.1,),
        epochs=(5,),
        points=(point,),
    )
    assert table(curve).splitlines()[-1] == "| loop 1 | 10.0% (50) | 7 | 100 | 90 (0.960) | 0.9000 | 0.8000 |"
