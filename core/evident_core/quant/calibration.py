"""What flows through a model on given tokens: magnitudes per channel at each linear, and who visits which expert.

Shapes: T tokens of a batch, N tokens that are kept as a sample, D channels of an input, E experts, A active experts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from evident_core.errors import InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.experts import MoE
from evident_core.moe.model import CausalLM, Layer

OnProgress = Callable[[str, int, int], None]
"""Told the stage, and how much of it is done of how much."""


@dataclass(frozen=True)
class Calibration:
    """Tokens to watch a model on, and how much of what is seen is kept.

    Attributes:
        sequences: Token ids of each text; longer ones than the model's context are cut into several.
        sample: Tokens kept of each linear's input for the search; the magnitudes are of all tokens.
        expert_sample: Tokens kept for each expert at least, where so many visit it.
        min_tokens: An expert that fewer tokens visit is not covered: its weights are rounded plainly.
        batch_tokens: Tokens that run through the model at a time.
    """

    sequences: Sequence[Sequence[int]]
    sample: int = 512
    expert_sample: int = 128
    min_tokens: int = 8
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not any(len(sequence) for sequence in self.sequences):
            raise InvalidInput("Calibration needs at least one token; give texts that are not empty.", tokens=0)
        for name in ("sample", "expert_sample", "min_tokens", "batch_tokens"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)!r}; it must be at least 1.", parameter=name)


@dataclass
class Sample:
    """An input of the model: a sample of its tokens, and sums over all of them.

    Attributes:
        kept: Pieces of the sample ``x_ND``.
        sum_D: Per channel, the sum of magnitudes over all tokens.
        tokens: How many those are.
    """

    kept: list[torch.Tensor] = field(default_factory=list)
    sum_D: torch.Tensor | float = 0.0
    tokens: int = 0

    def add(self, x_TD: torch.Tensor, keep_N: torch.Tensor) -> None:
        """Count all tokens and keep those at ``keep_N``."""
        self.kept.append(x_TD[keep_N].clone())
        self.sum_D = self.sum_D + x_TD.abs().sum(dim=0, dtype=torch.float32)
        self.tokens += x_TD.shape[0]

    def rows(self) -> torch.Tensor:
        """The sample, float32 ``x_ND``."""
        return torch.cat(self.kept).float()

    def magnitude(self) -> torch.Tensor:
        """The mean magnitude of each channel over all tokens, float32 ``[D]``."""
        return torch.as_tensor(self.sum_D) / max(1, self.tokens)


@dataclass
class Visits:
    """Who visited the experts of a layer: for the sampled tokens which experts, and for all tokens how many."""

    ids: list[torch.Tensor] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)
    tokens_E: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def of(self, expert: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The places in the sample of the tokens that visit an expert, and the weights it has for them."""
        here_NA = torch.cat(self.ids) == expert
        weights_N = (torch.cat(self.weights).float() * here_NA).sum(dim=1)
        rows_M = torch.nonzero(here_NA.any(dim=1)).flatten()
        return rows_M, weights_N[rows_M]


@dataclass
class Activations:
    """What one layer saw.

    Attributes:
        inputs: By the name within the layer: ``attn`` (what its first linears read), ``attn.wo`` and for latent
            attention ``attn.wq_b`` and ``attn.wkv_b``, and ``mlp``.
        visits: For a layer of experts; its tokens are those of ``inputs["mlp"]``.
    """

    inputs: dict[str, Sample] = field(default_factory=dict)
    visits: Visits | None = None


@dataclass(frozen=True)
class Coverage:
    """Which experts the calibration saw.

    Attributes:
        tokens: Calibration tokens.
        min_tokens: Visits below which an expert counts as uncovered.
        visits: By the name of the experts' module, the tokens that each expert saw.
    """

    tokens: int
    min_tokens: int
    visits: dict[str, tuple[int, ...]]

    @property
    def experts(self) -> int:
        """Experts of all layers."""
        return sum(len(counts) for counts in self.visits.values())

    @property
    def uncovered(self) -> tuple[str, ...]:
        """The experts that were rounded plainly, as ``layers.3.mlp.experts.17``."""
        return tuple(
            f"{name}.{expert}"
            for name, counts in self.visits.items()
            for expert, count in enumerate(counts)
            if count < self.min_tokens
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "tokens": self.tokens,
            "min_tokens": self.min_tokens,
            "experts": self.experts,
            "uncovered": list(self.uncovered),
            "visits": {name: list(counts) for name, counts in self.visits.items()},
        }


