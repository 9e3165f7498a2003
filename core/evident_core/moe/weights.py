"""Loading a checkpoint into a model and saving a model, without ever holding the weights twice.

The model is built without memory, each parameter is allocated once, and every tensor is copied from the mapped file
straight into its rows of its parameter.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from evident_core.errors import InvalidInput
from evident_core.moe.checkpoint import Checkpoint, Head, read_json, write_tensors
from evident_core.moe.config import ModelConfig
from evident_core.moe.families import read_config
from evident_core.moe.layout import Place, hf_ignores, hf_places, own_places
from evident_core.moe.model import CausalLM

_FLOATS = ("F64", "F32", "F16", "BF16")


def load_config(folder: str | Path) -> ModelConfig:
    """The configuration of the model in a folder, end tokens of ``generation_config.json`` included.

    Raises:
        ModelNotReady: There is no ``config.json``.
        InvalidInput: It is damaged, or describes what is not supported; the message names it.
    """
    folder = Path(folder)
    values = read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    if generation.is_file() and values.get("model_type") != "evident":
        ends = [values.get("eos_token_id"), read_json(generation).get("eos_token_id")]
        tokens = [token for each in ends if each is not None for token in (each if isinstance(each, list) else [each])]
        values["eos_token_id"] = list(dict.fromkeys(tokens))
    return read_config(values)


def load_model(folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> CausalLM:
    """Load a checkpoint of any known family.

    Args:
        folder: With ``config.json`` and ``model.safetensors`` or ``model.safetensors.index.json``.
        device: Where the weights go.
        dtype: What the weights become; the routers' ``expert_bias`` stays float32.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelNotReady: The folder, a configuration or a file is missing.
        InvalidInput: The architecture is not known, an option is not supported, a file is damaged, a tensor is missing,
            unexpected, of a wrong shape or type; the message names it.
    """
    config = load_config(folder)
    if config.family == "evident" and read_json(Path(folder) / "config.json").get("quantization") is not None:
        raise InvalidInput(
            f"The model in {folder} is quantised; evident_core.quant.load reads it.", field="quantization"
        )
    checkpoint = Checkpoint(folder)
    with torch.device("meta"):
        model = CausalLM(config)
    parameters = dict(model.named_parameters()) | dict(model.named_buffers())
    heads = {name: head for name, head in checkpoint.heads().items() if not hf_ignores(name, config)}
    places = own_places(parameters, heads) if config.family == "evident" else hf_places(config, heads.keys())
    _check(heads, places, parameters, checkpoint)
    allocate(model, device, dtype)
    targets = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in checkpoint.tensors():
            if name in places:
                place = places[name]
                place.of(targets[place.parameter]).copy_(tensor)
            del tensor
    return model.eval()


def save_model(model: CausalLM, folder: str | Path) -> None:
    """Save a model in the suite's own layout: ``config.json`` and safetensors of at most 16 MiB each.

    The tensors have the model's own names; larger ones are cut into ranges of rows. A model that is in the folder
    already is replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, model.state_dict())
    write_config(model.config, folder)


def write_config(config: ModelConfig, folder: Path, extra: Mapping[str, object] | None = None) -> None:
    """Write ``config.json`` of the ``evident`` family; ``extra`` values stand beside the model's own."""
    named = {"architectures": ["EvidentForCausalLM"], "model_type": "evident"}
    values = named | config.to_dict() | {"family": "evident"} | dict(extra or {})
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def allocate(model: nn.Module, device: torch.device | str, dtype: torch.dtype) -> None:
    """Give every parameter and buffer of a model without memory its own, once, in place.

    Parameters become ``dtype``; buffers keep theirs.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            memory = torch.empty(parameter.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(memory, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device=device))


def _check(
    heads: Mapping[str, Head], places: Mapping[str, Place], parameters: Mapping[str, Tensor], checkpoint: Checkpoint
) -> None:
    for name, place in places.items():
        if name not in heads:
            missing = sum(each not in heads for each in places)
            raise InvalidInput(
                f"{checkpoint.folder} has no tensor {name!r} ({missing} of {len(places)} are missing), "
                "which its config.json calls for.",
                tensor=name,
            )
        head, wanted = heads[name], tuple(place.of(parameters[place.parameter]).shape)
        if head.shape != wanted:
            raise InvalidInput(
                f"The tensor {name!r} has the shape {list(head.shape)}; config.json calls for {list(wanted)}.",
                tensor=name,
                shape=list(head.shape),
                wanted=list(wanted),
            )
        if head.dtype not in _FLOATS:
            raise InvalidInput(
                f"The tensor {name!r} is of type {head.dtype}; weights must be one of {', '.join(_FLOATS)}.",
                tensor=name,
            )
    for name in heads:
        if name not in places:
            unexpected = sum(each not in places for each in heads)
            raise InvalidInput(
                f"{checkpoint.folder} has the tensor {name!r} ({unexpected} in all), for which its config.json has no "
                "place; leaving it out would change the result.",
                tensor=name,
            )
