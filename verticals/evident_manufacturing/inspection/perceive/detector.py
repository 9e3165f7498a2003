"""The learned detector as it runs beside a line: ONNX Runtime, no PyTorch.

Shapes: N images, H height, W width.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evident_core.errors import InvalidInput, MissingExtra, ModelNotReady
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.schema import Detection

SIZE: Final = 640
"""Pixels of a side that the network was trained on."""
FOLDER: Final = Path(__file__).parents[1] / "model"
_FLOOR: Final = 0.001
_BATCH: Final = 8


class ModelFile(Frozen):
    """One exported form of a detector, and what its gates measured (see ``training.gates``)."""

    name: str
    sha256: str
    precision: str
    passed: bool
    measured: dict[str, float] = Field(default_factory=dict)


class Manifest(Frozen):
    """What lies in a model's folder: its files, the best first, its kinds in the order of classes, and its version."""

    version: str
    kinds: tuple[str, ...]
    files: tuple[ModelFile, ...]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model's folder.

    Raises:
        ModelNotReady: There is none.
        InvalidInput: It cannot be read.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ModelNotReady(f"There is no manifest.json in {folder}; export a detector into it.", path=str(folder))
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise InvalidInput(f"{path} is not a model's manifest: {error}", path=str(path)) from error


class Detector:
    """A detector that is open.

    Args:
        folder: With a manifest; by default the one that ships.
        precision: ``"int8"`` or ``"fp32"``; by default int8 where it passed its gates.
        threads: Of ONNX Runtime; by default one a core.

    Raises:
        ModelNotReady: A file is missing.
        InvalidInput: A file is not the one the manifest names, or no network of this service.
    """

    def __init__(self, folder: Path = FOLDER, *, precision: str | None = None, threads: int | None = None) -> None:
        self.manifest = read_manifest(folder)
        self.file = self._choose(precision)
        data = self._read(folder / self.file.name)
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "Detecting needs onnxruntime, which is not installed: pip install 'evident[manufacturing]'",
                extra="manufacturing",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        # Threads that spin while they wait take the core from what comes next: on two cores the alignment after a
        # forward took six times as long, and with anything else on the machine the forward itself twice.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            (self._input,) = (each.name for each in self._session.get_inputs())
        except Exception as error:  # ONNX Runtime has no error type of its own to name
            raise InvalidInput(f"{self.file.name} is no network that ONNX Runtime opens: {error}") from error

    @property
    def version(self) -> str:
        """The model and the precision it runs in, as results name it."""
        return f"{self.manifest.version} {self.file.precision}"

    def detect(self, images_NHW3: Sequence[NDArray[np.uint8]], *, threshold: float = _FLOOR) -> list[list[Detection]]:
        """What is seen in images of at most 640 x 640; smaller ones are filled up with their own edge.

        Args:
            images_NHW3: (difference, template, test), or three times the test for a plain model.
            threshold: Least score.
        """
        found: list[list[Detection]] = []
        for first in range(0, len(images_NHW3), _BATCH):
            part = images_NHW3[first : first + _BATCH]
            rows = self.forward(batch(part))
            found += [self._detections(row, image.shape, threshold) for row, image in zip(rows, part, strict=True)]
        return found

    def forward(self, images_N3HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """The bare network on a :func:`batch`: float32 [N, 300, 6], rows (x0, y0, x1, y1, score, kind)."""
        rows: NDArray[np.float32] = self._session.run(None, {self._input: images_N3HW})[0]
        return rows

    def _detections(self, rows: NDArray[np.float32], shape: tuple[int, ...], threshold: float) -> list[Detection]:
        height, width = shape[:2]
        detections = []
        for x0, y0, x1, y1, score, kind in rows[rows[:, 4] >= threshold].tolist():
            box = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
            if box[0] < box[2] and box[1] < box[3]:
                # Unchecked: up to 300 a board, nearly all of them hints of no weight, and all of the right types.
                detections.append(
                    Detection.model_construct(bbox=box, kind=self.manifest.kinds[int(kind)], score=min(1.0, score))
                )
        return detections

    def _choose(self, precision: str | None) -> ModelFile:
        for file in self.manifest.files:
            if file.precision == precision or (precision is None and file.passed):
                return file
        known = ", ".join(
            f"{file.precision}{'' if file.passed else ' (failed its gates)'}" for file in self.manifest.files
        )
        raise ModelNotReady(f"There is no {precision or 'passed'} model among {known or 'none'}.", precision=precision)

    def _read(self, path: Path) -> bytes:
        if not path.is_file():
            raise ModelNotReady(f"{path} is missing; the manifest beside it names it.", path=str(path))
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.file.sha256:
            raise InvalidInput(f"{path} is not the file that its manifest names; export it again.", path=str(path))
        return data


def batch(images_NHW3: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Images as the network takes them: float32 [N, 3, 640, 640] from 0 to 1.

    Ultralytics reads files as blue, green, red and trains on red, green, blue; so channels go in from last to first.
    """
    planes_N3HW = np.empty((len(images_NHW3), 3, SIZE, SIZE), np.float32)
    for planes, image in zip(planes_N3HW, images_NHW3, strict=True):
        for plane, channel in zip(planes, reversed(cv2.split(_fill(image))), strict=True):
            np.multiply(channel, np.float32(1 / 255), out=plane)
    return planes_N3HW


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it beside the model's files."""
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(), indent=1) + "\n")


def _fill(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height > SIZE or width > SIZE:
        raise InvalidInput(f"The image is {width} x {height}; cut it into tiles of {SIZE} first.", size=SIZE)
    if height == width == SIZE:
        return image
    return np.pad(image, ((0, SIZE - height), (0, SIZE - width), (0, 0)), mode="edge")
