"""Continuous batching: every text is what it would be alone, no block is lost or shared wrongly, nobody starves."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.decode.engine import Engine, EngineOptions
from evident_core.decode.generator import SamplingParams
from evident_core.decode.sequence import Sequence
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, TooMany
from ledger_runner import LedgerRunner, written_alone

TOKENIZER = Tokenizer.bytes()
VOCAB = TOKENIZER.vocab_size


def make(num_blocks: int = 32, block_size: int = 4, context: int = 64, **options: int | bool) -> Engine:
    runner = LedgerRunner(num_blocks, block_size, VOCAB)
    engine = Engine(runner, TOKENIZER, context, VOCAB, EngineOptions(**options))  # type: ignore[arg-type]
    # What ends a text would make the expected texts harder to state: here only max_tokens does.
    engine._ends = frozenset()
    runner.before_write = lambda block: written_by_one(engine, block)
    return engine


def written_by_one(engine: Engine, block: int) -> None:
    assert engine.pool.holders(block) == 1, "a shared block is written to"


def begin(engine: Engine, prompt: list[int], count: int) -> Sequence:
    sequence = engine.prepare(prompt, SamplingParams(max_tokens=count))
    engine.add(sequence)
    return sequence


def adds_up(engine: Engine) -> None:
    held = [block for sequence in engine.scheduler for block in sequence.table]
    pool = engine.pool
    assert [pool.holders(block) for block in range(pool.num_blocks)] == [
        held.count(block) for block in range(pool.num_blocks)
    ]
    assert pool.free == pool.num_blocks - len(set(held))


def run(engine: Engine, limit: int = 20_000) -> Iterator[list[Sequence]]:
    for _ in range(limit):
        if not len(engine.scheduler):
            return
        yield engine.step()
        adds_up(engine)
    pytest.fail("the engine does not come to an end")


def test_many_texts_together_are_each_as_if_alone() -> None:
    engine = make()
    prompts = [[7, index, 9] for index in range(6)]
    sequences = [begin(engine, prompt, 20) for prompt in prompts]
    for _ in run(engine):
        pass
    for prompt, sequence in zip(prompts, sequences, strict=True):
        assert sequence.result is not None
        assert list(sequence.result.token_ids) == written_alone(prompt, 20, VOCAB)
        assert sequence.result.finish_reason == "length"
        assert sequence.result.model_steps == 20
    assert engine.pool.free == engine.pool.num_blocks


schedules = st.fixed_dictionaries(
    {
        "num_blocks": st.integers(4, 14),
        "block_size": st.integers(1, 5),
        "max_running": st.integers(1, 6),
        "max_step_tokens": st.integers(1, 24),
        "prefix_reuse": st.booleans(),
        "seed": st.integers(0, 2**32),
    }
)


@settings(max_examples=400, deadline=None)
@given(schedules)
def test_over_random_schedules_texts_are_right_and_blocks_add_up(plan: dict[str, int]) -> None:
    chance = random.Random(plan.pop("seed"))
    capacity = plan["num_blocks"] * plan["block_size"]
    engine = make(context=1000, **plan)
    waiting: list[tuple[list[int], int, Sequence]] = []
    arrivals = 12
    for _ in range(3000):
        if arrivals and chance.random() < 0.3:
            arrivals -= 1
            # Few different tokens, so that many prompts begin alike.
            prompt = [chance.randrange(2) for _ in range(chance.randrange(1, max(2, capacity - 1)))]
            if len(prompt) >= capacity:
                continue
            count = chance.randrange(1, 12)
            waiting.append((prompt, count, begin(engine, prompt, count)))
        elif waiting and chance.random() < 0.03:
            engine.cancel(waiting[chance.randrange(len(waiting))][2])
        engine.step()
        adds_up(engine)
        if not arrivals and not len(engine.scheduler):
            break
    assert not len(engine.scheduler)
    assert engine.pool.free == engine.pool.num_blocks
    for prompt, count, sequence in waiting:
        assert sequence.result is not None
        room = min(count, capacity - len(prompt))
        expected = written_alone(prompt, room, VOCAB)
        if sequence.result.finish_reason == "cancelled":
            written = list(sequence.result.token_ids)
            assert written == expected[: len(written)]
        else:
            assert list(sequence.result.token_ids) == expected


def test_nobody_starves_while_new_prompts_keep_coming() -> None:
    engine = make(num_blocks=10, block_size=2, max_running=3, max_step_tokens=6)
    first = [begin(engine, [index, 5, 5], 10) for index in range(5)]
    steps = 0
    while not all(sequence.ended for sequence in first):
        begin(engine, [steps % 200, 8], 6)
        engine.step()
        steps += 1
        assert steps < 200, "those who came first still wait"
    assert engine.scheduler.preemptions > 0


def test_a_long_prompt_does_not_halt_those_that_write() -> None:
    engine = make(num_blocks=64, context=200, max_step_tokens=8)
    writing = begin(engine, [1, 2, 3], 40)
    engine.step()
    begin(engine, list(range(100)), 4)
    for _ in range(12):
        before = len(writing.tokens)
        engine.step()
        assert len(writing.tokens) == before + 1


def test_a_prompt_seen_before_is_not_computed_again() -> None:
    engine = make(num_blocks=64, context=200)
    prompt = list(range(100))
    for _ in range(2):
        begin(engine, prompt, 3)
        for _ in run(engine):
            pass
    runner = engine.runner
    assert isinstance(runner, LedgerRunner)
    assert [len(step.token_ids_T) for step in runner.steps] == [100, 1, 1, 4, 1, 1]


def test_a_cancelled_text_gives_its_blocks_back_wherever_it_is() -> None:
    engine = make(max_running=1)
    runs, waits = begin(engine, [1, 2], 30), begin(engine, [3, 4], 30)
    engine.step()
    for sequence in (runs, waits):
        engine.cancel(sequence)
        assert sequence.result is not None
        assert sequence.result.finish_reason == "cancelled"
        adds_up(engine)
    engine.cancel(runs)  # once more changes nothing
    assert engine.pool.free == engine.pool.num_blocks
    assert engine.step() == []


def test_a_failed_step_ends_all_and_frees_all() -> None:
    engine = make()
    sequences = [begin(engine, [1, 2], 5), begin(engine, [3, 4], 5)]
    engine.step()
    runner = engine.runner
    assert isinstance(runner, LedgerRunner)
    runner.fails = True
    with pytest.raises(RuntimeError, match="the device is gone") as raised:
        engine.step()
    assert engine.fail(raised.value) == sequences
    assert all(sequence.ended for sequence in sequences)
    assert engine.pool.free == engine.pool.num_blocks


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [([], "The prompt is empty"), (list(range(64)), "The prompt has 64 tokens"), ([3, 10_000], "Token 10000")],
)
def test_a_prompt_that_cannot_be_continued_is_refused(prompt: list[int], reason: str) -> None:
    engine = make()
    with pytest.raises(InvalidInput, match=reason):
        engine.prepare(prompt, SamplingParams())
    assert engine.pool.free == engine.pool.num_blocks


def test_a_full_queue_refuses_more() -> None:
    engine = make(max_running=1, max_waiting=1)
    begin(engine, [1], 2)
    engine.refuse_too_many()
    begin(engine, [1], 2)
    with pytest.raises(TooMany, match="1 texts are being written and 1 wait"):
        engine.refuse_too_many()


def test_the_context_ends_a_text_at_its_last_token() -> None:
    engine = make(context=10)
    sequence = begin(engine, [1, 2, 3], 100)
    for _ in run(engine):
        pass
    assert sequence.result is not None
    assert (sequence.result.finish_reason, sequence.result.completion_tokens) == ("length", 7)


def test_the_same_seed_gives_the_same_text_whatever_else_is_written() -> None:
    params = SamplingParams(temperature=1.0, top_p=0.9, seed=11, max_tokens=16)

    def text(others: int) -> tuple[int, ...]:
        engine = make()
        for index in range(others):
            begin(engine, [index, 2], 9)
        sequence = engine.prepare([5, 6], params)
        engine.add(sequence)
        for _ in run(engine):
            pass
        assert sequence.result is not None
        return sequence.result.token_ids

    assert text(0) == text(4)
