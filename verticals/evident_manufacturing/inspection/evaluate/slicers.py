"""Other libraries' ways through a large image, with our detector in each tile, so that only the tiling differs."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.evaluate.metrics import overlaps
from evident_manufacturing.inspection.evaluate.ratios import Ratio, in_turns, ratio
from evident_manufacturing.inspection.perceive.detector import SIZE, Detector
from evident_manufacturing.inspection.perceive.tiles import SHARED, detect_in_tiles, tiles
from evident_manufacturing.inspection.schema import KINDS, Detection

Image = NDArray[np.uint8]
Slice = Callable[[Image], list[Detection]]
NAMES: Final = ("sahi", "supervision")
_AT_ONCE: Final = 4
_SAME: Final = 0.5
_ROUNDS: Final = 3
"""Turns of the large image, which takes seconds."""
_WANTED: Final = 1.5


def compare_slicers(
    detector: Detector, images: Sequence[Image], side: int, predict: tuple[Callable[[list[Image]], object] | None, str]
) -> list[Ratio]:
    """Our tiles beside a plain loop over the same ones, beside other slicers, and beside a loop of another detector.

    Args:
        detector: Of fused images.
        images: Of which the large one is made.
        side: Pixels of the large one.
        predict: Ultralytics' way to see images, or None and why it is not compared.
    """
    times = -(-side // SIZE)
    rows = [np.hstack([images[(row + column) % len(images)] for column in range(times)]) for row in range(times)]
    large = np.ascontiguousarray(np.vstack(rows)[:side, :side])
    ways: dict[str, Slice] = {"ours": lambda image: detect_in_tiles(image, detector.detect)}
    ways["a plain loop"] = lambda image: _plain_loop(image, detector)
    ways |= slicers(detector)
    ways |= {f"{name}, {_AT_ONCE} at once": way for name, way in slicers(detector, at_once=_AT_ONCE).items()}
    found: dict[str, list[Detection]] = {}

    def run(name: str) -> None:
        found[name] = ways[name](large)

    took = in_turns({name: partial(run, name) for name in ways}, _ROUNDS)
    what = f"tiles of {side} x {side} against"
    ratios = [
        ratio(
            f"{what} {name}",
            _WANTED,
            took["ours"],
            took[name],
            f"{len(found['ours'])} and {len(found[name])} boxes, {_agreement(found['ours'], found[name]):.1%} the same",
        )
        for name in ways
        if name != "ours"
    ]
    ratios += [Ratio(name=f"{what} {name}", target=_WANTED, note="not installed") for name in NAMES if name not in ways]
    return [*ratios, _against(predict, large, took["ours"], f"{what} a loop of YOLO.predict")]


def _against(
    predict: tuple[Callable[[list[Image]], object] | None, str], large: Image, ours: float, name: str
) -> Ratio:
    see, why = predict
    if see is None:
        return Ratio(name=name, target=_WANTED, note=why)
    # A loop's time is that of its tiles: a few of them tell it.
    cut = tiles(*large.shape[:2])
    some = [large[y0:y1, x0:x1].copy() for x0, y0, x1, y1 in (each.box for each in cut[:: max(1, len(cut) // 16)])]
    slicer = in_turns({"loop": lambda: [see([tile]) for tile in some]}, _ROUNDS)["loop"]
    return ratio(name, _WANTED, ours, slicer / len(some) * len(cut), f"from {len(some)} of {len(cut)} tiles")


def slicers(detector: Detector, *, at_once: int = 1) -> dict[str, Slice]:
    """The slicers that are installed, with our size of tiles, strip between them and threshold.

    Args:
        detector: What looks at each tile.
        at_once: Tiles that a slicer gives at once, where it can: SAHI in a batch, supervision from as many threads.
            Both give one by default.
    """
    made = {"sahi": _sahi, "supervision": _supervision}
    return {name: made[name](detector, at_once) for name in NAMES if find_spec(name) is not None}


def _sahi(detector: Detector, at_once: int) -> Slice:
    """SAHI's ``get_sliced_prediction`` (Akyon et al., 2022), without its second look at the whole image."""
    base: Any = import_module("sahi.models.base").DetectionModel
    prediction: Any = import_module("sahi.prediction").ObjectPrediction
    sliced: Any = import_module("sahi.predict").get_sliced_prediction

    class Model(base):  # type: ignore[misc]
        def load_model(self) -> None:
            self.category_mapping = {str(index): kind for index, kind in enumerate(KINDS)}

        def perform_inference(self, image: Image) -> None:
            self._original_predictions = detector.detect([image])

        def perform_batch_inference(self, images: list[Image]) -> None:
            self._original_predictions = detector.detect(images)

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: list[list[int]], full_shape_list: list[list[int]]
        ) -> None:
            self._object_prediction_list_per_image = [
                [
                    prediction(
                        bbox=list(each.bbox),
                        category_id=KINDS.index(each.kind),
                        category_name=each.kind,
                        score=each.score,
                        shift_amount=shift,
                        full_shape=full,
                    )
                    for each in seen
                ]
                for seen, shift, full in zip(
                    self._original_predictions, shift_amount_list, full_shape_list, strict=True
                )
            ]

    model = Model(confidence_threshold=0.0)

    def run(image: Image) -> list[Detection]:
        found = sliced(
            image,
            model,
            slice_height=SIZE,
            slice_width=SIZE,
            overlap_height_ratio=SHARED / SIZE,
            overlap_width_ratio=SHARED / SIZE,
            perform_standard_pred=False,
            postprocess_type="NMS",
            postprocess_match_metric="IOU",
            postprocess_match_threshold=_SAME,
            verbose=0,
            batch_size=at_once,
        )
        return [
            Detection(bbox=tuple(each.bbox.to_xyxy()), kind=each.category.name, score=each.score.value)
            for each in found.object_prediction_list
        ]

    return run


