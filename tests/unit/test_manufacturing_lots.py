"""A specification's rule for lots, and what it says of them: samples, revisions, and severity from lot to lot."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.assess.lot_rule import LotRule
from evident_manufacturing.inspection.assess.lots import Judged, LotResult, judge_lots, parts_of
from evident_manufacturing.inspection.assess.sampling import HIGHEST_PERCENT, LEVELS, Standing, aqls
from evident_manufacturing.inspection.assess.specification import Specification
from evident_manufacturing.inspection.schema import Decision
from manufacturing_specimen import specification

BEGAN = datetime(2025, 3, 14, 9, tzinfo=UTC)
RULE = LotRule(size=500, aql=1.0)  # H: n 50, Ac 1, Re 2; tightened J: n 80, Ac 1; reduced H: n 20, Ac 1
PAIR = LotRule(size=5, aql=6.5)  # A: n 2, Ac 0, Re 1; tightened B: n 3, Ac 0
A, W, R = Decision.ACCEPT, Decision.REWORK, Decision.REJECT


def board(
    number: int, decision: Decision = A, *, at: float | None = None, revision: int = 1, weak: bool = False
) -> Judged:
    seconds = number if at is None else at
    return Judged(f"SN-{number}", decision, BEGAN + timedelta(seconds=seconds), revision, weak, f"job-{seconds}")


def boards(*decisions: Decision, first: int = 0) -> list[Judged]:
    return [board(first + n, each) for n, each in enumerate(decisions)]


def one(them: Sequence[Judged], rule: LotRule | None = RULE) -> LotResult:
    (found,), _ = judge_lots({"L": them}, {"L": rule})
    return found


def line(rule: LotRule, bad: str, resumed: Iterable[float] = ()) -> tuple[list[tuple[str | None, str]], Standing]:
    """Lots of as many boards as the rule says, one after another; "x" is one of which no board conforms."""
    made = {f"L{n}": boards(*[R if each == "x" else A] * rule.size, first=n * rule.size) for n, each in enumerate(bad)}
    times = [BEGAN + timedelta(seconds=each * rule.size) for each in resumed]
    found, standing = judge_lots(made, dict.fromkeys(made, rule), times)
    return [(each.verdict, each.plan.inspection if each.plan else each.reason) for each in found], standing


def test_the_shipped_example_samples_its_lots() -> None:
    rule = specification().lot
    assert rule == RULE
    assert rule is not None
    plan = rule.plan()
    assert (plan.letter, plan.sample_size, plan.accept, plan.reject) == ("H", 50, 1, 2)
    assert Specification.load("product: p\nversion: 1\n").lot is None
    own = Specification.load("product: p\nversion: 1\nlot: {size: 60, level: S-4, aql: 0.010, reduced: true}\n").lot
    assert own == LotRule(size=60, aql=0.01, level="S-4", reduced=True)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{aql: 1.0}", "a lot needs size, such as lot: {size: 500"),
        ("{size: 500}", "a lot needs aql"),
        ("500", "a mapping"),
        ("{size: 1, aql: 1.0}", "from 2 on, and 1 is not"),
        ("{size: 10.5, aql: 1.0}", "whole number of boards"),
        ("{size: -5, aql: 1.0}", "out of range"),
        ("{size: many, aql: 1.0}", "not a number"),
        ("{size: 500, level: IV, aql: 1.0}", "'IV' is not an inspection level; there are S-1"),
        ("{size: 500, level: ii, aql: 1.0}", "'ii' is not an inspection level"),
        ("{size: 500, aql: 1.1}", "has no AQL 1.1; the nearest is 1, and there are 0.01"),
        ("{size: 500, aql: 0}", "the nearest is 0.01"),
        ("{size: 500, aql: 1 %}", "not a number"),
        ("{size: 500, aql: 15}", "at most 10; 15 would count defects"),
        ("{size: 500, aqls: 1.0}", "did you mean aql?"),
        ("{size: 500, aql: 1.0, reduced: yes}", "true or false"),
    ],
)
def test_a_rule_without_a_plan_is_refused_at_its_line(written: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Specification.load(f"product: p\nversion: 1\nlot: {written}\n", "board.yaml")
    assert message in refused.value.message
    assert "board.yaml, line 3:" in refused.value.message


def test_no_rule_that_is_read_has_a_plan_that_nothing_can_fail() -> None:
    limits = [each for each in aqls() if each <= HIGHEST_PERCENT]
    for size, level, aql in product((2, 3, 8, 15, 90, 1200, 1_000_000), LEVELS, limits):
        for severity in ("normal", "tightened", "reduced"):
            plan = LotRule(size=size, aql=aql, level=level).plan(severity)  # type: ignore[arg-type]
            assert plan.reject <= plan.sample_size <= size


@pytest.mark.parametrize(
    ("decisions", "verdict", "reason"),
    [
        ([A] * 49, "open", "sample_incomplete"),
        ([A] * 50, "accepted", "sample_passed"),
        ([A] * 49 + [R], "accepted", "sample_passed"),  # Ac
        ([A] * 48 + [R, R], "not_accepted", "reject_reached"),  # Re, with the last board
        ([R, W], "not_accepted", "reject_reached"),  # Re at once, and to rework counts
        ([R] + [A] * 48, "open", "sample_incomplete"),
        ([A] * 50 + [R] * 9, "accepted", "sample_passed"),  # after the sample
    ],
)
def test_a_sample_decides_at_ac_and_re(decisions: list[Decision], verdict: str, reason: str) -> None:
    found = one(boards(*decisions))
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (found.parts, found.inspected) == (len(decisions), min(len(decisions), 50))
    assert found.nonconforming == sum(each is not A for each in decisions[:50])
    assert found.parts_nonconforming == sum(each is not A for each in decisions)


def test_a_small_lot_is_inspected_whole_and_a_lot_without_a_rule_has_no_verdict() -> None:
    small = LotRule(size=3, aql=0.65)
    assert (one(boards(A, A), small).verdict, one(boards(A, A, A), small).verdict) == ("open", "accepted")
    without = one(boards(A, R), None)
    assert (without.verdict, without.plan, without.reason) == (None, None, "no_rule")
    assert (without.parts, without.parts_nonconforming) == (2, 1)


def test_a_part_counts_once_in_its_place_by_its_newest_revision() -> None:
    again = [board(0, R), board(1), board(0, A, at=10, revision=2), board(2, R)]
    (first, _, third) = parts_of(again[::-1])  # in whatever order they come
    assert (first.first.decision, first.newest.decision, first.mended) == (R, A, True)
    assert (third.newest.part_id, third.mended) == ("SN-2", False)
    # A revision that an agent delivers late, or an older clock, does not take the newer one's place.
    late = [board(0, R), board(0, A, at=5, revision=3), board(0, W, at=9, revision=2)]
    assert [each.newest.revision for each in parts_of(late)] == [3]
    # Without revisions, as the pages send a board again, the last one counts.
    assert [each.newest.decision for each in parts_of([board(0, A), board(0, R, at=7)])] == [R]


def test_rework_mends_a_board_and_not_its_lot() -> None:
    mended = [board(0, R), board(1, R), board(0, A, at=60, revision=2), *(board(n) for n in range(2, 50))]
    found = one(mended)
    assert (found.verdict, found.nonconforming, found.mended, found.parts_nonconforming) == ("not_accepted", 2, 1, 1)
    worse = one([*boards(*[A] * 50), board(0, R, at=60, revision=2), board(1, R, at=61, revision=2)])
    assert (worse.verdict, worse.mended, worse.parts_nonconforming) == ("accepted", 0, 2)
    assert one([*boards(*[A] * 49), board(49, weak=True)]).weak == 1


def test_severity_switches_from_lot_to_lot() -> None:
    found, standing = line(PAIR, "xx" + "....." + ".")
    assert [severity for _, severity in found] == ["normal"] * 2 + ["tightened"] * 5 + ["normal"]
    assert (standing.inspection, standing.score) == ("normal", 2)
    assert found[0][0] == "not_accepted"


def test_five_lots_under_tightened_inspection_stop_it_until_it_is_resumed() -> None:
    found, standing = line(PAIR, "xx" + "xxxxx" + "..")
    assert [severity for _, severity in found[-3:]] == ["tightened", "stopped", "stopped"]
    assert (found[-1][0], standing.stopped) == (None, True)
    # What began while it was stopped stays without a verdict; what begins later is under tightened inspection.
    found, standing = line(PAIR, "xx" + "xxxxx" + "..", resumed=[7.5])
    assert [severity for _, severity in found[-2:]] == ["stopped", "tightened"]
    assert (standing.inspection, standing.stopped, standing.failed_tightened) == ("tightened", False, 0)
    assert line(PAIR, "..", resumed=[1])[1] == line(PAIR, "..")[1]


def test_rework_does_not_loosen_the_severity() -> None:
    made = {f"L{n}": boards(R, R, A, A, A, first=5 * n) for n in range(3)}
    for n in range(2):
        made[f"L{n}"] += [board(5 * n + each, A, at=100 + each + n, revision=2) for each in range(2)]
    found, _ = judge_lots(made, dict.fromkeys(made, PAIR))
    assert [each.verdict for each in found] == ["not_accepted"] * 3
    assert [each.plan.inspection for each in found if each.plan] == ["normal", "normal", "tightened"]


def test_a_lot_keeps_the_severity_under_which_it_began() -> None:
    # Its first board comes before two lots fail, its second after them: it stays normal, and switches nothing.
    lots = {
        "early": [board(0), board(99)],
        "a": [board(1, R), board(2)],
        "b": [board(3, R), board(4)],
        "next": [board(5), board(6), board(7)],
    }
    found, standing = judge_lots(lots, dict.fromkeys(lots, PAIR))
    assert [(each.lot, each.plan and each.plan.inspection) for each in found] == [
        ("early", "normal"),
        ("a", "normal"),
        ("b", "normal"),
        ("next", "tightened"),
    ]
    assert standing == Standing(inspection="tightened", recent=(True,))


def test_reduced_inspection_is_for_those_who_ask_for_it() -> None:
    asked = PAIR.model_copy(update={"reduced": True})
    assert [line(asked, "." * 15)[1].inspection, line(PAIR, "." * 15)[1].inspection] == ["reduced", "normal"]
    assert line(asked, "." * 15 + "x")[1] == Standing()
    names = [f"L{n}" for n in range(16)]
    made = {name: boards(*[A] * 5, first=5 * n) for n, name in enumerate(names)}
    rules = dict.fromkeys(names, asked) | {"L15": PAIR}
    found, _ = judge_lots(made, rules)
    assert found[-1].plan is not None
    assert found[-1].plan.inspection == "normal"


def test_no_lots_leave_normal_inspection() -> None:
    assert judge_lots({}, {}) == ((), Standing())
