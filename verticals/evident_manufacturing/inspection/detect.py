"""Training and exporting the learned detector: the one module of the suite that imports ultralytics (AGPL-3.0).

Inspecting needs none of it: what is exported here runs in ONNX Runtime (``perceive.detector``).
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, MissingExtra
from evident_manufacturing.inspection.schema import KINDS, Detection

ARCHITECTURE = "yolo26n.yaml"
"""Ultralytics' newest nano family, built from its description: no weights are fetched."""
_BATCH = 32


def yolo() -> Any:
    """Ultralytics' ``YOLO`` with everything off that would reach for the network.

    Raises:
        MissingExtra: The extra ``training`` is not installed.
    """
    # Read once, at import: no probe for a connection, no installing, no settings shared with other programs.
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(tempfile.gettempdir()) / f"evident-yolo-{os.getuid()}"))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    define_nms()
    try:
        from ultralytics.data import utils as data
        from ultralytics.engine import trainer
        from ultralytics.models import YOLO
        from ultralytics.utils import SETTINGS
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Training needs {error.name}, which is not installed: pip install 'evident[training]'", extra="training"
        ) from error
    # Training would fetch a font for plots, of which none is drawn, and foreign weights to try 16 bits with on a GPU.
    cast("Any", data).check_font = lambda _="": None
    cast("Any", trainer).check_amp = lambda _: True
    settings: Any = SETTINGS
    if settings.get("sync"):
        settings.update({"sync": False})
    return YOLO


def define_nms() -> None:
    """Define ``torchvision::nms`` where torchvision's own operators do not load beside this build of PyTorch.

    Its Python modules name that operator when they are imported. The native one is preferred; otherwise it is
    Ultralytics' own, which gives the same boxes.
    """
    import torch

    found, operators = find_spec("torchvision"), cast("Any", torch.ops)
    if found is None or hasattr(operators.torchvision, "nms"):
        return
    for folder in found.submodule_search_locations or ():
        for library in sorted(Path(folder).glob("_C*.so")):
            try:
                operators.load_library(str(library))
            except OSError:
                continue
            if hasattr(operators.torchvision, "nms"):
                return

    def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        from ultralytics.utils.nms import TorchNMS

        kept: torch.Tensor = TorchNMS.nms(dets, scores, iou_threshold)
        return kept

    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    torch.library.define("torchvision::nms", signature)
    torch.library.impl("torchvision::nms", "default", nms)
    torch.library.define("torchvision::qnms", signature)  # of quantised tensors; named at import, never called here
    from torchvision import extension

    # Its own functions, which training validates with, ask whether the native library was loaded before they call nms.
    extension._has_ops = lambda: True


def train(
    dataset: Path,
    output: Path,
    *,
    epochs: int,
    weights: Path | None = None,
    batch: int = 32,
    device: str = "cpu",
    workers: int = 4,
    seed: int = 0,
    on_epoch: Callable[[int, int], None] | None = None,
    **more: object,
) -> Path:
    """Train a detector on a dataset in Ultralytics' layout, and give its best weights.

    Args:
        dataset: Its YAML; images are (difference, template, test) or three times the test.
        output: Folder of the run; ``results.csv`` there has the curve.
        epochs: How often each image is seen.
        weights: A ``.pt`` of an earlier run to go on from, of which :func:`load` takes the weights alone. None begins
            from random weights.
        batch: Images a step.
        device: ``cpu`` or a CUDA device's number.
        workers: Processes that load images.
        seed: Of everything random.
        on_epoch: Told after each epoch how many are done, and of how many.
        **more: Further settings of Ultralytics.
    """
    model = yolo()(ARCHITECTURE) if weights is None else load(weights)
    settings: dict[str, object] = {
        "data": str(dataset),
        "epochs": epochs,
        "imgsz": 640,
        "batch": batch,
        "device": device,
        "workers": workers,
        "seed": seed,
        "project": str(output.parent),
        "name": output.name,
        "exist_ok": True,
        "pretrained": weights is not None,
        "plots": False,
        "val": True,
        # The channels are measurements, not colours, and a board has no upside: no colour changes, all flips.
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": 0.0,
        "fliplr": 0.5,
        "flipud": 0.5,
        "erasing": 0.0,
        "scale": 0.3,
        "amp": device != "cpu",
    }
    if on_epoch:
        model.add_callback("on_train_epoch_end", lambda trainer: on_epoch(trainer.epoch + 1, trainer.epochs))
    model.train(**settings | more)
    return output / "weights" / "best.pt"