def _supervision(detector: Detector, at_once: int) -> Slice:
    """Supervision's ``InferenceSlicer`` with non-maximum suppression."""
    library: Any = import_module("supervision")

    def see(tile: Image) -> Any:
        seen = detector.detect([tile])[0]
        if not seen:
            return library.Detections.empty()
        return library.Detections(
            xyxy=np.array([each.bbox for each in seen], np.float64),
            confidence=np.array([each.score for each in seen], np.float64),
            class_id=np.array([KINDS.index(each.kind) for each in seen], np.int64),
        )

    slicer = library.InferenceSlicer(
        callback=see,
        slice_wh=(SIZE, SIZE),
        overlap_wh=(SHARED, SHARED),
        iou_threshold=_SAME,
        thread_workers=at_once,
    )

    def run(image: Image) -> list[Detection]:
        found = slicer(image)
        if found.xyxy.size == 0:
            return []
        return [
            Detection(bbox=tuple(box), kind=KINDS[kind], score=score)
            for box, kind, score in zip(
                found.xyxy.tolist(), found.class_id.tolist(), found.confidence.tolist(), strict=True
            )
        ]

    return run


def _plain_loop(image: Image, detector: Detector) -> list[Detection]:
    """What slicers do: one tile after the other, moved back, and doubles suppressed over the whole image."""
    found = []
    for tile in tiles(image.shape[0], image.shape[1], shared=SHARED):
        left, top, right, bottom = tile.box
        for each in detector.detect([image[top:bottom, left:right]])[0]:
            x0, y0, x1, y1 = each.bbox
            found.append(each.model_copy(update={"bbox": (x0 + left, y0 + top, x1 + left, y1 + top)}))
    kept: list[Detection] = []
    for kind in {each.kind for each in found}:
        mine = sorted((each for each in found if each.kind == kind), key=lambda each: -each.score)
        boxes = np.array([each.bbox for each in mine], np.float64)
        free = np.ones(len(mine), np.bool_)
        for index, each in enumerate(mine):
            if free[index]:
                kept.append(each)
                free[index:] &= overlaps(boxes[index : index + 1], boxes[index:])[0] < 0.5
    return kept


def _agreement(ours: list[Detection], theirs: list[Detection], least: float = 0.25) -> float:
    """Share of boxes of at least a score, of both together, that the other has too."""
    a, b = ([each for each in every if each.score >= least] for every in (ours, theirs))
    if not a or not b:
        return float(len(a) == len(b))
    over = overlaps(*(np.array([each.bbox for each in every], np.float64) for every in (a, b)))
    return float((over.max(axis=1) >= 0.5).sum() + (over.max(axis=0) >= 0.5).sum()) / (len(a) + len(b))
