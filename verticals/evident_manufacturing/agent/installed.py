"""The models installed beside an agent: put there by a command, taken into use by the agent while the line runs.

There is a store for each kind: ``fused`` models see a board beside its golden sample, ``plain`` ones see it alone. The
agent looks at the store's pointer before each board, so that what another process installed or took back is in use
from the next board on, on probation as if it had been installed here.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import EvidentError, InvalidInput, ModelNotReady
from evident_manufacturing.agent.models import Inspect, ModelStore, Pointer, check, read_pointer
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.perceive import Models, perceive
from evident_manufacturing.inspection.perceive.arbiter import read_arbiter
from evident_manufacturing.inspection.perceive.detector import (
    FOLDER,
    Detector,
    Manifest,
    read_manifest,
    write_manifest,
)
from evident_manufacturing.inspection.schema import Defect, Inspection, Part, Seen

logger = logging.getLogger(__name__)

Kind = Literal["fused", "plain"]
KINDS: Final[tuple[Kind, ...]] = ("fused", "plain")
_ARBITER: Final = "arbiter.json"
_OPEN: Final = (200, 260, 212, 281)
_SHORT: Final = (300, 130, 308, 200)


@dataclass(frozen=True, slots=True)
class Installed:
    """A version in a store; ``state`` is what the store's pointer says of it."""

    manifest: Manifest
    state: Literal["in use", "before", ""]


class InstalledModels(ModelStore):
    """A store that several processes use: the agent, and the commands that install and take back.

    Args:
        folder: Of all stores; this one's is named by its kind.
        kind: Of the models.
        load: Opens the inspection with the model in a folder.
    """

    def __init__(self, folder: Path, kind: Kind, load: Callable[[Path], Inspect]) -> None:
        super().__init__(folder / kind, load, _nothing_more)
        self.kind = kind
        self._seen: tuple[int, int] | None = None

    def __call__(self, data: bytes, part: Part) -> Inspection:
        """Inspect with the model that the pointer names now.

        Raises:
            ModelNotReady: None is open.
            EvidentError: What the model says of the image.
        """
        self._follow()
        return super().__call__(data, part)

    def begin(self) -> None:
        """Open the version in use; where nothing was installed yet, install the one that ships.

        Raises:
            ModelNotReady: None opens.
        """
        if not self._read_pointer().current:
            with self.changing():
                if not self._read_pointer().current:  # nor has another process installed one meanwhile
                    self.add(FOLDER / self.kind)
                    return
        self.start()

    def add(self, source: Path) -> str:
        """Install what is needed of an exported model: the files that passed their gates, and the arbiter.

        Returns the version.

        Raises:
            InvalidInput: A file is not its manifest's, the version is in use, or the model misses a known defect.
            ModelNotReady: There is no manifest, a file is missing, or none passed its gates.
        """
        with self.changing(), tempfile.TemporaryDirectory(prefix="evident-model-") as made:
            self._resume()
            bundle(source, Path(made))
            return self.install(Path(made))

    def take_back(self, reason: str) -> str:
        """Go back to the version before; returns it.

        Raises:
            ModelNotReady: There is none, or it does not open.
        """
        with self.changing():
            self._resume()
            return self.rollback(reason)

    def versions(self) -> list[Installed]:
        """What is installed, by name; nothing is opened.

        Raises:
            ModelNotReady: The pointer cannot be read.
        """
        pointer = self._read_pointer()
        found = []
        for folder in sorted(each for each in self.folder.iterdir() if each.is_dir() and each.name[0] != "."):
            state: Literal["in use", "before", ""] = ""
            if folder.name in (pointer.current, pointer.previous):
                state = "in use" if folder.name == pointer.current else "before"
            found.append(Installed(read_manifest(folder), state))
        return found

    def _resume(self) -> None:
        if self._read_pointer() != Pointer(""):
            self.start()

    def _follow(self) -> None:
        try:
            stat = (self.folder / "current.json").stat()
        except OSError:
            return  # what is open stays in use
        if (seen := (stat.st_ino, stat.st_mtime_ns)) == self._seen:
            return
        self._seen = seen
        try:
            if self._read_pointer() == self.pointer:
                return
            before = self.pointer.current
            self.start()
        except EvidentError as error:
            self.notice = f"{error.message} Model {self.pointer.current or 'none'} stays in use."
            logger.exception("%s", self.notice)
            return
        if self.pointer.previous and before != self.pointer.current:
            self._on_probation, self._failures = self._probation, 0
        logger.info("Model %s is in use in place of %s.", self.pointer.current, before or "none")


