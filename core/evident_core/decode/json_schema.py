"""What is asked of a JSON schema before it is compiled, and where in it a fault is.

The compiler says what is wrong, not where; it accepts a schema whose texts can never end; and a large ``multipleOf``
costs it seconds.
"""

import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from evident_core.errors import InvalidInput

MAX_MULTIPLE: Final = 10_000
"""Largest common multiple of all ``multipleOf``, less its factors 2 and 5: the compiler keeps every remainder."""

MAX_PROPERTIES: Final = 2000
"""Most properties of one object: compiling takes the square of their number."""

_ONE: Final = (
    "additionalProperties",
    "items",
    "additionalItems",
    "contains",
    "not",
    "propertyNames",
    "if",
    "then",
    "else",
)
_MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_MAX_TRIALS: Final = 500
_PASSES: Final = 20
_ENDLESS: Final = 1024  # what is longer, or was not found out, counts as this


def parse(schema: Mapping[str, Any] | str) -> dict[str, Any]:
    """The schema as an object, without the compiler's own switches in it.

    Raises:
        InvalidInput: It is not JSON, or not an object.
    """
    try:
        value = json.loads(schema, parse_constant=_no_constant) if isinstance(schema, str) else schema
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            "The JSON schema has half of a surrogate pair in a text; such a half is no character."
        ) from error
    except RecursionError as error:
        raise InvalidInput("The JSON schema is nested too deep to be read.") from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The JSON schema is not JSON: {error}") from error
    value = json.loads(text)
    if not isinstance(value, dict):
        raise InvalidInput(f"The JSON schema is {text:.80}; it must be an object.")
    # The compiler would let a schema switch on whitespace, or its keywords off, with which texts may not validate.
    value.pop("x-guidance", None)
    return value


def check(schema: dict[str, Any]) -> None:
    """Refuse what the compiler would take, to no good.

    Raises:
        InvalidInput: A part can never end, has too many properties, or a ``multipleOf`` that is too costly.
    """
    multiple = 1
    for pointer, part in subschemas(schema):
        properties = part.get("properties")
        if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
            raise InvalidInput(
                f"The JSON schema has {len(properties)} properties at {pointer}; at most {MAX_PROPERTIES} of one "
                "object are compiled. Divide it into objects of its own.",
                place=pointer,
            )
        multiple = math.lcm(multiple, _remainders(part.get("multipleOf")))
        if multiple > MAX_MULTIPLE:
            raise InvalidInput(
                f"multipleOf {part['multipleOf']} at {pointer} takes an automaton of {multiple} states together with "
                f"the schema's others; at most {MAX_MULTIPLE} are allowed. Leave it to a check of the result.",
                place=pointer,
            )
    endless = _endless(schema)
    if endless is not None:
        raise InvalidInput(
            f"A value of {endless} in the JSON schema can never end: it requires itself. Make the property that "
            "leads back optional, or add an alternative to it.",
            place=endless,
        )


def largest_part(schema: dict[str, Any]) -> int:
    """Bytes of the shortest JSON of that part of a schema whose shortest is longest, the whole itself left out.

    It is what one token may open: an item of a list, a property that need not be there, a branch. Strings count as
    long as they must be, numbers as one digit.
    """
    reached = _reached(schema)
    sizes = dict.fromkeys(reached, _ENDLESS)
    for _ in range(_PASSES):  # parts come before what they have in them: from the back most is known in one pass
        before = dict(sizes)
        for pointer in reversed(reached):
            sizes[pointer] = min(sizes[pointer], _size(pointer, reached[pointer], sizes))
        if sizes == before:
            break
    again = any(part.get("$ref") == "#" for part in reached.values())
    return max((size for pointer, size in sizes.items() if pointer != "#" or again), default=0)


def _size(pointer: str, part: dict[str, Any], sizes: dict[str, int]) -> int:
    """Bytes of a part's shortest JSON, as far as the sizes of what is in it are known."""

    def of(within: str) -> int:
        return sizes.get(within, 1)

    values = [part["const"]] if "const" in part else _list(part, "enum")
    if values:
        return min(len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) for value in values)
    bounds = [of(f"{pointer}/allOf/{place}") for place in range(len(_list(part, "allOf")))]
    if isinstance(part.get("$ref"), str):
        bounds.append(of(part["$ref"]))
    for key in ("anyOf", "oneOf"):
        if branches := _list(part, key):
            bounds.append(min(of(f"{pointer}/{key}/{place}") for place in range(len(branches))))
    kinds = part.get("type", "null")
    least = _whole(part.get("minItems"))
    items = [of(one) for one in _first_items(pointer, part)]
    items += [of(f"{pointer}/items")] * max(0, min(least, _ENDLESS) - len(items))
    required = [len(name.encode()) + 4 + of(within) for name, within in _required(pointer, part)]
    by_kind = {
        "string": 2 + _whole(part.get("minLength")),
        "array": 1 + max(1, sum(size + 1 for size in items)),
        "object": 1 + max(1, sum(required)),
    }
    own = min(by_kind.get(kind, 1) for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str))
    return min(max([own, *bounds]), _ENDLESS)


