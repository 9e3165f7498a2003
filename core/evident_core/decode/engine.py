"""The decode engine: a step is schedule, run, postprocess.

It knows no threads and no text files: ``decode.llm`` opens checkpoints and lets many callers share one engine.
"""

from collections.abc import Sequence as List
from dataclasses import dataclass

import numpy as np

from evident_core.decode import sampler
from evident_core.decode.blocks import BlockPool
from evident_core.decode.closing import ClosingGuard
from evident_core.decode.generator import FinishReason, SamplingParams
from evident_core.decode.runner import Float32, Int32, Runner, StepInput
from evident_core.decode.scheduler import Scheduled, Scheduler
from evident_core.decode.sequence import Sequence
from evident_core.decode.text import Text
from evident_core.decode.tokenizer import StreamDecoder, Tokenizer
from evident_core.errors import EvidentError, InvalidInput, TooMany


@dataclass(frozen=True)
class EngineOptions:
    """How much the engine does at the same time.

    Attributes:
        max_running: Most sequences in a step.
        max_step_tokens: Most tokens in a step; longer prompts are cut into chunks.
        max_waiting: Most sequences that wait; more are refused.
        prefix_reuse: Whether equal beginnings of prompts are computed once.
    """

    max_running: int = 32
    max_step_tokens: int = 512
    max_waiting: int = 1000
    prefix_reuse: bool = True


