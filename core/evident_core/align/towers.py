"""The image tower and the text tower.

Shapes: B rows, C channels, S side of a crop, L bytes of a text, E width of a tower, D dimensions of the shared space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.errors import InvalidInput

_PAD, _START = 256, 257
_VOCABULARY = 258


@dataclass(frozen=True)
class TowerConfig:
    """How large both towers are.

    Attributes:
        dimensions: Of the shared space.
        channels: Of an image.
        side: Of an image, pixels; a multiple of 16.
        image_widths: Channels of the four levels, each at half the resolution of the one before.
        text_width: Of the text tower.
        text_layers: Its layers.
        text_heads: Heads of each.
        text_length: Longest text in bytes of UTF-8, with the mark at its start; what is longer is cut.
        temperature: What similarities are divided by.
        temperature_is_learned: Whether training may change that.
    """

    dimensions: int = 512
    channels: int = 3
    side: int = 64
    image_widths: tuple[int, int, int, int] = (24, 48, 96, 160)
    text_width: int = 128
    text_layers: int = 4
    text_heads: int = 4
    text_length: int = 256
    temperature: float = 0.1
    temperature_is_learned: bool = False


def tokenise(texts: Sequence[str], length: int) -> Tensor:
    """The bytes of texts (UTF-8), each after a start mark, padded to the longest: int64 [B, L], L <= ``length``.

    Bytes need no vocabulary, and no description in any language is unknown. A text that is too long is cut between two
    characters.

    Raises:
        InvalidInput: There is no text.
    """
    if not texts:
        raise InvalidInput("There is no description; at least one is needed.")
    rows = [_whole_characters(text.encode("utf-8", "replace"), length - 1) for text in texts]
    ids_BL = torch.full((len(rows), 1 + max(len(row) for row in rows)), _PAD)
    ids_BL[:, 0] = _START
    for i, row in enumerate(rows):
        ids_BL[i, 1 : 1 + len(row)] = torch.tensor(list(row), dtype=torch.int64)
    return ids_BL


def _whole_characters(data: bytes, length: int) -> bytes:
    return data if len(data) <= length else data[:length].decode("utf-8", "ignore").encode()


class ImageTower(nn.Module):
    """A residual network over crops: float [B, C, S, S] in 0..1 to [B, D]; not yet unit vectors."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.image_widths
        self.stem = nn.Sequential(
            nn.Conv2d(config.channels, widths[0], 3, padding=1, bias=False), _norm(widths[0]), nn.SiLU()
        )
        before = (widths[0], *widths[:-1])
        self.levels = nn.Sequential(*(_Level(a, b) for a, b in zip(before, widths, strict=True)))
        # The largest beside the mean: a defect of three pixels must not drown in the rest of the crop.
        self.project = nn.Linear(2 * widths[-1], config.dimensions)

    def forward(self, images_BCSS: Tensor) -> Tensor:
        """Embed crops.

        Raises:
            InvalidInput: They are not of the shape of the configuration.
        """
        c = self.config
        if images_BCSS.ndim != 4 or images_BCSS.shape[1:] != (c.channels, c.side, c.side):
            raise InvalidInput(
                f"Crops are {tuple(images_BCSS.shape)}; B x {c.channels} x {c.side} x {c.side} is needed."
            )
        levels_BESS = self.levels(self.stem(images_BCSS - 0.5))
        pooled_BE = torch.cat([levels_BESS.mean(dim=(2, 3)), levels_BESS.amax(dim=(2, 3))], dim=1)
        out_BD: Tensor = self.project(pooled_BE)
        return out_BD


class _Level(nn.Module):
    """Two residual blocks, the first of which halves the resolution."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_Block(before, width, 2), _Block(width, width, 1))

    def forward(self, x_BESS: Tensor) -> Tensor:
        y_BESS: Tensor = self.blocks(x_BESS)
        return y_BESS


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = _norm(width)
        self.skip = nn.Identity() if before == width and stride == 1 else nn.Conv2d(before, width, 1, stride=stride)

    def forward(self, x_BESS: Tensor) -> Tensor:
        y_BESS = functional.silu(self.first_norm(self.first(x_BESS)))
        return functional.silu(self.second_norm(self.second(y_BESS)) + self.skip(x_BESS))


def _norm(width: int) -> nn.Module:
    # Of a group and not of a batch, so that an embedding does not depend on what else is in the batch.
    return nn.GroupNorm(min(8, width), width)


class TextTower(nn.Module):
    """A transformer over the bytes of a description: int64 [B, L] to [B, D]; not yet unit vectors."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.embed = nn.Embedding(_VOCABULARY, width, padding_idx=_PAD)
        self.positions = nn.Parameter(torch.randn(config.text_length, width) * 0.02)
        # Three bytes are a Chinese character, and about half an English word.
        self.neighbours = nn.Conv1d(width, width, 5, padding=2)
        self.layers = nn.ModuleList(_Layer(width, config.text_heads) for _ in range(config.text_layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.dimensions)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Embed texts that :func:`tokenise` made into ids."""
        there_BL1 = (ids_BL != _PAD).unsqueeze(-1)
        x_BLE = (self.embed(ids_BL) + self.positions[: ids_BL.shape[1]]) * there_BL1
        x_BLE = x_BLE + self.neighbours(x_BLE.transpose(1, 2)).transpose(1, 2) * there_BL1
        mask_B11L = there_BL1[:, None, None, :, 0]
        for layer in self.layers:
            x_BLE = layer(x_BLE, mask_B11L)
        x_BLE = self.norm(x_BLE) * there_BL1
        out_BD: Tensor = self.project(x_BLE.sum(dim=1) / there_BL1.sum(dim=1))
        return out_BD


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BLE: Tensor, mask_B11L: Tensor) -> Tensor:
        b, length, width = x_BLE.shape
        qkv = self.qkv(self.attention_norm(x_BLE)).view(b, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11L)
        x_BLE = x_BLE + self.out(mixed.transpose(1, 2).reshape(b, length, width))
        y_BLE: Tensor = x_BLE + self.feed(self.feed_norm(x_BLE))
        return y_BLE
