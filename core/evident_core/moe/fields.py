"""Checks that every configuration of the model shares: a wrong field is refused by its name and value."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from evident_core.errors import InvalidInput

C = TypeVar("C")


def check(config: object, name: str, holds: bool, wanted: str) -> None:
    """Refuse the field unless the condition holds.

    Raises:
        InvalidInput: It does not; the message names the class, the field, its value and what is wanted.
    """
    if not holds:
        value = getattr(config, name)
        raise InvalidInput(
            f"{type(config).__name__}.{name} is {value!r}; it must be {wanted}.", field=name, value=repr(value)
        )


def check_types(config: object) -> None:
    """Refuse each field whose value is not of the type that its dataclass declares."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        wanted = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        check(config, field.name, _fits(getattr(config, field.name), field.type), f"of type {wanted}")


def check_positive(config: object, *names: str) -> None:
    """Refuse each of the fields that is not above zero."""
    for name in names:
        check(config, name, getattr(config, name) > 0, "above 0")


def build(kind: type[C], values: Mapping[str, Any], place: str) -> C:
    """The configuration with these values.

    Args:
        kind: Its dataclass.
        values: One for each field; those with a default may be left out.
        place: Where the values stand, for the message.

    Raises:
        InvalidInput: A field is unknown or missing.
    """
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InvalidInput(
            f"The configuration of {place} has {unknown[0]!r}, which is not known; it may have {', '.join(fields)}.",
            field=unknown[0],
        )
    needed = [
        name for name, each in fields.items()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    missing = [name for name in needed if name not in values]
    if missing:
        raise InvalidInput(f"The configuration of {place} lacks {', '.join(missing)}.", field=missing[0])
    return kind(**values)


def freeze(value: object) -> object:
    """The same with every list, at any depth, as a tuple: JSON has no other sequence."""
    return tuple(freeze(each) for each in value) if isinstance(value, list) else value


def _fits(value: object, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(each, parts[0]) for each in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