def _whole(value: object) -> int:
    return max(0, int(value)) if isinstance(value, int | float) else 0


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within one, itself first, with its JSON pointer (RFC 6901) after ``#``."""
    waiting: list[tuple[str, Any]] = [("#", schema)]
    while waiting:
        pointer, part = waiting.pop()
        if not isinstance(part, dict):
            continue
        yield pointer, part
        for key in _ONE:
            waiting.append((f"{pointer}/{key}", part.get(key)))
        for key in _MANY:
            if isinstance(part.get(key), list):
                waiting += [(f"{pointer}/{key}/{place}", within) for place, within in enumerate(part[key])]
        for key in _NAMED:
            if isinstance(part.get(key), dict):
                waiting += [(f"{pointer}/{key}/{_escape(name)}", within) for name, within in part[key].items()]


def locate(schema: dict[str, Any], error: str, compile_error: Callable[[dict[str, Any]], str]) -> str | None:
    """Where in the schema an error comes from: the innermost part that has the same one by itself.

    Args:
        schema: The whole schema.
        error: What its compiling says.
        compile_error: What compiling a schema says; "" if nothing.

    Returns:
        A JSON pointer, or None where only the whole has the error.
    """
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    found = None
    for trials, (pointer, part) in enumerate(subschemas(schema)):
        if trials > _MAX_TRIALS:
            break
        if (
            pointer != "#"
            and (found is None or pointer.startswith(f"{found}/"))
            and compile_error(shared | part) == error
        ):
            found = pointer
    return found


def _endless(schema: dict[str, Any]) -> str | None:
    """A part that a text can come into and that no text can leave; None if there is none.

    The ends are a least fixed point over "all of" and "one of": a part ends if it can be a scalar, or all that it
    requires ends. Each is looked at once more when something that it waits for is known to end.
    """
    reached = _reached(schema)
    waits: dict[Hashable, int] = {}
    waiters: dict[Hashable, list[Hashable]] = {}
    known: list[Hashable] = []

    def wait(one: Hashable, needs: list[Hashable], least: int) -> None:
        waits[one] = least
        for need in needs:
            waiters.setdefault(need, []).append(one)
        if least == 0:
            known.append(one)

    def one_of(name: Hashable, needs: list[Hashable]) -> Hashable:
        wait(name, needs, 1)
        return name

    def all_of(name: Hashable, needs: list[Hashable]) -> Hashable:
        needs = [need for need in needs if not isinstance(need, str) or need in reached]
        wait(name, needs, len(needs))
        return name

    for pointer, part in reached.items():
        needs: list[Hashable] = [f"{pointer}/allOf/{place}" for place in range(len(_list(part, "allOf")))]
        if isinstance(part.get("$ref"), str):
            needs.append(part["$ref"])
        for key in ("anyOf", "oneOf"):
            if branches := [f"{pointer}/{key}/{place}" for place in range(len(_list(part, key)))]:
                needs.append(one_of((pointer, key), [all_of((branch,), [branch]) for branch in branches]))
        kinds = part.get("type", "null")
        kinds = {kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str)}
        if "const" in part or "enum" in part:
            needs = []
        elif kinds and kinds <= {"object", "array"}:
            parts = {"object": [within for _, within in _required(pointer, part)], "array": _first_items(pointer, part)}
            needs.append(one_of((pointer, "type"), [all_of((pointer, kind), [*parts[kind]]) for kind in kinds]))
        all_of(pointer, needs)
    while known:
        for waiter in waiters.get(known.pop(), ()):
            waits[waiter] -= 1
            if waits[waiter] == 0:
                known.append(waiter)
    return next((pointer for pointer in reached if waits[pointer] > 0), None)


def _reached(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts that a value of the whole may be a value of, by pointer; definitions where they are referred to."""
    every = dict(subschemas(schema))
    reached: dict[str, dict[str, Any]] = {}
    waiting = ["#"]
    while waiting:
        pointer = waiting.pop()
        if pointer in reached or pointer not in every:
            continue
        part = reached[pointer] = every[pointer]
        if isinstance(part.get("$ref"), str):
            waiting.append(part["$ref"])
        waiting += [f"{pointer}/{key}" for key in ("additionalProperties", "items")]
        for key in _MANY:
            waiting += [f"{pointer}/{key}/{place}" for place in range(len(_list(part, key)))]
        for key in ("properties", "patternProperties"):
            if isinstance(part.get(key), dict):
                waiting += [f"{pointer}/{key}/{_escape(name)}" for name in part[key]]
    return reached


def _required(pointer: str, part: dict[str, Any]) -> list[tuple[str, str]]:
    """The names that an object must have, and the parts that their values are of."""
    known = part.get("properties")
    known = known if isinstance(known, dict) else {}
    return [
        (name, f"{pointer}/properties/{_escape(name)}" if name in known else f"{pointer}/additionalProperties")
        for name in _list(part, "required")
        if isinstance(name, str)
    ]


def _first_items(pointer: str, part: dict[str, Any]) -> list[str]:
    least = part.get("minItems", 0)
    if not isinstance(least, int | float) or least <= 0:
        return []
    first = len(_list(part, "prefixItems"))
    needed = [f"{pointer}/prefixItems/{place}" for place in range(min(int(least), first))]
    return [*needed, f"{pointer}/items"] if least > first else needed


def _list(part: dict[str, Any], key: str) -> list[Any]:
    value = part.get(key)
    return value if isinstance(value, list) else []


def _remainders(multiple: object) -> int:
    """How many remainders a number has to be followed through; 1 for what needs none."""
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or not multiple > 0:
        return 1
    numerator = Decimal(str(multiple)).normalize().as_tuple()
    value = int("".join(map(str, numerator.digits)))
    for factor in (2, 5):
        while value % factor == 0:
            value //= factor
    return value


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
