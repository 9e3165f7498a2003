"""How fast it is beside other ways of doing the same, as ratios of medians measured in turns in one run."""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import EvidentError
from evident_core.evidence import Frozen
from evident_manufacturing.delivery.events import event_of
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.inspection.evaluate.boards import CALIBRATION, FIRST_SEED, OnBoard, encoded, generate, nobody
from evident_manufacturing.inspection.evaluate.queues import compare_queues
from evident_manufacturing.inspection.evaluate.ratios import Ratio, in_turns, ratio
from evident_manufacturing.inspection.evaluate.slicers import compare_slicers
from evident_manufacturing.inspection.ingest import ingest
from evident_manufacturing.inspection.perceive import Models, lay_under
from evident_manufacturing.inspection.perceive.detector import SIZE, Detector, batch
from evident_manufacturing.inspection.perceive.difference import difference, stack
from evident_manufacturing.inspection.pipeline import Station
from evident_manufacturing.inspection.schema import Part

Image = NDArray[np.uint8]
BATCH: Final = 8
JPEG: Final = 95
PARTS: Final = ("int8", "whole", "batches", "queue", "tiles", "start")
AGENT: Final = """
from evident_manufacturing.agent import starting
with starting():
    import evident_manufacturing.agent.agent, evident_manufacturing.agent.models, evident_manufacturing.agent.sources
    import evident_manufacturing.inspection.pipeline, onnxruntime
"""
"""What an agent has in memory when it takes its first image, imported as its command does it."""
ULTRALYTICS: Final = "from ultralytics import YOLO"


class Speed(Frozen):
    """Ratios of one run on one machine.

    Attributes:
        cores: That this process may use.
        load: Of the machine (average of a minute) at the beginning and at the end: others slow both sides of a ratio,
            and not always alike.
        rounds: Turns of which each figure is the median.
    """

    model: str
    cores: int
    load: tuple[float, float]
    rounds: int
    ratios: tuple[Ratio, ...]