def load(weights: Path) -> Any:
    """A checkpoint of ours as ``YOLO``.

    PyTorch's ``.pt`` is a pickle, which may run any code, and so may the network's description in it. So nothing of it
    is used but its weights: they go into a network of :data:`ARCHITECTURE` that is built here.

    Raises:
        InvalidInput: It is none, names anything that is no part of that network, or has other weights.
    """
    made = _network()
    read = _weights(weights, made.model)
    model = deepcopy(made)
    try:
        model.model.load_state_dict(read)
    except RuntimeError as error:
        raise InvalidInput(
            f"{weights.name} has no weights of {ARCHITECTURE} with {len(KINDS)} kinds; train from another.",
            path=str(weights),
        ) from error
    model.model.pt_path = str(weights)  # beside which an export is written
    model.ckpt = {"model": model.model}  # training goes on from weights only where this is set
    return model


@cache
def _network() -> Any:
    """The architecture with this service's kinds and random weights; to build it takes a second, to copy it none."""
    model = yolo()(ARCHITECTURE)
    network = type(model.model)({**model.model.yaml, "nc": len(KINDS)}, verbose=False)
    network.names, network.args, network.task = dict(enumerate(KINDS)), model.model.args, model.task
    model.model = network.eval()
    return model


class _Part:
    """What stands for every module of a checkpoint: it keeps what the module kept, and does nothing."""


def _weights(path: Path, network: Any) -> dict[str, Any]:
    """The weights in a checkpoint of a network like this, by their names."""
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    names = {f"{type(each).__module__}.{type(each).__qualname__}" for each in network.modules()}
    try:
        data = path.read_bytes()  # once: what is looked at is what is opened
        foreign = sorted(set(get_unsafe_globals_in_checkpoint(io.BytesIO(data))) - names)
        if not foreign:
            with safe_globals([(_Part, name) for name in names]):
                opened = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            return dict(_tensors(opened.get("ema") or opened["model"]))
    except Exception as error:  # a file of a stranger may be wrong in any way
        raise InvalidInput(
            f"{path.name} is not a PyTorch checkpoint of this service: {error}.", path=str(path)
        ) from error
    raise InvalidInput(
        f"{path.name} names {foreign[0]}, which no checkpoint of this service does; it is not opened.", path=str(path)
    )


def _tensors(part: _Part, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Parameters and buffers of a module and those within it."""
    kept = vars(part)
    for name, value in (kept["_parameters"] | kept["_buffers"]).items():
        if value is not None and name not in kept["_non_persistent_buffers_set"]:
            yield prefix + name, value
    for name, each in kept["_modules"].items():
        if each is not None:
            yield from _tensors(each, f"{prefix}{name}.")


def export_onnx(weights: Path, target: Path) -> Path:
    """Write a detector as ONNX for any number of images: ``images`` [N, 3, 640, 640] -> ``output0`` [N, 300, 6].

    Rows are (x0, y0, x1, y1, score, class) in pixels, the best first.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(weights, Path(folder) / "detector.pt"))
        made = load(copy).export(
            format="onnx", dynamic=True, imgsz=640, opset=17, simplify=False, nms=False, device="cpu"
        )
        shutil.move(made, target)
    return target


def predict(
    weights: Path,
    images: Iterable[NDArray[np.uint8]],
    *,
    threshold: float = 0.001,
    device: str = "cpu",
) -> list[list[Detection]]:
    """What ``YOLO.predict`` sees in images [H, W, 3]: the reference that an export is compared with.

    Args:
        weights: A ``.pt``.
        images: uint8.
        threshold: Least score.
        device: ``cpu`` or a CUDA device's number.
    """
    model, found, left = load(weights), [], iter(images)
    while part := list(islice(left, _BATCH)):
        found += model.predict(part, imgsz=640, conf=threshold, nms=False, verbose=False, device=device)
    return [
        [
            Detection(bbox=tuple(box), kind=KINDS[int(kind)], score=score)
            for *box, score, kind in each.boxes.data.cpu().tolist()
        ]
        for each in found
    ]
