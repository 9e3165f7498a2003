"""How weights are to be quantised: the bits, the group, and how the rounding is chosen. Stored beside the weights."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from evident_core.errors import InvalidInput

SMALLEST_GROUP = 8


@dataclass(frozen=True)
class Int8Config:
    """int8 weights with one scale per output channel, symmetric (-127..127).

    Attributes:
        clip: Search, per channel, for the largest magnitude whose clipping costs least squared error.
        steps: Points of the grid on which calibration searches the activation-aware exponent.
    """

    bits: ClassVar[int] = 8
    limit_percent: ClassVar[float] = 0.5
    """The perplexity may rise or fall by so much before :mod:`evident_core.quant.account` refuses."""

    clip: bool = False
    steps: int = 20

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_steps(self.steps)

    @property
    def group_size(self) -> int | None:
        """None: a scale spans the whole row."""
        return None


@dataclass(frozen=True)
class Int4Config:
    """int4 weights (-8..7) with one scale per group of ``group_size`` inputs of an output channel, no zero point.

    A row that ``group_size`` does not divide takes the group of :func:`group_width`. The head, and the embedding where
    it is tied to the head, are int8 with one scale per row here too.

    Attributes:
        group_size: Consecutive inputs that share a scale; a positive multiple of 8.
        clip: Search, per group, for the scale of least squared error; else the largest magnitude becomes 7.
        steps: Points of the grid on which calibration searches the activation-aware exponent.
    """

    bits: ClassVar[int] = 4
    limit_percent: ClassVar[float] = 1.0

    group_size: int = 128
    clip: bool = True
    steps: int = 20

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_steps(self.steps)
        if self.group_size < SMALLEST_GROUP or self.group_size % SMALLEST_GROUP:
            raise InvalidInput(
                f"group_size is {self.group_size!r}; it must be a positive multiple of {SMALLEST_GROUP}, such as 128.",
                parameter="group_size",
            )


QuantConfig = Int8Config | Int4Config


def config_of(bits: int, group_size: int | None = None) -> QuantConfig:
    """The configuration for ``bits`` (8 or 4) and, for 4, the group size.

    Raises:
        InvalidInput: Other bits, or a group size for int8, which has none.
    """
    if bits == Int4Config.bits:
        return Int4Config() if group_size is None else Int4Config(group_size=group_size)
    if bits != Int8Config.bits:
        raise InvalidInput(f"Weights cannot be quantised to {bits} bits here; choose 8 or 4.", bits=bits)
    if group_size is not None:
        raise InvalidInput("int8 has one scale per output channel and takes no group size; leave it out.", bits=bits)
    return Int8Config()


def config_to_dict(config: QuantConfig) -> dict[str, object]:
    """What stands for the configuration in the ``quantization`` block of ``config.json``."""
    return {"bits": config.bits, **asdict(config)}


def config_from_dict(block: dict[str, object]) -> QuantConfig:
    """The configuration that :func:`config_to_dict` wrote; keys of other meaning are left alone.

    Raises:
        InvalidInput: Bits other than 8 and 4, or a value of the wrong kind.
    """
    config = config_of(_whole(block, "bits"))
    changes: dict[str, object] = {"clip": bool(block.get("clip", config.clip)), "steps": config.steps}
    if "steps" in block:
        changes["steps"] = _whole(block, "steps")
    if isinstance(config, Int4Config):
        changes["group_size"] = _whole(block, "group_size")
    return type(config)(**changes)  # type: ignore[arg-type]


def group_width(width: int, group_size: int, name: str) -> int:
    """The group for a row of ``width`` inputs: ``group_size`` where it divides the row.

    Else the largest divisor of the row up to ``group_size`` that the compiled kernel takes (32, 64 or a multiple of
    128), and where there is none, the largest that is a multiple of 8. With 128, a width of 1408 keeps 128, 10944 and
    64 take 64, 96 takes 32, and 200 takes 40.

    Raises:
        InvalidInput: The width is not a multiple of 8, so that no group fits.
    """
    if width % group_size == 0:
        return group_size
    if width % SMALLEST_GROUP:
        raise InvalidInput(
            f"{name} has rows of {width} weights, which groups of {group_size} do not divide, nor any multiple of "
            f"{SMALLEST_GROUP} below it; quantise this model to int8, which has no groups.",
            tensor=name,
            width=width,
            group_size=group_size,
        )
    divisors = [group for group in range(SMALLEST_GROUP, min(width, group_size) + 1, 8) if width % group == 0]
    return max(divisors, key=lambda group: (group in (32, 64) or group % 128 == 0, group))


def _whole(block: dict[str, object], key: str) -> int:
    value = block.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"The quantization block says {key} is {value!r}; it must be a whole number.", parameter=key)
    return value


def _check_steps(steps: int) -> None:
    if not 1 <= steps <= 1000:
        raise InvalidInput(f"steps is {steps!r}; it must be from 1 to 1000.", parameter="steps")
