"""How clients ask for structured outputs: ``response_format`` (OpenAI), ``structured_outputs``, ``guided_*`` (vLLM)."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from evident_core.errors import InvalidInput

if TYPE_CHECKING:
    from evident_core.decode.grammar import Grammar

_GUIDED: Final = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
FORMS: Final = ("response_format", "structured_outputs", *_GUIDED)
"""The parameters that ask for a grammar; a request may have one of them."""

_SCHEMA_FIELDS: Final = frozenset({"name", "description", "schema", "strict"})


def grammar_of(given: Mapping[str, Any]) -> "Grammar | None":
    """The grammar that a request's parameters ask for.

    Raises:
        InvalidInput: They ask for several, or for one of a form that is not known.
    """
    asked: list[tuple[str, Grammar]] = []
    for name, value in given.items():
        if name == "response_format":
            grammar = _of_response_format(value)
        elif name == "structured_outputs":
            grammar = _of_structured_outputs(value)
        else:
            grammar = _made(_GUIDED[name], value, name)
        if grammar is not None:
            asked.append((name, grammar))
    if len(asked) > 1:
        raise InvalidInput(
            f"{asked[0][0]} and {asked[1][0]} ask for different things; give one.", parameter=asked[1][0]
        )
    return asked[0][1] if asked else None


def _of_response_format(value: Any) -> "Grammar | None":
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise InvalidInput(
            "response_format must be an object whose type is text, json_object or json_schema.",
            parameter="response_format",
        )
    allowed = {"type", "json_schema"} if kind == "json_schema" else {"type"}
    _refuse_others(value, allowed, "response_format")
    if kind == "text":
        return None
    if kind == "json_object":
        return _made("json", {"type": "object"}, "response_format")
    described = value.get("json_schema")
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise InvalidInput(
            "response_format.json_schema must be an object with a name and a schema.",
            parameter="response_format.json_schema",
        )
    _refuse_others(described, _SCHEMA_FIELDS, "response_format.json_schema")
    return _made("json", described["schema"], "response_format.json_schema.schema")


def _of_structured_outputs(value: Any) -> "Grammar | None":
    if not isinstance(value, dict):
        raise InvalidInput("structured_outputs must be an object.", parameter="structured_outputs")
    given = {name: each for name, each in value.items() if each is not None}
    _refuse_others(given, {*_MAKERS, "json_object"}, "structured_outputs")
    if len(given) != 1:
        raise InvalidInput(
            f"structured_outputs must have one of {', '.join(_MAKERS)}; it has {', '.join(given) or 'none'}.",
            parameter="structured_outputs",
        )
    [(name, each)] = given.items()
    if name != "json_object":
        return _made(name, each, f"structured_outputs.{name}")
    if each is not True:
        raise InvalidInput("structured_outputs.json_object must be true.", parameter="structured_outputs.json_object")
    return _made("json", {"type": "object"}, "structured_outputs.json_object")


def _refuse_others(value: Mapping[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    if other := sorted(value.keys() - known):
        raise InvalidInput(
            f"{where}.{other[0]} is not known to this server; leave it out.",
            parameter=f"{where}.{other[0]}",
            reason="unknown_parameter",
        )


def _made(kind: str, value: Any, where: str) -> "Grammar":
    try:
        return _MAKERS[kind](value)
    except TypeError:
        raise InvalidInput(f"{where} is of the wrong type; see the documentation of {kind}.", parameter=where) from None
    except InvalidInput as error:
        raise InvalidInput(error.message, **{**error.details, "parameter": where}) from None


def _json(value: Any) -> "Grammar":
    from evident_core.decode.grammar import Grammar

    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InvalidInput(f"The schema is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise TypeError
    return Grammar.json_schema(value)


def _regex(value: Any) -> "Grammar":
    from evident_core.decode.grammar import Grammar

    return Grammar.regex(_text(value))


def _choice(value: Any) -> "Grammar":
    from evident_core.decode.grammar import Grammar

    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError
    return Grammar.choices(value)


def _lark(value: Any) -> "Grammar":
    from evident_core.decode.grammar import Grammar

    if "::=" in _text(value):
        raise InvalidInput("The grammar is GBNF; this server reads Lark's form (start: …).")
    return Grammar.lark(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_MAKERS: Final[Mapping[str, Callable[[Any], "Grammar"]]] = {
    "json": _json,
    "regex": _regex,
    "choice": _choice,
    "grammar": _lark,
}
