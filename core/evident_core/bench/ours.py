"""Our own engine as a contestant: whole, and the bare kernel without what surrounds it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evident_core.bench.contestant import Contestant, Logits, missing_packages
from evident_core.bench.vocabulary import read_tokenizer

if TYPE_CHECKING:
    from evident_core.decode.generator import Completion
    from evident_core.decode.llm import LLM
    from evident_core.decode.runner import Runner

POSITIONS = 1024
"""Of the bare kernel's cache: more than any measurement needs."""


class Evident(Contestant):
    """``LLM(...).generate`` with int8 weights: tokenizer, schedule, run, choice of the token, text."""

    name = "Evident int8"

    def missing(self) -> str | None:
        """The command that installs what the engine needs."""
        return missing_packages(["torch", "safetensors", "tokenizers"], ["'evident[llm]'"])

    def prepare(self, folder: Path) -> None:
        """Nothing: it reads the checkpoint as it is."""

    def load(self, folder: Path, threads: int) -> str:
        """There is nothing to choose; prefixes are not reused, so that every prompt is read."""
        from evident_core.decode.engine import EngineOptions
        from evident_core.decode.llm import LLM

        self._llm = LLM(folder, quantization="int8", threads=threads, options=EngineOptions(prefix_reuse=False))
        self._tokenizer = read_tokenizer(folder)
        return self._llm.runner.describes

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        """See :class:`Contestant`."""
        runner = bare_runner(folder, 1, exact=exact)
        return np.stack([read(runner, [token], position).copy() for position, token in enumerate(tokens)])

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds for so many tokens, the short prompt and all of the engine included."""
        return self._generate(prompt, tokens)

    def first_token(self, prompt: Sequence[int]) -> float:
        """See :class:`Contestant`."""
        return self._generate(prompt, 1)

    def _generate(self, prompt: Sequence[int], tokens: int) -> float:
        text = self._tokenizer.decode(list(prompt))
        return write(self._llm, [text], len(prompt), tokens)


class EvidentKernel(Contestant):
    """The kernel alone: a step, the greatest logit, the next step."""

    name = "Evident kernel alone"

    def missing(self) -> str | None:
        """The command that installs what it needs."""
        return Evident().missing()

    def prepare(self, folder: Path) -> None:
        """Nothing."""

    def load(self, folder: Path, threads: int) -> str:
        """Load and quantise the weights."""
        self._runner = bare_runner(folder, threads, exact=False)
        return self._runner.describes

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        """See :class:`Contestant`."""
        return Evident().logits(folder, tokens, exact=exact)

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds for so many tokens; reading the prompt is not counted, as with the peers."""
        token = int(read(self._runner, prompt, 0).argmax())
        began = time.perf_counter()
        for position in range(len(prompt), len(prompt) + tokens):
            token = int(read(self._runner, [token], position).argmax())
        return time.perf_counter() - began

    def first_token(self, prompt: Sequence[int]) -> float:
        """See :class:`Contestant`."""
        began = time.perf_counter()
        read(self._runner, prompt, 0).argmax()
        return time.perf_counter() - began


def write(llm: "LLM", texts: Sequence[str], prompt_tokens: int, tokens: int) -> float:
    """Seconds until all of the texts are continued by exactly so many tokens each."""
    from evident_core.decode.generator import SamplingParams

    began = time.perf_counter()
    done = llm.generate(list(texts), SamplingParams(max_tokens=tokens))
    took = time.perf_counter() - began
    refuse_other_lengths(done, prompt_tokens, tokens)
    return took


def refuse_other_lengths(done: "Sequence[Completion | None]", prompt_tokens: int, tokens: int) -> None:
    """Compare nothing where other numbers of tokens were read or written than by the peers.

    Raises:
        RuntimeError: That is so.
    """
    for each in done:
        found = (each.prompt_tokens, each.completion_tokens) if each else None
        if found != (prompt_tokens, tokens):
            raise RuntimeError(f"{found} tokens were read and written instead of {(prompt_tokens, tokens)}")


def bare_runner(folder: Path, threads: int, *, exact: bool) -> "Runner":
    """What the engine runs its steps on, without the engine; float32 weights where it is to be exact."""
    from evident_core.decode.opening import open_model, open_runner

    opened = open_model(folder, None, None if exact else "int8", "cpu")
    return open_runner(opened.model, "cpu", 256 << 20, POSITIONS, kernel=True, threads=threads)


def read(runner: "Runner", tokens: Sequence[int], position: int) -> Logits:
    """One step of one sequence whose cache is the first slots; the logits [V] after its last token."""
    from evident_core.decode.runner import StepInput

    count, end = len(tokens), position + len(tokens)
    blocks = -(-end // runner.block_size)
    places = np.arange(position, end)
    step = StepInput(
        token_ids_T=np.array(tokens, np.int32),
        positions_T=places.astype(np.int32),
        slots_T=places,
        starts=np.array([0, count], np.int32),
        contexts_S=np.array([end], np.int32),
        tables_SB=np.arange(blocks, dtype=np.int32)[None],
        rows_R=np.array([count - 1], np.int32),
        allowed_RW=None,
    )
    logits: Logits = runner.run(step)[0]
    return logits
