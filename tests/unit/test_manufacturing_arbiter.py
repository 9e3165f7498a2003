"""The arbiter: whose places are whose, what a difference is by its surroundings, and probabilities."""

import numpy as np
import pytest

from evident_manufacturing.inspection.perceive.arbiter import (
    ArbiterModel,
    Weights,
    kind_of,
    propose,
    suppress,
)
from evident_manufacturing.inspection.perceive.difference import difference
from evident_manufacturing.inspection.schema import Detection, Seen

MODEL = ArbiterModel(
    both=Weights(intercept=0.0, score=1.0),
    golden=Weights(intercept=-3.0, log_area=1.0),
    learned=Weights(intercept=-2.0, score=1.0),
    threshold=0.5,
    fitted_on="nothing",
)


def board() -> np.ndarray:
    """Two dark conductors on white."""
    image = np.full((200, 200), 255, np.uint8)
    image[40:70] = 0
    image[120:150] = 0
    return image


CHANGES = {
    "short": (np.s_[70:120, 90:100], 0),
    "spur": (np.s_[70:85, 90:100], 0),
    "copper": (np.s_[90:102, 90:102], 0),
    "open": (np.s_[40:70, 90:100], 255),
    "mousebite": (np.s_[60:70, 90:100], 255),
    "pinhole": (np.s_[50:60, 90:100], 255),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_difference_is_named_by_the_conductors_around_it(kind):
    template, test = board(), board()
    place, value = CHANGES[kind]
    test[place] = value
    (candidate,) = difference(test, template).candidates
    assert kind_of(candidate, test, template) == kind
    (proposal,) = propose([], difference(test, template), test, template)
    assert (proposal.kind, proposal.seen, proposal.score) == (kind, Seen.GOLDEN, 0.0)


def test_a_box_takes_the_differences_within_it_and_leaves_the_others():
    template, test = board(), board()
    for place, value in (CHANGES["pinhole"], (np.s_[130:140, 20:30], 255)):
        test[place] = value
    found = difference(test, template)
    seen = Detection(bbox=(80.0, 40.0, 110.0, 70.0), kind="pinhole", score=0.9)
    both, alone = propose([seen], found, test, template)
    assert (both.seen, both.bbox, len(both.candidates)) == (Seen.BOTH, seen.bbox, 1)
    assert alone.seen is Seen.GOLDEN
    assert alone.bbox[0] < 20 < 30 < alone.bbox[2]


def test_a_weak_box_counts_only_where_there_is_a_difference():
    template, test = board(), board()
    test[CHANGES["pinhole"][0]] = 255
    weak = [
        Detection(bbox=(80.0, 40.0, 110.0, 70.0), kind="pinhole", score=0.01),
        Detection(bbox=(10.0, 80.0, 40.0, 110.0), kind="copper", score=0.01),
    ]
    assert [each.seen for each in propose(weak, difference(test, template), test, template)] == [Seen.BOTH]


def test_the_surest_of_boxes_of_one_defect_is_kept():
    one = Detection(bbox=(0.0, 0.0, 10.0, 10.0), kind="open", score=0.5)
    surer = one.model_copy(update={"score": 0.8, "kind": "mousebite"})
    other = one.model_copy(update={"bbox": (50.0, 0.0, 60.0, 10.0)})
    assert suppress([one, surer, other]) == [surer, other]


def test_probabilities_follow_the_coefficients():
    template, test = board(), board()
    test[CHANGES["pinhole"][0]] = 255
    (alone,) = propose([], difference(test, template), test, template)
    area = sum(each.area for each in alone.candidates)
    assert alone.probability(MODEL) == pytest.approx(1 / (1 + np.exp(3.0) / area))
    seen = Detection(bbox=(10.0, 80.0, 40.0, 110.0), kind="copper", score=0.5)
    learned = propose([seen], None, test, None)[0]
    assert learned.probability(MODEL) == pytest.approx(1 / (1 + np.exp(2.0)))
