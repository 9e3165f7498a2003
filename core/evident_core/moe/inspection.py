"""What a checkpoint's folder holds and whether it fits a machine, told from its configuration and its files' heads."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from evident_core.moe.attention import cache_shapes
from evident_core.moe.checkpoint import Checkpoint
from evident_core.moe.config import MLAConfig, ModelConfig
from evident_core.moe.experts import Experts
from evident_core.moe.model import CausalLM
from evident_core.moe.weights import load_config

INT4_GROUP: Final = 128
# What the process holds beside weights and cache: PyTorch itself, buffers of a step.
_OVERHEAD_BYTES: Final = 512 << 20


@dataclass(frozen=True)
class Inspection:
    """A checkpoint's facts.

    Attributes:
        folder: Where it is.
        family: Whose layout it has.
        parameters: All of them; a tied head counts once.
        active_parameters: Those that one token uses.
        active_share: Share of the experts' parameters that one token uses.
        layers: Layers, and of them with experts ``expert_layers``.
        experts: What the routed and shared experts of a layer are, for people.
        attention: What the attention is, for people.
        vocab_size: Tokens.
        context: Longest context in tokens.
        stored_bytes: Bytes of the tensors in the files, and their types in ``stored_types``.
        bytes_by_type: Bytes of the weights as float32, bfloat16, int8 and int4.
        cache_bytes_per_token: Bytes of the key-value cache for each token, in float32.
        machine_bytes: Memory of this machine.
        fits: Of each type, whether weights and the cache of one whole context fit into that memory.
    """

    folder: str
    family: str
    parameters: int
    active_parameters: int
    active_share: float
    layers: int
    expert_layers: int
    experts: str
    attention: str
    vocab_size: int
    context: int
    stored_bytes: int
    stored_types: tuple[str, ...]
    bytes_by_type: dict[str, int]
    cache_bytes_per_token: int
    machine_bytes: int
    fits: dict[str, bool]

    def lines(self) -> list[tuple[str, str]]:
        """Names and values as a person reads them."""
        rows = [
            ("family", self.family),
            ("parameters", f"{self.parameters:,} ({self.active_parameters:,} a token)"),
            ("layers", f"{self.layers} ({self.expert_layers} with experts)"),
            ("experts", f"{self.experts}; active share {self.active_share:.1%}"),
            ("attention", self.attention),
            ("vocabulary", f"{self.vocab_size:,} tokens"),
            ("context", f"{self.context:,} tokens; cache {_size(self.cache_bytes_per_token)} a token in float32"),
            ("in the files", f"{_size(self.stored_bytes)} ({', '.join(self.stored_types)})"),
        ]
        for name, size in self.bytes_by_type.items():
            verdict = "fits" if self.fits[name] else "does not fit"
            rows.append((f"as {name}", f"{_size(size)}; {verdict} this machine ({_size(self.machine_bytes)})"))
        return rows


def inspect_folder(folder: str | Path) -> Inspection:
    """Read a checkpoint's configuration and the heads of its files.

    Raises:
        ModelNotReady: The folder or one of its files is missing.
        InvalidInput: A file is damaged, or the architecture is not known.
    """
    config = load_config(folder)
    heads = Checkpoint(folder).heads()
    stored = Counter[str]()
    for head in heads.values():
        stored[head.dtype] += _count(head.shape) * _WIDTHS.get(head.dtype, 4)
    sizes = weight_bytes(config)
    tails = [shape for shape in cache_shapes(config) if shape is not None]
    cache = 4 * config.num_layers * sum(map(_count, tails))
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = cache * config.max_position_embeddings + _OVERHEAD_BYTES
    return Inspection(
        folder=str(folder),
        family=config.family,
        parameters=config.num_parameters,
        active_parameters=config.num_active_parameters,
        active_share=config.active_share,
        layers=config.num_layers,
        expert_layers=sum(config.moe_layers),
        experts=_experts(config),
        attention=_attention(config),
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        stored_bytes=sum(stored.values()),
        stored_types=tuple(name for name, _ in stored.most_common()),
        bytes_by_type=sizes,
        cache_bytes_per_token=cache,
        machine_bytes=machine,
        fits={name: size + needed <= machine for name, size in sizes.items()},
    )


_WIDTHS: Final = {"F64": 8, "I64": 8, "F16": 2, "BF16": 2, "I8": 1, "U8": 1}


def weight_bytes(config: ModelConfig) -> dict[str, int]:
    """Bytes of a model's weights as each type that it can run in.

    Quantised are linears and experts; a head, and an embedding that is its head too, are int8 even beside int4.
    """
    with torch.device("meta"):
        model = CausalLM(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    matrices: list[tuple[int, int, int]] = []  # count, rows, row length
    eights: list[tuple[int, int, int]] = []
    for name, module in model.named_modules():
        if isinstance(module, Experts):
            matrices += [(shape[0], shape[1], shape[2]) for shape in (module.w13_EGD.shape, module.w2_EDF.shape)]
        elif name == "head" or (name == "embed" and config.tie_word_embeddings):
            eights.append((1, *module.weight.shape))
        elif isinstance(module, nn.Linear) and not name.endswith(".gate"):
            matrices.append((1, *module.weight.shape))
    rest = 4 * (total - sum(count * rows * width for count, rows, width in matrices + eights))
    int8 = [count * rows * (width + 4) for count, rows, width in matrices + eights]
    int4 = [count * rows * (width // 2 + 4 * -(-width // INT4_GROUP)) for count, rows, width in matrices]
    return {
        "float32": 4 * total,
        "bfloat16": 2 * total,
        "int8": rest + sum(int8),
        "int4": rest + sum(int4) + sum(int8[len(matrices) :]),
    }


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _experts(config: ModelConfig) -> str:
    moe = config.moe
    if moe is None:
        return "none (dense)"
    shared = f", and a shared one of {moe.shared_intermediate_size}" if moe.shared_intermediate_size else ""
    return f"{moe.top_k} of {moe.num_experts}, {moe.intermediate_size} wide, {moe.score} routing{shared}"


def _attention(config: ModelConfig) -> str:
    attention = config.attention
    if isinstance(attention, MLAConfig):
        return f"latent (MLA), {attention.num_heads} heads, latent of {attention.latent_dim}"
    kind = "multi-head" if attention.num_heads == attention.num_kv_heads else "grouped-query"
    window = f", window of {attention.sliding_window}" if attention.sliding_window else ""
    return f"{kind}, {attention.num_heads} / {attention.num_kv_heads} heads of {attention.head_dim}{window}"


def _size(count: int) -> str:
    for unit, width in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= width:
            return f"{count / width:.1f} {unit}"
    return f"{count} B"