def folder_in_use(models: Path, kind: Kind) -> Path:
    """Where the model lies that inspects: in the stores of ``models`` where one is installed, else the one that ships.

    Raises:
        ModelNotReady: The store's pointer cannot be read, or names a version that is not there.
    """
    current = read_pointer(models / kind).current
    if not current:
        return FOLDER / kind
    folder = models / kind / current
    if not folder.is_dir():
        raise ModelNotReady(f"Model {current} is in use, but {folder} is not there; install it again.", version=current)
    return folder


def open_in_use(models: Path) -> Models:
    """The models that inspect, of both kinds, as their stores name them at this moment.

    Raises:
        ModelNotReady: A file is missing.
        InvalidInput: A file is not its manifest's.
    """
    fused, plain = (folder_in_use(models, kind) for kind in KINDS)
    return Models(fused=Detector(fused), arbiter=read_arbiter(fused), plain=Detector(plain) if plain.is_dir() else None)


def stores_folder(data_dir: Path) -> Path:
    """Where the stores are whose settings name no other place."""
    return data_dir / "manufacturing" / "models"


def kind_of(source: Path) -> Kind:
    """Which kind of model an exported folder holds: one with an arbiter compares with a template."""
    return "fused" if (source / _ARBITER).is_file() else "plain"


def bundle(source: Path, into: Path) -> Manifest:
    """Copy what an agent runs of an exported model, with a manifest that names each file of it.

    Raises:
        InvalidInput: A file is not its manifest's, or not named by it.
        ModelNotReady: There is no manifest, a file is missing, or none passed its gates.
    """
    manifest = check(source)
    files = tuple(file for file in manifest.files if file.passed)
    if not files:
        raise ModelNotReady(f"No file of {source} passed its gates; train on, and export again.", path=str(source))
    for name in (*(file.name for file in files), *manifest.beside):
        shutil.copyfile(source / name, into / name)
    made = manifest.model_copy(update={"files": files})
    write_manifest(into, made)
    return made


def open_installed(
    folder: Path, kind: Kind, *, precision: str = "", threads: int = 0, runtime: str = "onnxruntime"
) -> Models:
    """The models that inspect with an installed one, which has shown that it finds known defects.

    Raises:
        ModelNotReady: A file is missing, or none is of that precision.
        InvalidInput: A file is not its manifest's, or a known defect is missed or a sound board is not seen as one.
    """
    opened = partial(Detector, precision=precision or None, threads=threads or None, runtime=runtime)
    if kind == "fused":
        models = Models(fused=opened(folder), arbiter=read_arbiter(folder))
    else:
        # Boards without a template never come to the fused one; Models has it always.
        shipped = FOLDER / "fused"
        models = Models(fused=opened(shipped), arbiter=read_arbiter(shipped), plain=opened(folder))
    _inspect_known_board(models, kind)
    return models


def _inspect_known_board(models: Models, kind: Kind) -> None:
    """A drawn board with one short and one open: what does not see them must not come to a line."""
    sound, flawed = _known_board(flaws=False), _known_board(flaws=True)
    template = sound if kind == "fused" else None
    version = (models.fused if kind == "fused" else models.plain or models.fused).version
    if strange := perceive(sound, template, models).defects:
        raise InvalidInput(
            f"Model {version} sees a {strange[0].kind} on the known sound board; train on, and export again.",
            version=version,
        )
    # A plain model is shown no template, and an open of this size is not certain without one.
    wanted = {"open": _OPEN, "short": _SHORT} if kind == "fused" else {"short": _SHORT}
    seen = [each for each in perceive(flawed, template, models).defects if each.seen is not Seen.GOLDEN]
    for name, place in wanted.items():
        if not any(each.kind == name and _covers(each, place) for each in seen):
            raise InvalidInput(
                f"Model {version} misses the {name} of the known board; train on, and export again.", version=version
            )


def _known_board(*, flaws: bool) -> Board:
    board: NDArray[np.uint8] = np.full((640, 640), 255, np.uint8)
    for y in range(60, 600, 70):
        for start, end in (((40, y), (420, y)), ((420, y), (470, y - 40)), ((470, y - 40), (600, y - 40))):
            cv2.line(board, start, end, 0, 14)
        for centre in ((40, y), (600, y - 40)):
            cv2.circle(board, centre, 18, 0, -1)
    board = cv2.GaussianBlur(board, (3, 3), 0).astype(np.uint8)
    if flaws:
        for (x0, y0, x1, y1), shade in ((_OPEN, 255), (_SHORT, 0)):
            board[y0:y1, x0:x1] = shade
    return ingest(cv2.imencode(".png", board)[1].tobytes(), name="known board")


def _covers(defect: Defect, place: tuple[int, int, int, int]) -> bool:
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    return defect.bbox[0] <= x <= defect.bbox[2] and defect.bbox[1] <= y <= defect.bbox[3]


def _nothing_more(inspect: Inspect) -> None:
    """Opening is the test: see :func:`open_installed`."""
