"""Who computes how many tokens in the next step: continuous batching, chunked prefill, preemption.

Every sequence is the same to the scheduler: it has tokens, some of which are in the cache. A prompt, one sampled token
and a span that a grammar forced differ only in how many are not (Yu et al. 2022, "Orca"; Agrawal et al. 2023,
"Sarathi"). Those that run come first, so that a long prompt never halts them; those that wait come in their order. When
blocks run out the youngest gives its own back and is computed again later, so the oldest always comes to its end.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from evident_core.decode.blocks import BlockPool
from evident_core.decode.sequence import Sequence


@dataclass(frozen=True)
class Scheduled:
    """A sequence, and how many of its tokens are computed in this step."""

    sequence: Sequence
    count: int


class Scheduler:
    """Decides each step.

    Args:
        pool: The blocks of the cache.
        max_running: Most sequences in a step.
        max_step_tokens: Most tokens in a step; a longer prompt is cut into chunks.
    """

    def __init__(self, pool: BlockPool, max_running: int, max_step_tokens: int) -> None:
        self.pool = pool
        self._max_running, self._max_step_tokens = max_running, max_step_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0

    def __len__(self) -> int:
        """Sequences that wait or run."""
        return len(self.waiting) + len(self.running)

    def __iter__(self) -> Iterator[Sequence]:
        """All of them, those that run first."""
        yield from self.running
        yield from self.waiting

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn. It must fit into the cache when it is alone there."""
        self.waiting.append(sequence)

    def schedule(self) -> list[Scheduled]:
        """Choose the step's sequences, and give each the blocks that it writes to."""
        chosen: list[Scheduled] = []
        budget, preempted = self._max_step_tokens, False
        index = 0
        while index < len(self.running) and budget:
            sequence = self.running[index]
            count = min(sequence.pending, budget)
            while not self._fit(sequence, count):
                preempted = True
                # The youngest is after this one in the list, or is this one.
                if self._preempt_last() is sequence:
                    break
            else:
                chosen.append(Scheduled(sequence, count))
                budget -= count
                index += 1
        while self.waiting and budget and not preempted and len(self.running) < self._max_running:
            sequence = self.waiting[0]
            if not sequence.table:
                sequence.adopt(self.pool.match(sequence.tokens), self.pool.block_size)
            count = min(sequence.pending, budget)
            if not self._fit(sequence, count):
                self._empty(sequence)
                break
            self.running.append(self.waiting.popleft())
            chosen.append(Scheduled(sequence, count))
            budget -= count
        return chosen

    def computed(self, step: list[Scheduled]) -> None:
        """Note that a step was computed, and make its full blocks known."""
        size = self.pool.block_size
        for each in step:
            sequence = each.sequence
            before, sequence.computed = sequence.computed, sequence.computed + each.count
            if before // size != sequence.computed // size:
                self.pool.register(sequence.table, sequence.tokens, before // size, sequence.computed // size)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, finished or cancelled, with its blocks."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._empty(sequence)

    def _fit(self, sequence: Sequence, count: int) -> bool:
        needed = -(-(sequence.computed + count) // self.pool.block_size) - len(sequence.table)
        if needed <= 0:
            return True
        taken = self.pool.take(needed)
        if taken is None:
            return False
        sequence.extend_table(taken)
        return True

    def _preempt_last(self) -> Sequence:
        sequence = self.running.pop()
        self._empty(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return sequence

    def _empty(self, sequence: Sequence) -> None:
        self.pool.release(sequence.table)
        sequence.adopt([], self.pool.block_size)
