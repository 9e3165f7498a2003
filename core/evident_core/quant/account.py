"""What quantisation saved and what it cost: bytes, errors of the weights, coverage, and perplexity with its limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from evident_core.errors import InvalidInput
from evident_core.moe.model import CausalLM
from evident_core.quant.awq import Choice
from evident_core.quant.calibration import Coverage
from evident_core.quant.config import QuantConfig, config_from_dict, config_to_dict
from evident_core.quant.quality import Perplexity, perplexity

_WORST_SHOWN = 8


@dataclass(frozen=True)
class Sizes:
    """Bytes of the quantised model, and of the same parameters as float32 and as bfloat16."""

    quantized: int
    fp32: int
    bf16: int

    @classmethod
    def of(cls, model: CausalLM) -> Self:
        """Those of a model: its parameters and buffers, and what its configuration counts."""
        stored = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        parameters = model.config.num_parameters
        return cls(stored, 4 * parameters, 2 * parameters)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, with the ratios."""
        return {
            "quantized": self.quantized,
            "fp32": self.fp32,
            "bf16": self.bf16,
            "share_of_fp32": self.quantized / self.fp32,
            "share_of_bf16": self.quantized / self.bf16,
        }


@dataclass(frozen=True)
class TensorError:
    """How far a tensor is from what was rounded.

    Attributes:
        name: The tensor's.
        bits: 8 or 4.
        group_size: Inputs that share a scale; None is all of a row's.
        worst: Largest error, as a share of the tensor's largest magnitude.
        mean: Root mean square error, as a share of the tensor's root mean square.
    """

    name: str
    bits: int
    group_size: int | None
    worst: float
    mean: float


