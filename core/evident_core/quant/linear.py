"""The modules that stand where a float linear or embedding stood: integers, scales, and the product of ``arithmetic``.

Shapes: T tokens, I inputs, O outputs, P = I / 2 packed bytes, G groups of a row, V vocabulary, D hidden.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn

from evident_core.quant import arithmetic
from evident_core.quant.config import Int4Config, QuantConfig, group_width
from evident_core.quant.rounding import dequantize, quantize_int4, quantize_int8


class Quantized(nn.Module):
    """A module whose scales stay float32 whatever type the model around it is given."""

    scale_names: tuple[str, ...] = ("scales",)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        kept = {name: getattr(self, name) for name in self.scale_names}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, scales in kept.items():
            if getattr(self, name).dtype != scales.dtype:
                setattr(self, name, scales.to(getattr(self, name).device))
        return self


class QuantLinear(Quantized):
    """A linear layer with int8 or int4 weights and int8 activations.

    Attributes:
        weight: int8 ``[O, I]``, or for 4 bits uint8 ``[O, P]`` with the even input in the low nibble, value + 8.
        scales: float32 ``[O]``, or for 4 bits ``[O, G]``.
        bias: As the float layer's, added after the product; None without.
        bits: 8 or 4.
        group_size: Inputs that share a scale: for 8 bits all of them.
    """

    weight: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.bits = 8 if weight.dtype == torch.int8 else 4
        self.out_features = weight.shape[0]
        self.in_features = weight.shape[1] * 8 // self.bits
        self.group_size = self.in_features if self.bits == 8 else self.in_features // scales.shape[1]
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)

    @classmethod
    def quantize(
        cls,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        config: QuantConfig,
        name: str,
        importance_I: torch.Tensor | None = None,
    ) -> Self:
        """Round a float layer's weights.

        Args:
            weight_OI: The float weights.
            bias_O: The float bias, kept as it is.
            config: Bits, group and rounding.
            name: The tensor's name, for errors.
            importance_I: Mean square of each input's activations, where it was measured.

        Raises:
            InvalidInput: A weight is not finite, or no group divides the rows; the error names the tensor.
        """
        weight, scales = quantize_matrix(weight_OI, config, name, importance_I)
        return cls(weight, scales, None if bias_O is None else bias_O.detach())

    def forward(self, x_TI: torch.Tensor) -> torch.Tensor:
        """``x`` times the weights, by the definition of ``arithmetic.linear``, in the type of ``x``."""
        y_TO = arithmetic.linear(x_TI, self.weight, self.scales)
        return y_TO if self.bias is None else y_TO + self.bias.to(y_TO.dtype)

    def dequantize(self) -> torch.Tensor:
        """The float32 weights ``[O, I]`` that the integers stand for."""
        return dequantize(self.weight, self.scales)

    def extra_repr(self) -> str:
        """Sizes and bits, in the model's printed form."""
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, group_size={self.group_size}"


class QuantEmbedding(Quantized):
    """An embedding of int8 rows with one scale a token, for a model whose head is the same matrix.

    Attributes:
        weight: int8 ``[V, D]``.
        scales: float32 ``[V]``.
        dtype: The type of what it returns; it follows ``model.to(dtype)``.
    """

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.num_embeddings, self.embedding_dim = weight.shape
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.weight.device)).dtype
        return super()._apply(fn, recurse)

    def forward(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        """The rows ``x_TD`` of the tokens."""
        return (self.weight[token_ids_T].float() * self.scales[token_ids_T].unsqueeze(-1)).to(self.dtype)

    def dequantize(self) -> torch.Tensor:
        """The float32 rows ``[V, D]`` that the integers stand for."""
        return dequantize(self.weight, self.scales)


class TiedHead(nn.Module):
    """The head of a model whose embedding is also its head: it reads the embedding's integers and owns none.

    It has the attributes of a :class:`QuantLinear`, and no entry in the state dict.
    """

    bits = 8
    bias = None

    def __init__(self, embedding: QuantEmbedding) -> None:
        super().__init__()
        # Not a submodule: moved, saved and counted it is once, as the embedding.
        object.__setattr__(self, "_embedding", embedding)
        self.in_features, self.out_features = embedding.embedding_dim, embedding.num_embeddings
        self.group_size = self.in_features

    def __getattr__(self, name: str) -> Any:
        if name in ("weight", "scales"):
            return getattr(self.__dict__["_embedding"], name)
        return super().__getattr__(name)

    def forward(self, x_TD: torch.Tensor) -> torch.Tensor:
        """Logits ``[.., V]`` in the type of ``x``."""
        return arithmetic.linear(x_TD, self.weight, self.scales)


def quantize_matrix(
    weight_OI: torch.Tensor, config: QuantConfig, name: str, importance_I: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers and scales of a matrix as the configuration says; packed where that is int4.

    Raises:
        InvalidInput: A weight is not finite, or no group divides the rows; the error names the tensor.
    """
    if isinstance(config, Int4Config):
        group = group_width(weight_OI.shape[1], config.group_size, name)
        return quantize_int4(weight_OI, group, name, clip=config.clip, importance_I=importance_I)
    return quantize_int8(weight_OI, name, clip=config.clip, importance_I=importance_I)
