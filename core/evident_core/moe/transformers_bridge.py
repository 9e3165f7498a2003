"""Our experts inside a Hugging Face transformers model: a foreign library behind one function.

Shapes: T tokens, D hidden, E experts, F width of an expert, A experts of a token, P pairs of token and expert.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from evident_core.errors import InvalidInput, MissingExtra
from evident_core.moe.experts import apply_experts, by_expert, dispatch

NAME = "evident"


def register_with_transformers(model: Any = None) -> None:
    """Make our experts an ``experts_implementation`` of transformers, by the name "evident".

    With a model, it is switched to them at once; without one, name them where a model is made. Every layout of stacked
    experts that transformers has is run: transposed weights, biases, experts without a gate or with a family's own, a
    norm behind each expert.

    Args:
        model: A transformers model of experts, or None.

    Raises:
        MissingExtra: transformers is not installed, or too old.
        InvalidInput: The model's experts cannot be switched.

    Example::

        register_with_transformers(model)
        # or
        register_with_transformers()
        model = AutoModelForCausalLM.from_pretrained(folder, experts_implementation="evident")
    """
    try:
        registry = importlib.import_module("transformers.integrations.moe").ALL_EXPERTS_FUNCTIONS
    except (ImportError, AttributeError) as error:
        raise MissingExtra("Our experts inside transformers need it: pip install 'transformers>=5.11'.") from error
    registry.register(NAME, _forward)
    if model is not None:
        model.set_experts_implementation(NAME)
        if not any(_switched(module) for module in model.modules()):
            raise InvalidInput(f"{type(model).__name__} has no stacked experts that could be run by ours.")


def _switched(module: nn.Module) -> bool:
    implementation = getattr(getattr(module, "config", None), "_experts_implementation", None)
    return hasattr(module, "is_transposed") and implementation == NAME


def _forward(experts: Any, x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor) -> Tensor:
    """What transformers calls in place of its own forward of a module of stacked experts."""
    if getattr(experts, "_is_expert_parallel", False):
        raise InvalidInput(
            "The experts of this model are spread over devices; experts_implementation 'evident' runs them on one. "
            "Choose 'grouped_mm' instead."
        )
    if _is_plain(experts):
        return apply_experts(x_TD, ids_TA, weights_TA, experts.gate_up_proj, experts.down_proj).to(x_TD.dtype)
    first = "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"

    def products(x_PD: Tensor, ids_P: Tensor) -> Tensor:
        pieces = []
        for expert, x in by_expert(x_PD, ids_P, experts.num_experts):
            h = _linear(experts, first, expert, x)
            h = experts._apply_gate(h) if first == "gate_up_proj" else experts.act_fn(h)
            y = _linear(experts, "down_proj", expert, h)
            pieces.append(experts.post_expert_norm(y) if getattr(experts, "has_post_expert_norm", False) else y)
        return torch.cat(pieces)

    return dispatch(x_TD, ids_TA, weights_TA, products).to(x_TD.dtype)


def _linear(experts: Any, name: str, expert: int, x: Tensor) -> Tensor:
    weight = getattr(experts, name)[expert]
    bias = getattr(experts, f"{name}_bias")[expert] if getattr(experts, "has_bias", False) else None
    return nn.functional.linear(x, weight.t() if getattr(experts, "is_transposed", False) else weight, bias)


def _is_plain(experts: Any) -> bool:
    """Whether these are experts as our own: SwiGLU, gate rows first, no bias, no norm."""
    usual_gate = getattr(type(experts)._apply_gate, "__name__", "") == "_default_apply_gate"
    activation = getattr(experts, "act_fn", None)
    silu = isinstance(activation, nn.SiLU) or type(activation).__name__ == "SiLUActivation"
    odd = any(getattr(experts, name, False) for name in ("has_bias", "is_transposed", "has_post_expert_norm"))
    return usual_gate and silu and getattr(experts, "has_gate", True) and not odd
