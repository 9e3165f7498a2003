"""Float linears and experts become quantised ones, in place, one tensor at a time.

Shapes: V vocabulary, D hidden, O outputs, I inputs, E experts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from evident_core.moe.experts import Experts
from evident_core.moe.model import CausalLM, Layer
from evident_core.quant.account import Report, Sizes, TensorError, remember
from evident_core.quant.awq import Choice
from evident_core.quant.calibration import Activations, Calibration, OnProgress, collect, coverage
from evident_core.quant.config import Int4Config, Int8Config, QuantConfig, group_width
from evident_core.quant.experts import QuantExperts
from evident_core.quant.folding import Folding, Scaling, find_folding
from evident_core.quant.linear import QuantEmbedding, Quantized, QuantLinear, TiedHead, quantize_matrix
from evident_core.quant.rounding import dequantize, refuse_not_finite

# Weights that are rounded at a time: temporary memory is a few times as many float32.
_BLOCK = 1 << 18


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
    del stage, done, total


@torch.no_grad()
def quantize_(
    model: CausalLM,
    config: QuantConfig,
    calibration: Calibration | None = None,
    progress: OnProgress = silent,
) -> Report:
    """Quantise a model's linears and experts in place; norms, routers and an untied embedding stay float.

    The head, and an embedding that is also the head, become int8 with a scale a row whatever the configuration says. A
    module that is quantised already stays as it is. Each float tensor is freed as soon as it is rounded, so that at
    no time more is held than the float model and one tensor.

    Args:
        model: A float model; where an error is raised it is unchanged.
        config: Bits, group and rounding.
        calibration: Tokens for the activation-aware search; None rounds plainly.
        progress: Told the stage (``calibrate``, ``search``, ``quantise``) and how far it is.

    Returns:
        Sizes, the worst error of each tensor, and what the calibration covered; perplexities are not measured here.

    Raises:
        InvalidInput: A tensor has values that are not finite or rows that no group divides; the error names it.
    """
    _refuse_unfit(model, config)
    seen: list[Activations | None] = [None] * len(model.layers)
    covered = None
    if calibration is not None and not is_quantized(model):
        seen[:] = collect(model, calibration, progress)
        covered = coverage(calibration, [each for each in seen if each is not None])
    errors: list[TensorError] = []
    choices: list[Choice] = []
    for index, layer in enumerate(model.layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {index} is a {type(layer).__name__}.")
        folding, activations = Folding(), seen[index]
        if activations is not None and calibration is not None:
            progress("search", index, len(model.layers))
            folding = find_folding(f"layers.{index}", layer, activations, calibration.min_tokens, config)
            folding.fold_(layer)
            choices += folding.choices
            seen[index] = activations = None
        errors += convert_layer_(layer, f"layers.{index}.", folding, config)
        progress("quantise", index + 1, len(model.layers))
    errors += convert_ends_(model, Int8Config(clip=config.clip))
    report = Report(
        config=config,
        sizes=Sizes.of(model),
        tensors=tuple(errors),
        method="round" if covered is None else "awq",
        coverage=covered,
        choices=tuple(choices),
    )
    if errors:
        remember(model, report)
    return report


def is_quantized(model: nn.Module) -> bool:
    """Whether any part of a model is quantised."""
    return any(isinstance(module, Quantized) for module in model.modules())


def hollow_(model: CausalLM, config: QuantConfig) -> None:
    """Give a float model without memory (on the device ``meta``) the quantised modules that a checkpoint fills."""
    for index, layer in enumerate(model.layers):
        for name in _names(layer):
            parent, _, child = name.rpartition(".")
            module, full = layer.get_submodule(name), f"layers.{index}.{name}"
            if isinstance(module, Experts):
                w13 = _hollow(tuple(module.w13_EGD.shape), config, f"{full}.w13")
                w2 = _hollow(tuple(module.w2_EDF.shape), config, f"{full}.w2")
                setattr(layer.get_submodule(parent), child, QuantExperts(*w13, *w2))
            elif isinstance(module, nn.Linear):
                weight, scales = _hollow(tuple(module.weight.shape), config, f"{full}.weight")
                linear = QuantLinear(weight, scales, _detached(module.bias))
                setattr(layer.get_submodule(parent), child, linear)
    if isinstance(model.head, nn.Linear):
        model.head = QuantLinear(*_hollow(tuple(model.head.weight.shape), Int8Config(), "head.weight"))  # type: ignore[assignment]
    else:
        embedding = QuantEmbedding(
            *_hollow(tuple(model.embed.weight.shape), Int8Config(), "embed.weight"), torch.float32
        )
        model.embed, model.head = embedding, TiedHead(embedding)  # type: ignore[assignment]


def _hollow(shape: tuple[int, ...], config: QuantConfig, name: str) -> tuple[Tensor, Tensor]:
    if isinstance(config, Int4Config):
        *rows, width = shape
        group = group_width(width, config.group_size, name)
        weight = torch.empty(*rows, width // 2, dtype=torch.uint8, device="meta")
        return weight, torch.empty(*rows, width // group, device="meta")
    return torch.empty(shape, dtype=torch.int8, device="meta"), torch.empty(shape[:-1], device="meta")


def _refuse_unfit(model: CausalLM, config: QuantConfig) -> None:
    """Raise before anything is changed where a tensor cannot be quantised."""
    for name, weight_OI in _matrices(model):
        refuse_not_finite(weight_OI, name)
        if isinstance(config, Int4Config) and name not in ("embed.weight", "head.weight"):
            group_width(weight_OI.shape[1], config.group_size, name)


def _matrices(model: CausalLM) -> Iterator[tuple[str, Tensor]]:
    for index, layer in enumerate(model.layers):
        for name in _names(layer):
            module = layer.get_submodule(name)
            for key, parameter in module.named_parameters():
                if parameter.dim() > 1:
                    for weight_OI in parameter if parameter.dim() == 3 else (parameter,):
                        yield f"layers.{index}.{name}.{key}", weight_OI
    if isinstance(model.embed, nn.Embedding) and model.head is None:
        yield "embed.weight", model.embed.weight
    if isinstance(model.head, nn.Linear):
        yield "head.weight", model.head.weight


def _names(layer: nn.Module) -> list[str]:
    """The float linears and experts of a layer that are to be quantised: all but the router's gate."""
    return [
        name
        for name, module in layer.named_modules()
        if isinstance(module, Experts) or (isinstance(module, nn.Linear) and not name.endswith("router.gate"))
    ]


