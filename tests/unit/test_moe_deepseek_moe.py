"""DeepSeekMoE-16B's layout, which transformers does not have, against loops in float64 that follow the paper."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from evident_core.moe.batch import Batch
from evident_core.moe.weights import load_model
from paged_runs import PagedRun

# The words of the published config.json, with small numbers.
CONFIG: dict[str, Any] = {
    "architectures": ["DeepseekForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "aux_loss_alpha": 0.001,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig"},
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "model_type": "deepseek",
    "moe_intermediate_size": 10,
    "moe_layer_freq": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000,
    "scoring_func": "softmax",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 61,
}


def _weights(config: dict[str, Any]) -> dict[str, Tensor]:
    hidden, width = config["hidden_size"], config["moe_intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "lm_head.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }

    def mlp(prefix: str, size: int) -> None:
        shapes[f"{prefix}.gate_proj.weight"] = shapes[f"{prefix}.up_proj.weight"] = (size, hidden)
        shapes[f"{prefix}.down_proj.weight"] = (hidden, size)

    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{prefix}.self_attn.{name}.weight"] = (hidden, hidden)
        shapes[f"{prefix}.input_layernorm.weight"] = shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
        if layer >= config["first_k_dense_replace"] and layer % config["moe_layer_freq"] == 0:
            shapes[f"{prefix}.mlp.gate.weight"] = (config["n_routed_experts"], hidden)
            for expert in range(config["n_routed_experts"]):
                mlp(f"{prefix}.mlp.experts.{expert}", width)
            mlp(f"{prefix}.mlp.shared_experts", width * config["n_shared_experts"])
        else:
            mlp(f"{prefix}.mlp", config["intermediate_size"])
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.rand(shape, generator=generator) + 0.5
        if len(shape) == 1
        else torch.randn(shape, generator=generator) * shape[-1] ** -0.5
        for name, shape in shapes.items()
    }


class Loops:
    """The model in float64, one token, one head and one expert at a time."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
        self.config = config
        self.weights = {name: value.double() for name, value in weights.items()}

    def logits(self, tokens: list[int]) -> Tensor:
        xs = [self.weights["model.embed_tokens.weight"][token] for token in tokens]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"
            normed = [self.norm(x, f"{prefix}.input_layernorm.weight") for x in xs]
            xs = [x + y for x, y in zip(xs, self.attention(normed, f"{prefix}.self_attn"), strict=True)]
            normed = [self.norm(x, f"{prefix}.post_attention_layernorm.weight") for x in xs]
            xs = [x + self.block(y, f"{prefix}.mlp") for x, y in zip(xs, normed, strict=True)]
        return torch.stack([self.weights["lm_head.weight"] @ self.norm(x, "model.norm.weight") for x in xs])

    def norm(self, x: Tensor, name: str) -> Tensor:
        return x / math.sqrt(float((x * x).mean()) + self.config["rms_norm_eps"]) * self.weights[name]

    def attention(self, xs: list[Tensor], prefix: str) -> list[Tensor]:
        heads = self.config["num_attention_heads"]
        size = self.config["hidden_size"] // heads
        outputs = []
        for position, x in enumerate(xs):
            joined = []
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                query = self.turn(self.weights[f"{prefix}.q_proj.weight"][rows] @ x, position)
                scores, values = [], []
                for earlier in range(position + 1):
                    key = self.turn(self.weights[f"{prefix}.k_proj.weight"][rows] @ xs[earlier], earlier)
                    scores.append(math.exp(float(query @ key) / math.sqrt(size)))
                    values.append(self.weights[f"{prefix}.v_proj.weight"][rows] @ xs[earlier])
                total = sum(scores)
                joined.append(sum(score / total * value for score, value in zip(scores, values, strict=True)))
            outputs.append(self.weights[f"{prefix}.o_proj.weight"] @ torch.cat(joined))
        return outputs

    def turn(self, head: Tensor, position: int) -> Tensor:
        half = len(head) // 2
        turned = head.clone()
        for pair in range(half):
            angle = position * self.config["rope_theta"] ** (-2 * pair / len(head))
            first, second = float(head[pair]), float(head[pair + half])
            turned[pair] = first * math.cos(angle) - second * math.sin(angle)
            turned[pair + half] = second * math.cos(angle) + first * math.sin(angle)
        return turned

    def block(self, x: Tensor, prefix: str) -> Tensor:
        if f"{prefix}.gate.weight" not in self.weights:
            return self.mlp(x, prefix)
        exponentials = [math.exp(float(row @ x)) for row in self.weights[f"{prefix}.gate.weight"]]
        probabilities = [each / sum(exponentials) for each in exponentials]
        best = sorted(range(len(probabilities)), key=lambda expert: -probabilities[expert])
        best = best[: self.config["num_experts_per_tok"]]
        total = sum(probabilities[expert] for expert in best) if self.config["norm_topk_prob"] else 1.0
        routed = sum(probabilities[expert] / total * self.mlp(x, f"{prefix}.experts.{expert}") for expert in best)
        return routed + self.mlp(x, f"{prefix}.shared_experts")

    def mlp(self, x: Tensor, prefix: str) -> Tensor:
        gate, up = self.weights[f"{prefix}.gate_proj.weight"] @ x, self.weights[f"{prefix}.up_proj.weight"] @ x
        return self.weights[f"{prefix}.down_proj.weight"] @ (gate / (1 + torch.exp(-gate)) * up)


@pytest.mark.parametrize("change", [{}, {"norm_topk_prob": True}, {"moe_layer_freq": 2}], ids=str)
def test_the_model_equals_loops_in_float64_whole_and_from_the_cache(tmp_path: Path, change: dict[str, Any]) -> None:
    config = CONFIG | change
    weights = _weights(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors")
    model = load_model(tmp_path)
    sparse = [False, True, True, True] if config["moe_layer_freq"] == 1 else [False, False, True, False]
    assert list(model.config.moe_layers) == sparse
    generator = torch.Generator().manual_seed(2)
    long, short = (torch.randint(0, 61, (length,), generator=generator).tolist() for length in (14, 5))
    loops = Loops(config, weights)
    expected = torch.cat([loops.logits(long), loops.logits(short)])
    assert 0.3 < expected.std() < 3.0
    with torch.inference_mode():
        assert (model(Batch.packed([long, short])) - expected).abs().max() < 1e-5
    run = PagedRun(model, block_size=3)
    pieces = [run.step({"long": long[:6], "short": short[:1]})]
    pieces += [run.step({"short": [short[place]], "long": [long[place + 5]]}) for place in range(1, 5)]
    pieces += [run.step({"long": long[10:]})]
    decoded = torch.cat([each[name] for name in ("long", "short") for each in pieces if name in each])
    assert (decoded - expected).abs().max() < 1e-5
