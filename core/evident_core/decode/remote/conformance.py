"""Whether a text that a server wrote is what its grammar allows: a server may not know the grammar, or not heed it."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from evident_core.errors import InvalidInput

if TYPE_CHECKING:
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.terms import TermTrie
    from evident_core.decode.tokenizer import Tokenizer

Judge = Callable[[str], str]
"""Says in a few words what is wrong with a text; nothing if it conforms."""


@lru_cache(64)
def judge(grammar: "Grammar | TermTrie") -> Judge:
    """The judge of texts under a grammar.

    A JSON schema is asked of the value (the order of keys and white space are free), by ``jsonschema``; anything else
    of the text itself, byte by byte, by the matcher that our own engine decodes with. Where ``jsonschema`` is not
    installed the matcher judges JSON too, and wants the keys in the schema's order.

    Raises:
        InvalidInput: The grammar is wrong.
        MissingExtra: The matcher is not installed; without it nothing could be promised of the text.
    """
    kind = getattr(grammar, "kind", "terms")
    if kind == "choices":
        choices = json.loads(grammar.source)  # type: ignore[union-attr]
        return lambda text: "" if text in choices else f"it is none of the {len(choices)} choices"
    if kind == "json_schema":
        try:
            return _schema_judge(json.loads(grammar.source))  # type: ignore[union-attr]
        except ModuleNotFoundError:
            return _value_judge(_matcher_judge(grammar))
    return _matcher_judge(grammar)


def _schema_judge(schema: Any) -> Judge:
    from jsonschema import SchemaError, ValidationError
    from jsonschema.validators import validator_for

    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise InvalidInput(f"The JSON schema is wrong: {error.message}.", parameter="grammar") from None
    validator = kind(schema)

    def verdict(text: str) -> str:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
            wrong: ValidationError | None = next(iter(validator.iter_errors(value)), None)
        except ValueError as error:
            return f"it is not JSON ({error})"
        except RecursionError:
            return "it is nested too deep to be read"
        return f"{wrong.json_path} does not follow the schema's {wrong.validator!r}" if wrong else ""

    return verdict


def _value_judge(matches: Judge) -> Judge:
    """Judges JSON by how our own engine would have written it: without white space."""

    def verdict(text: str) -> str:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
            return matches(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        except ValueError as error:
            return f"it is not JSON ({error})"
        except RecursionError:
            return "it is nested too deep to be read"

    return verdict


def _refuse_constant(name: str) -> NoReturn:
    # Python would read them; JSON has none (RFC 8259, 6).
    raise ValueError(f"{name} is no number")


def _matcher_judge(grammar: "Grammar | TermTrie") -> Judge:
    tokenizer = _byte_tokenizer()
    grammar.constraint(tokenizer)

    def verdict(text: str) -> str:
        constraint = grammar.constraint(tokenizer)
        # Its first 256 tokens are the bytes; encoding would read "<eos>" in a text as the end of it.
        for index, byte in enumerate(text.encode()):
            try:
                constraint.accept(byte)
            except InvalidInput:
                return f"byte {index} is not one that may stand there"
        return "" if constraint.complete else "it ends too early"

    return verdict


@lru_cache(1)
def _byte_tokenizer() -> "Tokenizer":
    from evident_core.decode.tokenizer import Tokenizer

    return Tokenizer.bytes()
