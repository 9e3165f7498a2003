"""Where activation-aware scales go in a layer: into its norms, its router, and the rows that make the next input.

The layer computes the same function after it: what a weight's column is multiplied by, the norm (or the row) that makes
that input is divided by.

Shapes: D hidden, I inputs, O outputs, E experts, F width of an expert, H query heads, G kv heads, K head dim.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from evident_core.moe.attention import GQA
from evident_core.moe.experts import MoE, SwiGLU
from evident_core.moe.model import Layer
from evident_core.moe.norm import RMSNorm
from evident_core.quant.awq import Branch, Choice, search_branches, search_linears, search_middle
from evident_core.quant.calibration import Activations
from evident_core.quant.config import QuantConfig


@dataclass
class Scaling:
    """What is done to a matrix before it is rounded.

    Attributes:
        columns: Each input's column is multiplied by this, ``[I]``.
        rows: Each output's row (and bias) is divided by this, ``[O]``.
        importance: The mean square of each scaled input, where the search found that rounding by it is better.
    """

    columns: Tensor | None = None
    rows: Tensor | None = None
    importance: Tensor | None = None

    def weight(self, weight_OI: Tensor) -> Tensor:
        """The matrix to round, float32 where anything changes."""
        if self.columns is not None:
            weight_OI = weight_OI.float() * self.columns
        return weight_OI if self.rows is None else weight_OI.float() / self.rows.unsqueeze(1)

    def rows_of(self, rows: slice) -> "Scaling":
        """The change of some of the rows."""
        return self if self.rows is None else replace(self, rows=self.rows[rows])

    def bias(self, bias_O: Tensor | None) -> Tensor | None:
        """The bias that goes with it."""
        return bias_O if bias_O is None or self.rows is None else (bias_O.float() / self.rows).to(bias_O.dtype)


@dataclass
class Folding:
    """All that changes in a layer before its matrices are rounded.

    Attributes:
        norms: Norms, and what each is divided by.
        gate: What the router's columns are multiplied by; None without experts.
        matrices: By name within the layer (``attn.wq``, ``mlp.w13``, ``mlp.experts.w13.17``): the change.
        choices: What the search chose where.
    """

    norms: list[tuple[RMSNorm, Tensor]] = field(default_factory=list)
    gate: Tensor | None = None
    matrices: dict[str, Scaling] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)

    def of(self, name: str) -> Scaling:
        """The change of a matrix; none where nothing was found for it."""
        return self.matrices.setdefault(name, Scaling())

    @torch.no_grad()
    def fold_(self, layer: Layer) -> None:
        """Change the norms and the router, which stay float, in place."""
        for norm, scale_D in self.norms:
            norm.weight.copy_(norm.weight.float() / scale_D)
        if self.gate is not None and isinstance(layer.mlp, MoE):
            gate = layer.mlp.router.gate.weight
            gate.copy_(gate.float() * self.gate)


@torch.no_grad()
def find_folding(name: str, layer: Layer, seen: Activations, min_tokens: int, config: QuantConfig) -> Folding:
    """Search a layer's scales.

    Args:
        name: The layer's, for the report.
        layer: Float, unchanged by this.
        seen: What it saw in the calibration.
        min_tokens: An expert that fewer tokens visited keeps plain rounding.
        config: How the weights will be rounded.
    """
    folding = Folding()
    attention = layer.attn
    if isinstance(attention, GQA):
        _fold_norm(folding, name, "attn", layer.attn_norm, attention, ("wq", "wk", "wv"), seen, config)
        if attention.config.clip_qkv is None:  # a clamp between them would clamp something else
            _fold_values_of_gqa(folding, name, attention, seen, config)
    else:
        first = ("wq" if attention.config.q_lora_rank is None else "wq_a", "wkv_a")
        _fold_norm(folding, name, "attn", layer.attn_norm, attention, first, seen, config)
        if attention.config.q_lora_rank is not None:
            _fold_norm(folding, name, "attn.wq_b", attention.q_norm, attention, ("wq_b",), seen, config)
        _fold_norm(folding, name, "attn.wkv_b", attention.kv_norm, attention, ("wkv_b",), seen, config)
        heads, nope = attention.config.num_heads, attention.config.qk_nope_head_dim
        sample = seen.inputs["attn.wo"]
        found = search_linears(f"{name}.attn.wo", sample.rows(), sample.magnitude(), [attention.wo.weight], config)
        keys_HK = found.scale.new_ones(heads, nope)
        rows_O = torch.cat((keys_HK, found.scale.view(heads, -1)), dim=1).flatten()
        folding.of("attn.wkv_b").rows = rows_O
        _scale_columns(folding.of("attn.wo"), found.scale, sample.rows() if found.weighted else None)
        folding.choices.append(found.choice)
    _fold_mlp(folding, name, layer, seen, min_tokens, config)
    return folding


def _fold_norm(
    folding: Folding,
    layer_name: str,
    place: str,
    norm: RMSNorm,
    attention: nn.Module,
    names: tuple[str, ...],
    seen: Activations,
    config: QuantConfig,
) -> None:
    sample = seen.inputs[place]
    weights = [attention.get_submodule(each).get_parameter("weight") for each in names]
    x_ND = sample.rows()
    found = search_linears(f"{layer_name}.attn.{'/'.join(names)}", x_ND, sample.magnitude(), weights, config)
    scale_D = _representable(norm, found.scale)
    folding.norms.append((norm, scale_D))
    for each in names:
        _scale_columns(folding.of(f"attn.{each}"), scale_D, x_ND if found.weighted else None)
    folding.choices.append(found.choice)


def _fold_values_of_gqa(folding: Folding, name: str, attention: GQA, seen: Activations, config: QuantConfig) -> None:
    """From the values' rows to the output projection: query heads that share a kv head share its scales."""
    shape = attention.config
    groups, share, dim = shape.num_kv_heads, shape.num_heads // shape.num_kv_heads, shape.head_dim

    def expand(scale: Tensor) -> Tensor:
        return scale.view(groups, 1, dim).expand(groups, share, dim).reshape(-1)

    sample = seen.inputs["attn.wo"]
    magnitude = sample.magnitude().view(groups, share, dim).mean(dim=1).flatten()
    x_NI = sample.rows()
    found = search_linears(f"{name}.attn.wo", x_NI, magnitude, [attention.wo.weight], config, expand)
    folding.of("attn.wv").rows = found.scale
    _scale_columns(folding.of("attn.wo"), expand(found.scale), x_NI if found.weighted else None)
    folding.choices.append(found.choice)


