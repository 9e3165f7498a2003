"""From the folder of a float model to the folder of a quantised one, whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from evident_core.errors import Conflict, InvalidInput
from evident_core.quant.account import Report
from evident_core.quant.account import report as account_of
from evident_core.quant.calibration import Calibration, OnProgress
from evident_core.quant.checkpoint import load, save_quantized
from evident_core.quant.config import QuantConfig
from evident_core.quant.conversion import is_quantized, quantize_, silent
from evident_core.quant.quality import perplexity

# What a tokenizer, its chat template and the model's papers are called; weights and config.json are written anew.
_COPIED = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "CARD.md",
)

Encode = Callable[[str], Sequence[int]]


def quantize_folder(
    source: str | Path,
    target: str | Path,
    config: QuantConfig,
    calibration_texts: Sequence[str] | None = None,
    evaluation_texts: Sequence[str] | None = None,
    force: bool = False,
    progress: OnProgress = silent,
    *,
    encode: Encode | None = None,
    device: torch.device | str = "cpu",
) -> Report:
    """Quantise the model in a folder into another folder.

    Nothing is left at ``target`` unless all went well: it is written beside it and moved there in the end.

    Args:
        source: A float model of any family.
        target: Must not exist, or be an empty folder.
        config: ``Int8Config()`` or ``Int4Config(group_size=128)``.
        calibration_texts: Texts for the activation-aware search; None or no text rounds plainly.
        evaluation_texts: Texts of which the perplexity is measured before and after; None or no text measures none.
        force: Write it although the perplexity changed by more than the limit.
        progress: Told the stage (``load``, ``evaluate``, ``calibrate``, ``search``, ``quantise``, ``save``), and how
            much of it is done of how much.
        encode: A text's tokens; by default those of the tokenizer in ``source``.
        device: Where it is computed.

    Returns:
        The whole account; it stands in short in the target's ``config.json`` too.

    Raises:
        Conflict: The target is not empty.
        InvalidInput: The source is quantised already, a tensor cannot be quantised, or the perplexity changed by more
            than the limit and it was not forced.
    """
    source, target = Path(source), Path(target)
    _refuse_occupied(target)
    progress("load", 0, 1)
    model = load(source, device=device)
    if is_quantized(model):
        raise InvalidInput(f"{source} is quantised already; quantise the float model that it was made from.")
    encode = encode or _encoder(source)
    evaluated = [encode(text) for text in evaluation_texts or ()]
    calibration = None
    if calibration_texts:
        calibration = Calibration([encode(text) for text in calibration_texts])
    progress("load", 1, 1)
    before = 0.0
    if evaluated:
        progress("evaluate", 0, 2)
        before, _ = perplexity(model, evaluated)
        progress("evaluate", 1, 2)
    report = quantize_(model, config, calibration, progress)
    if evaluated:
        report = account_of(model, evaluated, before, force=force)
        progress("evaluate", 2, 2)
    progress("save", 0, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        # A folder within it, as the temporary one itself is readable by its owner alone.
        written = Path(temporary) / "model"
        save_quantized(model, written, report)
        for name in _COPIED:
            if (source / name).is_file():
                shutil.copyfile(source / name, written / name)
        _refuse_occupied(target)
        if target.exists():
            target.rmdir()
        written.rename(target)
    progress("save", 1, 1)
    return report


def _refuse_occupied(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there already and not empty; name another folder.", path=str(target))


def _encoder(source: Path) -> Encode:
    """The encoder of the tokenizer in a folder, read when the first text comes."""
    from evident_core.decode.tokenizer import Tokenizer

    tokenizers: list[Tokenizer] = []

    def encode(text: str) -> Sequence[int]:
        if not tokenizers:
            tokenizers.append(Tokenizer.load(source))
        return tokenizers[0].encode(text)

    return encode
