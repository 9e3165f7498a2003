"""Rotary positions (Su et al. 2021, arXiv:2104.09864) with the scalings that stretch a context.

Shapes: T tokens, H heads, K numbers of a head, P positions, J = K / 2 pairs that are rotated together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evident_core.errors import InvalidInput
from evident_core.moe.fields import build, check, check_positive, check_types


@dataclass(frozen=True)
class LinearScaling:
    """Every position is divided by ``factor``."""

    factor: float

    def __post_init__(self) -> None:
        """Refuse a factor that is not above zero."""
        check_types(self)
        check_positive(self, "factor")


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's: slow frequencies are divided by ``factor``, quick ones kept, those between interpolated."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        """Refuse values that leave no room between slow and quick."""
        check_types(self)
        check_positive(self, "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        higher = self.high_freq_factor > self.low_freq_factor
        check(self, "high_freq_factor", higher, f"above low_freq_factor {self.low_freq_factor}")


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al. 2023, arXiv:2309.00071), with DeepSeek's two extra magnitudes.

    Attributes:
        factor: By how much the context is stretched.
        original_max_position_embeddings: The context before.
        beta_fast: Pairs that turn more often than this within the old context are kept.
        beta_slow: Pairs that turn less often than this are divided by ``factor``.
        attention_factor: Multiplies cosines and sines; None derives it from the factor as the paper does.
        mscale: DeepSeek's magnitude of cosines and sines.
        mscale_all_dim: DeepSeek's magnitude of whole heads: goes, squared, into the softmax's scale, in latent
            attention only, as in DeepSeek's own code.
        truncate: Whether the borders of the ramp are rounded outwards to whole pairs.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        """Refuse values that are not above zero."""
        check_types(self)
        check_positive(self, "factor", "original_max_position_embeddings", "beta_fast", "beta_slow")

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _magnitude(self.factor, self.mscale) / _magnitude(self.factor, self.mscale_all_dim)
        return _magnitude(self.factor, 1.0)

    @property
    def softmax_factor(self) -> float:
        """What the softmax's scale of latent attention is multiplied by."""
        return _magnitude(self.factor, self.mscale_all_dim) ** 2 if self.mscale_all_dim else 1.0


Scaling = YarnScaling | Llama3Scaling | LinearScaling
_KINDS: dict[str, type[Scaling]] = {"yarn": YarnScaling, "llama3": Llama3Scaling, "linear": LinearScaling}


@dataclass(frozen=True)
class RopeConfig:
    """How positions are rotated into queries and keys.

    Attributes:
        theta: Base of the wavelengths.
        dim: Numbers of a head that are rotated: its first ones.
        scaling: How the context was stretched, if it was.
        interleaved: Whether neighbours (0, 1), (2, 3) … form a pair (DeepSeek's latent attention), or number j and
            number j + dim / 2 (all others).
    """

    theta: float
    dim: int
    scaling: Scaling | None = None
    interleaved: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be rotated."""
        check_types(self)
        check_positive(self, "theta", "dim")
        check(self, "dim", self.dim % 2 == 0, "even, as numbers are rotated in pairs")


def rope_to_dict(rope: RopeConfig) -> dict[str, Any]:
    """The same as JSON values."""
    names = {kind: name for name, kind in _KINDS.items()}
    scaling = None if rope.scaling is None else {"kind": names[type(rope.scaling)]} | vars(rope.scaling)
    return vars(rope) | {"scaling": scaling}


def rope_from_dict(values: object) -> RopeConfig:
    """Read what :func:`rope_to_dict` wrote.

    Raises:
        InvalidInput: A field is unknown, missing or wrong.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(f"rope is {values!r}; it must be an object with theta and dim.", field="rope")
    scaling = values.get("scaling")
    if scaling is None:
        return build(RopeConfig, values, "rope")
    if not isinstance(scaling, Mapping) or scaling.get("kind") not in _KINDS:
        raise InvalidInput(
            f"rope.scaling is {scaling!r}; it must be null or an object with kind {', '.join(_KINDS)}.", field="scaling"
        )
    parts = {name: value for name, value in scaling.items() if name != "kind"}
    return build(RopeConfig, {**values, "scaling": build(_KINDS[scaling["kind"]], parts, "rope.scaling")}, "rope")


class Rotary:
    """The cosines and sines of positions, one set for all layers.

    It is no module: its frequencies must stay float32 whatever a model is cast to, and exist while the model is on the
    ``meta`` device.
    """

    def __init__(self, config: RopeConfig) -> None:
        self.config = config
        self._frequencies = {torch.device("cpu"): frequencies(config)}
        self.magnitude = config.scaling.magnitude if isinstance(config.scaling, YarnScaling) else 1.0

    def __call__(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """The cosines and sines, each [T, J] float32, of these positions."""
        device = positions_T.device
        if device not in self._frequencies:
            self._frequencies[device] = self._frequencies[torch.device("cpu")].to(device)
        angles_TJ = positions_T[:, None].float() * self._frequencies[device]
        return angles_TJ.cos() * self.magnitude, angles_TJ.sin() * self.magnitude

    def table(self, positions: int) -> tuple[Tensor, Tensor]:
        """The cosines and sines, each [P, J] float32 on the CPU, of the first positions, for compiled kernels."""
        return self(torch.arange(positions, device="cpu"))


def rotate(x_THK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor, interleaved: bool) -> Tensor:
    """Rotate the first ``2 J`` numbers of every head; the rest passes through.

    Interleaved pairs come out apart (first all first numbers, then all second ones): scores of queries and keys do not
    depend on the order, and it saves a copy.
    """
    cos, sin = cos_TJ[:, None].to(x_THK.dtype), sin_TJ[:, None].to(x_THK.dtype)
    pairs = cos.shape[-1]
    turned, rest = x_THK[..., : 2 * pairs], x_THK[..., 2 * pairs :]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :pairs], turned[..., pairs:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


def frequencies(config: RopeConfig) -> Tensor:
    """The angle of each pair at position 1, [J] float32 on the CPU."""
    exponents = torch.arange(0, config.dim, 2, dtype=torch.float32, device="cpu") / config.dim
    plain = 1.0 / config.theta**exponents
    match config.scaling:
        case None:
            return plain
        case LinearScaling(factor=factor):
            return plain / factor
        case Llama3Scaling() as scaling:
            return _llama3(plain, scaling)
        case YarnScaling() as scaling:
            return _yarn(plain, scaling, config)


def _llama3(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    width = scaling.high_freq_factor - scaling.low_freq_factor
    kept = ((turns - scaling.low_freq_factor) / width).clamp(0, 1)
    return (1 - kept) * plain / scaling.factor + kept * plain


def _yarn(plain: Tensor, scaling: YarnScaling, config: RopeConfig) -> Tensor:
    def border(turns: float) -> float:
        """The (fractional) pair that turns this often within the old context."""
        ratio = scaling.original_max_position_embeddings / (turns * 2 * math.pi)
        return config.dim * math.log(ratio) / (2 * math.log(config.theta))

    low, high = border(scaling.beta_fast), border(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.dim - 1)
    width = high - low or 0.001
    stretched = ((torch.arange(config.dim // 2, dtype=torch.float32, device="cpu") - low) / width).clamp(0, 1)
    return plain / scaling.factor * stretched + plain * (1 - stretched)


def _magnitude(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
