"""ISO 2859-1: every cell of the tables by the laws they obey, cells known by heart, and the switching rules."""

from itertools import pairwise, product

import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.assess import sampling
from evident_manufacturing.inspection.assess.sampling import (
    INSPECTIONS,
    LEVELS,
    Inspection,
    LotDecision,
    Plan,
    Standing,
    aqls,
    by_letter,
    code_letter,
    lot_decision,
    plan,
    resume,
    switch,
)

LETTERS = "ABCDEFGHJKLMNPQR"
SIZES = [2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800, 1250, 2000]
REDUCED_SIZES = [2, 2, 2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800]
CELLS = list(product(INSPECTIONS, LETTERS, aqls()))

# Along a diagonal (one letter further, one AQL tighter) n x AQL is the same, and so is what the tables print.
DIAGONALS: dict[str, dict[int, str]] = {
    "normal": {14: "0", 15: "^", 16: "v", 17: "1", 18: "2", 19: "3", 20: "5", 21: "7", 22: "10", 23: "14", 24: "21"},
    "tightened": {15: "0", 16: "v", 17: "v", 18: "1", 19: "2", 20: "3", 21: "5", 22: "8", 23: "12", 24: "18"},
    "reduced": {14: "0", 15: "^", 16: "v", 17: "v", 18: "1", 19: "2", 20: "3", 21: "5", 22: "6", 23: "8", 24: "10"},
}
SMALL = {"normal": ("30", "44"), "tightened": ("27", "41"), "reduced": ("14", "21")}


def raw(inspection: str, letter: str, aql: float) -> str:
    table = sampling._tables()[inspection]
    return table.cells[table.letters.index(letter)][table.aqls.index(aql)]


def expected(inspection: str, row: int, column: int) -> str:
    """What the law of the diagonals says of a cell."""
    if inspection == "reduced" and row == 0:
        return expected("normal", 0, column)
    if inspection == "reduced" and row == 1 and row + column >= 22:
        return {22: "7", 23: "10", 24: "14", 25: "21", 26: "30"}[row + column]
    if row < 5 and row + column in (25, 26):
        return SMALL[inspection][row + column - 25]
    return DIAGONALS[inspection].get(row + column, "v" if row + column < 14 else "^" if row + column > 24 else "v")


@pytest.mark.parametrize(("inspection", "letter", "aql"), CELLS)
def test_each_cell_follows_its_diagonal(inspection: Inspection, letter: str, aql: float) -> None:
    row, column = LETTERS.index(letter), aqls().index(aql)
    cell, law = raw(inspection, letter, aql), expected(inspection, row, column)
    if law not in "v^" or law == cell:
        assert cell == law
        return
    # At the ends of a table an arrow can only turn to where there is a plan.
    table = sampling._tables()[inspection]
    beyond = [
        other[column] for n, other in enumerate(table.cells) if (n > row if law == "v" else n < row)
    ]  # fmt: skip
    assert cell == ("^" if law == "v" else "v")
    assert all(each in "v^-" for each in beyond)


@pytest.mark.parametrize(("inspection", "letter", "aql"), CELLS)
def test_each_arrow_leads_to_the_first_plan_in_its_direction(inspection: Inspection, letter: str, aql: float) -> None:
    found, cell = by_letter(letter, aql, inspection), raw(inspection, letter, aql)
    order = (LETTERS + "S") if inspection == "tightened" else LETTERS
    start, end = order.index(letter), order.index(found.letter)
    assert (end > start) if cell == "v" else (end < start) if cell == "^" else end == start
    between = order[start:end] if end > start else order[end + 1 : start + 1]
    assert all(raw(inspection, each, aql) == cell for each in between)
    assert raw(inspection, found.letter, aql) == str(found.accept)
    assert found.reject == found.accept + 1
    sizes = dict(zip(LETTERS, REDUCED_SIZES if inspection == "reduced" else SIZES, strict=True)) | {"S": 3150}
    assert found.sample_size == sizes[found.letter]


@pytest.mark.parametrize("inspection", INSPECTIONS)
def test_acceptance_rises_with_the_aql_and_with_the_sample(inspection: Inspection) -> None:
    for letter in LETTERS:
        row = [by_letter(letter, aql, inspection) for aql in aqls()]
        for tighter, looser in pairwise(row):
            assert tighter.accept / tighter.sample_size <= looser.accept / looser.sample_size
    for aql in aqls():
        column = [by_letter(letter, aql, inspection) for letter in LETTERS]
        assert all(one.accept <= other.accept for one, other in pairwise(column))
        assert all(one.sample_size <= other.sample_size for one, other in pairwise(column) if one.accept)


