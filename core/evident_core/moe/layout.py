"""Where each tensor of a checkpoint goes: Hugging Face's names, one matrix an expert, into the stacked parameters.

A place is a range of rows of one parameter; the places of a checkpoint cover every parameter exactly once.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from evident_core.moe.checkpoint import Head
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig


@dataclass(frozen=True)
class Place:
    """A range of rows of a parameter.

    Attributes:
        parameter: Its name in :class:`~evident_core.moe.model.CausalLM`.
        expert: Which matrix of a stacked parameter; None is the whole parameter.
        start: First row.
        stop: Row after the last one; None is the end.
        flat: Whether rows are counted over all dimensions but the last.
    """

    parameter: str
    expert: int | None = None
    start: int = 0
    stop: int | None = None
    flat: bool = False

    def of(self, parameter: Tensor) -> Tensor:
        """The part of the parameter's memory that the tensor goes to."""
        whole = parameter if self.expert is None else parameter[self.expert]
        whole = whole.view(-1, whole.shape[-1]) if self.flat else whole
        return whole[self.start : self.stop]


def hf_places(config: ModelConfig, names: Collection[str]) -> dict[str, Place]:
    """The places of all tensors that a checkpoint in Hugging Face's layout must have.

    Args:
        config: The model.
        names: The tensors that the checkpoint has: they tell whether experts are stored apart or together.
    """
    places = {"model.embed_tokens.weight": Place("embed.weight"), "model.norm.weight": Place("norm.weight")}
    if not config.tie_word_embeddings:
        places["lm_head.weight"] = Place("head.weight")
    for index in range(config.num_layers):
        source, target = f"model.layers.{index}.", f"layers.{index}."
        places[f"{source}input_layernorm.weight"] = Place(f"{target}attn_norm.weight")
        places[f"{source}post_attention_layernorm.weight"] = Place(f"{target}mlp_norm.weight")
        for theirs, ours in _attention(config):
            places[f"{source}self_attn.{theirs}"] = Place(f"{target}attn.{ours}")
        if config.moe is not None and config.moe_layers[index]:
            places |= _experts(config, source, f"{target}mlp.", names)
        else:
            places |= _mlp(f"{source}mlp.", f"{target}mlp.", config.intermediate_size)
    return places


def own_places(parameters: Mapping[str, Tensor], heads: Mapping[str, Head]) -> dict[str, Place]:
    """The places of all tensors of a checkpoint in the suite's own layout: each parameter whole, or in ranges of rows.

    Args:
        parameters: The model's, by name.
        heads: What the checkpoint has; a range that is missing is still asked for, by the name it would have.
    """
    places: dict[str, Place] = {}
    for name, parameter in parameters.items():
        if name in heads or f"{name}:0" not in heads:
            places[name] = Place(name)
            continue
        row, rows = 0, parameter.numel() // parameter.shape[-1]
        while row < rows:
            part = f"{name}:{row}"
            length = heads[part].shape[0] if part in heads and heads[part].shape else 0
            places[part] = Place(name, start=row, stop=row + length if length else None, flat=True)
            row = row + length if length else rows
    return places


def hf_ignores(name: str, config: ModelConfig) -> bool:
    """Whether a tensor is left out on purpose: stored frequencies, a tied head, layers behind the last one.

    DeepSeek-V3 stores its multi-token prediction as one more layer.
    """
    if name.startswith("model.layers."):
        index = name.split(".")[2]
        if index.isdecimal() and int(index) >= config.num_layers:
            return True
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)


def _attention(config: ModelConfig) -> Iterator[tuple[str, str]]:
    attention = config.attention
    if isinstance(attention, MLAConfig):
        yield from _latent_attention(attention)
        return
    for theirs, ours in (("q_proj", "wq"), ("k_proj", "wk"), ("v_proj", "wv"), ("o_proj", "wo")):
        yield f"{theirs}.weight", f"{ours}.weight"
        if attention.bias:
            yield f"{theirs}.bias", f"{ours}.bias"
    if isinstance(attention, GQAConfig) and attention.qk_norm is not None:
        yield "q_norm.weight", "q_norm.weight"
        yield "k_norm.weight", "k_norm.weight"


def _latent_attention(attention: MLAConfig) -> Iterator[tuple[str, str]]:
    if attention.q_lora_rank is None:
        yield "q_proj.weight", "wq.weight"
    else:
        yield "q_a_proj.weight", "wq_a.weight"
        yield "q_a_layernorm.weight", "q_norm.weight"
        yield "q_b_proj.weight", "wq_b.weight"
        if attention.bias:
            yield "q_a_proj.bias", "wq_a.bias"
    yield "kv_a_proj_with_mqa.weight", "wkv_a.weight"
    yield "kv_a_layernorm.weight", "kv_norm.weight"
    yield "kv_b_proj.weight", "wkv_b.weight"
    yield "o_proj.weight", "wo.weight"
    if attention.bias:
        yield "kv_a_proj_with_mqa.bias", "wkv_a.bias"
        yield "o_proj.bias", "wo.bias"


def _mlp(source: str, target: str, width: int) -> dict[str, Place]:
    return {
        f"{source}gate_proj.weight": Place(f"{target}w13.weight", stop=width),
        f"{source}up_proj.weight": Place(f"{target}w13.weight", start=width),
        f"{source}down_proj.weight": Place(f"{target}w2.weight"),
    }


def _experts(config: ModelConfig, source: str, target: str, names: Collection[str]) -> dict[str, Place]:
    moe = config.moe
    if moe is None:
        return {}
    gate, up, down, block = "gate_proj", "up_proj", "down_proj", f"{source}mlp."
    if f"{source}block_sparse_moe.gate.weight" in names:  # Mixtral's own names
        gate, up, down, block = "w1", "w3", "w2", f"{source}block_sparse_moe."
    places = {f"{block}gate.weight": Place(f"{target}router.gate.weight")}
    if moe.expert_bias:
        places[f"{block}gate.e_score_correction_bias"] = Place(f"{target}router.expert_bias")
    if moe.shared_intermediate_size:
        places |= _mlp(f"{block}shared_experts.", f"{target}shared.", moe.shared_intermediate_size)
    w13, w2, width = f"{target}experts.w13_EGD", f"{target}experts.w2_EDF", moe.intermediate_size
    if f"{block}experts.gate_up_proj" in names:
        places[f"{block}experts.gate_up_proj"] = Place(w13)
        places[f"{block}experts.down_proj"] = Place(w2)
        return places
    for expert in range(moe.num_experts):
        prefix = f"{block}experts.{expert}."
        places[f"{prefix}{gate}.weight"] = Place(w13, expert, stop=width)
        places[f"{prefix}{up}.weight"] = Place(w13, expert, start=width)
        places[f"{prefix}{down}.weight"] = Place(w2, expert)
    return places
