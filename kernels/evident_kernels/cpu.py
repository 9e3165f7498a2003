"""The CPU kernels, as Python calls them: whole decode steps, sampling, single linears and experts.

The library behind them is compiled on first use (:mod:`evident_kernels.build`). Where that is not possible
:func:`library` is None and :func:`reason` says why; the caller then runs its pure PyTorch path.
"""

from evident_kernels.decode import DecodeModel, supports
from evident_kernels.loading import ISA, cores, isas, library, reason
from evident_kernels.single import experts, linear, sample
from evident_kernels.spec import ModelSpec

__all__ = [
    "ISA",
    "DecodeModel",
    "ModelSpec",
    "cores",
    "experts",
    "isas",
    "library",
    "linear",
    "reason",
    "sample",
    "supports",
]
