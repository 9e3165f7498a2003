"""From an exported detector back to weights that training goes on from: what a line has is the ONNX file.

An export holds each convolution with its batch norm folded in, and only the head that inspects. Here each is given a
norm back that leaves what the network computes as it is: with the mean m and variance v that the convolution's output
has over some pictures, scale sqrt(v + eps) and shift m (Ioffe and Szegedy, 2015, solved for the identity), so that
training, which normalises by batches, begins where the export is. The head for training begins as a copy of the other.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.perceive.detector import batch
from evident_manufacturing.inspection.schema import KINDS


def thaw(exported: Path, target: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    """Write a ``.pt`` that computes what an fp32 ONNX file of this service does.

    Args:
        exported: Of ``training.gates.export``.
        target: To write.
        images: Some of those it looks at, uint8 [640, 640, 3]; the norms are measured on them.

    Raises:
        InvalidInput: The file is not an export of this architecture.
    """
    yolo = detect.yolo()(detect.ARCHITECTURE)
    network = type(yolo.model)(yolo.model.yaml, nc=len(KINDS), verbose=False).eval()
    names, read = _order(network), list(_convolutions(exported))
    modules = dict(network.named_modules())
    if [tuple(modules[name].weight.shape) for name in names] != [weight.shape for weight, _ in read]:
        raise InvalidInput(
            f"{exported.name} is not an export of {detect.ARCHITECTURE} with {len(KINDS)} kinds; train from a .pt.",
            path=str(exported),
        )
    with torch.no_grad():
        for name, (weight, bias) in zip(names, read, strict=True):
            _set(modules, name, torch.from_numpy(weight), torch.from_numpy(bias))
        head = network.model[-1]
        for part in ("cv2", "cv3"):
            getattr(head, part).load_state_dict(getattr(head, f"one2one_{part}").state_dict())
        _measure_norms(network, images)
    yolo.model = network
    yolo.save(str(target))
    return target


def _order(network: Any) -> list[str]:
    """Names of the convolutions that an export has, as they are computed one after the other."""
    folded = deepcopy(network)
    folded.end2end = True  # as it is exported: the head that needs no suppression
    folded.fuse(verbose=False)
    order: list[str] = []
    for name, module in folded.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    with torch.no_grad():
        folded(torch.zeros(1, 3, 64, 64))  # of any size
    return order


def _convolutions(exported: Path) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weight and bias of each convolution of a network, in the order of its nodes; kept in 16 bits or 32."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(exported)).graph
    kept = {each.name: numpy_helper.to_array(each).astype(np.float32) for each in graph.initializer}
    widened = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, *bias = (kept[widened.get(name, name)] for name in node.input[1:])
            yield weight, bias[0] if bias else np.zeros(len(weight), np.float32)


def _set(modules: dict[str, Any], name: str, weight: Tensor, bias: Tensor) -> None:
    convolution, norm = modules[name], modules.get(f"{name.rpartition('.')[0]}.bn")
    convolution.weight.copy_(weight)
    if convolution.bias is not None:
        convolution.bias.copy_(bias)
    elif norm is not None:
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        norm.weight.fill_((1.0 + norm.eps) ** 0.5)
        norm.bias.copy_(bias)


def _measure_norms(network: nn.Module, images: Sequence[NDArray[np.uint8]]) -> None:
    """Give each norm the mean and variance of what comes to it, and scale and shift that undo them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def gather(module: nn.Module, given: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(given[0], dim=(0, 2, 3), correction=0)
        seen[module].append((mean, variance))

    hooks = [norm.register_forward_pre_hook(gather) for norm in norms]
    for image in images:  # of one size, so that means of their means are those of all
        network(torch.from_numpy(batch([image])))
    for hook in hooks:
        hook.remove()
    for norm, measured in seen.items():
        if not measured:
            continue
        means, variances = (torch.stack(each) for each in zip(*measured, strict=True))
        mean = means.mean(0)
        variance = (variances.mean(0) + means.var(0, correction=0)).clamp_min(1e-6)
        given: Any = norm
        # What it computed is z * weight / sqrt(1 + eps) + bias, which is z + bias; that stays.
        given.bias += mean
        given.weight.copy_((variance + given.eps).sqrt())
        given.running_mean.copy_(mean)
        given.running_var.copy_(variance)
