"""The learned detector as it runs beside a line: ONNX Runtime, no PyTorch.

Shapes: N images, H height, W width.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evident_core.errors import InvalidInput, ModelNotReady
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.perceive.runtime import open_runtime
from evident_manufacturing.inspection.schema import Detection

Image = NDArray[np.uint8]

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
    """What lies in a model's folder: its files, the best first, its kinds in the order of classes, and its version.

    Attributes:
        version: Of the model.
        kinds: In the order of classes.
        files: The networks. One that failed its gates may be missing: the record says what they measured.
        beside: SHA-256 of what belongs to them and is none, by its name: ``arbiter.json``.
    """

    version: str
    kinds: tuple[str, ...]
    files: tuple[ModelFile, ...]
    beside: dict[str, str] = Field(default_factory=dict)


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


def fp32_file(folder: Path) -> Path | None:
    """The fp32 file of a model's folder, which alone training can go on from; None: it has none."""
    files = (folder / each.name for each in read_manifest(folder).files if each.precision == "fp32")
    return next((each for each in files if each.is_file()), None)


class Detector:
    """A detector that is open.

    Args:
        folder: With a manifest; by default the one that ships.
        precision: ``"int8"`` or ``"fp32"``; by default int8 where it passed its gates.
        threads: Of the runtime; by default one a core.
        runtime: ``"onnxruntime"``, ``"openvino"`` or ``"tensorrt"``.

    Raises:
        ModelNotReady: A file is missing, or what the runtime needs.
        MissingExtra: The runtime is not installed.
        InvalidInput: A file is not the one the manifest names, or no network of this service.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        *,
        precision: str | None = None,
        threads: int | None = None,
        runtime: str = "onnxruntime",
    ) -> None:
        self.manifest = read_manifest(folder)
        self.file = self._choose(precision)
        data = self._read(folder / self.file.name)
        self._named = "" if runtime == "onnxruntime" else runtime
        self._runtime = open_runtime(runtime, data, threads or 0, called=self.file.name)

    @property
    def version(self) -> str:
        """The model and the precision it runs in, as results name it; and the runtime, if it is not the usual one."""
        return " ".join(filter(None, (self.manifest.version, self.file.precision, self._named)))

    @property
    def at_once(self) -> tuple[int, int]:
        """How to answer many who ask for an image each: images in one call, and calls at once.

        A core is as quick with one image as with several, and a GPU wants several.
        """
        workers = self._runtime.workers
        return (1, workers) if workers > 1 else (_BATCH, 1)

    def detect(self, images_NHW3: Iterable[Image], *, threshold: float = _FLOOR) -> list[list[Detection]]:
        """What is seen in images of at most 640 x 640; smaller ones are filled up with their own edge.

        One image is computed by all threads together, and many by each thread its own, as threads that share an image
        wait for each other. They are taken as they are needed: a generator may cut them out of what would not fit in
        memory.

        Args:
            images_NHW3: (difference, template, test), or three times the test for a plain model.
            threshold: Least score.
        """
        images, workers = iter(images_NHW3), self._runtime.workers
        first = list(islice(images, workers if workers > 1 else _BATCH))
        if len(first) >= workers > 1:
            return list(self._each_alone(chain(first, images), threshold))
        found: list[list[Detection]] = []
        while first:
            rows = self.forward(batch(first))
            found += [self._detections(row, image.shape, threshold) for row, image in zip(rows, first, strict=True)]
            first = list(islice(images, _BATCH))
        return found

    def forward(self, images_N3HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """The bare network on a :func:`batch`: float32 [N, 300, 6], rows (x0, y0, x1, y1, score, kind)."""
        return self._runtime.run(images_N3HW)

    def _each_alone(self, images: Iterable[Image], threshold: float) -> Iterator[list[Detection]]:
        def see(image: Image) -> list[Detection]:
            return self._detections(self._runtime.beside(batch([image]))[0], image.shape, threshold)

        with ThreadPoolExecutor(self._runtime.workers) as pool:
            running: deque[Future[list[Detection]]] = deque()
            for image in images:
                running.append(pool.submit(see, image))
                if len(running) > 2 * self._runtime.workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

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
        np.multiply(_fill(image).transpose(2, 0, 1)[::-1], np.float32(1 / 255), out=planes)
    return planes_N3HW


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it beside the model's files."""
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(), indent=1) + "\n")


def name_beside(folder: Path, name: str) -> None:
    """Write the SHA-256 of a file that belongs to a model into its manifest.

    Raises:
        ModelNotReady: There is no manifest.
    """
    manifest = read_manifest(folder)
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    write_manifest(folder, manifest.model_copy(update={"beside": manifest.beside | {name: digest}}))


def _fill(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height > SIZE or width > SIZE:
        raise InvalidInput(f"The image is {width} x {height}; cut it into tiles of {SIZE} first.", size=SIZE)
    if height == width == SIZE:
        return image
    return np.pad(image, ((0, SIZE - height), (0, SIZE - width), (0, 0)), mode="edge")
