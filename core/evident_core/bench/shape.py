"""The reference shape that all engines are measured on, and its random weights.

The layout is Mixtral's: softmax, the two best experts, renormalised. Of the layouts that every peer reads it has the
fewest operations a layer, which is in favour of peers that pay for each operation.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evident_core.bench import vocabulary

Weights = dict[str, npt.NDArray[np.float32]]

END = 0
"""The id of the only special token; its row of the head is zero, so that greedy decoding never ends early."""


@dataclass(frozen=True)
class Shape:
    """A decoder with grouped-query attention and routed experts."""

    vocab_size: int
    num_layers: int = 12
    hidden_size: int = 512
    num_heads: int = 8
    num_kv_heads: int = 4
    head_dim: int = 64
    num_experts: int = 16
    top_k: int = 2
    intermediate_size: int = 128
    max_positions: int = 2048
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5

    @property
    def attention_parameters(self) -> int:
        """Parameters of one layer's four attention projections."""
        return 2 * self.hidden_size * self.head_dim * (self.num_heads + self.num_kv_heads)

    @property
    def expert_parameters(self) -> int:
        """Parameters of one expert: gate, up and down."""
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def num_parameters(self) -> int:
        """All matrices, the embedding and the head included; the norms' few vectors are not counted."""
        layer = (
            self.attention_parameters
            + self.num_experts * self.expert_parameters
            + self.num_experts * self.hidden_size  # router
        )
        return self.num_layers * layer + 2 * self.vocab_size * self.hidden_size

    @property
    def int8_bytes(self) -> int:
        """Bytes of the int8 weights that decoding reads from; of the embedding, which stays float, it reads one row."""
        return self.num_parameters - self.vocab_size * self.hidden_size

    def int8_bytes_a_token(self, context: int) -> int:
        """Bytes that one decoded token reads at least: int8 weights, their scales, router, norms, and the cache.

        Args:
            context: Positions of the cache that are read, in float16.
        """
        outputs_attention = self.head_dim * (self.num_heads + 2 * self.num_kv_heads) + self.hidden_size
        outputs_expert = 2 * self.intermediate_size + self.hidden_size
        integers = self.attention_parameters + self.top_k * self.expert_parameters
        floats = outputs_attention + self.top_k * outputs_expert + (self.num_experts + 2) * self.hidden_size
        cache = 2 * context * self.num_kv_heads * self.head_dim * 2
        return self.num_layers * (integers + 4 * floats + cache) + self.vocab_size * (self.hidden_size + 4)

    def config(self) -> dict[str, Any]:
        """The ``config.json`` of the checkpoint."""
        return {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "num_local_experts": self.num_experts,
            "num_experts_per_tok": self.top_k,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "max_position_embeddings": self.max_positions,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": END,
            "dtype": "float32",
        }


def random_weights(shape: Shape, seed: int = 0) -> Weights:
    """Draw matrices of the sizes that training begins with, under Hugging Face's names for Mixtral.

    Those that write into the residual stream are smaller by the root of their number, as in GPT-2: otherwise random
    routers would choose other experts at the smallest rounding, and quantised peers could not be told from wrong ones.
    """
    draw = np.random.default_rng(seed)
    writing = (2 * shape.num_layers) ** -0.5

    def matrix(rows: int, columns: int, size: float = 1.0) -> npt.NDArray[np.float32]:
        return draw.standard_normal((rows, columns), dtype=np.float32) * np.float32(size * columns**-0.5)

    def norm() -> npt.NDArray[np.float32]:
        return draw.uniform(0.8, 1.2, shape.hidden_size).astype(np.float32)

    hidden, query, cached = shape.hidden_size, shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    weights = {"model.embed_tokens.weight": draw.standard_normal((shape.vocab_size, hidden), dtype=np.float32)}
    for layer in range(shape.num_layers):
        at = f"model.layers.{layer}"
        for name, rows in (("q_proj", query), ("k_proj", cached), ("v_proj", cached)):
            weights[f"{at}.self_attn.{name}.weight"] = matrix(rows, hidden)
        weights[f"{at}.self_attn.o_proj.weight"] = matrix(hidden, query, writing)
        weights[f"{at}.input_layernorm.weight"] = norm()
        weights[f"{at}.post_attention_layernorm.weight"] = norm()
        weights[f"{at}.block_sparse_moe.gate.weight"] = matrix(shape.num_experts, hidden)
        for expert in range(shape.num_experts):
            for name in ("w1", "w3"):
                weights[f"{at}.block_sparse_moe.experts.{expert}.{name}.weight"] = matrix(
                    shape.intermediate_size, hidden
                )
            weights[f"{at}.block_sparse_moe.experts.{expert}.w2.weight"] = matrix(
                hidden, shape.intermediate_size, writing
            )
    weights["model.norm.weight"] = norm()
    head = matrix(shape.vocab_size, hidden)
    head[END] = 0
    return weights | {"lm_head.weight": head}


def write_checkpoint(folder: Path, shape: Shape) -> None:
    """Write weights, configuration and tokenizer as Hugging Face's libraries do, and the shape itself."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(shape), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=1))
    (folder / "shape.json").write_text(json.dumps(asdict(shape)))
    vocabulary.write_tokenizer(folder, shape.vocab_size)


def read_shape(folder: Path) -> Shape:
    """The shape that :func:`write_checkpoint` wrote beside the weights."""
    return Shape(**json.loads((folder / "shape.json").read_text()))


def read_weights(folder: Path) -> Weights:
    """All tensors of the checkpoint."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")