@pytest.mark.parametrize(("letter", "aql"), list(product(LETTERS, aqls())))
def test_tightened_is_never_easier_and_reduced_never_larger_than_normal(letter: str, aql: float) -> None:
    normal, tight, eased = (by_letter(letter, aql, each) for each in INSPECTIONS)
    if tight.letter == normal.letter:
        assert tight.accept <= normal.accept
    assert tight.accept / tight.sample_size <= normal.accept / normal.sample_size or tight.accept == 0
    if eased.letter == normal.letter:
        assert eased.sample_size <= normal.sample_size
        assert eased.accept <= normal.accept


KNOWN = [
    ("normal", "A", 6.5, "A", 2, 0), ("normal", "F", 0.65, "F", 20, 0), ("normal", "G", 0.65, "F", 20, 0),
    ("normal", "H", 0.65, "J", 80, 1), ("normal", "H", 1.0, "H", 50, 1), ("normal", "G", 1.0, "H", 50, 1),
    ("normal", "J", 1.0, "J", 80, 2), ("normal", "K", 1.0, "K", 125, 3), ("normal", "K", 2.5, "K", 125, 7),
    ("normal", "K", 4.0, "K", 125, 10), ("normal", "L", 1.0, "L", 200, 5), ("normal", "L", 2.5, "L", 200, 10),
    ("normal", "L", 4.0, "L", 200, 14), ("normal", "L", 6.5, "L", 200, 21), ("normal", "M", 6.5, "L", 200, 21),
    ("normal", "Q", 0.010, "Q", 1250, 0), ("normal", "R", 0.010, "Q", 1250, 0), ("normal", "B", 1000, "B", 3, 44),
    ("tightened", "K", 1.0, "K", 125, 2), ("tightened", "L", 2.5, "L", 200, 8), ("tightened", "F", 1.0, "F", 20, 0),
    ("tightened", "G", 1.0, "J", 80, 1), ("tightened", "Q", 0.025, "S", 3150, 1), ("tightened", "K", 4.0, "K", 125, 8),
    ("reduced", "K", 1.0, "K", 50, 2), ("reduced", "M", 6.5, "L", 80, 10),
    ("reduced", "L", 1.5, "L", 80, 5), ("reduced", "L", 2.5, "L", 80, 6),
]  # fmt: skip


@pytest.mark.parametrize(("inspection", "letter", "aql", "used", "size", "accept"), KNOWN)
def test_published_cells(inspection: Inspection, letter: str, aql: float, used: str, size: int, accept: int) -> None:
    found = by_letter(letter, aql, inspection)
    assert (found.letter, found.sample_size, found.accept, found.reject) == (used, size, accept, accept + 1)


TABLE_1 = {
    2: "AAAAAAB", 8: "AAAAAAB", 9: "AAAAABC", 15: "AAAAABC", 16: "AABBBCD", 25: "AABBBCD", 26: "ABBCCDE",
    50: "ABBCCDE", 51: "BBCCCEF", 90: "BBCCCEF", 91: "BBCDDFG", 150: "BBCDDFG", 151: "BCDEEGH", 280: "BCDEEGH",
    281: "BCDEFHJ", 500: "BCDEFHJ", 501: "CCEFGJK", 1200: "CCEFGJK", 1201: "CDEGHKL", 3200: "CDEGHKL",
    3201: "CDFGJLM", 10_000: "CDFGJLM", 10_001: "CDFHKMN", 35_000: "CDFHKMN", 35_001: "DEGJLNP",
    150_000: "DEGJLNP", 150_001: "DEGJMPQ", 500_000: "DEGJMPQ", 500_001: "DEHKNQR", 10**9: "DEHKNQR",
}  # fmt: skip


@pytest.mark.parametrize("lot", TABLE_1)
def test_each_code_letter_of_table_1(lot: int) -> None:
    assert "".join(code_letter(lot, level) for level in LEVELS) == TABLE_1[lot]


def test_the_textbook_plan_and_one_that_is_the_whole_lot() -> None:
    assert plan(2000, 1.0) == Plan(letter="K", sample_size=125, accept=3, reject=4, aql=1.0, inspection="normal")
    whole = plan(8, 0.65)
    assert (whole.sample_size, whole.whole_lot, whole.accept) == (8, True, 0)


@pytest.mark.parametrize(
    ("lot", "aql", "level", "inspection"),
    [
        (1, 1.0, "II", "normal"),
        (0, 1.0, "II", "normal"),
        (9, 1.1, "II", "normal"),
        (9, 1.0, "IV", "normal"),
        (9, 1.0, "II", "x"),
    ],
)
def test_what_the_standard_has_no_plan_for_is_refused(lot: int, aql: float, level: str, inspection: str) -> None:
    with pytest.raises(InvalidInput):
        plan(lot, aql, level, inspection)  # type: ignore[arg-type]


