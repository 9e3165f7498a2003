"""Muon, the optimiser of the matrices, for stacks of them too.

Shapes: N matrices of one shape, R rows, C columns.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalise(matrices_NRC: Tensor) -> Tensor:
    """About the nearest matrices with all singular values 1, [N, R, C], by five Newton-Schulz iterations.

    The quintic of K. Jordan et al., "Muon" (2024): singular values end between about 0.7 and 1.2, which is enough.
    bfloat16 on a GPU.
    """
    x = matrices_NRC.bfloat16() if matrices_NRC.is_cuda else matrices_NRC.float()
    turned = x.shape[-2] > x.shape[-1]
    if turned:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    nearest_NRC: Tensor = (x.mT if turned else x).to(matrices_NRC.dtype)
    return nearest_NRC


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, as the step of each matrix (the last two dimensions of a parameter).

    Args:
        parameters: Matrices, or stacks of matrices; those of one shape are stepped together.
        lr: Step, in units of the matrix's own scale; every singular value moves by it.
        momentum: Of the Nesterov kind.
        weight_decay: Decoupled, times lr.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step along the gradients that are there."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
            for shape, parameters in shapes.items():
                self._step(group, shape, parameters)
        return loss

    def _step(self, group: dict[str, Any], shape: tuple[int, ...], parameters: list[Tensor]) -> None:
        updates = []
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            if gradient is None:
                continue
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"]
            momentum.lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(momentum, group["momentum"]).view(-1, *shape))
        sizes = [update.shape[0] for update in updates]
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        for parameter, step in zip(parameters, torch.split(orthogonalise(torch.cat(updates)), sizes), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(step.view_as(parameter), alpha=-group["lr"] * scale)
