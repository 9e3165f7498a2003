"""Small random models of the suite's own family, for tests without weights."""

import torch

from evident_core.decode.tokenizer import Tokenizer
from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def tiny_tokenizer() -> Tokenizer:
    """The bytes, with a chat template."""
    return Tokenizer.bytes(TEMPLATE)


def tiny_config(**changes: object) -> ModelConfig:
    """Two layers, of which one has experts."""
    values: dict[str, object] = {
        "family": "evident",
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_layers": 2,
        "attention": GQAConfig(num_heads=4, num_kv_heads=2, head_dim=16, qk_norm="head"),
        "rope": RopeConfig(theta=10_000.0, dim=16),
        "moe": MoEConfig(num_experts=8, top_k=2, intermediate_size=32),
        "moe_layers": (False, True),
        "max_position_embeddings": 256,
        "eos_token_ids": (256,),
    }
    return ModelConfig(**values | changes)  # type: ignore[arg-type]


def tiny_model(seed: int = 0, **changes: object) -> CausalLM:
    """A random model whose logits are wide enough apart that rounding changes no choice."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CausalLM(tiny_config(**changes))
        model.reset_parameters(0.15)
    return model.eval()
