"""How much faster many requests are together than one by one, and whether one of them waits longer than the others."""

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evident_core.bench.ours import refuse_other_lengths, write
from evident_core.bench.timing import Spread
from evident_core.bench.vocabulary import prompt, read_tokenizer

REQUESTS, PROMPT_TOKENS = 16, 8


@dataclass(frozen=True)
class Batching:
    """Continuous batching: requests that begin at the same time, each followed by a thread of its own.

    Attributes:
        requests: At the same time.
        alone: Tokens per second of one request.
        together: Tokens per second of all requests.
        listed: The same with all prompts in one call of ``generate``, without a thread for each.
        ratio: ``together`` by ``alone``, round by round.
        first_done: Of the requests that started together and write equally much: when the first was done, as a share
            of the time until all were.
        slowest_first_token: Milliseconds until the request that waited longest had its first token.
    """

    threads: int
    vocab_size: int
    requests: int
    alone: Spread
    together: Spread
    listed: Spread
    ratio: Spread
    first_done: Spread
    slowest_first_token: Spread


class BatchingBench:
    """Measured in a worker; ``run`` gives :class:`Batching` as a dictionary."""

    def run(self, folder: Path, threads: int, rounds: int, tokens: int) -> dict[str, Any]:
        """Write alone and together in turns."""
        from evident_core.decode.engine import EngineOptions
        from evident_core.decode.llm import LLM

        options = EngineOptions(prefix_reuse=False)
        llm = LLM(folder, quantization="int8", threads=threads, options=options)
        tokenizer = read_tokenizer(folder)
        texts = [prompt(tokenizer, PROMPT_TOKENS, number) for number in range(REQUESTS)]
        write(llm, texts, PROMPT_TOKENS, 8)
        alone, together, listed, first_done, first_token = [], [], [], [], []
        for number in range(rounds):
            alone.append(tokens / write(llm, [texts[number % REQUESTS]], PROMPT_TOKENS, tokens))
            firsts, ends = _together(llm, texts, tokens)
            together.append(REQUESTS * tokens / max(ends))
            listed.append(REQUESTS * tokens / write(llm, texts, PROMPT_TOKENS, tokens))
            first_done.append(min(ends) / max(ends))
            first_token.append(max(firsts) * 1e3)
        found = Batching(
            threads=threads,
            vocab_size=llm.model.config.vocab_size,
            requests=REQUESTS,
            alone=Spread.of(alone),
            together=Spread.of(together),
            listed=Spread.of(listed),
            ratio=Spread.of([both / one for both, one in zip(together, alone, strict=True)]),
            first_done=Spread.of(first_done),
            slowest_first_token=Spread.of(first_token),
        )
        return asdict(found)


def _together(llm: Any, texts: Sequence[str], tokens: int) -> tuple[list[float], list[float]]:
    """Stream each text to a thread of its own; seconds to the first token and to the end of each."""
    from evident_core.decode.generator import SamplingParams

    firsts, ends = [0.0] * len(texts), [0.0] * len(texts)
    failed: list[BaseException] = []
    start = threading.Barrier(len(texts) + 1)

    def follow(number: int) -> None:
        try:
            start.wait()
            for chunk in llm.stream(texts[number], SamplingParams(max_tokens=tokens)):
                firsts[number] = firsts[number] or time.perf_counter()
                last = chunk
            ends[number] = time.perf_counter()
            refuse_other_lengths([last.completion], PROMPT_TOKENS, tokens)
        except BaseException as error:  # raised again by who waits
            failed.append(error)

    readers = [threading.Thread(target=follow, args=(number,), daemon=True) for number in range(len(texts))]
    for reader in readers:
        reader.start()
    start.wait()
    began = time.perf_counter()
    for reader in readers:
        reader.join()
    if failed:
        raise failed[0]
    return [each - began for each in firsts], [each - began for each in ends]