class Engine:
    """Continues many sequences at the same time.

    Args:
        runner: Computes logits.
        tokenizer: Turns tokens into text.
        context: Most tokens of a prompt and its text together that the model was made for.
        vocab_size: Logits that the model gives, which may be more than the tokenizer has tokens.
        options: Limits.
    """

    def __init__(
        self, runner: Runner, tokenizer: Tokenizer, context: int, vocab_size: int, options: EngineOptions | None = None
    ) -> None:
        self.options = options or EngineOptions()
        self.runner, self.tokenizer = runner, tokenizer
        self.pool = BlockPool(runner.num_blocks, runner.block_size, reuse=self.options.prefix_reuse)
        self.scheduler = Scheduler(self.pool, self.options.max_running, self.options.max_step_tokens)
        self.context = min(context, runner.num_blocks * runner.block_size)
        self._words = -(-vocab_size // 32)
        self._known_words = -(-tokenizer.vocab_size // 32)
        self._ends = frozenset(tokenizer.eos_token_ids)

    def prepare(self, prompt: List[int], params: SamplingParams) -> Sequence:
        """A sequence that can be added. It has ended already if its grammar leaves nothing to choose.

        Raises:
            InvalidInput: The prompt is empty or leaves no room in the context, a token is none of the vocabulary's, or
                ``max_tokens`` is too few for the grammar.
        """
        self._refuse(prompt)
        limit = min(len(prompt) + params.max_tokens, self.context)
        guard = None
        if params.grammar is not None:
            guard = ClosingGuard(params.grammar.constraint(self.tokenizer), limit - len(prompt))
        text = Text(StreamDecoder(self.tokenizer, continued=True), params.stop)
        sequence = Sequence(list(prompt), params, text, limit, self.pool.block_size, guard)
        if guard is not None:
            opening = guard.start()
            self._append(sequence, opening.tokens, opening.finish_reason)
        return sequence

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn."""
        if not sequence.ended:
            self.scheduler.add(sequence)

    def refuse_too_many(self, more: int = 0) -> None:
        """Refuse another sequence where as many wait already as the engine accepts.

        Raises:
            TooMany: That is so; ``more`` are counted besides those that were added.
        """
        waiting = len(self.scheduler) + more - self.options.max_running
        if waiting >= self.options.max_waiting:
            raise TooMany(
                f"{self.options.max_running} texts are being written and {waiting} wait; ask again later.",
                waiting=waiting,
            )

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence before it is done; nothing happens if it is."""
        if not sequence.ended:
            self.scheduler.remove(sequence)
            sequence.finish("cancelled")

    def step(self) -> list[Sequence]:
        """Compute the next step; returns the sequences that have news."""
        scheduled = self.scheduler.schedule()
        if not scheduled:
            return []
        # Only a sequence whose last token is computed now has a next one.
        asked = [each for each in scheduled if each.count == each.sequence.pending]
        logits_RV = self.runner.run(self._pack(scheduled, asked))
        self.scheduler.computed(scheduled)
        for row, each in enumerate(asked):
            # A vocabulary may be padded: what the tokenizer does not know is never written.
            self._choose(each.sequence, logits_RV[row, : self.tokenizer.vocab_size])
            if each.sequence.ended:
                self.scheduler.remove(each.sequence)
        return [each.sequence for each in asked]

    def fail(self, error: Exception) -> list[Sequence]:
        """End all sequences with an error, and free the cache."""
        failed = list(self.scheduler)
        for sequence in failed:
            self.scheduler.remove(sequence)
            sequence.error = error
        return failed

    def _refuse(self, prompt: List[int]) -> None:
        if not prompt:
            raise InvalidInput("The prompt is empty; there is nothing to continue.", tokens=0)
        if len(prompt) >= self.context:
            raise InvalidInput(
                f"The prompt has {len(prompt)} tokens; with room for one more, the context holds "
                f"{self.context - 1}. Shorten it.",
                tokens=len(prompt),
                context=self.context,
            )
        known = self._words * 32
        if not 0 <= min(prompt) <= max(prompt) < known:
            wrong = next(token for token in prompt if not 0 <= token < known)
            raise InvalidInput(f"Token {wrong} is not in the vocabulary of this model.", token=wrong)

    def _pack(self, scheduled: List[Scheduled], asked: List[Scheduled]) -> StepInput:
        size = self.pool.block_size
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        starts, contexts, rows = [0], [], []
        width = max(len(each.sequence.table) for each in scheduled)
        tables_SB = np.zeros((len(scheduled), width), np.int32)
        for index, each in enumerate(scheduled):
            sequence, begin = each.sequence, each.sequence.computed
            end, table = begin + each.count, sequence.table
            tokens += sequence.tokens[begin:end]
            positions += range(begin, end)
            slots += [table[at // size] * size + at % size for at in range(begin, end)]
            starts.append(len(tokens))
            contexts.append(end)
            tables_SB[index, : len(table)] = sequence.table_row[: len(table)]
            if end == len(sequence.tokens):
                rows.append(len(tokens) - 1)
        return StepInput(
            token_ids_T=np.array(tokens, np.int32),
            positions_T=np.array(positions, np.int32),
            slots_T=np.array(slots, np.int64),
            starts=np.array(starts, np.int32),
            contexts_S=np.array(contexts, np.int32),
            tables_SB=tables_SB,
            rows_R=np.array(rows, np.int32),
            allowed_RW=self._allowed(asked),
        )

    def _allowed(self, asked: List[Scheduled]) -> Int32 | None:
        if all(each.sequence.guard is None for each in asked):
            return None
        allowed_RW = np.full((len(asked), self._words), -1, np.int32)
        for row, each in zip(allowed_RW, asked, strict=True):
            if each.sequence.guard is not None:
                row[self._known_words :] = 0
                try:
                    each.sequence.guard.constraint.fill_mask(row[: self._known_words])
                except EvidentError as error:  # of this text alone; the others go on
                    each.sequence.error = error
        return allowed_RW

    def _choose(self, sequence: Sequence, logits_V: Float32) -> None:
        if sequence.ended:
            return
        params = sequence.params
        sequence.model_steps += 1
        if params.repetition_penalty != 1.0 or params.no_repeat_ngram:
            sampler.penalise(logits_V, sequence.tokens, params)
        uniform = 0.0 if params.greedy else sequence.random.random()
        token = self.runner.draw(logits_V, params.temperature, params.top_k, params.top_p, params.min_p, uniform)
        if sequence.guard is not None:
            try:
                admitted = sequence.guard.admit(token)
            except EvidentError as error:  # of this text alone; the others go on
                sequence.error = error
            else:
                self._append(sequence, admitted.tokens, admitted.finish_reason)
        elif token in self._ends:
            sequence.finish("stop")
        else:
            last = len(sequence.tokens) + 1 >= sequence.limit
            self._append(sequence, [token], "length" if last else None)

    def _append(self, sequence: Sequence, tokens: List[int], reason: FinishReason | None) -> None:
        """Write tokens, and end the text if they are its last."""
        sequence.write(tokens)
        if sequence.text.stopped:
            reason = "stop"
        if reason is not None:
            sequence.finish(reason)
