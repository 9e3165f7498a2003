"""What the jobs of the page of models do: train a candidate on the label set, and compare one with the model in use."""

import logging
import multiprocessing
import shutil
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from evident_core.errors import EvidentError, InvalidInput, MissingExtra, NotFound
from evident_core.evidence import Frozen
from evident_core.progress import OnProgress, Progress
from evident_core.web.jobs import Task
from evident_core.work import Work
from evident_manufacturing.agent.installed import Kind, folder_in_use, stores_folder
from evident_manufacturing.inspection.evaluate.pairs import compared_on, entries, held_back, read
from evident_manufacturing.inspection.perceive.detector import FOLDER, read_manifest
from evident_manufacturing.training.comparison import Comparison
from evident_manufacturing.training.comparison import compare as compare_models

logger = logging.getLogger(__name__)

TRAINING: Final = ("data", "train", "export", "arbiter", "compare")
"""The stages of a retraining, in order; a comparison has the last of them."""
EXTRA: Final = ("onnx", "torch", "torchvision", "ultralytics")
COMMAND: Final = "pip install 'evident[training]'"
_NOTE: Final = "candidate.json"
_LONGEST: Final = 7 * 86400


class TrainingOptions(BaseModel):
    """What a retraining is made of besides the label set; written by the pages, never by who asks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    version: str
    labels: str
    epochs: int
    device: str
    base: str = ""
    weights: str = ""


class ComparingOptions(BaseModel):
    """Which models a comparison is of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    current: str
    candidate: str


class Candidate(Frozen):
    """A model that was trained here.

    Attributes:
        labels: Version of the label set.
        trained_on: Pairs; ``labelled`` of them are of the label set.
        comparison: With the model that was in use then, on pairs that neither was trained on.
    """

    kind: Kind
    version: str
    labels: str
    trained_on: int
    labelled: int
    epochs: int
    created: datetime
    comparison: Comparison


RETRAIN: Final = Task(
    service="manufacturing", version="1", run="evident_manufacturing.retraining:retrain", options=TrainingOptions
)
COMPARE: Final = Task(
    service="manufacturing", version="2", run="evident_manufacturing.retraining:compare", options=ComparingOptions
)


def refuse_without_extra() -> None:
    """See that training is possible here.

    Raises:
        MissingExtra: A package of the extra is not installed.
    """
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise MissingExtra(f"Training needs {', '.join(missing)}, which is not installed: {COMMAND}", extra="training")


def candidates_folder(data_dir: Path) -> Path:
    """Where candidates are, each in a folder named by its version."""
    return data_dir / "manufacturing" / "candidates"


def candidates(data_dir: Path) -> list[Candidate]:
    """The models that were trained here to the end, newest first; one of which the note cannot be read is left out."""
    found = []
    for path in candidates_folder(data_dir).glob(f"*/{_NOTE}"):
        try:
            candidate = Candidate.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            logger.warning("%s is left out, for it cannot be read: %s", path, error)
            continue
        if candidate.version == path.parent.name:  # else it is a copy of another's folder
            found.append(candidate)
    return sorted(found, key=lambda each: each.created, reverse=True)


def unreadable(data_dir: Path) -> dict[str, str]:
    """Say which candidates' folders cannot be used, by name, and why: the note, the manifest, or another's copy."""
    found = {}
    usable = {each.version: each for each in candidates(data_dir)}
    for path in sorted(candidates_folder(data_dir).glob(f"*/{_NOTE}")):
        name = path.parent.name
        try:
            if name in usable:
                read_manifest(path.parent / "model")
            else:
                note = Candidate.model_validate_json(path.read_bytes())
                found[name] = f"{_NOTE} says that it is of {note.version[:64]!r}."
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(each) for each in first["loc"])
            found[name] = f"{_NOTE} cannot be read: {f'{where}: ' if where else ''}{first['msg']}."
        except OSError as error:
            found[name] = f"{_NOTE} cannot be read: {error.strerror}."
        except EvidentError as error:
            found[name] = error.message
    return found


