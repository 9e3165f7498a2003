"""From a folder to a model that can run: weights, tokenizer, and what computes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evident_core.decode.runner import Runner
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, MissingExtra, ModelNotReady

if TYPE_CHECKING:
    from evident_core.moe.model import CausalLM

DEFAULT_MODEL: Final = Path(__file__).parent / "default_model"
DEFAULT_NAME: Final = "evident-small"


@dataclass(frozen=True)
class Opened:
    """A model with its tokenizer, and what it is called."""

    model: "CausalLM"
    tokenizer: Tokenizer
    name: str


def open_model(
    model: "str | Path | CausalLM | None", tokenizer: Tokenizer | None, quantization: str | None, device: str
) -> Opened:
    """Load what :class:`LLM` was given; see there."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "The language engine needs torch, which is not installed: pip install 'evident[llm]'", extra="llm"
        ) from error
    from evident_core.quant import Int4Config, Int8Config, QuantConfig, load, quantize_

    _refuse_device(device)
    if quantization not in (None, "int8", "int4"):
        raise InvalidInput(
            f"quantization is {quantization!r}; it must be int8, int4 or none.", parameter="quantization"
        )
    configs: dict[str | None, QuantConfig | None] = {None: None, "int8": Int8Config(), "int4": Int4Config()}
    config = configs[quantization]
    if model is None or isinstance(model, str | Path):
        folder = Path(model) if model is not None else DEFAULT_MODEL
        opened = load(folder, device=device, quantization=config)
        tokenizer = tokenizer or Tokenizer.load(folder)
        name = folder.resolve().name if model is not None else DEFAULT_NAME
    else:
        opened, name = model.to(torch.device(device)), model.config.family
        if tokenizer is None:
            raise InvalidInput("A model that is built already comes without a tokenizer; give one.")
        if config is not None:
            quantize_(opened, config)
    if tokenizer.vocab_size > opened.config.vocab_size:
        raise InvalidInput(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model only {opened.config.vocab_size}; "
            "they do not belong together.",
            name=name,
        )
    return Opened(opened.eval(), tokenizer, name)


def open_runner(
    model: "CausalLM", device: str, cache_bytes: int, max_tokens: int, *, kernel: bool, threads: int | None
) -> Runner:
    """What computes the steps of a model on its device: the C++ kernel where it can, else PyTorch."""
    from evident_core.decode.torch_runner import TorchRunner

    if kernel and device == "cpu":
        from evident_core.decode.kernel_runner import KernelRunner

        if KernelRunner.refusal(model) is None:
            return KernelRunner(model, cache_bytes, max_tokens, threads)
    return TorchRunner(model, cache_bytes, max_tokens)


def _refuse_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device)
    except RuntimeError:
        raise InvalidInput(f"{device!r} is no device; write cpu, cuda or cuda:1.", parameter="device") from None
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise ModelNotReady("No CUDA device is here; use device='cpu'.", device=device)
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise ModelNotReady(f"There is no {device}; this machine has {torch.cuda.device_count()}.", device=device)