K1 = plan(2000, 1.0)


@pytest.mark.parametrize(
    ("bad", "inspected", "accepted"),
    [(0, 0, None), (3, 124, None), (3, 125, True), (0, 125, True), (4, 125, False), (4, 10, False)],
)
def test_a_lot_passes_on_a_whole_sample_and_fails_at_once(bad: int, inspected: int, accepted: bool | None) -> None:
    assert lot_decision(K1, bad, inspected).accepted is accepted


def test_counts_that_cannot_be_are_refused_but_nonconformities_may_outnumber_parts() -> None:
    for bad, inspected in ((-1, 5), (6, 5), (0, -1)):
        with pytest.raises(InvalidInput):
            lot_decision(K1, bad, inspected)
    assert lot_decision(plan(8, 650), 30, 2).accepted is False


def lots(inspection: Inspection, *bad: int, aql: float = 1.0) -> list[LotDecision]:
    found = plan(2000, aql, inspection=inspection)
    return [lot_decision(found, each, found.sample_size) for each in bad]


def after(standing: Standing, decisions: list[LotDecision], **about: bool) -> Standing:
    for each in decisions:
        standing = switch(standing, each, **about)
    return standing


@pytest.mark.parametrize(
    ("bad", "inspection"),
    [((9, 9), "tightened"), ((9, 0, 0, 0, 9), "tightened"), ((9, 0, 0, 0, 0, 9), "normal"), ((9,), "normal")],
)
def test_two_of_five_lots_lead_to_tightened_inspection(bad: tuple[int, ...], inspection: str) -> None:
    assert after(Standing(), lots("normal", *bad)).inspection == inspection


def test_five_good_lots_in_a_row_end_tightened_inspection() -> None:
    tight = Standing(inspection="tightened")
    assert after(tight, lots("tightened", 0, 0, 0, 0)).inspection == "tightened"
    assert after(tight, lots("tightened", 0, 0, 0, 0, 0)) == Standing()
    assert after(tight, lots("tightened", 9, 0, 0, 0, 0)).inspection == "tightened"


def test_five_failed_lots_under_tightened_inspection_stop_it() -> None:
    tight = after(Standing(inspection="tightened"), lots("tightened", 9, 0, 9, 0, 9, 0, 9))
    assert not tight.stopped
    stopped = after(tight, lots("tightened", 0, 9))
    assert stopped.stopped
    with pytest.raises(InvalidInput, match="stopped"):
        switch(stopped, lots("tightened", 0)[0])
    assert resume(stopped) == Standing(inspection="tightened")


def test_the_switching_score_opens_reduced_inspection_at_30() -> None:
    nine = after(Standing(), lots("normal", *[2] * 9), reduce=True)
    assert (nine.score, nine.inspection) == (27, "normal")
    assert after(nine, lots("normal", 2), reduce=True).inspection == "reduced"
    assert after(nine, lots("normal", 2)).inspection == "normal"
    assert after(nine, lots("normal", 2), reduce=True, steady=False).inspection == "normal"
    # Three bad parts pass at AQL 1.0 and would not at 0.65.
    assert after(nine, lots("normal", 3), reduce=True).score == 0
    assert after(nine, lots("normal", 4), reduce=True).score == 0


def test_plans_that_accept_no_or_one_bad_part_score_two() -> None:
    small = plan(300, 0.65)
    assert small.accept == 1
    assert switch(Standing(), lot_decision(small, 1, 80)).score == 2
    assert switch(Standing(score=6), lot_decision(small, 2, 80)).score == 0


def test_one_failed_or_unsteady_lot_ends_reduced_inspection() -> None:
    eased = Standing(inspection="reduced")
    assert after(eased, lots("reduced", 0, 1)).inspection == "reduced"
    assert after(eased, lots("reduced", 3)) == Standing()
    assert after(eased, lots("reduced", 0), steady=False) == Standing()


def test_lots_that_are_undecided_or_under_another_severity_do_not_switch() -> None:
    with pytest.raises(InvalidInput, match="not decided"):
        switch(Standing(), lot_decision(K1, 0, 5))
    with pytest.raises(InvalidInput, match="tightened"):
        switch(Standing(), lots("tightened", 0)[0])


def test_a_score_can_be_told_for_every_cell() -> None:
    for letter, aql in product(LETTERS, aqls()):
        found = by_letter(letter, aql)
        decision = lot_decision(found, 0, found.sample_size)
        assert switch(Standing(), decision).score in (2, 3)