def measure_speed(
    models: Models,
    folder: Path,
    *,
    weights: Path | None = None,
    rounds: int = 15,
    seed: int = FIRST_SEED,
    side: int = 8192,
    requests: int = 150,
    parts: Collection[str] = PARTS,
    on_part: OnBoard = nobody,
) -> Speed:
    """Measure on generated boards.

    Args:
        models: That are open, the fused one in int8.
        folder: Of the fused model, which is opened in fp32 too.
        weights: The ``.pt`` it was exported from, for Ultralytics; None: that is not compared.
        rounds: Turns; what takes seconds takes fewer.
        seed: Of the first board.
        side: Pixels of the large image that is cut into tiles.
        requests: Images that come at each rate, where they come one by one.
        parts: Which comparisons, of :data:`PARTS`.
        on_part: Told after each comparison how many are done, and of how many.
    """
    load, images = os.getloadavg()[0], _images(seed)
    comparisons: dict[str, Callable[[], Sequence[Ratio]]] = {
        "int8": lambda: _detectors(models, folder, weights, images, rounds),
        "whole": lambda: [_whole(models, seed, rounds)],
        "batches": lambda: [_batches(models.fused, images, max(3, rounds // 3))],
        "tiles": lambda: compare_slicers(models.fused, images, side, _predict(weights)),
        "queue": lambda: [compare_queues(models.fused, images, requests)],
        "start": lambda: [_start(max(3, rounds * 3 // 5))],
    }
    ratios: list[Ratio] = []
    chosen = [name for name in PARTS if name in parts]
    for number, name in enumerate(chosen, 1):
        ratios += comparisons[name]()
        on_part(number, len(chosen))
    return Speed(
        model=models.fused.version,
        cores=len(os.sched_getaffinity(0)),
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
        rounds=rounds,
        ratios=tuple(ratios),
    )


def _images(seed: int) -> list[Image]:
    images = []
    for each in range(seed, seed + BATCH):
        sample = generate(each)
        _, laid, valid = lay_under(sample.test, sample.template)
        images.append(stack(sample.test, laid, difference(sample.test, laid, valid=valid).map))
    return images


def _detectors(models: Models, folder: Path, weights: Path | None, images: list[Image], rounds: int) -> list[Ratio]:
    int8 = models.fused
    single = Detector(folder, precision="fp32")
    works: dict[str, Callable[[], object]] = {
        "int8": lambda: int8.detect(images[:1]),
        "fp32": lambda: single.detect(images[:1]),
    }
    predict, why = _predict(weights)
    if predict is not None:
        works["torch"] = partial(predict, images[:1])
    took = in_turns(works, rounds)
    name = "int8 end to end against YOLO.predict in torch"
    against = (
        ratio(name, 3.0, took["int8"], took["torch"]) if "torch" in took else Ratio(name=name, target=3.0, note=why)
    )
    return [against, ratio("int8 against fp32 in ONNX Runtime", 1.3, took["int8"], took["fp32"])]


def _predict(weights: Path | None) -> tuple[Callable[[Sequence[Image]], object] | None, str]:
    if weights is None or not weights.is_file():
        return None, "no weights"
    try:
        from evident_manufacturing.inspection import detect

        model: Any = detect.load(weights)
    except (EvidentError, ModuleNotFoundError) as error:
        return None, "not installed" if isinstance(error, ModuleNotFoundError) else error.message
    return lambda images: model.predict(
        list(images), imgsz=SIZE, conf=0.001, nms=False, verbose=False, device="cpu"
    ), ""


def _whole(models: Models, seed: int, rounds: int) -> Ratio:
    """Load, align, difference, detect, measure, judge and put in the outbox, as an agent does it for each part."""
    lines: list[tuple[Station, bytes]] = []
    defects = 0
    for each in range(seed, seed + BATCH):
        sample = generate(each)
        template = ingest(encoded(sample.template, JPEG), name="template.jpg", allow_blank=True)
        line = Station(models, template, calibration=CALIBRATION, today=lambda: CALIBRATION.made)
        lines.append((line, encoded(sample.test, JPEG)))
        defects += len(sample.defects)
    ready, turn = batch(_images(seed)[:1]), itertools.count()
    with tempfile.TemporaryDirectory() as place, Outbox(Path(place) / "outbox.db", owner="speed") as outbox:

        def whole() -> None:
            number = next(turn)
            station, data = lines[number % BATCH]
            found = station.inspect(data, Part(part_id=f"part-{number}"), name="test.jpg", report=False, facts=False)
            outbox.put([event_of(found, station="speed", inspected=datetime.now(UTC))])

        took = in_turns({"forward": lambda: models.fused.forward(ready), "whole": whole}, max(rounds, 3 * BATCH))
    return Ratio(
        name="whole inspection without the written report, in bare int8 forwards",
        target=1.5,
        at_most=True,
        value=round(took["whole"] / took["forward"], 3),
        ours=round(took["whole"], 3),
        theirs=round(took["forward"], 3),
        note=f"{BATCH} boards in turn, with {defects / BATCH:.1f} defects each on average",
    )


def _batches(detector: Detector, images: list[Image], rounds: int) -> Ratio:
    works: dict[str, Callable[[], object]] = {
        "together": lambda: detector.detect(images),
        "single": lambda: [detector.detect([image]) for image in images],
    }
    took = in_turns(works, rounds)
    return ratio(f"batches of {len(images)} against one at a time", 2.0, took["together"], took["single"])


def _start(rounds: int) -> Ratio:
    """Fresh processes, from their start to their end.

    Python's bytecode is there, as it is where pip installed a service: of a checkout that may not write it, each
    process would compile our modules again, and those of Ultralytics never.
    """
    name = "start of an agent against importing ultralytics"
    if find_spec("ultralytics") is None:
        return Ratio(name=name, target=5.0, note="not installed")
    with tempfile.TemporaryDirectory() as bytecode:
        works: dict[str, Callable[[], object]] = {
            "agent": partial(_fresh, AGENT, bytecode),
            "ultralytics": partial(_fresh, ULTRALYTICS, bytecode),
        }
        took = in_turns(works, rounds)
    return ratio(name, 5.0, took["agent"], took["ultralytics"])


def _fresh(code: str, bytecode: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = bytecode
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, check=True, capture_output=True)  # noqa: S603
