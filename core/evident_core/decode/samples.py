r"""The shortest texts that regular expressions match.

Within an expression like ``Finding: .*\. Size: \d+ mm`` the way to its end does not show in what is allowed next:
any letter is, at each place. So the search for an end gets the expression's shortest text to try.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evident_core.decode.json_schema import subschemas

if TYPE_CHECKING:
    import llguidance

MAX_PATTERNS: Final = 8
MAX_LENGTH: Final = 256
"""Characters; a longer shortest text is no help."""
MAX_SECONDS: Final = 0.5

_LARK_PATTERN: Final = re.compile(r"/((?:[^/\\\n]|\\.)+)/")


def patterns(kind: str, source: str) -> list[str]:
    """The regular expressions in a grammar's source."""
    match kind:
        case "regex":
            return [source]
        case "lark":
            return _LARK_PATTERN.findall(source)[:MAX_PATTERNS]
    schema: Any = json.loads(source)
    found = [part["pattern"] for _, part in subschemas(schema) if isinstance(part.get("pattern"), str)]
    return list(dict.fromkeys(found))[:MAX_PATTERNS]


def shortest_match(
    pattern: str, compile_lark: Callable[[str], "llguidance.LLMatcher"], pieces: Sequence[bytes], ends: Sequence[int]
) -> str | None:
    """The shortest text that an expression matches, of ASCII where it may be.

    The expression's intersection with "any text of at most n characters" is empty for too small an n, and the compiler
    knows that at once.

    Args:
        pattern: The expression.
        compile_lark: Makes a matcher of a Lark grammar.
        pieces: Bytes of each token.
        ends: Tokens that end a text.

    Returns:
        The text; None if it has more than ``MAX_LENGTH`` characters, takes longer than ``MAX_SECONDS``, or the
        expression cannot be written in Lark.
    """
    escaped = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", "\\n")

    def within(length: int) -> "llguidance.LLMatcher | None":
        matcher = compile_lark(f"start: T\nT: /{escaped}/ & /(?s:.{{0,{length}}})/")
        if matcher.is_error():
            return None
        matcher.compute_bitmask()
        return None if matcher.is_error() else compile_lark(f"start: T\nT: /{escaped}/ & /(?s:.{{0,{length}}})/")

    until = time.monotonic() + MAX_SECONDS
    low, high = 0, 8
    while within(high) is None:
        low, high = high + 1, high * 2
        if high > MAX_LENGTH or time.monotonic() > until:
            return None
    while low < high and time.monotonic() < until:
        middle = (low + high) // 2
        low, high = (low, middle) if within(middle) is not None else (middle + 1, high)
    matcher = within(high)
    written: list[bytes] = []
    writable = [token for token, piece in enumerate(pieces) if piece and token not in ends]
    while matcher is not None and not matcher.is_accepting() and time.monotonic() < until:
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = [token for token in writable if bits[token]]
        if not allowed:
            return None
        token = max(allowed, key=lambda token: (pieces[token].isascii(), pieces[token].isalnum(), len(pieces[token])))
        matcher.consume_token(token)
        written.append(pieces[token])
    return b"".join(written).decode("utf-8", "ignore")


def endings(text: str) -> Iterator[str]:
    """The ends of a text, the shortest first, each also with what closes a string of JSON."""
    for start in range(len(text) - 1, -1, -1):
        yield text[start:]
        yield text[start:] + '"'
