"""Boards that nobody trained on, the defects found on them, and which of those is which true one."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, ModelNotReady
from evident_core.evidence import BBox
from evident_manufacturing.inspection.ingest import ingest
from evident_manufacturing.inspection.perceive import Models
from evident_manufacturing.inspection.pipeline import Station
from evident_manufacturing.inspection.schema import Calibration, Inspection, Part

Gray = NDArray[np.uint8]
OnBoard = Callable[[int, int], None]
"""Told after each board: how many are done, and of how many."""
FIRST_SEED: Final = 5_000_000
"""Training took its boards from seeds below."""
PX_PER_MM: Final = 48.0
"""Scale of DeepPCB, and of the generated boards."""
CALIBRATION: Final = Calibration(
    id="evaluation",
    mm_per_pixel=(1 / PX_PER_MM, 1 / PX_PER_MM),
    residual_mm=0.0,
    method="known_pitch",
    made=date(2025, 1, 1),
    valid_until=date(2025, 12, 31),
)
_TODAY: Final = date(2025, 6, 30)
_GENERATOR: Final = Path(__file__).parents[4] / "sample_data" / "manufacturing"


def nobody(done: int, of: int) -> None:
    """Where nobody wants to know how far it is."""


def generate(seed: int, **how: object) -> Any:
    """A generated board with its truth: ``pcb_boards.Sample`` of ``sample_data/manufacturing``.

    Raises:
        ModelNotReady: The generator, which comes with the source and not with the wheel, is not there.
    """
    if not (_GENERATOR / "pcb_boards").is_dir():
        raise ModelNotReady(f"There is no board generator in {_GENERATOR}; run this in a checkout of the source.")
    if str(_GENERATOR) not in sys.path:
        sys.path.insert(0, str(_GENERATOR))
    return importlib.import_module("pcb_boards").generate(seed, **how)


def inspect(models: Models, test: Gray, template: Gray, name: str, *, jpeg: int | None = None) -> Inspection | None:
    """What the whole station says of a pair at 1/48 mm a pixel; None: it refused the template.

    Args:
        models: That are open.
        test: uint8 [H, W].
        template: uint8 [H, W].
        name: Of the board.
        jpeg: Quality with which the test is compressed; None: PNG.
    """
    golden = ingest(encoded(template), name=f"{name}_template.png", allow_blank=True)
    station = Station(models, golden, calibration=CALIBRATION, today=lambda: _TODAY)
    try:
        return station.inspect(encoded(test, jpeg), Part(part_id=name), name=name, report=False, facts=False)
    except InvalidInput:
        return None


def encoded(image: Gray, jpeg: int | None = None) -> bytes:
    """A file's bytes: PNG, or JPEG of a quality."""
    kind, settings = (
        (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]) if jpeg is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, jpeg])
    )
    return bytes(cv2.imencode(kind, image, settings)[1].tobytes())


def matches(truth: Sequence[BBox], found: Sequence[BBox]) -> dict[int, int]:
    """Which true box is which found one: its centre lies within that, the nearest first, each used once."""
    near: list[tuple[float, int, int]] = []
    for i, true in enumerate(truth):
        x, y = (true[0] + true[2]) / 2, (true[1] + true[3]) / 2
        for j, (x0, y0, x1, y1) in enumerate(found):
            if x0 <= x <= x1 and y0 <= y <= y1:
                near.append((float(np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2)), i, j))
    pairs: dict[int, int] = {}
    for _, i, j in sorted(near):
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def seeds(first: int, count: int) -> Iterator[int]:
    """Seeds of boards to measure on.

    Raises:
        InvalidInput: Training may have seen the first of them, or there is none.
    """
    if first < FIRST_SEED:
        raise InvalidInput(f"Seed {first} is below {FIRST_SEED}, where training takes its boards; give a higher one.")
    if count < 1:
        raise InvalidInput(f"{count} boards cannot be measured; give at least 1.")
    return iter(range(first, first + count))
