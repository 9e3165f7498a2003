"""Root mean square norm.

Shapes: the last dimension is normed, whatever stands before it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467), computed in float32 whatever the input is (by PyTorch)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The input over its root mean square, times the weight; same shape and dtype."""
        # Under autocast the input may be narrower than the weight, and PyTorch's fused norm wants one type.
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)
