"""Make the committed sample boards anew: ``python sample_data/manufacturing/make.py``. The same pictures each time.

``generate`` is the generator itself; training and tests import it from ``pcb_boards``.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pcb_boards import Sample, generate  # noqa: E402 - the samples are no installed package
from pcb_boards.target import dot_grid  # noqa: E402

PX_PER_MM = 48.0
PITCH_MM = 1.0
BOARDS: dict[str, Sample] = {
    "board_1": generate(2, defects=8, compressed=False),
    "board_2": generate(9, defects=8, compressed=False),
    "board_3": generate(16, defects=6, compressed=False),
    "board_4_small_defects": generate(23, defects=8, sizes_mm=(0.05, 0.2), compressed=False),
    "board_5_clean": generate(17, defects=0, compressed=False),
    "board_6_displaced": generate(31, defects=5, shift=14.0, turn=0.8, compressed=False),
}


def main() -> None:
    """Write all samples beside this file."""
    for name, board in BOARDS.items():
        _write(f"{name}_template.png", board.template)
        _write(f"{name}_test.png", board.test)
    truth = {
        name: {
            "template": f"{name}_template.png",
            "test": f"{name}_test.png",
            "px_per_mm": board.px_per_mm,
            "alignment": {"dx": board.dx, "dy": board.dy, "angle": board.angle},
            "defects": [asdict(defect) for defect in board.defects],
        }
        for name, board in BOARDS.items()
    }
    _write_json("truth.json", truth)
    _write("calibration_dots.png", dot_grid(384, px_per_mm=PX_PER_MM, pitch_mm=PITCH_MM))
    certificate = {
        "id": "EVIDENT-SAMPLE-0001",
        "mm_per_pixel": [1 / PX_PER_MM, 1 / PX_PER_MM],
        "residual_mm": 0.002,
        "method": "dot_grid",
        "made": "2025-01-01",
        "valid_until": "2035-12-31",
        "camera": "",
    }
    _write_json("calibration.json", certificate)
    total = sum(path.stat().st_size for path in HERE.iterdir() if path.is_file())
    print(f"{total / 1024:.0f} KiB in all")


def _write(name: str, picture: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    (HERE / name).write_bytes(data.tobytes())
    print(f"{name}: {len(data) / 1024:.0f} KiB")


def _write_json(name: str, value: object) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