def convert_layer_(layer: Layer, prefix: str, folding: Folding, config: QuantConfig) -> list[TensorError]:
    """Quantise one layer's linears and experts in place, each float tensor freed before the next one is rounded.

    Args:
        layer: Float; what is quantised already stays.
        prefix: What its names begin with (``layers.3.``).
        folding: What is done to the matrices first; the layer's norms and router have it already.
        config: Bits, group and rounding.
    """
    found = []
    # By name, as a list of the modules themselves would keep their float weights alive.
    for name in _names(layer):
        parent, _, child = name.rpartition(".")
        module = layer.get_submodule(name)
        if isinstance(module, Experts):
            quantized, errors = _convert_experts(module, prefix + name, folding, config)
            setattr(layer.get_submodule(parent), child, quantized)
            found += errors
        elif isinstance(module, nn.Linear):
            scaling = folding.of(name)
            rounded = _Rounded(module.weight, config, f"{prefix}{name}.weight", scaling)
            linear = QuantLinear(rounded.weight, rounded.scales, scaling.bias(_detached(module.bias)))
            setattr(layer.get_submodule(parent), child, linear)
            found.append(rounded.error())
        del module
    return found


def _convert_experts(
    experts: Experts, name: str, folding: Folding, config: QuantConfig
) -> tuple[QuantExperts, list[TensorError]]:
    parts: list[Tensor] = []
    errors = []
    for key, attribute in (("w13", "w13_EGD"), ("w2", "w2_EDF")):
        stacked = experts.get_parameter(attribute)
        total: _Rounded | None = None
        for expert, weight_OI in enumerate(stacked.detach()):
            scaling = folding.of(f"mlp.experts.{key}.{expert}")
            rounded = _Rounded(weight_OI, config, f"{name}.{key}", scaling)
            if total is None:
                total = rounded
                weight, scales = (each.new_empty(len(stacked), *each.shape) for each in (total.weight, total.scales))
                parts += [weight, scales]
            else:
                total.add(rounded)
            weight[expert], scales[expert] = rounded.weight, rounded.scales
        delattr(experts, attribute)
        del stacked, weight_OI
        if total is not None:
            errors.append(total.error())
    return QuantExperts(*parts), errors


def convert_ends_(model: CausalLM, config: Int8Config) -> list[TensorError]:
    """Quantise the head in place, and the embedding with it where they are one."""
    if isinstance(model.head, nn.Linear):
        rounded = _Rounded(model.head.weight, config, "head.weight", Scaling())
        model.head = QuantLinear(rounded.weight, rounded.scales)  # type: ignore[assignment]
        return [rounded.error()]
    if model.head is None and isinstance(model.embed, nn.Embedding):
        rounded = _Rounded(model.embed.weight, config, "embed.weight", Scaling())
        embedding = QuantEmbedding(rounded.weight, rounded.scales, model.embed.weight.dtype)
        model.embed = embedding  # type: ignore[assignment]
        model.head = TiedHead(embedding)  # type: ignore[assignment]
        return [rounded.error()]
    return []


class _Rounded:
    """A matrix rounded a block of rows at a time, and how far off it is: temporary memory is a block's."""

    def __init__(self, weight_OI: Tensor, config: QuantConfig, name: str, scaling: Scaling) -> None:
        self.name, self.worst, self.square, self.square_off, self.largest = name, 0.0, 0.0, 0.0, 0.0
        outputs, block = weight_OI.shape[0], max(1, _BLOCK // weight_OI.shape[1])
        for start in range(0, outputs, block):
            rows = slice(start, start + block)
            exact = scaling.rows_of(rows).weight(weight_OI[rows].detach()).float()
            q, scale = quantize_matrix(exact, config, name, scaling.importance)
            off = dequantize(q, scale).sub_(exact)
            self.largest = max(self.largest, float(exact.abs().max()))
            self.worst = max(self.worst, float(off.abs().max()))
            self.square += float(exact.double().square().sum())
            self.square_off += float(off.double().square().sum())
            if start == 0:
                self.weight, self.scales = (each.new_empty(outputs, *each.shape[1:]) for each in (q, scale))
            self.weight[rows], self.scales[rows] = q, scale

    def add(self, other: "_Rounded") -> None:
        """Count another expert's figures with this one's."""
        self.largest, self.worst = max(self.largest, other.largest), max(self.worst, other.worst)
        self.square, self.square_off = self.square + other.square, self.square_off + other.square_off

    def error(self) -> TensorError:
        """The figures."""
        bits = 8 if self.weight.dtype == torch.int8 else 4
        group = self.weight.shape[-1] * 2 // self.scales.shape[-1] if bits == 4 else None
        worst = self.worst / self.largest if self.largest else 0.0
        mean = (self.square_off / self.square) ** 0.5 if self.square else 0.0
        return TensorError(self.name, bits, group, worst, mean)


def _detached(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()
