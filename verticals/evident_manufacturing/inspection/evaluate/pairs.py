"""DeepPCB (Tang et al., arXiv:1902.06197; MIT): pairs of a template and a tested board with boxes of six kinds.

Layout: lines ``<folder>/<name>.jpg <labels>.txt`` in a split file; beside each ``<name>`` lie ``<name>_temp.jpg`` and
``<name>_test.jpg``; a label is ``x1 y1 x2 y2 type`` with types from 1.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, NotFound

Gray = NDArray[np.uint8]
SPLIT = "trainval.txt"
VALIDATION_STEP = 5
"""Every fifth pair of each board group is for validation."""


@dataclass(frozen=True)
class Entry:
    """One pair as the split file names it; ``group`` is the board it was cut from."""

    group: str
    template: Path
    test: Path
    labels: Path

    @property
    def name(self) -> str:
        """Of the pair, without its folder."""
        return self.test.stem.removesuffix("_test")


@dataclass(frozen=True)
class Pair:
    """A pair with its labels: boxes [N, 4] (x0, y0, x1, y1) in pixels, classes [N] from 0."""

    name: str
    template: Gray
    test: Gray
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def entries(folder: Path, split: str = SPLIT) -> list[Entry]:
    """What a split file lists.

    Raises:
        NotFound: There is no such file, or one that it names.
        InvalidInput: A line is not an image and its labels, or leads out of the folder.
    """
    listing = folder / split
    if not listing.is_file():
        raise NotFound(f"There is no {split} in {folder}; name the split file of the data.", path=str(listing))
    found = []
    for number, line in enumerate(listing.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        names = line.split()
        if len(names) != 2 or any(PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in names):
            raise InvalidInput(
                f"Line {number} of {split} is {line!r}; an image and its labels are needed.", line=number
            )
        image, labels = (folder / name for name in names)
        entry = Entry(
            PurePosixPath(names[0]).parts[0],
            image.with_name(f"{image.stem}_temp.jpg"),
            image.with_name(f"{image.stem}_test.jpg"),
            labels,
        )
        for path in (entry.template, entry.test, entry.labels):
            if not path.is_file():
                raise NotFound(f"Line {number} of {split} names {path}, which is not there.", path=str(path))
        found.append(entry)
    return found


def divide(every: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Training and validation: the same division wherever it is asked for."""
    train: list[Entry] = []
    validation: list[Entry] = []
    seen: dict[str, int] = {}
    for entry in sorted(every, key=lambda each: each.test.name):
        number = seen[entry.group] = seen.get(entry.group, -1) + 1
        (validation if number % VALIDATION_STEP == VALIDATION_STEP - 1 else train).append(entry)
    return train, validation


def held_back(name: str) -> bool:
    """Whether a board of a label set is never trained on: by the hash of its name, so that a larger set keeps it so."""
    return _hash(name) % VALIDATION_STEP == 0


def compared_on(name: str) -> bool:
    """Of boards that are never trained on, whether models are compared on it; on the others a candidate is chosen.

    By the hash of its name too, so that no larger set moves a board from what was chosen on to what is compared on.
    """
    return _hash(name) // VALIDATION_STEP % 2 == 1


def refuse_too_few(train: Sequence[str], held: Sequence[str]) -> None:
    """See that a detector can be trained on boards of these names, chosen on some of them and compared on others.

    Raises:
        InvalidInput: There is none for one of these; the message says for which.
    """
    parts = {
        "train on": train,
        "choose on": [name for name in held if not compared_on(name)],
        "compare on": [name for name in held if compared_on(name)],
    }
    for what, names in parts.items():
        if not names:
            raise InvalidInput(f"The label set has no pair left to {what}; label more boards, or give base data.")


def _hash(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


def read(entry: Entry) -> Pair:
    """One pair.

    Raises:
        InvalidInput: An image cannot be read, or a label is none.
    """
    template, test = _gray(entry.template.read_bytes(), entry.template), _gray(entry.test.read_bytes(), entry.test)
    boxes, classes = read_labels(entry.labels)
    return Pair(entry.name, template, test, boxes, classes)


def _gray(data: bytes, path: Path) -> Gray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if image is None:
        raise InvalidInput(f"{path} is not an image that can be read; it may be truncated.", path=str(path))
    return np.asarray(image, np.uint8)


def read_labels(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes and classes of a label file; corners that are swapped are put in order.

    Raises:
        InvalidInput: A line is not four numbers and a type from 1 to 6.
    """
    boxes, classes = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines(), 1):
        values = line.split()
        if not values:
            continue
        try:
            x0, y0, x1, y1, kind = (int(value) for value in values)
        except ValueError:
            raise InvalidInput(f"Line {number} of {path.name} is {line!r}; x1 y1 x2 y2 type are needed.") from None
        if not 1 <= kind <= 6:
            raise InvalidInput(f"Line {number} of {path.name} has type {kind}; types are 1 to 6.", line=number)
        boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        classes.append(kind - 1)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


def pack(every: Sequence[Entry], target: Path) -> None:
    """Write pairs small enough to carry: template and test side by side in one 1-bit PNG, labels as text beside it."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in every:
        pair = read(entry)
        both = np.where(np.hstack([pair.template, pair.test]) > 127, 255, 0).astype(np.uint8)
        done, data = cv2.imencode(".png", both, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9])
        if not done:
            raise InvalidInput(f"{pair.name} cannot be packed.")
        name = f"{entry.group}.{pair.name}"
        (target / f"{name}.png").write_bytes(data.tobytes())
        lines = [
            f"{' '.join(str(int(v)) for v in box)} {kind + 1}"
            for box, kind in zip(pair.boxes, pair.classes, strict=True)
        ]
        (target / f"{name}.txt").write_text("\n".join(lines))


def packed(folder: Path) -> list[Path]:
    """The pairs that :func:`pack` wrote, in the order of their names."""
    return sorted(folder.glob("*.png"))


def unpack(folder: Path) -> Iterator[Pair]:
    """The pairs that were packed, in the order of their names."""
    return map(unpack_one, packed(folder))


def unpack_one(path: Path) -> Pair:
    """A packed pair, grey again as JPEG makes edges.

    Raises:
        InvalidInput: It cannot be read.
    """
    both = _gray(path.read_bytes(), path)
    both = _gray(cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes(), path)
    template, test = np.hsplit(both, 2)
    boxes, classes = read_labels(path.with_suffix(".txt"))
    return Pair(path.stem, np.ascontiguousarray(template), np.ascontiguousarray(test), boxes, classes)
