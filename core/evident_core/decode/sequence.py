"""One text while it is written: its tokens, its place in the cache, and how it ended."""

import random
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from evident_core.decode.generator import Completion, FinishReason, SamplingParams
from evident_core.decode.text import Text

if TYPE_CHECKING:
    from evident_core.decode.closing import ClosingGuard


class Sequence:
    """A prompt and what was written after it.

    Attributes:
        tokens: Prompt and text, as token ids.
        limit: Most tokens there may be, by max_tokens and by the context.
        table: The cache blocks it holds, in the order of its tokens; ``table_row`` is the same as an array.
        computed: Tokens whose keys and values are in the cache.
        pieces: Pieces of text that nobody has read yet.
        result: How it ended; None while it is written.
        error: Why it could not be written, where that is so.
    """

    __slots__ = (
        "computed",
        "error",
        "guard",
        "limit",
        "model_steps",
        "params",
        "pieces",
        "prompt_length",
        "random",
        "result",
        "table",
        "table_row",
        "text",
        "tokens",
    )

    def __init__(
        self,
        prompt: list[int],
        params: SamplingParams,
        text: Text,
        limit: int,
        block_size: int,
        guard: "ClosingGuard | None",
    ) -> None:
        self.tokens, self.prompt_length = prompt, len(prompt)
        self.params, self.text, self.limit, self.guard = params, text, limit, guard
        self.random = random.Random(params.seed)  # noqa: S311  # chooses words, keeps no secret
        self.table: list[int] = []
        self.table_row = np.zeros(-(-limit // block_size), np.int32)
        self.computed = self.model_steps = 0
        self.pieces: deque[str] = deque()
        self.result: Completion | None = None
        self.error: Exception | None = None

    @property
    def pending(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - self.computed

    @property
    def ended(self) -> bool:
        """Whether nothing more will be written."""
        return self.result is not None or self.error is not None

    def adopt(self, table: list[int], block_size: int) -> None:
        """Begin with these blocks, which are computed already; with none, from the first token."""
        self.table = []
        self.extend_table(table)
        self.computed = len(table) * block_size

    def extend_table(self, blocks: list[int]) -> None:
        """Hold more blocks."""
        held = len(self.table)
        self.table_row[held : held + len(blocks)] = blocks
        self.table.extend(blocks)

    def write(self, tokens: Iterable[int]) -> None:
        """Append tokens to the text."""
        for token in tokens:
            self.tokens.append(token)
            if piece := self.text.push(token):
                self.pieces.append(piece)
            if self.text.stopped:
                return

    def finish(self, reason: FinishReason) -> None:
        """End the text."""
        if piece := self.text.flush():
            self.pieces.append(piece)
        written = self.tokens[self.prompt_length :]
        self.result = Completion(
            text=self.text.whole,
            finish_reason=reason,
            prompt_tokens=self.prompt_length,
            completion_tokens=len(written),
            token_ids=tuple(written),
            model_steps=self.model_steps,
        )