@torch.inference_mode()
def collect(model: CausalLM, calibration: Calibration, progress: OnProgress) -> list[Activations]:
    """Run the calibration's tokens through the float model and keep what each layer saw.

    Raises:
        InvalidInput: A token is not of the model's vocabulary.
    """
    windows = cut(calibration.sequences, model.config.max_position_embeddings, model.config.vocab_size)
    # In random order, so that the first visitors of an expert, which are kept, come from all of the texts.
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0)).tolist()
    total = sum(len(window) for window in windows)
    watch = _Watch(calibration, max(1, total // calibration.sample))
    seen = [Activations() for _ in model.layers]
    training = model.training
    model.eval()
    handles = [handle for layer, each in zip(model.layers, seen, strict=True) for handle in watch.hooks(layer, each)]
    try:
        done = 0
        for group in batches([windows[index] for index in order], calibration.batch_tokens):
            batch = Batch.packed(group, device=model.norm.weight.device)
            watch.start(batch.token_ids_T)
            model.hidden(batch)
            done += len(batch.token_ids_T)
            progress("calibrate", done, total)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return seen


def cut(sequences: Sequence[Sequence[int]], longest: int, vocab_size: int) -> list[list[int]]:
    """Sequences of at most ``longest`` tokens; what is empty is left out.

    Raises:
        InvalidInput: A token is not of the vocabulary.
    """
    windows = []
    for sequence in sequences:
        tokens = [int(token) for token in sequence]
        wrong = next((token for token in tokens if not 0 <= token < vocab_size), None)
        if wrong is not None:
            raise InvalidInput(
                f"Token {wrong} is not of the model's vocabulary of {vocab_size}; "
                "the tokenizer and the model do not belong together.",
                token=wrong,
                vocab_size=vocab_size,
            )
        windows += [tokens[start : start + longest] for start in range(0, len(tokens), longest)]
    return windows


def batches(windows: Sequence[list[int]], tokens: int) -> list[list[list[int]]]:
    """The windows in their order, as many together as ``tokens`` allows, at least one."""
    groups: list[list[list[int]]] = []
    free = 0
    for window in windows:
        if not groups or free < len(window):
            groups.append([])
            free = tokens
        groups[-1].append(window)
        free -= len(window)
    return groups


class _Watch:
    """The hooks of one calibration run, and which of a batch's tokens they keep."""

    def __init__(self, calibration: Calibration, every: int) -> None:
        self._calibration, self._every, self._offset = calibration, every, 0
        self._uniform_N = torch.zeros(0, dtype=torch.int64)

    def start(self, token_ids_T: torch.Tensor) -> None:
        """Choose every so many tokens of a new batch, going on from the last."""
        tokens = token_ids_T.shape[0]
        self._uniform_N = torch.arange(-self._offset % self._every, tokens, self._every, device=token_ids_T.device)
        self._offset += tokens

    def hooks(self, layer: nn.Module, seen: Activations) -> list[torch.utils.hooks.RemovableHandle]:
        """Watch a layer's inputs."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{type(layer).__name__} is no layer of this model.")
        watched: dict[str, nn.Module] = {"attn": layer.attn, "attn.wo": layer.attn.wo}
        for name in ("wq_b", "wkv_b"):
            if (linear := getattr(layer.attn, name, None)) is not None:
                watched[f"attn.{name}"] = linear
        if isinstance(layer.mlp, MoE):
            seen.visits = Visits()
        else:
            watched["mlp"] = layer.mlp
        handles = []
        for name, module in watched.items():
            sample = seen.inputs[name] = Sample()
            handles.append(module.register_forward_pre_hook(self._linear(sample)))
        if isinstance(layer.mlp, MoE) and seen.visits is not None:
            sample = seen.inputs["mlp"] = Sample()
            handles.append(layer.mlp.experts.register_forward_pre_hook(self._experts(sample, seen.visits)))
        return handles

    def _linear(self, sample: Sample) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            sample.add(inputs[0], self._uniform_N)

        return hook

    def _experts(self, sample: Sample, visits: Visits) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x_TD, ids_TA, weights_TA = inputs
            experts = len(module.get_parameter("w13_EGD"))
            if not len(visits.tokens_E):
                visits.tokens_E = torch.zeros(experts, dtype=torch.int64, device=x_TD.device)
            here_TE = torch.zeros(len(x_TD), experts, dtype=torch.int64, device=x_TD.device)
            here_TE.scatter_(1, ids_TA, 1)
            # Every so many tokens, and the first visitors of each expert.
            wanted_TE = (visits.tokens_E + here_TE.cumsum(dim=0)) <= self._calibration.expert_sample
            keep_T = ((here_TE > 0) & wanted_TE).any(dim=1)
            keep_T[self._uniform_N] = True
            keep_N = torch.nonzero(keep_T).flatten()
            visits.tokens_E += here_TE.sum(dim=0)
            visits.ids.append(ids_TA[keep_N])
            visits.weights.append(weights_TA[keep_N])
            sample.add(x_TD, keep_N)

        return hook


def coverage(calibration: Calibration, seen: Sequence[Activations]) -> Coverage:
    """Which experts the calibration covered."""
    return Coverage(
        tokens=sum(len(sequence) for sequence in calibration.sequences),
        min_tokens=calibration.min_tokens,
        visits={
            f"layers.{index}.mlp.experts": tuple(each.visits.tokens_E.tolist())
            for index, each in enumerate(seen)
            if each.visits is not None
        },
    )
