"""Quantised models on disk: safetensors of at most 16 MiB, a checksum for each tensor, and what was done to them.

Loading builds the quantised modules without memory, allocates each tensor once, and copies it straight from the mapped
file; a float copy is never made.

Shapes: O outputs, I inputs, E experts, F width of an expert, D hidden, V vocabulary.
"""

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evident_core.errors import InvalidInput, ModelNotReady
from evident_core.moe.checkpoint import Checkpoint, Head, read_json, write_tensors
from evident_core.moe.layout import Place, hf_ignores, hf_places, own_places
from evident_core.moe.model import CausalLM, Layer
from evident_core.moe.weights import allocate, load_config, load_model, write_config
from evident_core.quant.account import Report, Sizes, TensorError, remember, remembered
from evident_core.quant.config import Int8Config, QuantConfig, config_from_dict
from evident_core.quant.conversion import convert_ends_, convert_layer_, hollow_, is_quantized
from evident_core.quant.folding import Folding
from evident_core.quant.linear import QuantEmbedding

CHECKSUMS = "checksums.json"
_TYPES = {torch.int8: ("I8",), torch.uint8: ("U8",)}
_FLOATS = ("F64", "F32", "F16", "BF16")


def load(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    quantization: QuantConfig | None = None,
    verify: bool = True,
) -> CausalLM:
    """Open a model's folder, quantised or not.

    Args:
        folder: With ``config.json`` and safetensors; of any family where it is not quantised.
        device: Where the weights go.
        dtype: What float weights become; integers and scales stay as they are.
        quantization: Quantise float weights by plain rounding while they are read, each layer as soon as it is
            complete, so that the float model is never there as a whole. A quantised folder stays as it is.
        verify: Whether the tensors of a quantised model are compared with their checksums.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelNotReady: The folder or a file in it is missing.
        InvalidInput: A file is damaged, or a tensor is missing, unexpected, of a wrong shape or type, not what was
            written, or not to be quantised; the message names it.
    """
    folder = Path(folder)
    block = read_json(folder / "config.json").get("quantization")
    if block is not None:
        if not isinstance(block, dict):
            raise InvalidInput(
                f"{folder / 'config.json'} says quantization is {block!r}; it must be an object.", field="quantization"
            )
        return _load_quantized(folder, block, device, dtype, verify)
    if quantization is not None:
        return _load_quantizing(folder, quantization, device, dtype)
    return load_model(folder, device, dtype)


def _load_quantized(
    folder: Path, block: dict[str, Any], device: torch.device | str, dtype: torch.dtype, verify: bool
) -> CausalLM:
    model_config, config = load_config(folder), config_from_dict(block)
    checkpoint = Checkpoint(folder)
    with torch.device("meta"):
        model = CausalLM(model_config)
        hollow_(model, config)
    heads = checkpoint.heads()
    targets = _tensors(model)
    places = own_places(targets, heads)
    _check(heads, places, targets, checkpoint)
    allocate(model, device, dtype)
    if isinstance(model.embed, QuantEmbedding):
        model.embed.dtype = dtype
    _fill(_tensors(model), places, checkpoint, _checksums(folder) if verify else None)
    remember(model, block)
    return model.eval()


@torch.no_grad()
def _load_quantizing(folder: Path, config: QuantConfig, device: torch.device | str, dtype: torch.dtype) -> CausalLM:
    model_config, checkpoint = load_config(folder), Checkpoint(folder)
    with torch.device("meta"):
        model = CausalLM(model_config)
    targets = _tensors(model)
    heads = {name: head for name, head in checkpoint.heads().items() if not hf_ignores(name, model_config)}
    own = model_config.family == "evident"
    places = own_places(targets, heads) if own else hf_places(model_config, heads.keys())
    _check(heads, places, targets, checkpoint)
    waiting = Counter(_part(place.parameter) for place in places.values())
    started: set[str] = set()
    errors: list[TensorError] = []
    for name, tensor in checkpoint.tensors():
        if name not in places:
            continue
        place = places[name]
        part = _part(place.parameter)
        module = model.get_submodule(part)
        if part not in started:
            allocate(module, device, dtype)
            started.add(part)
        owner, _, attribute = place.parameter.rpartition(".")
        place.of(getattr(model.get_submodule(owner), attribute)).copy_(tensor)
        del tensor
        waiting[part] -= 1
        if not waiting[part] and isinstance(module, Layer):
            errors += convert_layer_(module, f"{part}.", Folding(), config)
    errors += convert_ends_(model, Int8Config(clip=config.clip))
    remember(model, Report(config, Sizes.of(model), tuple(errors)))
    return model.eval()


