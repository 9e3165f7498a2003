"""Which blocks of the key-value cache belong to whom: paging, sharing of equal beginnings, eviction.

The cache is cut into blocks of ``block_size`` token slots. A sequence holds a table of blocks; block ``table[i]`` keeps
its tokens ``i * block_size ..``. A block that is full and computed is registered by its content, and a later sequence
that begins with the same tokens takes it instead of computing it again (Kwon et al. 2023, "PagedAttention"; Zheng et
al. 2024, "RadixAttention"). Registered blocks never change, so sharing needs no copy. Blocks that nobody holds keep
their content until they are needed: the longest unused goes first.
"""

from collections import OrderedDict
from collections.abc import Sequence

_ROOT = 0


class BlockPool:
    """The blocks of one cache: who holds each, and what the unheld ones still contain.

    Content is compared as it is (the tokens, and the number of the block content before them), not by a hash alone:
    two different beginnings can never be taken for one another.

    Args:
        num_blocks: Blocks there are.
        block_size: Tokens a block holds.
        reuse: Whether equal beginnings are shared.
    """

    def __init__(self, num_blocks: int, block_size: int, *, reuse: bool = True) -> None:
        self.num_blocks, self.block_size, self._reuse = num_blocks, block_size, reuse
        self._holders = [0] * num_blocks
        # Unheld blocks, the longest unused first.
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self._content: list[tuple[tuple[int, tuple[int, ...]], int] | None] = [None] * num_blocks
        self._last_content = _ROOT

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    def holders(self, block: int) -> int:
        """How many tables name this block."""
        return self._holders[block]

    def match(self, tokens: Sequence[int]) -> list[int]:
        """Hold and return the blocks that contain the beginning of these tokens already.

        At least the last token is left over, since its logits have to be computed.
        """
        found: list[int] = []
        if not self._reuse:
            return found
        size, before = self.block_size, _ROOT
        for start in range(0, len(tokens) - size, size):
            block = self._known.get((before, tuple(tokens[start : start + size])))
            if block is None:
                break
            found.append(block)
            content = self._content[block]
            assert content is not None  # noqa: S101  # a known block has content
            before = content[1]
        for block in found:
            self._hold(block)
        return found

    def take(self, count: int) -> list[int] | None:
        """Hold ``count`` blocks with no content, or None (and hold nothing) where there are not so many."""
        if count > len(self._free):
            return None
        taken = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._holders[block] = 1
            taken.append(block)
        return taken

    def register(self, table: Sequence[int], tokens: Sequence[int], first: int, end: int) -> None:
        """Make blocks ``first <= i < end`` of a table known by their tokens; all of them are computed and full."""
        if not self._reuse:
            return
        size = self.block_size
        for index in range(first, end):
            block = table[index]
            if self._content[block] is not None:
                continue
            before = _ROOT
            if index:
                content = self._content[table[index - 1]]
                if content is None:
                    return  # The block before is a private copy of known content; nothing can follow it.
                before = content[1]
            key = (before, tuple(tokens[index * size : (index + 1) * size]))
            if key in self._known:
                return
            self._last_content += 1
            self._known[key] = block
            self._content[block] = (key, self._last_content)

    def release(self, table: Sequence[int]) -> None:
        """Let go of a table's blocks. Its end is forgotten first, since a beginning is of use without it."""
        for block in reversed(table):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free[block] = None

    def _hold(self, block: int) -> None:
        if self._holders[block] == 0:
            del self._free[block]
        self._holders[block] += 1

    def _forget(self, block: int) -> None:
        content = self._content[block]
        if content is not None:
            del self._known[content[0]]
            self._content[block] = None
