"""A checkpoint in Mixtral's published layout, made of numbers that do not matter."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def mixtral_config(**change: Any) -> dict[str, Any]:
    return {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 64, "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2, "hidden_act": "silu",
    } | change  # fmt: skip


def mixtral_tensors(config: dict[str, Any]) -> dict[str, Tensor]:
    hidden, width = config["hidden_size"], config["intermediate_size"]
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden), "lm_head.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }  # fmt: skip
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[f"{prefix}input_layernorm.weight"] = shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
        for name, rows in (("q", hidden), ("k", hidden * keys // heads), ("v", hidden * keys // heads), ("o", hidden)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
        shapes[f"{prefix}block_sparse_moe.gate.weight"] = (config["num_local_experts"], hidden)
        for expert in range(config["num_local_experts"]):
            for name in ("w1", "w3"):
                shapes[f"{prefix}block_sparse_moe.experts.{expert}.{name}.weight"] = (width, hidden)
            shapes[f"{prefix}block_sparse_moe.experts.{expert}.w2.weight"] = (hidden, width)
    return {name: torch.full(shape, 0.1) for name, shape in shapes.items()}


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], files: int = 1) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    if files == 1:
        save_file(tensors, folder / "model.safetensors")
        return
    names, listed = sorted(tensors), {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part = names[number::files]
        save_file({name: tensors[name] for name in part}, folder / file)
        listed |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
