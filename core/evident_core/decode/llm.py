"""Open a checkpoint and continue texts with it; many threads may share one."""

import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as List
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from evident_core.decode.engine import Engine, EngineOptions
from evident_core.decode.generator import Chunk, Completion, Prompt, SamplingParams
from evident_core.decode.sequence import Sequence
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput

if TYPE_CHECKING:
    from evident_core.moe.model import CausalLM

Quantization = Literal["int8", "int4"]


class LLM:
    """A model in this process, as a ``Generator``.

    Callers of any number of threads are served together: their sequences share each step. There is no thread of the
    engine's own; of the callers that wait, one runs the steps for all.

    Args:
        model: A checkpoint's folder (Hugging Face's layout), or a model that is built already; by default the suite's
            own small model.
        tokenizer: By default the one in the folder.
        quantization: ``"int8"`` or ``"int4"`` quantises the weights after loading; a folder that is quantised already
            stays as it is.
        device: Where PyTorch computes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        kernel: Whether the C++ kernel computes on a CPU, where it can be built and knows the architecture.
        threads: Threads of the kernel; by default one a core.
        cache_mib: Memory of the key-value cache.
        options: How much is done at the same time.

    Raises:
        InvalidInput: The folder is no checkpoint of a family that is known; the message says what is wrong.
        MissingExtra: A package of the extra ``llm`` is not installed.
    """

    def __init__(
        self,
        model: "str | Path | CausalLM | None" = None,
        tokenizer: Tokenizer | None = None,
        *,
        quantization: Quantization | None = None,
        device: str = "cpu",
        kernel: bool = True,
        threads: int | None = None,
        cache_mib: int = 256,
        options: EngineOptions | None = None,
    ) -> None:
        from evident_core.decode.opening import open_model, open_runner

        opened = open_model(model, tokenizer, quantization, device)
        self.model, self.tokenizer, self._name = opened.model, opened.tokenizer, opened.name
        options = options or EngineOptions()
        context = opened.model.config.max_position_embeddings
        wanted = context * options.max_running
        self.runner = open_runner(opened.model, device, cache_mib << 20, wanted, kernel=kernel, threads=threads)
        self.engine = Engine(self.runner, self.tokenizer, context, opened.model.config.vocab_size, options)
        self._lock = threading.Lock()
        self._turns: dict[int, threading.Condition] = {}
        self._leading = False
        self._added: list[Sequence] = []
        # A deque, since what is let go of may be collected in any thread at any moment: nothing is locked for it.
        self._cancelled: deque[Sequence] = deque()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._name

    def __enter__(self) -> Self:
        """The model, which is let go of at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what is still being written."""
        self.close()

    def close(self) -> None:
        """End all texts that are still being written, as cancelled."""
        with self._lock:
            self.abandon([*self.engine.scheduler, *self._added])
            if not self._leading:
                self._settle()

    def encode(self, prompt: Prompt) -> list[int]:
        """The tokens of a text, or of a chat as the model's template writes it."""
        if isinstance(prompt, str):
            if not prompt:
                raise InvalidInput("The prompt is empty; there is nothing to continue.", tokens=0)
            return self.tokenizer.encode(prompt)
        return self.tokenizer.encode_chat(prompt)

    def generate(
        self, prompts: List[Prompt], params: SamplingParams | List[SamplingParams] | None = None
    ) -> list[Completion]:
        """Continue each prompt; see :class:`Generator`."""
        if isinstance(prompts, str):
            raise InvalidInput("prompts is one text; give a list of texts.", parameter="prompts")
        each_params = [params or SamplingParams()] * len(prompts) if not isinstance(params, List) else list(params)
        if len(each_params) != len(prompts):
            raise InvalidInput(
                f"There are {len(prompts)} prompts and {len(each_params)} params; give one for all, or one each."
            )
        sequences: list[Sequence] = []
        try:
            for prompt, each in zip(prompts, each_params, strict=True):
                sequences.append(self._add(prompt, each, first=not sequences))
            return [self.result_of(sequence) for sequence in sequences]
        finally:
            self.cancel(sequences)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> "Stream":
        """Continue a prompt piece by piece; see :class:`Generator`."""
        return Stream(self, self._add(prompt, params or SamplingParams()))

    def result_of(self, sequence: Sequence) -> Completion:
        """Wait until a sequence has ended; what it became, or the error that ended it."""
        self.await_news(sequence, whole=True)
        if sequence.error is not None:
            raise sequence.error
        assert sequence.result is not None  # noqa: S101  # awaited
        return sequence.result

    def _add(self, prompt: Prompt, params: SamplingParams, *, first: bool = True) -> Sequence:
        sequence = self.engine.prepare(self.encode(prompt), params)
        with self._lock:
            if first:  # A call that is let in may bring many prompts: its caller waits for them all.
                self.engine.refuse_too_many(len(self._added))
            if not sequence.ended:
                self._added.append(sequence)
        return sequence

    def cancel(self, sequences: List[Sequence]) -> None:
        """End those that have not ended, now or after the step that is running."""
        self.abandon(sequences)
        with self._lock:
            if not self._leading:
                self._settle()

    def abandon(self, sequences: List[Sequence]) -> None:
        """The same, before the next step that anybody asks for; waits for nothing."""
        self._cancelled.extend(each for each in sequences if not each.ended)

    def await_news(self, sequence: Sequence, *, whole: bool) -> None:
        """Wait until a sequence has ended, or has a piece to read; run steps where nobody else does."""

        def ready() -> bool:
            return sequence.ended or (not whole and bool(sequence.pieces))

        with self._lock:
            try:
                while not ready():
                    if self._leading:
                        self._turns.setdefault(id(sequence), threading.Condition(self._lock)).wait()
                    else:
                        self._lead(ready)
            finally:
                self._turns.pop(id(sequence), None)
                if not self._leading and self._turns:
                    next(iter(self._turns.values())).notify()

    def _lead(self, ready: Callable[[], bool]) -> None:
        self._leading = True
        try:
            while not ready():
                self._settle()
                if ready():
                    break
                self._lock.release()
                try:
                    news = self._step()
                finally:
                    self._lock.acquire()
                for each in news:
                    if turn := self._turns.get(id(each)):
                        turn.notify()
        finally:
            self._leading = False

    def _step(self) -> List[Sequence]:
        try:
            return self.engine.step()
        except Exception as error:  # whoever waits is told, and the cache is whole again
            return self.engine.fail(error)

    def _settle(self) -> None:
        """Let in who came, and out who left; between steps, under the lock."""
        for sequence in self._added:
            self.engine.add(sequence)
        self._added.clear()
        while self._cancelled:
            sequence = self._cancelled.popleft()
            self.engine.cancel(sequence)
            if turn := self._turns.get(id(sequence)):
                turn.notify()


class Stream:
    """The pieces of one text as they come. Closing it, or letting go of it, ends the text and frees its memory."""

    def __init__(self, llm: LLM, sequence: Sequence) -> None:
        self._llm, self._sequence, self._done = llm, sequence, False

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> Chunk:
        """The next piece; the last one has the whole."""
        if self._done:
            raise StopIteration
        sequence = self._sequence
        try:
            self._llm.await_news(sequence, whole=False)
            # Asked before the pieces are taken: what ends a sequence is set after its last piece.
            ended, text = sequence.ended, ""
            while sequence.pieces:
                text += sequence.pieces.popleft()
            chunk = Chunk(text, self._llm.result_of(sequence) if ended else None)
        except BaseException:
            self.close()
            raise
        self._done = ended
        return chunk

    def close(self) -> None:
        """End the text, if it has not ended."""
        self._done = True
        self._llm.cancel([self._sequence])

    def __del__(self) -> None:
        """Nobody can read it any more."""
        self._llm.abandon([self._sequence])
