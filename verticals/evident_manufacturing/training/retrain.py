"""From a label set to a model that may take the place of the one in use: data, training, gates, arbiter, comparison.

Of the held-back pairs one half serves the candidate (its best epoch, its gates, its arbiter) and the other half only
the comparison, so that what was chosen for it does not flatter it.
"""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.evaluate.pairs import (
    SPLIT,
    VALIDATION_STEP,
    Pair,
    compared_on,
    divide,
    entries,
    held_back,
    read,
    refuse_too_few,
)
from evident_manufacturing.inspection.perceive.detector import fp32_file
from evident_manufacturing.training.arbiter import fit_for
from evident_manufacturing.training.comparison import OnStage, Retrained, Stage, compare
from evident_manufacturing.training.detector import GENERATOR, cut, fuse, plain, schedule, write_dataset
from evident_manufacturing.training.gates import export

RATE: Final = 0.002
"""First learning rate where weights are gone on from."""
_SEEN: Final = 16
"""Pictures on which the norms of thawed weights are measured."""
_LARGEST: Final = 4 * 2**30
"""Bytes of a label set, unpacked."""


def retrain(
    labels: Path,
    current: Path,
    output: Path,
    *,
    base: Path | None = None,
    weights: Path | None = None,
    epochs: int = 20,
    device: str = "cpu",
    version: str = "",
    boards: int = 150,
    on_stage: OnStage | None = None,
) -> Retrained:
    """Train a detector on a label set beside base data, export it behind its gates, and compare it with the one in use.

    Args:
        labels: The label set as ``/labels/deeppcb.zip`` gives it, or the folder that it was unpacked to.
        current: Folder of the model in use; one with an arbiter looks at a template, and so will the new one.
        output: Folder to write to: ``model/`` (what a store installs), ``weights.pt``, ``comparison.json``.
        base: Further pairs in DeepPCB's layout.
        weights: A ``.pt`` to go on from; None goes on from the model in use, where its folder has the fp32 file, and
            else from random weights.
        epochs: How often each image is seen.
        device: ``cpu`` or a CUDA device's number.
        version: Of the new model; empty: made of the label set's hash and the time.
        boards: How many generated ones the arbiter is fitted on as well, in a checkout of the source.
        on_stage: Told of each step.

    Raises:
        InvalidInput: No pair is left to train on or to compare on, or a file is damaged.
        NotFound: A folder or a file is missing.
        ModelNotReady: The new model failed its gates.
        MissingExtra: The extra ``training`` is not installed.
    """
    detect.yolo()  # whether it is there, before the work

    def told(stage: Stage, done: int, of: int) -> None:
        if on_stage:
            on_stage(stage, done, of)

    told("data", 0, 1)
    train, held, name = gather(labels)
    labelled = len(train)
    if base is not None:
        more, kept = divide(entries(base))
        train += [read(entry) for entry in more]
        held += [read(entry) for entry in kept]
    refuse_too_few([pair.name for pair in train], [pair.name for pair in held])
    chosen, compared = ([pair for pair in held if compared_on(pair.name) is half] for half in (False, True))
    trained_on, train = len(train), [piece for pair in train for piece in cut(pair)]
    pieces = [piece for pair in chosen for piece in cut(pair)]
    fused = (current / "arbiter.json").is_file()
    version = version or f"retrained-{name[:8]}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    shutil.rmtree(output / "model", ignore_errors=True)
    (output / "model").mkdir(parents=True)
    kept_weights = output / "weights.pt"
    with tempfile.TemporaryDirectory(prefix="evident-retrain-") as scratch:
        data = write_dataset(Path(scratch) / "data", train, pieces, fused=fused, processes=os.cpu_count() or 1)
        begun = weights or _thawed(current, Path(scratch), train, fused=fused)
        told("train", 0, epochs)
        best = detect.train(
            data,
            Path(scratch) / "run",
            epochs=epochs,
            weights=begun,
            device=device,
            workers=min(4, os.cpu_count() or 1),
            on_epoch=lambda done, of: told("train", done, of),
            **schedule(epochs, RATE if begun else None),
        )
        shutil.copyfile(best, kept_weights)
    told("export", 0, 1)
    export(kept_weights, output / "model", pieces, train[::VALIDATION_STEP], version, fused=fused)
    if fused:
        told("arbiter", 0, 1)
        fit_for(output / "model", chosen, boards if GENERATOR.is_dir() else 0)
    comparison = compare(current, output / "model", compared, lambda done, of: told("compare", done, of))
    made = Retrained(
        folder=output / "model",
        weights=kept_weights,
        version=version,
        trained_on=trained_on,
        labelled=labelled,
        comparison=comparison,
    )
    (output / "comparison.json").write_text(made.model_dump_json(indent=1) + "\n")
    return made


def _thawed(current: Path, scratch: Path, train: Sequence[Pair], *, fused: bool) -> Path | None:
    """Weights of the model in use; None: its folder has no fp32 file, which alone can be gone on from."""
    fp32 = fp32_file(current)
    if fp32 is None:
        return None
    from evident_manufacturing.training.thaw import thaw  # PyTorch, which the pages that import this do without

    make = fuse if fused else plain
    images = [make(pair) for pair in train[:: max(1, len(train) // _SEEN)]]
    return thaw(fp32, scratch / "begin.pt", images)


def gather(labels: Path) -> tuple[list[Pair], list[Pair], str]:
    """The pairs of a label set to train on, those that are held back, and the set's version.

    A board is held back by the hash of its name, so that it stays so in every later set that has more boards.

    Raises:
        NotFound: There is no such set, or a file of it is missing.
        InvalidInput: It is not a ZIP, too large, or a file in it is damaged.
    """
    if not labels.exists():
        raise NotFound(f"There is no label set {labels}; download one from the review page.", path=str(labels))
    with _unpacked(labels) as folder:
        pairs = [read(entry) for entry in entries(folder)]
        noted = folder / "labels.json"
        version = str(json.loads(noted.read_bytes())["version"]) if noted.is_file() else "labels"
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        parts[held_back(pair.name)].append(pair)
    return *parts, version


@contextmanager
def _unpacked(labels: Path) -> Iterator[Path]:
    """The folder of a label set, which may come as a ZIP."""
    if labels.is_dir():
        yield labels
        return
    with tempfile.TemporaryDirectory(prefix="evident-labels-") as folder:
        try:
            with zipfile.ZipFile(labels) as packed:
                if sum(each.file_size for each in packed.infolist()) > _LARGEST:
                    raise InvalidInput(f"{labels.name} unpacks to more than {_LARGEST // 2**30} GiB.")
                packed.extractall(folder)
        except zipfile.BadZipFile as error:
            raise InvalidInput(f"{labels.name} is not a ZIP: {error}.", path=str(labels)) from error
        if not (Path(folder) / SPLIT).is_file():
            raise InvalidInput(
                f"{labels.name} is no label set: it has no {SPLIT}; download one from the review page.",
                path=str(labels),
            )
        yield Path(folder)
