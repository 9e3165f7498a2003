"""The reference weights as a GGUF file that llama.cpp reads."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evident_core.bench.contestant import library
from evident_core.bench.shape import END, Shape, read_shape, read_weights
from evident_core.bench.vocabulary import read_tokenizer

_END_OF_TEXT, _ORDINARY = 3, 1
"""Kinds of tokens in a GGUF vocabulary: control, normal."""


def write_gguf(folder: Path, out: Path, kind: Literal["F32", "Q8_0"]) -> None:
    """Write the checkpoint in ``folder`` as llama.cpp's own converter would: matrices in ``kind``, the rest in float.

    As ``llama-quantize`` does, routers and norms stay float32. Rotary embeddings of llama.cpp's ``llama`` architecture
    turn neighbouring numbers instead of the two halves of a head, so that rows of the query and key are reordered.
    """
    gguf = library("gguf")
    shape, weights = read_shape(folder), read_weights(folder)
    kinds = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(out, "llama")
    _write_settings(writer, shape)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if kind == "F32" else gguf.LlamaFileType.MOSTLY_Q8_0)
    _write_vocabulary(writer, folder, shape)

    def add(name: str, tensor: npt.NDArray[np.float32], *, matrix: bool = True) -> None:
        chosen = kinds[kind] if matrix else kinds.F32
        data = gguf.quants.quantize(np.ascontiguousarray(tensor), chosen)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=chosen)

    add("token_embd", weights["model.embed_tokens.weight"])
    add("output_norm", weights["model.norm.weight"], matrix=False)
    add("output", weights["lm_head.weight"])
    for layer in range(shape.num_layers):
        block, source = f"blk.{layer}", f"model.layers.{layer}"
        query, key = (weights[f"{source}.self_attn.{name}_proj.weight"] for name in "qk")
        add(f"{block}.attn_q", neighbouring_pairs(query, shape.num_heads))
        add(f"{block}.attn_k", neighbouring_pairs(key, shape.num_kv_heads))
        add(f"{block}.attn_v", weights[f"{source}.self_attn.v_proj.weight"])
        add(f"{block}.attn_output", weights[f"{source}.self_attn.o_proj.weight"])
        add(f"{block}.attn_norm", weights[f"{source}.input_layernorm.weight"], matrix=False)
        add(f"{block}.ffn_norm", weights[f"{source}.post_attention_layernorm.weight"], matrix=False)
        add(f"{block}.ffn_gate_inp", weights[f"{source}.block_sparse_moe.gate.weight"], matrix=False)
        for name, part in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
            experts = (f"{source}.block_sparse_moe.experts.{each}.{part}.weight" for each in range(shape.num_experts))
            add(f"{block}.ffn_{name}_exps", np.stack([weights[each] for each in experts]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def neighbouring_pairs(matrix: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Reorder the rows of each head from (first half, second half) to pairs (one of the first, one of the second)."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _write_settings(writer: Any, shape: Shape) -> None:
    writer.add_name("evident-reference")
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_expert_count(shape.num_experts)
    writer.add_expert_used_count(shape.top_k)


def _write_vocabulary(writer: Any, folder: Path, shape: Shape) -> None:
    ids = read_tokenizer(folder).get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_END_OF_TEXT if each == END else _ORDINARY for each in range(shape.vocab_size)])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(END)
    writer.add_bos_token_id(END)
    writer.add_add_bos_token(False)