def _part(parameter: str) -> str:
    """The module that is complete before it is quantised: ``layers.3``, ``embed``, ``norm`` or ``head``."""
    names = parameter.split(".")
    return ".".join(names[:2] if names[0] == "layers" else names[:1])


def save_quantized(model: CausalLM, folder: str | Path, report: Report | None = None) -> None:
    """Write a quantised model into a folder; :func:`load` gives it back to the bit.

    Float tensors that bfloat16 holds exactly are stored in it.

    Args:
        model: What ``quantize_`` made.
        folder: Made where there is none; a model that is in it is replaced.
        report: What is written of it into ``config.json``; by default what ``quantize_`` found.

    Raises:
        InvalidInput: The model is not quantised.
    """
    found = report or remembered(model)
    if found is None or not is_quantized(model):
        raise InvalidInput("This model is not quantised; call quantize_ first, or save it with save_model.")
    block = found.block() if isinstance(found, Report) else found
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, {name: _compact(tensor) for name, tensor in _tensors(model).items()})
    write_config(model.config, folder, {"quantization": block})
    # Of what is read back, so that a write that failed is found now.
    sums = {name: _checksum(tensor) for name, tensor in Checkpoint(folder).tensors()}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _compact(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.float32 and torch.equal(small := tensor.detach().bfloat16(), tensor):
        return small
    return tensor


def _checksum(tensor: Tensor) -> str:
    """CRC-32 of a tensor's bytes, as eight hexadecimal digits."""
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return f"{zlib.crc32(data):08x}"


def _checksums(folder: Path) -> dict[str, Any]:
    path = folder / CHECKSUMS
    if not path.is_file():
        raise ModelNotReady(f"{path} is missing; copy the whole model, or load it with verify=False.", path=str(path))
    return read_json(path)


def _check(
    heads: Mapping[str, Head], places: Mapping[str, Place], targets: Mapping[str, Tensor], checkpoint: Checkpoint
) -> None:
    for name, place in places.items():
        if name not in heads:
            raise InvalidInput(
                f"{checkpoint.folder} has no tensor {name!r}, which its config.json calls for.", tensor=name
            )
        head, target = heads[name], targets[place.parameter]
        wanted = tuple(place.of(target).shape)
        if head.shape != wanted:
            raise InvalidInput(
                f"The tensor {name!r} has the shape {list(head.shape)}; config.json calls for {list(wanted)}.",
                tensor=name,
                shape=list(head.shape),
                wanted=list(wanted),
            )
        types = _TYPES.get(target.dtype, _FLOATS)
        if head.dtype not in types:
            raise InvalidInput(
                f"The tensor {name!r} is of type {head.dtype}; config.json calls for {' or '.join(types)}.", tensor=name
            )
    for name in heads:
        if name not in places:
            raise InvalidInput(
                f"{checkpoint.folder} has the tensor {name!r}, for which its config.json has no place.", tensor=name
            )


@torch.no_grad()
def _fill(
    targets: Mapping[str, Tensor], places: Mapping[str, Place], checkpoint: Checkpoint, sums: dict[str, Any] | None
) -> None:
    for name, tensor in checkpoint.tensors():
        if sums is not None and sums.get(name) != _checksum(tensor):
            raise InvalidInput(
                f"The tensor {name!r} in {checkpoint.folder / checkpoint.files[name]} is not what was written (its "
                f"checksum is not that of {CHECKSUMS}); copy the model anew.",
                tensor=name,
            )
        if name.partition(":")[0].endswith("scales") and not bool(torch.isfinite(tensor).all()):
            raise InvalidInput(f"The tensor {name!r} holds scales that are not finite numbers.", tensor=name)
        place = places[name]
        place.of(targets[place.parameter]).copy_(tensor)
        del tensor
