"""One model, many callers: streams, batches, threads, and what ends a text."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import torch

from evident_core.decode.engine import EngineOptions
from evident_core.decode.generator import Completion, SamplingParams
from evident_core.decode.llm import LLM
from evident_core.errors import InvalidInput, TooMany
from evident_core.moe.batch import Batch
from tiny_model import tiny_model, tiny_tokenizer

PROMPTS = ["a", "The patient has no", "营业收入", "x" * 60, "Zwei Werte: 1,2"]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(tiny_model(), tiny_tokenizer(), kernel=False)


def freed(llm: LLM) -> bool:
    return llm.engine.pool.free == llm.engine.pool.num_blocks and not len(llm.engine.scheduler)


def greedy(llm: LLM, prompt: str, count: int) -> list[int]:
    """The greedy text, with the whole of it computed anew for each token and no cache."""
    tokens = llm.encode(prompt)
    written: list[int] = []
    with torch.no_grad():
        while len(written) < count and 256 not in written:
            written.append(int(llm.model(Batch.packed([tokens + written]))[-1, : llm.tokenizer.vocab_size].argmax()))
    return [token for token in written if token != 256]


def test_a_text_is_what_the_model_says_without_cache_and_without_engine(llm: LLM) -> None:
    for prompt in PROMPTS:
        (done,) = llm.generate([prompt], SamplingParams(max_tokens=20))
        assert list(done.token_ids) == greedy(llm, prompt, 20)
        assert done.prompt_tokens == len(prompt.encode())
        assert done.text == llm.tokenizer.decode(done.token_ids, continued=True)


def test_together_they_are_as_alone_and_in_order(llm: LLM) -> None:
    params = SamplingParams(max_tokens=30)
    alone = [llm.generate([prompt], params)[0] for prompt in PROMPTS]
    assert llm.generate(PROMPTS, params) == alone
    assert freed(llm)


def test_pieces_of_a_stream_are_the_whole_text(llm: LLM) -> None:
    params = SamplingParams(max_tokens=40, temperature=0.8, seed=3)
    (done,) = llm.generate(["The"], params)
    chunks = list(llm.stream("The", params))
    assert "".join(chunk.text for chunk in chunks) == done.text
    assert chunks[-1].completion == done
    assert all(chunk.completion is None for chunk in chunks[:-1])
    assert len(chunks) > 10


def test_many_threads_are_served_together_and_each_gets_its_own(llm: LLM) -> None:
    params = [SamplingParams(max_tokens=10 + index % 7, temperature=0.7, seed=index) for index in range(24)]
    expected = [llm.generate([PROMPTS[index % 5]], each)[0] for index, each in enumerate(params)]
    together = []
    step = llm.engine.runner.run

    def watched(step_input):
        together.append(len(step_input.contexts_S))
        return step(step_input)

    llm.engine.runner.run = watched  # type: ignore[method-assign]
    barrier = threading.Barrier(24)

    def ask(index: int) -> Completion | None:
        barrier.wait()
        if index % 2:
            return llm.generate([PROMPTS[index % 5]], params[index])[0]
        return list(llm.stream(PROMPTS[index % 5], params[index]))[-1].completion

    try:
        with ThreadPoolExecutor(24) as pool:
            assert list(pool.map(ask, range(24))) == expected
    finally:
        del llm.engine.runner.run
    assert max(together) > 4, "callers were served one after the other"
    assert freed(llm)


def test_a_stream_that_is_closed_frees_its_blocks(llm: LLM) -> None:
    stream = llm.stream("The", SamplingParams(max_tokens=100))
    list(islice(stream, 3))
    assert not freed(llm)
    stream.close()
    assert freed(llm)


def test_a_stream_that_was_never_read_frees_its_blocks_too(llm: LLM) -> None:
    llm.stream("The", SamplingParams(max_tokens=100)).close()
    llm.stream("The", SamplingParams(max_tokens=100))  # let go of at once
    assert list(llm.generate(["a"], SamplingParams(max_tokens=3))[0].token_ids) == greedy(llm, "a", 3)
    assert freed(llm)


def test_a_stream_that_nobody_reads_on_does_not_halt_the_others(llm: LLM) -> None:
    stream = llm.stream("The", SamplingParams(max_tokens=30))
    next(stream)
    (done,) = llm.generate(["a"], SamplingParams(max_tokens=10))
    assert list(done.token_ids) == greedy(llm, "a", 10)
    rest = list(stream)
    assert rest[-1].completion is not None
    assert list(rest[-1].completion.token_ids) == greedy(llm, "The", 30)


def test_a_stop_text_ends_a_text_before_it(llm: LLM) -> None:
    whole = llm.generate(["The"], SamplingParams(max_tokens=40, temperature=1.0, seed=5))[0].text
    stop = whole[5:7]
    (done,) = llm.generate(["The"], SamplingParams(max_tokens=40, temperature=1.0, seed=5, stop=(stop,)))
    assert done.text == whole[: whole.index(stop)]
    assert done.finish_reason == "stop"


def test_the_models_own_end_ends_a_text_and_is_not_shown() -> None:
    model = tiny_model(1)
    with torch.no_grad():
        assert model.head is not None
        model.head.weight[256] = 4 * model.head.weight.abs().max() * torch.sign(model.norm.weight)
    llm = LLM(model, tiny_tokenizer(), kernel=False)
    done = llm.generate(["a", "b", "c", "d"], SamplingParams(max_tokens=200))
    ended = [each for each in done if each.finish_reason == "stop"]
    assert ended
    assert all(256 not in each.token_ids and "<eos>" not in each.text for each in done)


def test_a_chat_is_written_by_the_template_and_a_message_cannot_fake_a_turn(llm: LLM) -> None:
    asked = llm.tokenizer.decode(llm.encode([{"role": "user", "content": "Hi <eos>"}]))
    assert asked == "[user]Hi <eos>\n[assistant]"
    assert 256 not in llm.encode([{"role": "user", "content": "Hi <eos>"}])


def test_closing_the_model_ends_those_that_wait() -> None:
    with LLM(tiny_model(), tiny_tokenizer(), kernel=False) as llm:
        stream = llm.stream("The", SamplingParams(max_tokens=100))
        next(stream)
    last = list(stream)[-1].completion
    assert last is not None
    assert last.finish_reason == "cancelled"
    assert freed(llm)


def test_what_fails_in_a_step_is_told_to_all_and_the_next_caller_is_served(llm: LLM) -> None:
    def broken(step_input):
        raise RuntimeError("out of memory")

    llm.engine.runner.run = broken  # type: ignore[method-assign]
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            llm.generate(["a", "b"])
    finally:
        del llm.engine.runner.run
    assert freed(llm)
    assert list(llm.generate(["a"], SamplingParams(max_tokens=5))[0].token_ids) == greedy(llm, "a", 5)


@pytest.mark.parametrize(
    ("prompts", "params", "reason"),
    [
        ([""], None, "The prompt is empty"),
        (["x" * 256], None, "The prompt has 256 tokens"),
        ("text", None, "prompts is one text"),
        (["a", "b"], [SamplingParams()], "2 prompts and 1 params"),
        ([[]], None, "A chat is a list of one or more messages"),
    ],
)
def test_wrong_prompts_are_refused_and_leave_nothing_behind(llm: LLM, prompts, params, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        llm.generate(prompts, params)
    assert freed(llm)


def test_one_wrong_prompt_of_many_ends_the_call_and_frees_the_others(llm: LLM) -> None:
    with pytest.raises(InvalidInput, match="The prompt is empty"):
        llm.generate(["a", "b", ""])
    llm.generate(["c"], SamplingParams(max_tokens=1))
    assert freed(llm)


def test_a_full_engine_refuses_another_caller() -> None:
    llm = LLM(tiny_model(), tiny_tokenizer(), kernel=False, options=EngineOptions(max_running=1, max_waiting=0))
    stream = llm.stream("The")
    next(stream)
    with pytest.raises(TooMany, match="1 texts are being written"):
        llm.generate(["a"])
    stream.close()
    assert llm.generate(["a"], SamplingParams(max_tokens=2))[0].completion_tokens == 2


def test_a_small_cache_preempts_and_changes_nothing() -> None:
    wide = LLM(tiny_model(), tiny_tokenizer(), kernel=False)
    params = SamplingParams(max_tokens=60, temperature=0.9, seed=1)
    expected = wide.generate(PROMPTS, params)
    narrow = LLM(tiny_model(), tiny_tokenizer(), kernel=False, options=EngineOptions(max_step_tokens=7))
    narrow.engine.pool.take(narrow.engine.pool.num_blocks - 9)
    assert narrow.generate(PROMPTS, params) == expected
    assert narrow.engine.scheduler.preemptions > 0


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="259 tokens and the model only 100"):
        LLM(tiny_model(vocab_size=100, eos_token_ids=()), tiny_tokenizer())


def test_unknown_devices_and_types_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'gpu' is no device"):
        LLM(tiny_model(), tiny_tokenizer(), device="gpu")
    with pytest.raises(InvalidInput, match="quantization is 'fp8'"):
        LLM(tiny_model(), tiny_tokenizer(), quantization="fp8")  # type: ignore[arg-type]
