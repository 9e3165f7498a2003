"""Both towers as one model, and its folder: ``aligner.json`` beside ``aligner.safetensors``."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.align.towers import ImageTower, TextTower, TowerConfig, tokenise
from evident_core.errors import InvalidInput, ModelNotReady

CONFIG, WEIGHTS = "aligner.json", "aligner.safetensors"


class Aligner(nn.Module):
    """An image tower and a text tower that share a space: what belongs together points the same way."""

    def __init__(self, config: TowerConfig | None = None) -> None:
        super().__init__()
        self.config = config or TowerConfig()
        self.image = ImageTower(self.config)
        self.text = TextTower(self.config)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(self.config.temperature)), requires_grad=self.config.temperature_is_learned
        )

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by: a scalar of at least 0.01."""
        return self.log_temperature.exp().clamp(min=0.01)

    def forward(self, inputs: Tensor | Sequence[str]) -> Tensor:
        """Unit vectors [B, D] of crops (float [B, C, S, S] in 0..1) or of descriptions."""
        if isinstance(inputs, Tensor):
            return functional.normalize(self.image(inputs), dim=1)
        ids_BL = tokenise(inputs, self.config.text_length).to(self.log_temperature.device)
        return functional.normalize(self.text(ids_BL), dim=1)

    @torch.no_grad()
    def encode(self, inputs: Tensor | Sequence[str], batch: int = 256) -> Tensor:
        """The same without gradients, on the model's device, ``batch`` at a time."""
        device = self.log_temperature.device
        parts = [inputs[i : i + batch] for i in range(0, len(inputs), batch)]
        if not parts:
            return torch.zeros(0, self.config.dimensions, device=device)
        return torch.cat([self(part.to(device) if isinstance(part, Tensor) else part) for part in parts])


def save_aligner(aligner: Aligner, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the configuration and the weights, as ``dtype``, into a folder, which is made where it is missing."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(asdict(aligner.config), indent=1) + "\n", encoding="utf-8")
    save_file(
        {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in aligner.state_dict().items()},
        folder / WEIGHTS,
    )


def load_aligner(folder: Path, device: str | torch.device = "cpu") -> Aligner:
    """The model of a folder, ready to encode.

    Raises:
        ModelNotReady: A file is missing.
        InvalidInput: The configuration or the weights are not of this model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelNotReady(
                f"{folder / name} is missing; a trained aligner is a folder with {CONFIG} and {WEIGHTS}."
            )
    try:
        aligner = Aligner(_config(json.loads((folder / CONFIG).read_text("utf-8"))))
        aligner.load_state_dict(load_file(folder / WEIGHTS))
    except (ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise InvalidInput(f"{folder} does not hold an aligner of this version: {error}. Train it anew.") from error
    return aligner.to(device).eval()


def _config(values: object) -> TowerConfig:
    if not isinstance(values, dict):
        raise TypeError(f"{CONFIG} holds a {type(values).__name__}, not an object")
    if unknown := values.keys() - {field.name for field in fields(TowerConfig)}:
        raise ValueError(f"{CONFIG} has unknown keys {sorted(unknown)}")
    if "image_widths" in values:
        values["image_widths"] = tuple(values["image_widths"])
    return TowerConfig(**values)
