"""From the trained aligner to what ships: both towers as ONNX, and ordinary defects to hold new ones against.

``python -m evident_manufacturing.training.aligner_export FOLDER [--pairs DEEPPCB] [--version NAME]``

FOLDER holds what ``training.align`` wrote, and gets the rest beside it: ``image.onnx``, ``text.onnx``,
``ordinary.npz`` (of each kind of the detector the vectors of defects that it found and named rightly, of generated
boards and, with ``--pairs``, of DeepPCB's training part) and the manifest with the SHA-256 of each file.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from evident_core.align import Aligner, load_aligner
from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.evaluate.metrics import overlaps
from evident_manufacturing.inspection.evaluate.pairs import divide, entries, read
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.perceive import Models, perceive
from evident_manufacturing.inspection.perceive.aligner import IMAGE, ORDINARY, TEXT, tokenise, whole
from evident_manufacturing.inspection.perceive.aligner import Aligner as Runtime
from evident_manufacturing.inspection.perceive.crops import SIDE, cut_crops
from evident_manufacturing.inspection.perceive.detector import Manifest, ModelFile, write_manifest
from evident_manufacturing.inspection.pipeline import open_models
from evident_manufacturing.inspection.schema import KINDS, Defect, Seen
from evident_manufacturing.training.align import GENERATOR
from evident_manufacturing.training.gates import kept_in_halves

PARITY: Final = 1e-4
"""Largest difference of a coordinate of a unit vector between PyTorch and ONNX Runtime."""
FIRST_SEED: Final = 42_000_000
BOARDS: Final = 200
MOST: Final = 128
"""Ordinary defects of a kind from each source."""
_OVERLAP: Final = 0.33
Crops = NDArray[np.uint8]
Gray = NDArray[np.uint8]


class Truth(NamedTuple):
    """A defect as it is known: its kind, its label box, and length over width where that is known."""

    kind: str
    box: tuple[float, ...]
    elongation: float | None = None


class Pair(NamedTuple):
    """A board with its template and what is wrong with it."""

    test: Gray
    template: Gray
    defects: list[Truth]


class Found(NamedTuple):
    """What an inspection finds: the defects, what each is in truth (None: nothing is there), and its crop."""

    defects: list[Defect]
    true: list[Truth | None]
    crops: Crops


class _Unit(nn.Module):
    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.normalize(self.tower(inputs), dim=1)


def export_towers(aligner: Aligner, folder: Path) -> None:
    """Write both towers: float32 [N, 3, 64, 64] and int64 [N, L] to unit vectors [N, D]; weights in 16 bits."""
    import onnx

    crops = torch.zeros(2, aligner.config.channels, aligner.config.side, aligner.config.side)
    texts = torch.from_numpy(tokenise(["a scratch", "划痕"]))
    for tower, given, name, axes in (
        (aligner.image, crops, IMAGE, {0: "n"}),
        (aligner.text, texts, TEXT, {0: "n", 1: "length"}),
    ):
        path = folder / name
        torch.onnx.export(
            _Unit(tower).eval(),
            (given,),
            str(path),
            input_names=["inputs"],
            output_names=["vectors"],
            dynamic_axes={"inputs": axes, "vectors": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
        onnx.save(kept_in_halves(onnx.load(str(path))), str(path))


def apart(aligner: Aligner, runtime: Runtime, crops: Crops, texts: list[str]) -> float:
    """The largest difference of a coordinate between PyTorch and ONNX Runtime."""
    theirs = aligner.encode(torch.from_numpy(crops).float() / 255).numpy(), aligner.encode(texts).numpy()
    ours = runtime.embed_crops(crops), runtime.embed_texts(texts)
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def generated(first: int = FIRST_SEED, boards: int = BOARDS, kinds: tuple[str, ...] = KINDS) -> Iterator[Pair]:
    """Boards of the generator."""
    if str(GENERATOR) not in sys.path:
        sys.path.insert(0, str(GENERATOR))
    generate = import_module("pcb_boards").generate
    for seed in range(first, first + boards):
        board = generate(seed, kinds=kinds)
        defects = [Truth(each.kind, each.label_box, each.length_mm / each.width_mm) for each in board.defects]
        yield Pair(board.test, board.template, defects)


def real(pairs: Path, *, validation: bool = False) -> Iterator[Pair]:
    """Boards of DeepPCB's training part, or of its validation part."""
    for entry in divide(entries(pairs))[validation]:
        pair = read(entry)
        boxes = [tuple(float(v) for v in box) for box in pair.boxes]
        named = zip(pair.classes, boxes, strict=True)
        yield Pair(pair.test, pair.template, [Truth(KINDS[kind], box) for kind, box in named])


