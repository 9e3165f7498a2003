"""Reading a Hugging Face ``config.json``: its values by name and type, and what it says of positions."""

import math
from collections.abc import Mapping
from typing import Any

from evident_core.errors import InvalidInput
from evident_core.moe.rope import LinearScaling, Llama3Scaling, RopeConfig, Scaling, YarnScaling

_REQUIRED = object()


class HFConfig:
    """The values of one ``config.json``; a wrong one is refused by its name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        """Whether the value is there and not null."""
        return self.values.get(name) is not None

    def whole(self, *names: str, default: Any = _REQUIRED) -> int:
        """A whole number; the first of the names that is there counts."""
        value = self._first(names, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(names[0], value, "a whole number")
        return value

    def optional(self, name: str, default: int | None = None) -> int | None:
        """A whole number or null."""
        return self.whole(name) if self.has(name) else default if name not in self.values else None

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """A number."""
        value = self._first((name,), default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong(name, value, "a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._first((name,), default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def text(self, name: str, default: str) -> str:
        """A text."""
        value = self._first((name,), default)
        if not isinstance(value, str):
            raise self.wrong(name, value, "a text")
        return value

    def items(self, name: str) -> list[Any] | None:
        """A list, or None where there is none; a single value is a list of one."""
        value = self.values.get(name)
        return value if value is None or isinstance(value, list) else [value]

    def wholes(self, name: str) -> list[int]:
        """A list of whole numbers; an empty one where there is none."""
        values = self.items(name) or []
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise self.wrong(name, values, "whole numbers")
        return values

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; an empty one where there is none."""
        value = self.values.get(name) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, value, "an object")
        return value

    def only(self, name: str, *supported: Any) -> None:
        """Refuse the option unless it is absent, null or one of these.

        Raises:
            InvalidInput: It is something else; the message names it and what is supported.
        """
        value = self.values.get(name)
        if value is not None and value not in supported:
            raise self.wrong(name, value, f"{' or '.join(map(repr, supported))}, as nothing else is supported")

    def wrong(self, name: str, value: object, wanted: str) -> InvalidInput:
        """The refusal of a value."""
        return InvalidInput(f"{name} in config.json is {value!r}; it must be {wanted}.", field=name, value=repr(value))

    def _first(self, names: tuple[str, ...], default: Any) -> Any:
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        if default is _REQUIRED:
            others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
            raise InvalidInput(f"config.json lacks {names[0]}{others}.", field=names[0])
        return default


def read_rope(
    config: HFConfig, dim: int, positions: int, theta: float = 10000.0, interleaved: bool = False
) -> RopeConfig:
    """How positions are rotated: ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling`` (before).

    Args:
        config: The values.
        dim: Numbers of a head that are rotated.
        positions: ``max_position_embeddings``.
        theta: The family's base, where none is given.
        interleaved: Whether neighbours form a pair.

    Raises:
        InvalidInput: A scaling that is not supported, or one whose values are missing.
    """
    values = HFConfig({**config.mapping("rope_scaling"), **config.mapping("rope_parameters")})
    theta = values.number("rope_theta", config.number("rope_theta", theta))
    share = values.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    if share != 1.0:
        raise config.wrong("partial_rotary_factor", share, "1, as nothing else is supported")
    kind = values.text("rope_type", values.text("type", "default"))
    return RopeConfig(theta, dim, _scaling(kind, values, config, positions), interleaved)


def _scaling(kind: str, values: HFConfig, config: HFConfig, positions: int) -> Scaling | None:
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(values.number("factor"))
    before = config.optional("original_max_position_embeddings") or values.whole(
        "original_max_position_embeddings", default=positions
    )
    if kind == "llama3":
        low, high = values.number("low_freq_factor"), values.number("high_freq_factor")
        return Llama3Scaling(values.number("factor"), low, high, before)
    if kind != "yarn":
        raise config.wrong("rope_type", kind, "'default', 'linear', 'llama3' or 'yarn', as nothing else is supported")
    optional = {
        name: values.number(name) for name in ("attention_factor", "mscale", "mscale_all_dim") if values.has(name)
    }
    return YarnScaling(
        factor=values.number("factor", positions / before),
        original_max_position_embeddings=before,
        beta_fast=values.number("beta_fast", 32.0),
        beta_slow=values.number("beta_slow", 1.0),
        truncate=values.flag("truncate", True),
        **optional,
    )
