"""A model is trained on a few boards and compared with the one that ships, and a store can install it."""

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.agent.installed import bundle, kind_of
from evident_manufacturing.inspection.evaluate.pairs import entries, read
from evident_manufacturing.inspection.perceive.detector import FOLDER
from evident_manufacturing.inspection.schema import KINDS
from evident_manufacturing.training.comparison import Retrained, compare
from evident_manufacturing.training.retrain import gather

GENERATOR = Path(__file__).parents[2] / "sample_data" / "manufacturing"


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Four generated boards in DeepPCB's layout."""
    folder = tmp_path_factory.mktemp("labels")
    if str(GENERATOR) not in sys.path:
        sys.path.insert(0, str(GENERATOR))
    generate = import_module("pcb_boards").generate
    (folder / "boards").mkdir()
    listed = []
    for seed in range(7_000_114, 7_000_118):  # of these the set holds back one to choose on and one to compare on
        board = generate(seed)
        stem = folder / "boards" / str(seed)
        cv2.imwrite(f"{stem}_test.jpg", board.test)
        cv2.imwrite(f"{stem}_temp.jpg", board.template)
        rows = [(*map(round, each.label_box), KINDS.index(each.kind) + 1) for each in board.defects]
        Path(f"{stem}.txt").write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows))
        listed.append(f"boards/{seed}.jpg boards/{seed}.txt\n")
    (folder / "trainval.txt").write_text("".join(listed))
    return folder


def test_a_model_is_as_good_as_itself_and_better_than_the_one_without_templates(labels):
    pairs = [read(entry) for entry in entries(labels)]
    steps = []
    same = compare(FOLDER / "fused", FOLDER / "fused", pairs, lambda *each: steps.append(each))
    assert same.current == same.candidate
    assert set(same.gains.values()) == {0.0}
    assert same.current.map_iou33 > 0.8
    assert steps[-1] == (16, 16)
    assert len(steps) == 16
    assert same.recommendation == ("promote" if same.labels >= 50 else "keep")
    with pytest.raises(InvalidInput, match="one looks at a template"):
        compare(FOLDER / "fused", FOLDER / "plain", pairs[:1])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ultralytics") is None, reason="the extra training is not installed")
def test_a_label_set_becomes_a_model_beside_the_one_in_use(labels, tmp_path):
    command = f"retrain {labels} {tmp_path} --epochs 1 --boards 2 --version retrained-1 --json"
    done = subprocess.run(
        [Path(sys.executable).with_name("evident"), "manufacturing", *command.split()],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = Retrained.model_validate_json(done.stdout)
    assert made == Retrained.model_validate_json((tmp_path / "comparison.json").read_bytes())
    train, _, _ = gather(labels)
    assert (made.trained_on, made.labelled, made.comparison.pairs) == (len(train), len(train), 1)
    assert made.weights.stat().st_size > 1_000_000
    assert kind_of(made.folder) == "fused"
    assert bundle(made.folder, tmp_path).version == "retrained-1"
    # It goes on from the model in use: from random weights one epoch sees nothing.
    assert made.comparison.candidate.map_iou33 > 0.5
    assert "too_few_labels" in {each.rule for each in made.comparison.findings}
    assert made.comparison.recommendation == "keep"
