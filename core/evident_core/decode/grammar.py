"""What a text must be: JSON of a schema, a regular expression, a Lark grammar, one of some texts.

:class:`Grammar` says it; :meth:`Grammar.constraint` makes of it, for one tokenizer and one text, what tells at each
step which tokens may come.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evident_core.decode import json_schema
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, TooLarge

MAX_SOURCE: Final = 1 << 19
"""Most characters of a schema, an expression or a grammar."""


class Constraint(Protocol):
    """What one text must be, at the place where its writing is: one for each text, changed by :meth:`accept`."""

    def fill_mask(self, row: NDArray[np.int32]) -> None:
        """Set bit ``i % 32`` of word ``i // 32`` where token i may come, and clear all others; ends where it may end.

        Args:
            row: int32 words, at least as many as the tokenizer's vocabulary needs; changed in place.
        """
        ...

    def accept(self, token: int) -> None:
        """Go on by a token.

        Raises:
            InvalidInput: It may not come here.
        """
        ...

    def advance(self, tokens: Sequence[int]) -> bool:
        """Go on by tokens if all of them may come, one after another; whether they did. Else nothing is changed."""
        ...

    def forced(self) -> list[int]:
        """Tokens that come whatever the model says, not accepted yet; [] where there is a choice, and never an end."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether nothing but the end can follow."""
        ...

    def closing(self, limit: int, *, thorough: bool = False) -> list[int] | None:
        """The shortest continuation found after which the text is complete; None if none was within the limit.

        Args:
            limit: Most tokens.
            thorough: Look longer, for a shorter one or for one at all.
        """
        ...

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        ...

    @property
    def margin(self) -> int:
        """By how many tokens one token may make the text's end longer, as far as that is known beforehand."""
        ...

    def closes(self, tokens: Sequence[int]) -> bool:
        """Whether the text would be complete after these tokens."""
        ...

    def copy(self) -> "Constraint":
        """One that goes its own way from here."""
        ...


Kind = Literal["json_schema", "regex", "lark", "choices"]


@dataclass(frozen=True)
class Grammar:
    """What a text must be; equal and hashed by what it says.

    Attributes:
        kind: Which of the four it is.
        source: The JSON schema, the expression, the Lark grammar, or the choices as a JSON list.
    """

    kind: Kind
    source: str

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str) -> "Grammar":
        """JSON without whitespace that is valid under a schema, its properties in the schema's order.

        What a schema may use is llguidance's to say; a keyword that it cannot keep is refused, never ignored.

        Raises:
            InvalidInput: It is not a JSON object, or a part of it can never end.
            TooLarge: It has more characters than are compiled.
        """
        if isinstance(schema, str):
            _must_fit("JSON schema", schema)
        value = json_schema.parse(schema)
        source = json.dumps(value, separators=(",", ":"))
        _must_fit("JSON schema", source)
        json_schema.check(value)
        return cls("json_schema", source)

    @classmethod
    def regex(cls, pattern: str) -> "Grammar":
        """Text that a regular expression matches from its first character to its last.

        The syntax is that of Rust's ``regex``: no look-around and no back-references, so that it takes linear time.

        Raises:
            TooLarge: It has more characters than are compiled.
        """
        return cls("regex", _text("regular expression", pattern))

    @classmethod
    def lark(cls, grammar: str) -> "Grammar":
        """Text of the rule ``start`` of a context-free grammar in Lark's syntax, as llguidance reads it.

        Raises:
            TooLarge: It has more characters than are compiled.
        """
        return cls("lark", _text("Lark grammar", grammar))

    @classmethod
    def choices(cls, texts: Sequence[str]) -> "Grammar":
        """One of these texts.

        Raises:
            InvalidInput: There is none, one of them is empty, or one is there twice.
        """
        from evident_core.decode.terms import TermTrie  # which itself needs this module's protocol

        return cls("choices", json.dumps(TermTrie(texts, name="choices").terms))

    def constraint(self, tokenizer: Tokenizer) -> Constraint:
        """What keeps one text to this; compiled at the first call for a tokenizer, and quick after.

        Raises:
            InvalidInput: The source is wrong (the message has the place), matches nothing, or the tokenizer has no
                token that ends a text.
            MissingExtra: llguidance is not installed.
        """
        from evident_core.decode.matcher import compiler_of
        from evident_core.decode.terms import TermTrie

        compiler = compiler_of(tokenizer)
        if self.kind == "choices":
            trie = compiler.once(self, lambda: TermTrie(json.loads(self.source), name="choices"))
            return trie.constraint(tokenizer)
        return compiler.constraint(self)


def must_have_end(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end a text.

    Raises:
        InvalidInput: The tokenizer names none.
    """
    if not tokenizer.eos_token_ids:
        raise InvalidInput(
            "The tokenizer names no token that ends a text, which a grammar needs: add eos_token_id to the "
            "checkpoint's generation_config.json."
        )
    return tokenizer.eos_token_ids


def mask_words(vocab_size: int) -> int:
    """How many int32 words hold a bit for each token."""
    return (vocab_size + 31) // 32


def _text(name: str, source: str) -> str:
    if not isinstance(source, str):
        raise InvalidInput(f"The {name} is {source!r:.80}; it must be a text.")
    _must_fit(name, source)
    return source


def _must_fit(name: str, source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise TooLarge(
            f"The {name} has {len(source):,} characters; at most {MAX_SOURCE:,} are compiled.", characters=len(source)
        )
