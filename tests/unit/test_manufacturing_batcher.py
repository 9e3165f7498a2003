"""Collecting what many ask at once: the same answers, nobody waits beyond the budget, nobody suffers for another."""

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.errors import Conflict, InvalidInput
from evident_manufacturing.inspection.perceive.batcher import Batcher, patience

TIMEOUT = 20


def doubled(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


@given(st.lists(st.floats(0, 100), max_size=12).map(sorted), st.floats(0, 200), st.integers(1, 8), st.floats(0, 10))
def test_items_are_due_when_there_are_enough_or_the_first_has_waited_its_budget(arrivals, now, most, budget):
    left = patience(arrivals, now, most, budget)
    if not arrivals:
        assert left is None
    elif len(arrivals) >= most or now >= arrivals[0] + budget:
        assert left == 0
    else:
        assert left == pytest.approx(arrivals[0] + budget - now)


def test_answers_are_those_of_one_at_a_time_in_whatever_batches():
    sizes = []

    def work(items):
        sizes.append(len(items))
        return doubled(items)

    with Batcher(work, most=3, budget=0.005) as batcher:
        answers = [batcher.submit(item) for item in range(50)]
        assert [each.result(TIMEOUT) for each in answers] == doubled(range(50))
        assert batcher([7, 8]) == [14, 16]
    assert sum(sizes) == 52
    assert max(sizes) == 3


def test_what_came_while_the_first_were_computed_goes_together():
    sizes, begun, go = [], threading.Event(), threading.Event()

    def work(items):
        sizes.append(len(items))
        begun.set()
        assert go.wait(TIMEOUT)
        return doubled(items)

    with Batcher(work, most=8, budget=0.0) as batcher:
        first = batcher.submit(1)
        assert begun.wait(TIMEOUT)
        rest = [batcher.submit(item) for item in (2, 3, 4)]
        go.set()
        assert [each.result(TIMEOUT) for each in (first, *rest)] == [2, 4, 6, 8]
    assert sizes == [1, 3]


def test_nobody_is_computed_before_the_budget_is_spent_or_there_are_enough():
    now, sizes, looked = [0.0], [], threading.Semaphore(0)

    def clock():
        looked.release()
        return now[0]

    def work(items):
        sizes.append(len(items))
        return doubled(items)

    with Batcher(work, most=3, budget=1e6, clock=clock) as batcher:
        early = [batcher.submit(1), batcher.submit(2)]
        for _ in range(3):  # asked at both arrivals, and at least once by who waits
            assert looked.acquire(timeout=TIMEOUT)
        assert not any(each.done() for each in early)
        full = batcher.submit(3)
        assert [each.result(TIMEOUT) for each in (*early, full)] == [2, 4, 6]
        late = batcher.submit(4)
        now[0] = 2e6
        second = batcher.submit(5)  # the first of the two has waited long enough by now
        assert [late.result(TIMEOUT), second.result(TIMEOUT)] == [8, 10]
    assert sizes == [3, 2]


def test_an_error_is_that_of_its_own_item():
    def work(items):
        if 3 in items:
            raise InvalidInput("3 is not computed")
        return doubled(items)

    with Batcher(work, most=4, budget=0.05) as batcher:
        answers = [batcher.submit(item) for item in (1, 2, 3, 4)]
        with pytest.raises(InvalidInput, match="3 is not computed"):
            answers[2].result(TIMEOUT)
        assert [answers[index].result(TIMEOUT) for index in (0, 1, 3)] == [2, 4, 8]


def test_too_few_answers_are_an_error_and_not_somebody_elses():
    with Batcher(lambda items: doubled(items)[:1], most=2, budget=0.05) as batcher:
        assert [batcher.submit(item).result(TIMEOUT) for item in (1, 2)] == [2, 4]
        both = [batcher.submit(item) for item in (1, 2)]
        assert [each.result(TIMEOUT) for each in both] == [2, 4]


def test_what_is_taken_back_is_not_computed():
    begun, go, seen = threading.Event(), threading.Event(), []

    def work(items):
        seen.extend(items)
        begun.set()
        assert go.wait(TIMEOUT)
        return doubled(items)

    with Batcher(work) as batcher:
        first = batcher.submit(1)
        assert begun.wait(TIMEOUT)
        second, third = batcher.submit(2), batcher.submit(3)
        assert second.cancel()
        go.set()
        assert [first.result(TIMEOUT), third.result(TIMEOUT)] == [2, 6]
    assert seen == [1, 3]


def test_what_waits_at_the_end_is_answered_and_then_nothing_more_is_taken():
    batcher: Batcher[int, int] = Batcher(doubled, most=8, budget=1000.0)
    answers = [batcher.submit(item) for item in (1, 2)]
    batcher.close()
    assert [each.result(0) for each in answers] == [2, 4]
    with pytest.raises(Conflict, match="closed"):
        batcher.submit(3)


def test_several_workers_compute_at_once_and_leave_nothing_waiting():
    together = threading.Barrier(3)

    def work(items):
        together.wait(TIMEOUT)  # goes on only once three calls are at it
        return doubled(items)

    with Batcher(work, most=1, workers=3) as batcher:
        assert batcher([1, 2, 3]) == [2, 4, 6]
    with Batcher(doubled, most=2, workers=3, budget=0.001) as batcher:
        assert batcher(range(101)) == doubled(range(101))


@pytest.mark.parametrize(("most", "workers", "budget"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -1.0), (1, 1, float("inf"))])
def test_limits_that_cannot_be_kept_are_refused(most, workers, budget):
    with pytest.raises(InvalidInput, match="cannot be made"):
        Batcher(doubled, most=most, workers=workers, budget=budget)
