"""The model families that are known: how each one's ``config.json`` reads, in its own words.

A family is found by ``architectures`` (then ``model_type``). Options that change the result and are not supported are
refused by name; nothing that a checkpoint asks for is silently left out.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evident_core.errors import InvalidInput
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.hf_config import HFConfig, read_rope


@dataclass(frozen=True)
class Family:
    """One family of checkpoints.

    Attributes:
        name: ``model_type`` in ``config.json``, and ``ModelConfig.family``.
        architecture: What ``architectures`` names.
        read: ``config.json`` into the configuration.
    """

    name: str
    architecture: str
    read: Callable[[HFConfig], ModelConfig]


def read_config(values: Mapping[str, Any]) -> ModelConfig:
    """The configuration that a ``config.json`` describes.

    Args:
        values: Its parsed content.

    Raises:
        InvalidInput: The architecture is not known (the message lists those that are), a value is missing or wrong, or
            an option is not supported; the message names it.
    """
    family = find_family(values)
    config = HFConfig(values)
    if config.has("quantization_config"):
        method = config.mapping("quantization_config").get("quant_method", "an unnamed method")
        raise InvalidInput(
            f"The checkpoint is quantised by {method!r} (quantization_config in config.json); "
            "only float weights are read: convert it to bfloat16 first.",
            field="quantization_config",
        )
    config.only("hidden_act", "silu", "swish")
    config.only("mlp_bias", False)
    return family.read(config)


def find_family(values: Mapping[str, Any]) -> Family:
    """The family that a ``config.json`` names.

    Raises:
        InvalidInput: It names none, or one that is not known.
    """
    architectures = HFConfig(values).items("architectures") or []
    name = str((architectures or [values.get("model_type") or ""])[0])
    known = {label: family for family in FAMILIES for label in (family.architecture, family.name)}
    if name in known:
        return known[name]
    listing = ", ".join(family.architecture for family in FAMILIES)
    if not name:
        raise InvalidInput(f"config.json names neither architectures nor model_type; known are {listing}.")
    lowered = {label.lower(): label for label in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.7)
    hint = f" Did you mean {lowered[close[0]]}?" if close else ""
    raise InvalidInput(f"The architecture {name!r} is not known.{hint} Known are {listing}.", architecture=name)


def _common(config: HFConfig, eps: float) -> dict[str, Any]:
    vocabulary = config.whole("vocab_size")
    return {
        "vocab_size": vocabulary,
        "hidden_size": config.whole("hidden_size"),
        "num_layers": config.whole("num_hidden_layers"),
        "rms_norm_eps": config.number("rms_norm_eps", eps),
        "tie_word_embeddings": config.flag("tie_word_embeddings", False),
        "max_position_embeddings": config.whole("max_position_embeddings"),
        # An end token outside the vocabulary (a family's default in a cut-down checkpoint) can never be written.
        "eos_token_ids": tuple(token for token in config.wholes("eos_token_id") if 0 <= token < vocabulary),
    }


def _gqa(config: HFConfig, head_dim: int | None = None, **options: Any) -> GQAConfig:
    heads = config.whole("num_attention_heads")
    dim = config.optional("head_dim") or head_dim or config.whole("hidden_size") // heads
    bias = config.flag("attention_bias", False)
    return GQAConfig(heads, config.whole("num_key_value_heads", default=heads), dim, bias=bias, **options)


def _grouped(
    config: HFConfig, family: str, attention: GQAConfig, eps: float = 1e-6, theta: float = 1e4, **parts: Any
) -> ModelConfig:
    common = _common(config, eps)
    rope = read_rope(config, attention.head_dim, common["max_position_embeddings"], theta)
    return ModelConfig(
        family, intermediate_size=config.whole("intermediate_size"), attention=attention, rope=rope, **common, **parts
    )


def _llama(config: HFConfig) -> ModelConfig:
    return _grouped(config, "llama", _gqa(config))


def _qwen3(config: HFConfig) -> ModelConfig:
    window = config.optional("sliding_window", 4096) if config.flag("use_sliding_window", False) else None
    layers = config.whole("num_hidden_layers")
    kinds = config.items("layer_types")
    if kinds is None:
        full = config.whole("max_window_layers", default=28)
        kinds = ["sliding_attention" if window and index >= full else "full_attention" for index in range(layers)]
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise config.wrong(
                "layer_types", kind, "'full_attention' or 'sliding_attention', as nothing else is supported"
            )
    sliding = tuple(window is not None and kind == "sliding_attention" for kind in kinds)
    attention = _gqa(config, 128, qk_norm="head", sliding_window=window)
    return _grouped(config, "qwen3", attention, sliding_layers=sliding)


def _qwen3_moe(config: HFConfig) -> ModelConfig:
    window = config.optional("sliding_window", 4096) if config.flag("use_sliding_window", False) else None
    step, dense = config.whole("decoder_sparse_step", default=1), config.wholes("mlp_only_layers")
    experts = config.whole("num_experts", "num_local_experts", default=128)
    layers = range(config.whole("num_hidden_layers"))
    sparse = tuple(index not in dense and experts > 0 and (index + 1) % step == 0 for index in layers)
    moe = MoEConfig(
        num_experts=experts,
        top_k=config.whole("num_experts_per_tok", default=8),
        intermediate_size=config.whole("moe_intermediate_size", default=768),
        normalise_top_k=config.flag("norm_topk_prob", False),
    )
    attention = _gqa(config, qk_norm="head", sliding_window=window)
    return _grouped(config, "qwen3_moe", attention, moe=moe, moe_layers=sparse)


def _olmoe(config: HFConfig) -> ModelConfig:
    clip = config.number("clip_qkv") if config.has("clip_qkv") else None
    moe = MoEConfig(
        num_experts=config.whole("num_experts", "num_local_experts", default=64),
        top_k=config.whole("num_experts_per_tok", default=8),
        intermediate_size=config.whole("intermediate_size"),
        normalise_top_k=config.flag("norm_topk_prob", False),
    )
    return _grouped(config, "olmoe", _gqa(config, qk_norm="full", clip_qkv=clip), eps=1e-5, moe=moe)


def _mixtral(config: HFConfig) -> ModelConfig:
    moe = MoEConfig(
        num_experts=config.whole("num_local_experts", "num_experts", default=8),
        top_k=config.whole("num_experts_per_tok", default=2),
        intermediate_size=config.whole("intermediate_size"),
    )
    attention = _gqa(config, sliding_window=config.optional("sliding_window"))
    return _grouped(config, "mixtral", attention, eps=1e-5, theta=1e6, moe=moe)


def _deepseek_moe(config: HFConfig) -> ModelConfig:
    """DeepSeekMoE-16B (Dai et al. 2024, arXiv:2401.06066): plain attention, softmax routing, shared experts."""
    config.only("scoring_func", "softmax")
    return _grouped(
        config, "deepseek", _gqa(config), moe=_deepseek_experts(config, "softmax"), moe_layers=_sparse_layers(config)
    )


def _deepseek_v2(config: HFConfig) -> ModelConfig:
    config.only("topk_method", "greedy", "group_limited_greedy")
    config.only("scoring_func", "softmax")
    # DeepSeek's code leaves the scaling factor out when it normalises; that of transformers never normalises.
    config.only("norm_topk_prob", False)
    groups: dict[str, Any] = {}
    if config.text("topk_method", "greedy") == "group_limited_greedy":
        groups = {"num_groups": config.whole("n_group"), "top_k_groups": config.whole("topk_group")}
    factor = config.number("routed_scaling_factor", 1.0)
    return _latent(config, "deepseek_v2", _deepseek_experts(config, "softmax", scaling_factor=factor, **groups), True)


def _deepseek_v3(config: HFConfig) -> ModelConfig:
    config.only("topk_method", "noaux_tc")
    config.only("scoring_func", "sigmoid")
    moe = _deepseek_experts(
        config,
        "sigmoid",
        normalise=True,
        scaling_factor=config.number("routed_scaling_factor", 2.5),
        num_groups=config.whole("n_group", default=8),
        top_k_groups=config.whole("topk_group", default=4),
        group_score="top2_sum",
        expert_bias=True,
    )
    return _latent(config, "deepseek_v3", moe, config.flag("rope_interleave", True))


def _deepseek_experts(
    config: HFConfig, score: Literal["softmax", "sigmoid"], normalise: bool = False, **options: Any
) -> MoEConfig:
    width = config.whole("moe_intermediate_size")
    return MoEConfig(
        num_experts=config.whole("n_routed_experts", "num_experts", "num_local_experts"),
        top_k=config.whole("num_experts_per_tok"),
        intermediate_size=width,
        score=score,
        normalise_top_k=config.flag("norm_topk_prob", normalise),
        shared_intermediate_size=width * config.whole("n_shared_experts", default=0),
        **options,
    )


def _sparse_layers(config: HFConfig) -> tuple[bool, ...]:
    first, step = config.whole("first_k_dense_replace", default=0), config.whole("moe_layer_freq", default=1)
    return tuple(index >= first and index % step == 0 for index in range(config.whole("num_hidden_layers")))


def _latent(config: HFConfig, family: str, moe: MoEConfig, interleaved: bool) -> ModelConfig:
    common = _common(config, 1e-6)
    attention = MLAConfig(
        num_heads=config.whole("num_attention_heads"),
        q_lora_rank=config.optional("q_lora_rank", 1536),
        kv_lora_rank=config.whole("kv_lora_rank", default=512),
        qk_nope_head_dim=config.whole("qk_nope_head_dim", default=128),
        qk_rope_head_dim=config.whole("qk_rope_head_dim", default=64),
        v_head_dim=config.whole("v_head_dim", default=128),
        bias=config.flag("attention_bias", False),
    )
    rope = read_rope(config, attention.qk_rope_head_dim, common["max_position_embeddings"], interleaved=interleaved)
    width = config.whole("intermediate_size")
    return ModelConfig(
        family,
        intermediate_size=width,
        attention=attention,
        rope=rope,
        moe=moe,
        moe_layers=_sparse_layers(config),
        **common,
    )


def _evident(config: HFConfig) -> ModelConfig:
    beside = ("architectures", "model_type", "quantization")
    return ModelConfig.from_dict({name: value for name, value in config.values.items() if name not in beside})


FAMILIES = (
    Family("evident", "EvidentForCausalLM", _evident),
    Family("qwen3_moe", "Qwen3MoeForCausalLM", _qwen3_moe),
    Family("olmoe", "OlmoeForCausalLM", _olmoe),
    Family("mixtral", "MixtralForCausalLM", _mixtral),
    Family("deepseek", "DeepseekForCausalLM", _deepseek_moe),
    Family("deepseek_v2", "DeepseekV2ForCausalLM", _deepseek_v2),
    Family("deepseek_v3", "DeepseekV3ForCausalLM", _deepseek_v3),
    Family("qwen3", "Qwen3ForCausalLM", _qwen3),
    Family("llama", "LlamaForCausalLM", _llama),
)