def found_on(pair: Pair, models: Models) -> Found:
    """Inspect a board; refused templates find nothing."""
    test, template = (_board(each) for each in pair[:2])
    try:
        seen = perceive(test, template, models)
    except InvalidInput:
        return Found([], [], np.zeros((0, 3, SIDE, SIDE), np.uint8))
    mine = np.array([each.bbox for each in seen.defects], np.float64).reshape(-1, 4)
    theirs = np.array([each.box for each in pair.defects], np.float64).reshape(-1, 4)
    over = overlaps(mine, theirs)
    true = [pair.defects[int(row.argmax())] if row.size and row.max() >= _OVERLAP else None for row in over]
    crops = cut_crops(test.gray, template.gray, seen.defects, alignment=seen.alignment)
    return Found(list(seen.defects), true, crops)


def _board(gray: Gray) -> Board:
    return ingest(cv2.imencode(".png", gray)[1].tobytes(), name="board.png", allow_blank=True)


def ordinary(sources: list[Iterator[Pair]], models: Models, aligner: Aligner) -> dict[str, NDArray[np.int8]]:
    """Of each kind the vectors of defects that were found and named rightly, as whole numbers of any length."""
    held: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in KINDS}
    for source in sources:
        left = dict.fromkeys(KINDS, MOST)
        for board in source:
            found = found_on(board, models)
            vectors = aligner.encode(torch.from_numpy(found.crops).float() / 255).numpy()
            for defect, truth, vector in zip(found.defects, found.true, vectors, strict=True):
                kind = defect.kind
                if defect.seen is not Seen.LEARNED and truth and truth.kind == kind and left[kind]:
                    left[kind] -= 1
                    held[kind].append(vector)
            if not any(left.values()):
                break
    return {kind: whole(np.stack(each)) for kind, each in held.items()}


def export(folder: Path, version: str, pairs: Path | None = None, boards: int = BOARDS) -> Manifest:
    """Write all files and the manifest.

    Raises:
        InvalidInput: ONNX Runtime does not give what PyTorch gives.
    """
    aligner = load_aligner(folder)
    export_towers(aligner, folder)
    sources = [generated(boards=boards)] + ([real(pairs)] if pairs else [])
    held: dict[str, Any] = dict(ordinary(sources, open_models(), aligner))
    np.savez_compressed(folder / ORDINARY, **held)
    names = (IMAGE, TEXT, ORDINARY, "aligner.json")
    manifest = Manifest(version=version, kinds=KINDS, files=tuple(_file(folder / name) for name in names))
    write_manifest(folder, manifest)
    crops = np.random.default_rng(0).integers(0, 256, (9, 3, SIDE, SIDE)).astype(np.uint8)
    parity = apart(aligner, Runtime(folder), crops, ["a scratch", "划痕", "x" * 300, ""])
    if parity > PARITY:
        raise InvalidInput(f"ONNX Runtime differs from PyTorch by {parity:.2g}; {PARITY} is allowed.")
    files = tuple(each.model_copy(update={"passed": True, "measured": {"parity": parity}}) for each in manifest.files)
    manifest = manifest.model_copy(update={"files": files})
    write_manifest(folder, manifest)
    return manifest


def _file(path: Path) -> ModelFile:
    return ModelFile(
        name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), precision="fp32", passed=False
    )


def main() -> None:
    """Export and print the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=Path, help="DeepPCB's folder")
    parser.add_argument("--version", default="aligner-2")
    given = parser.parse_args()
    print(export(given.folder, given.version, given.pairs).model_dump_json(indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
