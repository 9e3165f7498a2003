"""Steps through the C++ kernel: grouped-query attention with dense or expert layers, float, int8 or int4, on a CPU."""

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from evident_core.decode.runner import Float32, StepInput
from evident_core.decode.sampler import Draw
from evident_core.moe.attention import GQA
from evident_core.moe.config import GQAConfig, MoEConfig
from evident_core.moe.experts import MoE
from evident_core.moe.model import CausalLM
from evident_core.quant import QuantExperts, TiedHead
from evident_kernels import cpu, spec

BLOCK_SIZE: Final = 16


class KernelRunner:
    """Computes steps with ``evident_kernels.cpu.DecodeModel`` over the weights where they lie.

    Args:
        model: On the CPU; :meth:`refusal` of it is None.
        cache_bytes: Memory of the cache, which is allocated at once.
        max_tokens: Tokens after which more cache is of no use.
        threads: Threads that compute; by default one a core.
        cache_dtype: What keys and values are kept as; by default float32 beside float weights, else float16.
    """

    block_size: int = BLOCK_SIZE

    def __init__(
        self,
        model: CausalLM,
        cache_bytes: int,
        max_tokens: int,
        threads: int | None = None,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        described = describe(model)
        if cache_dtype is None:
            cache_dtype = torch.float32 if described.layers[0].attention.wq.kind == "f32" else torch.float16
        self._kernel = cpu.DecodeModel(described, threads=threads)
        layers, heads, dim = len(described.layers), described.num_kv_heads, described.head_dim
        bytes_per_block = 2 * layers * heads * dim * cache_dtype.itemsize * BLOCK_SIZE
        self.num_blocks: int = max(1, min(-(-max_tokens // BLOCK_SIZE), cache_bytes // bytes_per_block))
        shape = (layers, self.num_blocks * BLOCK_SIZE, heads, dim)
        self._keys, self._values = (torch.zeros(shape, dtype=cache_dtype) for _ in range(2))
        self._kernel.bind(list(self._keys), list(self._values))

    @staticmethod
    def refusal(model: CausalLM) -> str | None:
        """Why the kernel cannot compute this model, as a sentence; None where it can."""
        if reason := cpu.reason():
            return reason
        if any(not isinstance(layer.attn, GQA) for layer in model.layers):
            return "The kernel knows grouped-query attention only, and this model has latent attention."
        if any(isinstance(layer.attn, GQA) and layer.attn.config.clip_qkv is not None for layer in model.layers):
            return "The kernel does not clamp queries, keys and values (clip_qkv)."
        return cpu.supports(describe(model))

    @property
    def draw(self) -> Draw:
        """The kernel's own sampling."""
        return _draw

    @property
    def describes(self) -> str:
        """What computes."""
        threads = f"{self._kernel.threads} thread{'s' if self._kernel.threads > 1 else ''}"
        return f"C++ kernel, {self._kernel.isa}, {threads}"

    def run(self, step: StepInput) -> Float32:
        """The logits of a step."""
        return self._kernel.run(
            step.token_ids_T,
            step.positions_T,
            step.slots_T,
            step.starts.tolist(),
            step.contexts_S.tolist(),
            step.tables_SB,
            step.rows_R,
            BLOCK_SIZE,
            step.allowed_RW,
        )


def _draw(logits_V: Float32, temperature: float, top_k: int, top_p: float, min_p: float, uniform: float) -> int:
    return cpu.sample(logits_V, uniform, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)


def describe(model: CausalLM) -> spec.ModelSpec:
    """A model with grouped-query attention as the kernel is told of it; its weights are named, not copied."""
    attention = model.config.attention
    if not isinstance(attention, GQAConfig):
        raise TypeError("only grouped-query attention can be described")
    cos, sin = model.rotary.table(model.config.max_position_embeddings)
    tied = model.head is None or isinstance(model.head, TiedHead)
    return spec.ModelSpec(
        num_heads=attention.num_heads,
        num_kv_heads=attention.num_kv_heads,
        head_dim=attention.head_dim,
        rms_norm_eps=model.config.rms_norm_eps,
        embedding=_weight(model.embed),
        layers=tuple(_layer(layer) for layer in model.layers),
        norm=_plain(model.norm.weight),
        head=None if tied else _weight(model.head),
        cos=_plain(cos),
        sin=_plain(sin),
        interleaved=model.config.rope.interleaved,
    )


# Quantisation replaces modules in place by others with attributes of the same meaning, so what a module is declared as
# says little here: all modules below are Any.


def _layer(layer: Any) -> spec.LayerSpec:
    attn = layer.attn
    normed = attn.config.qk_norm is not None
    return spec.LayerSpec(
        attn_norm=_plain(layer.attn_norm.weight),
        attention=spec.Attention(
            wq=_weight(attn.wq),
            wk=_weight(attn.wk),
            wv=_weight(attn.wv),
            wo=_weight(attn.wo),
            q_norm=_plain(attn.q_norm.weight) if normed else None,
            k_norm=_plain(attn.k_norm.weight) if normed else None,
            window=attn.window,
        ),
        mlp_norm=_plain(layer.mlp_norm.weight),
        mlp=_moe(layer.mlp) if isinstance(layer.mlp, MoE) else _dense(layer.mlp),
    )


def _dense(mlp: Any) -> spec.DenseMLP:
    return spec.DenseMLP(w13=_weight(mlp.w13), w2=_weight(mlp.w2))


def _moe(mlp: Any) -> spec.MoEMLP:
    router, experts = mlp.router, mlp.experts
    config: MoEConfig = router.config
    if isinstance(experts, QuantExperts):
        w13 = _integers(experts.w13, experts.w13_scales, experts.group_size)
        w2 = _integers(experts.w2, experts.w2_scales, experts.w2_group_size)
    else:
        w13, w2 = spec.Weight(_plain(experts.w13_EGD)), spec.Weight(_plain(experts.w2_EDF))
    return spec.MoEMLP(
        gate=_plain(router.gate.weight),
        w13=w13,
        w2=w2,
        top_k=config.top_k,
        score=config.score,
        expert_bias=_plain(router.expert_bias) if config.expert_bias else None,
        normalise_top_k=config.normalise_top_k,
        scaling_factor=config.scaling_factor,
        num_groups=config.num_groups,
        top_k_groups=config.top_k_groups,
        group_score=config.group_score,
        shared=_dense(mlp.shared) if mlp.shared is not None else None,
    )


def _weight(module: Any) -> spec.Weight:
    bias = getattr(module, "bias", None)
    bias = None if bias is None else _plain(bias)
    if isinstance(module, nn.Linear | nn.Embedding):
        return spec.Weight(_plain(module.weight), bias=bias)
    integers = _integers(module.weight, module.scales, getattr(module, "group_size", 0))
    return replace(integers, bias=bias)


def _integers(data: Tensor, scales: Tensor, group_size: int) -> spec.Weight:
    return spec.Weight(data, scales, group_size if data.dtype == torch.uint8 else 0)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()