def folder_of(data_dir: Path, kind: Kind, version: str) -> Path:
    """Where a model lies of which only the version is said: in use or before, trained here, or the one that ships.

    Raises:
        NotFound: There is none.
    """
    known = [stores_folder(data_dir) / kind, candidates_folder(data_dir)]
    trained = {each.version for each in candidates(data_dir) if each.kind == kind}
    if version in trained:
        return known[1] / version / "model"
    if version and Path(version).name == version and (known[0] / version / "manifest.json").is_file():
        return known[0] / version
    if (FOLDER / kind).is_dir() and read_manifest(FOLDER / kind).version == version:
        return FOLDER / kind
    raise NotFound(f"There is no {kind} model {version[:64]!r} here.", version=version[:64])


def retrain(work: Work, *, on_progress: OnProgress) -> bytes:
    """Train a candidate, beside the one in use, and keep it in a folder of its own; returns what is known of it.

    Raises:
        MissingExtra: The extra ``training`` is not installed.
        EvidentError: The label set, or what is trained on beside it, is not enough; the message says what.
    """
    refuse_without_extra()
    from evident_manufacturing.training.retrain import retrain as train  # takes seconds to import

    # Images are loaded by processes of its own, which a daemon may not have; they are ended with this one's group.
    multiprocessing.current_process().daemon = False
    options, data_dir = TrainingOptions.model_validate(work.options), _data_dir(work)
    folder = candidates_folder(data_dir) / options.version
    _tidy(folder.parent)
    folder.mkdir(parents=True)
    try:
        made = train(
            work.inputs[0].path,
            folder_in_use(stores_folder(data_dir), options.kind),
            folder,
            base=Path(options.base) if options.base else None,
            weights=Path(options.weights) if options.weights else None,
            epochs=options.epochs,
            device=options.device,
            version=options.version,
            on_stage=lambda stage, done, total: on_progress(Progress(stage=stage, done=done, total=max(total, 1))),
        )
        candidate = Candidate(
            kind=options.kind,
            version=options.version,
            labels=options.labels,
            trained_on=made.trained_on,
            labelled=made.labelled,
            epochs=options.epochs,
            created=datetime.now(UTC),
            comparison=made.comparison,
        )
        (folder / _NOTE).write_text(candidate.model_dump_json(indent=1))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return candidate.model_dump_json().encode()


def compare(work: Work, *, on_progress: OnProgress) -> bytes:
    """Compare a candidate with another model on the boards of the label set that no training sees or chooses by.

    Raises:
        InvalidInput: The set holds no board back for it yet.
        NotFound: A model is gone.
    """
    options, data_dir = ComparingOptions.model_validate(work.options), _data_dir(work)
    current, candidate = (folder_of(data_dir, options.kind, each) for each in (options.current, options.candidate))
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(work.inputs[0].path) as packed:
            packed.extractall(scratch)
        every = [read(entry) for entry in entries(Path(scratch))]
    held = [pair for pair in every if held_back(pair.name) and compared_on(pair.name)]
    if not held:
        raise InvalidInput(
            f"Of the {len(every)} boards in the label set none is held back for comparing (one in ten is); label more."
        )
    found = compare_models(
        current,
        candidate,
        held,
        lambda done, total: on_progress(Progress(stage="compare", done=done, total=total)),
    )
    return found.model_dump_json().encode()


def _data_dir(work: Work) -> Path:
    if work.data_dir is None:
        raise InvalidInput("This job works on the models in a data folder; it was given none.")
    return work.data_dir


def _tidy(folder: Path) -> None:
    """Remove what a killed training left, which by its age cannot be one that still runs."""
    for each in folder.glob("*"):
        if not (each / _NOTE).is_file() and time.time() - each.stat().st_mtime > _LONGEST:
            shutil.rmtree(each, ignore_errors=True)