def _fold_mlp(
    folding: Folding, name: str, layer: Layer, seen: Activations, min_tokens: int, config: QuantConfig
) -> None:
    sample = seen.inputs["mlp"]
    branches = dict(_branches(name, layer, seen))
    found = search_branches(f"{name}.mlp.w13", list(branches.values()), sample.magnitude(), config)
    scale_D = _representable(layer.mlp_norm, found.scale)
    folding.norms.append((layer.mlp_norm, scale_D))
    folding.choices.append(found.choice)
    if isinstance(layer.mlp, MoE):
        folding.gate = scale_D
        # Also the experts that nobody visited read the input that was divided.
        for expert in range(layer.mlp.experts.w13_EGD.shape[0]):
            folding.of(f"mlp.experts.w13.{expert}").columns = scale_D
    for key, branch in branches.items():
        covered = len(branch.x_ND) >= min_tokens
        x_ND = branch.x_ND if found.weighted and covered else None
        first = folding.of(key.replace("w2", "w13"))
        _scale_columns(first, scale_D, x_ND)
        if covered:
            middle, a_NF = search_middle(branch, config)
            first.rows = torch.cat((torch.ones_like(middle.scale), middle.scale))
            _scale_columns(folding.of(key), middle.scale, a_NF if middle.weighted else None)
            folding.choices.append(middle.choice)


def _branches(name: str, layer: Layer, seen: Activations) -> Iterator[tuple[str, Branch]]:
    """The gated MLPs of a layer that tokens passed through, by the name of their ``w2`` within the layer."""
    x_ND = seen.inputs["mlp"].rows()
    everyone = x_ND.new_ones(len(x_ND), 1)
    mlp = layer.mlp
    if isinstance(mlp, MoE) and seen.visits is not None:
        for expert in range(mlp.experts.w2_EDF.shape[0]):
            rows_M, weights_M = seen.visits.of(expert)
            if len(rows_M):
                key = f"mlp.experts.w2.{expert}"
                w13, w2 = mlp.experts.w13_EGD[expert], mlp.experts.w2_EDF[expert]
                yield key, Branch(f"{name}.{key}", x_ND[rows_M], weights_M.unsqueeze(1), w13, w2)
    plain = mlp.shared if isinstance(mlp, MoE) else mlp
    if isinstance(plain, SwiGLU):
        key = "mlp.shared.w2" if isinstance(mlp, MoE) else "mlp.w2"
        yield key, Branch(f"{name}.{key}", x_ND, everyone, plain.w13.weight, plain.w2.weight)


def _scale_columns(scaling: Scaling, scale_I: Tensor, x_NI: Tensor | None) -> None:
    scaling.columns = scale_I
    scaling.importance = None if x_NI is None else (x_NI / scale_I).square().mean(dim=0)


def _representable(norm: RMSNorm, scale_D: Tensor) -> Tensor:
    """The scale that the norm will really have been divided by, once its weight is rounded to its own type."""
    before_D = norm.weight.float()
    after_D = (before_D / scale_D).to(norm.weight.dtype).float()
    return torch.where((before_D != 0) & (after_D != 0), before_D / after_D, scale_D)
