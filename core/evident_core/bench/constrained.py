"""What a whole text costs under a schema, beside a free one."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evident_core.bench.specimens import report_schema
from evident_core.bench.timing import Spread
from evident_core.bench.vocabulary import prompt, read_tokenizer


@dataclass(frozen=True)
class Constrained:
    """Writing by a nested schema with the whole engine.

    Attributes:
        cost: What a token takes more under the schema than without, as a share, by tokens that the model was run for;
            negative where it takes less.
        speed: How much faster its tokens come, those that the schema forced included.
        model_steps: Tokens of the constrained text that the model was run for.
        written: All its tokens.
    """

    vocab_size: int
    threads: int
    cost: Spread
    speed: Spread
    model_steps: int
    written: int


class ConstrainedBench:
    """Measured in a worker; ``run`` gives :class:`Constrained` as a dictionary."""

    def run(self, folder: Path, threads: int, rounds: int, tokens: int) -> dict[str, Any]:
        """Write with and without the schema in turns."""
        from evident_core.decode.engine import EngineOptions
        from evident_core.decode.generator import SamplingParams
        from evident_core.decode.grammar import Grammar
        from evident_core.decode.llm import LLM

        llm = LLM(folder, quantization="int8", threads=threads, options=EngineOptions(prefix_reuse=False))
        text = prompt(read_tokenizer(folder), 8)
        bound = SamplingParams(max_tokens=tokens, grammar=Grammar.json_schema(report_schema(0)))

        def write(params: SamplingParams) -> tuple[float, int, int]:
            began = time.perf_counter()
            done = llm.generate([text], params)[0]
            return time.perf_counter() - began, done.model_steps or 1, done.completion_tokens

        _, _, length = write(bound)  # compiles the schema
        free = SamplingParams(max_tokens=length)
        costs, speeds, steps, written = [], [], 0, 0
        for turn in range(rounds):
            order = (free, bound) if turn % 2 else (bound, free)
            took = {params: write(params) for params in order}
            (seconds, steps, written), (free_seconds, free_steps, _) = took[bound], took[free]
            costs.append(seconds / steps / (free_seconds / free_steps) - 1)
            speeds.append(free_seconds / free_steps / (seconds / written))
        size = llm.model.config.vocab_size
        return asdict(Constrained(size, threads, Spread.of(costs), Spread.of(speeds), steps, written))
