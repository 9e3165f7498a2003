"""From trained weights to what ships: ONNX in fp32 and int8, each behind gates, and a manifest of both.

``python -m evident_manufacturing.training.gates WEIGHTS.pt FOLDER --pack .pack [--plain]``

An int8 whose gate fails is written down as failed, and the runtime takes fp32 and says so.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.evaluate import OFFICIAL_IOU, labels_of
from evident_manufacturing.inspection.evaluate.metrics import Boxes, average_precision
from evident_manufacturing.inspection.evaluate.pairs import Pair, unpack
from evident_manufacturing.inspection.perceive.detector import Detector, Manifest, ModelFile, batch, write_manifest
from evident_manufacturing.inspection.schema import KINDS, Detection
from evident_manufacturing.training.detector import fuse, plain

Image = NDArray[np.uint8]
PARITY: Final = 0.02
"""Largest difference of a score, and that times the image's side of a box, between PyTorch and ONNX Runtime."""
LOST: Final = 0.005
"""Most of mean average precision that int8 may lose."""
SHARE: Final = 0.30
"""Largest int8 file as a share of the fp32 one, its weights in 32 bits."""
_CALIBRATION: Final = 96
_FIRST: Final = ("/model.0/", "/model.1/")
_SMALL: Final = 256
_MOST: Final = 8


def quantise(fp32: Path, target: Path, images: Sequence[Image]) -> None:
    """Static int8 of weights (per channel) and activations, but for both ends of the network, which stay in floats.

    What follows the head's inner convolutions has pixels and probabilities in one tensor, where one scale for both
    detects nothing. The first two convolutions pass all rounding on, and have 0.2 % of the weights.
    ``reduce_range`` keeps 7 bits of weights, as AVX2's 16-bit sums saturate with 8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {"images": batch([image])}

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    nodes = [node.name for node in onnx.load(str(prepared)).graph.node]
    floats = [name for name in nodes if "/model.23/" in name and "/conv/" not in name]
    floats += [name for name in nodes if name.startswith(_FIRST)]
    quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=floats,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    prepared.unlink()
    onnx.save(_nameless(onnx.load(str(target))), str(target))


def kept_in_halves(model: Any) -> Any:
    """The network with its large weights in 16 bits, which are widened when it is opened; it computes in 32 bits.

    Ultralytics keeps trained weights in 16 bits as well; only the norms that were folded into them are rounded anew.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    for index, node in enumerate(casts):
        model.graph.node.insert(index, node)
    return model


def _nameless(model: Any) -> Any:
    """The network without what its nodes and values are called and where they came from: a tenth of an int8 file."""
    kept = {each.name for each in (*model.graph.input, *model.graph.output)}
    short: dict[str, str] = {}
    for node in model.graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                if name and name not in kept:
                    values[index] = short.setdefault(name, f"v{len(short):x}")
    for weight in model.graph.initializer:
        weight.name, weight.doc_string = short.get(weight.name, weight.name), ""
    del model.graph.value_info[:]
    return model


def export(
    weights: Path, folder: Path, pairs: Sequence[Pair], calibration: Sequence[Pair], version: str, *, fused: bool
) -> Manifest:
    """Write both files with their manifest.

    Args:
        weights: Trained, ``.pt``.
        folder: To write to.
        pairs: For the gates: labelled, not trained on.
        calibration: For the ranges of int8.
        version: Of the model.
        fused: Whether images are (difference, template, test), or three times the test.
    """
    import onnx

    make = fuse if fused else plain
    folder.mkdir(parents=True, exist_ok=True)
    fp32 = detect.export_onnx(weights, folder / "detector.fp32.onnx")
    int8 = folder / "detector.int8.onnx"
    quantise(fp32, int8, [make(pair) for pair in calibration[:_CALIBRATION]])
    share = int8.stat().st_size / fp32.stat().st_size
    onnx.save(_nameless(kept_in_halves(onnx.load(str(fp32)))), str(fp32))
    files = {"fp32": fp32, "int8": int8}
    manifest = Manifest(version=version, kinds=KINDS, files=tuple(_file(path, name) for name, path in files.items()))
    write_manifest(folder, manifest)
    images = [make(pair) for pair in pairs]
    scored = {name: _score(Detector(folder, precision=name), images, pairs) for name in files}
    parity = _parity(weights, Detector(folder, precision="fp32"), images[:8])
    batches = all(_same_in_batches(Detector(folder, precision=name), images[:9]) for name in files)
    lost = scored["fp32"] - scored["int8"]
    checked = (
        _file(
            int8,
            "int8",
            passed=lost <= LOST and share <= SHARE and batches,
            map_iou33=scored["int8"],
            lost=lost,
            share=share,
        ),
        _file(fp32, "fp32", passed=parity <= PARITY and batches, map_iou33=scored["fp32"], parity=parity),
    )
    manifest = manifest.model_copy(update={"files": checked})
    write_manifest(folder, manifest)
    return manifest


def _file(path: Path, precision: str, *, passed: bool = False, **measured: float) -> ModelFile:
    return ModelFile(
        name=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        precision=precision,
        passed=passed,
        measured={name: round(value, 5) for name, value in measured.items()},
    )


def _score(detector: Detector, images: Sequence[Image], pairs: Sequence[Pair]) -> float:
    found = [boxes_of_detections(each) for each in detector.detect(images)]
    return average_precision(found, [labels_of(pair) for pair in pairs], OFFICIAL_IOU).mean


def boxes_of_detections(detections: Sequence[Detection]) -> Boxes:
    """What a detector sees in one image, as it is measured."""
    return Boxes(
        np.array([each.bbox for each in detections], np.float64).reshape(-1, 4),
        np.array([KINDS.index(each.kind) for each in detections], np.int64),
        np.array([each.score for each in detections], np.float64),
    )


def _parity(weights: Path, detector: Detector, images: Sequence[Image]) -> float:
    """The largest difference of surely detected boxes and scores from PyTorch's."""
    worst = 0.0
    for ours, theirs in zip(
        detector.detect(images, threshold=0.3), detect.predict(weights, images, threshold=0.3), strict=True
    ):
        for mine in ours:  # by place: of two with nearly the same score either may come first
            worst = max(worst, min((_apart(mine, one) for one in theirs), default=1.0))
        worst = max(worst, float(abs(len(ours) - len(theirs))))
    return worst


def _apart(one: Detection, other: Detection) -> float:
    return max(*(abs(a - b) / 640 for a, b in zip(one.bbox, other.bbox, strict=True)), abs(one.score - other.score))


def _same_in_batches(detector: Detector, images: Sequence[Image]) -> bool:
    """Whether the network gives the same of an image alone, among three, and among the most that are taken at once."""

    def rows(size: int) -> NDArray[np.float32]:
        parts = [images[at : at + size] for at in range(0, len(images), size)]
        return np.concatenate([detector.forward(batch(part)) for part in parts])

    alone = rows(1)
    return all(np.abs(alone - rows(size))[..., 4].max() < 0.01 for size in (3, _MOST))


def _pairs(folder: Path) -> Iterator[Pair]:
    return unpack(folder)


def main() -> None:
    """Export, measure and write the manifest; prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--version", default="yolo26n-1")
    given = parser.parse_args()
    validation = list(_pairs(given.pack / "val"))
    calibration = list(_pairs(given.pack / "train"))[::8]
    made = export(given.weights, given.folder, validation, calibration, given.version, fused=not given.plain)
    print(made.model_dump_json(indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
