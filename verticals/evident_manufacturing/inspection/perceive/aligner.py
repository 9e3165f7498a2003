"""The aligner as it runs beside a line: ONNX Runtime, no PyTorch. Pictures of defects and words in one space.

It was trained in :mod:`evident_manufacturing.training.align`; ``training.aligner_export`` made its files.

Shapes: N crops or texts, L bytes of a text, D dimensions of the space (512).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, MissingExtra, ModelNotReady
from evident_manufacturing.inspection.perceive.crops import SIDE, Crops
from evident_manufacturing.inspection.perceive.detector import read_manifest

Vectors = NDArray[np.float32]
"""Unit vectors [N, D]."""
Whole = NDArray[np.int8]
"""Vectors in whole numbers of any length, [N, D]: what is kept of them."""

FOLDER: Final = Path(__file__).parents[1] / "model" / "aligner"
IMAGE, TEXT, ORDINARY = "image.onnx", "text.onnx", "ordinary.npz"
DIMENSIONS: Final = 512
LONGEST: Final = 256
"""Bytes of a text that are read, with the mark at its start."""
_PAD, _START = 256, 257
_BATCH: Final = 32


class Aligner:
    """An image tower and a text tower that are open.

    Args:
        folder: With ``manifest.json`` and ``aligner.json``.
        threads: Of ONNX Runtime; 0: one a core.

    Attributes:
        version: What results name it by.
        temperature: What cosines are divided by before they are compared.
        ordinary: Of each kind that the detector knows the vectors of some of its defects.

    Raises:
        ModelNotReady: A file is missing.
        InvalidInput: A file is not the one the manifest names, or none that can be opened.
        MissingExtra: ONNX Runtime is not installed.
    """

    def __init__(self, folder: Path = FOLDER, threads: int = 0) -> None:
        manifest = read_manifest(folder)
        files = {each.name: _read(folder / each.name, each.sha256) for each in manifest.files}
        if missing := {IMAGE, TEXT, ORDINARY, "aligner.json"} - files.keys():
            raise InvalidInput(f"The manifest of {folder} names no {min(missing)}; export the aligner again.")
        self.version = manifest.version
        self.temperature = float(json.loads(files["aligner.json"])["temperature"])
        self._image, self._text = _session(files[IMAGE], threads), _session(files[TEXT], threads)
        with np.load(BytesIO(files[ORDINARY]), allow_pickle=False) as held:
            self.ordinary: Mapping[str, Vectors] = {kind: unit(held[kind].astype(np.float32)) for kind in held.files}

    def embed_crops(self, crops: Crops) -> Vectors:
        """The places of crops in the space.

        Raises:
            InvalidInput: They are not uint8 [N, 3, 64, 64].
        """
        if crops.dtype != np.uint8 or crops.shape[1:] != (3, SIDE, SIDE):
            raise InvalidInput(
                f"The crops are {crops.dtype} {list(crops.shape)}; uint8 [N, 3, {SIDE}, {SIDE}] of cut_crops are "
                "needed.",
                shape=list(crops.shape),
            )
        return self._run(self._image, [part.astype(np.float32) / 255 for part in _batches(crops)])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """The places of texts in the space, in English or Chinese."""
        return self._run(self._text, [tokenise(part) for part in _batches(texts)])

    @staticmethod
    def _run(session: Any, parts: Sequence[NDArray[Any]]) -> Vectors:
        (name,) = (each.name for each in session.get_inputs())
        found = [session.run(None, {name: part})[0] for part in parts]
        return np.concatenate(found).astype(np.float32) if found else np.zeros((0, DIMENSIONS), np.float32)


@lru_cache(maxsize=2)
def open_aligner(folder: Path = FOLDER) -> Aligner:
    """The aligner of a folder, opened once in a process; see :class:`Aligner` for what it raises."""
    return Aligner(folder)


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """The same directions, of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32)


def whole(vectors: NDArray[np.float32]) -> Whole:
    """Directions in eight bits a coordinate; a cosine of two changes by less than 0.01."""
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(vectors / largest * 127), np.int8)


def pack(vectors: Vectors) -> str:
    """Vectors [N, D] as text; empty where there are none."""
    return base64.b64encode(whole(vectors).tobytes()).decode() if len(vectors) else ""


def unpack(text: str | bytes) -> Whole:
    """The vectors of :func:`pack`; none where the text holds none."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.int8).reshape(-1, DIMENSIONS)
    except (binascii.Error, ValueError):
        return np.zeros((0, DIMENSIONS), np.int8)


def tokenise(texts: Sequence[str]) -> NDArray[np.int64]:
    """The bytes of texts (UTF-8) after a start mark, padded to the longest: [N, L]; what is too long is cut."""
    rows = [_whole_characters(text.encode("utf-8", "replace")) for text in texts]
    ids = np.full((len(rows), 1 + max(map(len, rows))), _PAD, np.int64)
    ids[:, 0] = _START
    for at, row in enumerate(rows):
        ids[at, 1 : 1 + len(row)] = np.frombuffer(row, np.uint8)
    return ids


def _whole_characters(data: bytes) -> bytes:
    longest = LONGEST - 1
    return data if len(data) <= longest else data[:longest].decode("utf-8", "ignore").encode()


def _batches(rows: Any) -> list[Any]:
    return [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]


def _read(path: Path, sha256: str) -> bytes:
    if not path.is_file():
        raise ModelNotReady(f"{path} is missing; the manifest beside it names it.", path=str(path))
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidInput(f"{path} is not the file that its manifest names; export it again.", path=str(path))
    return data


def _session(data: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Naming defects by description needs onnxruntime: pip install 'evident[manufacturing]'",
            extra="manufacturing",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no error type of its own to name
        raise InvalidInput(f"The aligner's file is no network that ONNX Runtime opens: {error}") from error
