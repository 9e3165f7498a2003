"""What the image tower looks at: a square around a defect, with some of its surroundings.

Shapes: C channels, H and W of an image, S side of a crop.
"""

import torch
from torch import Tensor
from torch.nn import functional

from evident_core.errors import InvalidInput

_AROUND = 2.0


def crop_around(planes_CHW: Tensor, bbox: tuple[float, float, float, float], side: int = 64) -> Tensor:
    """Cut out a box with as much again around it, at least ``side`` pixels, scaled down to ``side`` where it is more.

    Small defects keep their size, so that the tower sees how large they are. Outside the image its border is repeated.

    Args:
        planes_CHW: uint8, or float in 0..1; for the inspection: difference, template, test.
        bbox: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
        side: Of the crop.

    Returns:
        float [C, S, S] in 0..1.

    Raises:
        InvalidInput: The box is empty or lies outside the image.
    """
    _, h, w = planes_CHW.shape
    x0, y0, x1, y1 = bbox
    if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < w and y0 < h):
        raise InvalidInput(f"The box {bbox} does not lie in an image of {w} x {h} pixels.")
    reach = max(side, round(_AROUND * max(x1 - x0, y1 - y0)))
    left, top = round((x0 + x1 - reach) / 2), round((y0 + y1 - reach) / 2)
    columns = torch.arange(left, left + reach, device=planes_CHW.device).clamp(0, w - 1)
    rows = torch.arange(top, top + reach, device=planes_CHW.device).clamp(0, h - 1)
    cut_CSS = planes_CHW[:, rows][:, :, columns]
    cut_CSS = cut_CSS.float() / 255 if planes_CHW.dtype == torch.uint8 else cut_CSS.float()
    if reach == side:
        return cut_CSS
    return functional.interpolate(cut_CSS[None], (side, side), mode="area")[0]
