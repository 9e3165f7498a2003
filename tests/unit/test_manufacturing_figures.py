"""The service's own figures: what is found is what is there, classes of size, ratios, and how they are shown."""

from io import StringIO

import pytest
from rich.console import Console

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.evaluate.boards import FIRST_SEED, encoded, generate, matches, seeds
from evident_manufacturing.inspection.evaluate.clean import Clean, CleanBoards
from evident_manufacturing.inspection.evaluate.ratios import Ratio, in_turns
from evident_manufacturing.inspection.evaluate.sizes import SizeClass, Sizes, SmallReal, _class, _Measured
from evident_manufacturing.inspection.evaluate.slicers import _agreement
from evident_manufacturing.inspection.evaluate.speed import Speed
from evident_manufacturing.inspection.ingest import ingest
from evident_manufacturing.inspection.schema import Detection
from evident_manufacturing.terminal_figures import print_clean, print_sizes, print_speed


def _shown(show, value) -> str:
    out = StringIO()
    show(Console(file=out, width=200), value)
    return out.getvalue()


def test_a_true_box_is_matched_to_the_nearest_reported_one_that_holds_its_centre_and_each_only_once():
    truth = [(10.0, 10.0, 14.0, 14.0), (30.0, 30.0, 34.0, 34.0), (90.0, 90.0, 94.0, 94.0)]
    found = [(0.0, 0.0, 60.0, 60.0), (5.0, 5.0, 19.0, 19.0), (70.0, 70.0, 80.0, 80.0)]
    assert matches(truth, found) == {0: 1, 1: 0}
    assert matches(truth[:2], found[:1]) == {1: 0}
    assert matches([], found) == {}
    assert matches(truth, []) == {}


def test_seeds_that_training_may_have_used_are_refused():
    assert list(seeds(FIRST_SEED, 3)) == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    with pytest.raises(InvalidInput, match="4999999"):
        seeds(FIRST_SEED - 1, 3)
    with pytest.raises(InvalidInput, match="0 boards"):
        seeds(FIRST_SEED, 0)


def test_a_generated_board_passes_through_a_file_unchanged():
    board = generate(FIRST_SEED, size=192)
    assert (ingest(encoded(board.test), name="board").gray == board.test).all()
    assert len(encoded(board.test, 60)) < len(encoded(board.test, 95))


def test_a_class_of_size_counts_what_lies_above_its_lower_bound_and_up_to_its_upper():
    every = [
        _Measured(0.10, found=False),
        _Measured(0.20, True, True, (0.01, 0.03), (0.02, 0.02)),
        _Measured(0.15, True, False, (0.03, 0.01), (0.02, 0.02)),
        _Measured(0.18, True, True),
        _Measured(0.21, True, True, (0.5, 0.5), (0.02, 0.02)),
    ]
    small = _class(every, 0.10, 0.20)
    assert (small.defects, small.found, small.kind_right, small.measured) == (3, 3, 2, 2)
    assert small.p95_length == pytest.approx(0.029)
    assert (small.covered_length, small.covered_width) == (0.5, 0.5)
    whole = _class(every, 0.0, 10.0)
    assert whole.share == 0.8
    none = _class(every, 0.40, 10.0)
    assert (none.defects, none.share, none.p95_length, none.covered_width) == (0, 1.0, None, None)


def test_works_take_turns_and_one_turn_goes_before_the_first():
    order = []
    took = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert set(took) == {"a", "b"}


def test_agreement_is_of_the_boxes_of_both():
    def box(x: float, score: float = 0.9) -> Detection:
        return Detection(bbox=(x, 0.0, x + 10.0, 10.0), kind="open", score=score)

    assert _agreement([], []) == 1.0
    assert _agreement([box(0.0)], []) == 0.0
    assert _agreement([box(0.0), box(100.0)], [box(1.0)]) == pytest.approx(2 / 3)
    assert _agreement([box(0.0), box(100.0, 0.01)], [box(1.0)]) == 1.0


def test_figures_are_shown_with_their_targets_and_what_was_not_measured_says_why():
    speed = Speed(
        model="m",
        cores=2,
        load=(0.5, 1.0),
        rounds=3,
        ratios=(
            Ratio(name="one", target=3.0, value=2.5, ours=10.0, theirs=25.0),
            Ratio(name="two", target=1.5, at_most=True, note="not installed"),
        ),
    )
    lines = _shown(print_speed, speed).splitlines()
    assert "2.50" in lines[2]
    assert "≥ 3" in lines[2]
    assert "not measured" in lines[3]
    assert "≤ 1.5" in lines[3]
    assert "not installed" in lines[3]


def test_sizes_and_clean_boards_are_shown():
    def of(above: float, most: float, found: int) -> SizeClass:
        return SizeClass(
            above=above,
            most=most,
            defects=10,
            found=found,
            kind_right=found,
            measured=found,
            p95_length=0.031 if found else None,
            p95_width=0.012 if found else None,
            covered_length=0.9 if found else None,
            covered_width=1.0 if found else None,
        )

    sizes = Sizes(
        model="m",
        boards=2,
        first_seed=FIRST_SEED,
        refused=0,
        false_calls=1,
        small=of(0.0, 0.2, 9),
        every=of(0.0, 10.0, 8),
        by_length=(of(0.0, 0.1, 0), of(0.4, 10.0, 10)),
        real=SmallReal(folder="pcb", pairs=3, labels=4, found=3, unseen=1, unseen_found=0),
    )
    shown = _shown(print_sizes, sizes)
    assert "all ≤ 0.20 mm" in shown
    assert "90.0%" in shown
    assert "± 0.031 mm" in shown
    assert "3 of 4 labels under 0.21 mm found (75.0%)" in shown
    clean = Clean(model="m", sorts=(CleanBoards(sort="displaced", boards=50, called=1, calls=2, refused=0),))
    assert clean.sorts[0].share == 0.02
    assert "2.0%" in _shown(print_clean, clean)
