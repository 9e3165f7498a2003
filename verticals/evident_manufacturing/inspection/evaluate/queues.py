"""Images that come when they like: how many a second are answered within the same delay of the slowest hundredth."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.evaluate.ratios import Ratio
from evident_manufacturing.inspection.perceive.batcher import Batcher
from evident_manufacturing.inspection.perceive.detector import Detector
from evident_manufacturing.inspection.schema import Detection

Image = NDArray[np.uint8]
LOADS: Final = (0.4, 0.6, 0.8, 0.95, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0)
"""Images a second, as shares of what one at a time could do without a pause between them."""
PATIENCE: Final = 4.0
"""Times as long as one image takes alone that the slowest hundredth may take."""
_WANTED: Final = 2.0


def compare_queues(detector: Detector, images: Sequence[Image], requests: int) -> Ratio:
    """Images a second within the same 99th percentile: by a :class:`Batcher` as it suits the detector, and one by one.

    They come by chance at a rate (Poisson), whether or not those before them are done, the same for both.

    Args:
        detector: Of fused images.
        images: Which come again and again.
        requests: How many come at each rate.
    """
    alone = _alone(detector, images)
    limit = PATIENCE * alone
    most, workers = detector.at_once
    ways: dict[str, Callable[[], Batcher[Image, list[Detection]]]] = {
        "batcher": lambda: Batcher(detector.detect, most=most, workers=workers),
        "one at a time": lambda: Batcher(detector.detect, most=1),
    }
    kept: dict[str, float] = {}
    told = ""
    going = list(ways)
    for load in LOADS:
        delays = {name: _delays(ways[name](), images, load / alone, requests) for name in going}
        if len(delays) == len(ways):
            told = f"at {load / alone:.0f} a second " + ", ".join(
                f"{name} p50 {middle * 1e3:.0f} and p99 {late * 1e3:.0f} ms" for name, (middle, late) in delays.items()
            )
        for name, (_, late) in delays.items():
            if late <= limit:
                kept[name] = load / alone
            else:
                going.remove(name)
        if not going:
            break
    name = f"images a second of a batcher against one at a time, 99 % within {PATIENCE:g} times one alone"
    note = f"{most} in a call, {workers} calls at once; {told}; at most {limit * 1e3:.0f} ms are allowed"
    if len(kept) < len(ways):
        return Ratio(name=name, target=_WANTED, note=f"too slow at the lowest rate: {note}")
    return Ratio(
        name=name,
        target=_WANTED,
        value=round(kept["batcher"] / kept["one at a time"], 3),
        ours=round(1e3 / kept["batcher"], 3),
        theirs=round(1e3 / kept["one at a time"], 3),
        note=note,
    )


def _alone(detector: Detector, images: Sequence[Image]) -> float:
    """Seconds of one image, median."""
    took = []
    for image in images:
        began = time.perf_counter()
        detector.detect([image])
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def _delays(
    batcher: Batcher[Image, list[Detection]], images: Sequence[Image], rate: float, requests: int
) -> tuple[float, float]:
    """Seconds from when an image came to its answer: the median and the 99th percentile."""
    chance = np.random.default_rng(0)
    delays = np.zeros(requests)
    with batcher:
        comes = time.perf_counter() + np.cumsum(chance.exponential(1 / rate, requests))
        for number, at in enumerate(comes.tolist()):
            time.sleep(max(0.0, at - time.perf_counter()))

            def answered(_: Future[list[Detection]], number: int = number, at: float = at) -> None:
                delays[number] = time.perf_counter() - at

            batcher.submit(images[number % len(images)]).add_done_callback(answered)
    return float(np.median(delays)), float(np.percentile(delays, 99))
