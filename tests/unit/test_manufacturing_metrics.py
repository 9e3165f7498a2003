"""Average precision, F and the pairing of boxes with labels, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_manufacturing.inspection.evaluate.metrics import (
    Boxes,
    average_precision,
    best_operating,
    operating,
    overlaps,
)


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    values = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(values[:, :4], values[:, 4].astype(np.int64), values[:, 5])


LABEL = (0.0, 0.0, 10.0, 10.0, 0, 1.0)
ELSEWHERE = (50.0, 50.0, 60.0, 60.0, 0, 0.8)


def test_a_label_is_matched_once_and_what_comes_second_is_wrong():
    found = boxes((0, 0, 10, 10, 0, 0.9), (1, 0, 11, 10, 0, 0.7))
    assert average_precision([found], [boxes(LABEL)], 0.5).mean == 1.0
    assert operating([found], [boxes(LABEL)], 0.5, 0.5).precision == 0.5


def test_a_wrong_box_that_is_surer_halves_the_precision():
    found = boxes((50, 50, 60, 60, 0, 0.9), (0, 0, 10, 10, 0, 0.7))
    assert average_precision([found], [boxes(LABEL)], 0.5).mean == 0.5


def test_another_kind_is_no_match():
    found = boxes((0, 0, 10, 10, 1, 0.9))
    assert average_precision([found], [boxes(LABEL)], 0.5).by_kind == {0: 0.0}


def test_a_label_that_nobody_finds_lowers_the_recall():
    found = boxes((0, 0, 10, 10, 0, 0.9))
    score = average_precision([found], [boxes(LABEL, (*ELSEWHERE[:4], 0, 1.0))], 0.5)
    assert score.mean == 0.5


def test_the_overlap_decides_at_the_iou_that_is_asked_for():
    found, truth = boxes((0, 0, 10, 10, 0, 0.9)), boxes((0, 0, 10, 25, 0, 1.0))
    assert average_precision([found], [truth], 0.33).mean == 1.0
    assert average_precision([found], [truth], 0.5).mean == 0.0


def test_nothing_found_is_nothing_reached():
    assert average_precision([boxes()], [boxes(LABEL)], 0.5).mean == 0.0
    assert best_operating([boxes()], [boxes(LABEL)], 0.5).f1 == 0.0
    assert average_precision([boxes(ELSEWHERE)], [boxes()], 0.5).mean == 0.0


@settings(deadline=None)
@given(st.data())
def test_the_best_threshold_is_the_best_of_all(data):
    number = data.draw(st.integers(1, 4))
    scores = st.sampled_from([0.1, 0.3, 0.5, 0.9])
    found, labels = [], []
    for _ in range(number):
        hits = data.draw(st.lists(st.tuples(st.booleans(), scores), max_size=5))
        rows = [
            (20.0 * i, 0, 20.0 * i + 10, 10, 0, s) if hit else (0, 500, 9, 509, 0, s) for i, (hit, s) in enumerate(hits)
        ]
        found.append(boxes(*rows))
        labels.append(boxes(*((20.0 * i, 0, 20.0 * i + 10, 10, 0, 1.0) for i in range(data.draw(st.integers(0, 5))))))
    best = best_operating(found, labels, 0.5)
    reached = [operating(found, labels, 0.5, threshold).f1 for threshold in (0.05, 0.2, 0.4, 0.6, 0.95)]
    assert best.f1 == pytest.approx(max(reached))
    assert operating(found, labels, 0.5, best.threshold).f1 == pytest.approx(best.f1)


def test_overlaps_are_intersections_over_unions():
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20.0, 20, 30, 30], [0.0, 0, 10, 10]])
    assert overlaps(a, b)[0] == pytest.approx([1 / 3, 0, 1])