@dataclass(frozen=True)
class Report:
    """The whole account of a quantisation.

    Attributes:
        config: What was asked for.
        sizes: Bytes.
        tensors: The error of each tensor.
        method: ``awq`` where a calibration chose scales, else ``round``.
        coverage: What the calibration saw; None without one.
        choices: What the activation-aware search chose where; empty without a calibration.
        perplexity: Measured on given text; None where none was given.
    """

    config: QuantConfig
    sizes: Sizes
    tensors: tuple[TensorError, ...]
    method: str = "round"
    coverage: Coverage | None = None
    choices: tuple[Choice, ...] = ()
    perplexity: Perplexity | None = None

    def measured(self, before: float, after: float, tokens: int) -> "Report":
        """The same with perplexities."""
        return replace(self, perplexity=Perplexity(before, after, tokens))

    def refuse_loss(self) -> None:
        """Raise where the perplexity changed by more than the configuration's limit, in either direction.

        Raises:
            InvalidInput: It did, or is not a number; the message has the figure and the limit.
        """
        if self.perplexity is None:
            return
        change, limit = self.perplexity.change_percent, self.config.limit_percent
        if not abs(change) <= limit:
            raise InvalidInput(
                f"Quantised to int{self.config.bits}, the perplexity goes from {self.perplexity.before:.4f} to "
                f"{self.perplexity.after:.4f}, a change of {change:+.2f} %; the limit is {limit} %. Calibrate with "
                "texts of the model's own kind, choose more bits or a smaller group, or force it.",
                limit_percent=limit,
                **self.perplexity.to_dict(),
            )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        measured = self.perplexity
        return {
            "config": config_to_dict(self.config),
            "method": self.method,
            "bytes": self.sizes.to_dict(),
            "tensors": [vars(each) for each in self.tensors],
            "calibration": None if self.coverage is None else self.coverage.to_dict(),
            "choices": [choice.to_dict() for choice in self.choices],
            "perplexity": None
            if measured is None
            else {**measured.to_dict(), "limit_percent": self.config.limit_percent},
        }

    def block(self) -> dict[str, Any]:
        """What stands in the ``quantization`` block of ``config.json``."""
        summary = None
        if self.coverage is not None:
            uncovered = self.coverage.uncovered
            summary = {
                "tokens": self.coverage.tokens,
                "min_tokens": self.coverage.min_tokens,
                "experts": self.coverage.experts,
                "covered": self.coverage.experts - len(uncovered),
                "uncovered": list(uncovered),
            }
        whole = self.to_dict()
        return {
            **config_to_dict(self.config),
            "method": self.method,
            "calibration": summary,
            "perplexity": whole["perplexity"],
        }

    def table(self) -> str:
        """The same as lines of plain text for a terminal."""
        return "\n".join([*self._sizes(), *self._quality(), *self._coverage(), *self._worst()])

    def _sizes(self) -> list[str]:
        group = "" if self.config.group_size is None else f", groups of {self.config.group_size}"
        rows = [("bytes", "MiB", "share"), *self._size_rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return [
            f"int{self.config.bits}{group}, {'activation-aware' if self.method == 'awq' else 'plain rounding'}",
            "",
            *(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows),
        ]

    def _size_rows(self) -> list[tuple[str, str, str]]:
        sizes = self.sizes
        return [
            ("float32", f"{sizes.fp32 / 2**20:.2f}", "100.0 %"),
            ("bfloat16", f"{sizes.bf16 / 2**20:.2f}", f"{100 * sizes.bf16 / sizes.fp32:.1f} %"),
            ("quantised", f"{sizes.quantized / 2**20:.2f}", f"{100 * sizes.quantized / sizes.fp32:.1f} %"),
        ]

    def _quality(self) -> list[str]:
        measured = self.perplexity
        if measured is None:
            return ["", "perplexity  not measured: no text was given"]
        return [
            "",
            f"perplexity  {measured.before:.4f} -> {measured.after:.4f}, {measured.change_percent:+.2f} % "
            f"(limit {self.config.limit_percent} %), {measured.tokens} tokens",
        ]

    def _coverage(self) -> list[str]:
        seen = self.coverage
        if seen is None:
            return []
        lines = ["", f"calibration  {seen.tokens} tokens"]
        if seen.experts:
            uncovered = seen.uncovered
            lines[-1] += f"; {seen.experts - len(uncovered)} of {seen.experts} experts covered"
            for name, counts in seen.visits.items():
                lines.append(f"  {name}  {min(counts)} to {max(counts)} tokens an expert")
            lines += [f"  rounded plainly, under {seen.min_tokens} tokens: {name}" for name in uncovered]
        return lines

    def _worst(self) -> list[str]:
        ranked = sorted(self.tensors, key=lambda each: -each.mean)[:_WORST_SHOWN]
        if not ranked:
            return []
        width = max(len(each.name) for each in ranked)
        lines = ["", f"{'largest errors':<{width}}  bits  group   mean  worst"]
        for each in ranked:
            group = "row" if each.group_size is None else str(each.group_size)
            mean, worst = f"{100 * each.mean:.2f} %", f"{100 * each.worst:.2f} %"
            lines.append(f"{each.name:<{width}}  {each.bits:>4}  {group:>5} {mean:>7} {worst:>6}")
        return lines


def report(
    model: CausalLM,
    sequences: Sequence[Sequence[int]] | None = None,
    before: float | None = None,
    *,
    force: bool = False,
) -> Report:
    """The account of a quantised model, with its perplexity where a text is given.

    Args:
        model: What ``quantize_`` or ``load`` gave; the errors of the tensors are known of the first alone.
        sequences: Token ids of each text.
        before: The float model's :func:`~evident_core.quant.quality.perplexity` on the same texts.
        force: Give the account although the perplexity changed by more than the limit.

    Raises:
        InvalidInput: The model is not quantised, ``before`` is missing, or the change is above the limit, unforced.
    """
    found = remembered(model)
    if found is None:
        raise InvalidInput("This model is not quantised; call quantize_ first.")
    if isinstance(found, dict):
        found = Report(config_from_dict(found), Sizes.of(model), (), method=str(found.get("method", "round")))
    if not sequences:
        return found
    if before is None:
        raise InvalidInput("The change of the perplexity needs the float model's own; give it as before.")
    found = found.measured(before, *perplexity(model, sequences))
    if not force:
        found.refuse_loss()
    return found


def remember(model: CausalLM, found: Report | dict[str, Any]) -> None:
    """Keep on the model how it was quantised: the account, or what ``config.json`` says of it."""
    model.__dict__["quantization"] = found


def remembered(model: CausalLM) -> Report | dict[str, Any] | None:
    """What :func:`remember` kept; None for a float model."""
    found = model.__dict__.get("quantization")
    return found if isinstance(found, Report | dict) else None
