"""The service's own figures with the models that ship."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from evident_manufacturing.inspection.evaluate.boards import FIRST_SEED, generate
from evident_manufacturing.inspection.evaluate.clean import measure_clean
from evident_manufacturing.inspection.evaluate.sizes import measure_sizes
from evident_manufacturing.inspection.evaluate.speed import measure_speed
from evident_manufacturing.inspection.perceive import Models, lay_under
from evident_manufacturing.inspection.perceive.detector import FOLDER
from evident_manufacturing.inspection.pipeline import open_models


@pytest.fixture(scope="module")
def models() -> Models:
    return open_models()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Two generated pairs in DeepPCB's layout."""
    folder, lines = tmp_path_factory.mktemp("pairs"), []
    for seed in (FIRST_SEED + 100, FIRST_SEED + 101):
        board = generate(seed, defects=4)
        for name, image in (("temp", board.template), ("test", board.test)):
            cv2.imwrite(str(folder / f"{seed}_{name}.jpg"), image)
        rows = [f"{' '.join(str(v) for v in each.label_box)} 1" for each in board.defects]
        (folder / f"{seed}.txt").write_text("\n".join(rows))
        lines.append(f"{seed}.jpg {seed}.txt")
    (folder / "trainval.txt").write_text("\n".join(lines))
    return folder


def test_sizes_count_every_defect_of_every_board_and_tell_how_far_they_are(models, pairs):
    told = []
    found = measure_sizes(models, 2, folder=pairs, part="all", on_board=lambda done, of: told.append((done, of)))
    boards = [
        generate(seed, **({"sizes_mm": (0.05, 0.2)} if seed % 2 else {})) for seed in range(FIRST_SEED, FIRST_SEED + 2)
    ]
    assert found.every.defects == sum(len(board.defects) for board in boards)
    assert sum(each.defects for each in found.by_length) == found.every.defects
    assert sum(each.found for each in found.by_length) == found.every.found
    large = found.by_length[-1]
    assert large.found == large.defects
    assert found.every.p95_length is not None
    assert found.every.p95_length < 0.1
    assert found.real is not None
    assert found.real.pairs == 2
    assert told == [(number, 4) for number in range(1, 5)]


def test_clean_boards_are_of_every_sort(models, pairs):
    found = measure_clean(models, 1, folder=pairs)
    assert [(each.sort, each.boards) for each in found.sorts] == [("generated", 1), ("displaced", 1), ("real", 1)]
    assert all(each.called <= each.boards for each in found.sorts)


def test_where_the_template_does_not_reach_the_test_stands_in_for_it():
    board = generate(FIRST_SEED + 7, defects=0, shift=9.0)
    _, laid, valid = lay_under(board.test, board.template)
    assert 0 < np.count_nonzero(~valid) < 0.05 * valid.size
    assert (laid[~valid] == board.test[~valid]).all()


def test_a_comparison_that_cannot_be_made_says_why(models, tmp_path):
    parts = []
    found = measure_speed(
        models,
        FOLDER / "fused",
        weights=tmp_path / "none.pt",
        rounds=1,
        side=700,
        parts=("tiles", "whole", "int8"),
        on_part=lambda done, of: parts.append((done, of)),
    )
    assert parts == [(1, 3), (2, 3), (3, 3)]
    named = {each.name: each for each in found.ratios}
    assert named["int8 end to end against YOLO.predict in torch"].note == "no weights"
    assert named["int8 end to end against YOLO.predict in torch"].value is None
    assert all((each.value is None) == bool(each.ours is None) for each in found.ratios)
    assert all(each.value is not None or each.note for each in found.ratios)
