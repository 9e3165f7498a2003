"""The model that inspects, changed while the line runs, and put back where the new one is not good.

A store holds each version in a folder of its own and ``current.json``, which names the one in use and the one before.
That file is replaced in one step, so that a stop at any point leaves one of the two.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evident_core.errors import EvidentError, InvalidInput, ModelNotReady, TooLarge, UnsupportedMedia
from evident_manufacturing.inspection.perceive.detector import Manifest, read_manifest
from evident_manufacturing.inspection.schema import Inspection, Part

logger = logging.getLogger(__name__)

Inspect = Callable[[bytes, Part], Inspection]
IMAGE_AT_FAULT: Final = (InvalidInput, TooLarge, UnsupportedMedia)
"""What an inspection raises where the image is wrong, and neither the model nor this program."""
_POINTER: Final = "current.json"
_MANIFEST: Final = "manifest.json"
_STAGING: Final = ".staging"


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which version is in use, and which one to go back to; empty: none."""

    current: str
    previous: str = ""


class ModelStore:
    """The versions of a model on disk, and the one in use.

    Args:
        folder: Of the store; made where it is missing.
        load: Opens the model in a folder.
        self_test: Raises where an opened model does not do what it should, for example on a known board.
        probation: After so many inspections a new model is trusted.
        tolerated: Failures within them after which it is taken back.

    Attributes:
        notice: What a person should know of the last start or change; empty where all is as asked.
    """

    def __init__(
        self,
        folder: Path,
        load: Callable[[Path], Inspect],
        self_test: Callable[[Inspect], None],
        *,
        probation: int = 100,
        tolerated: int = 3,
    ) -> None:
        self.folder, self._load, self._self_test = folder, load, self_test
        self._probation, self._tolerated = probation, tolerated
        self._lock = threading.RLock()
        self._inspect: Inspect | None = None
        self._on_probation = 0
        self._failures = 0
        self._changes = 0  # within one another
        self.notice = ""
        self.pointer = Pointer("")
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, data: bytes, part: Part) -> Inspection:
        """Inspect with the model in use; a new one that fails too often is rolled back, and the part inspected again.

        Raises:
            ModelNotReady: None is open.
            EvidentError: What the model says of the image.
        """
        inspect = self._inspect
        if inspect is None:
            raise ModelNotReady(f"No model is open; install one into {self.folder}.", folder=str(self.folder))
        try:
            result = inspect(data, part)
        except IMAGE_AT_FAULT:
            raise
        except Exception as error:
            if self._failed(inspect, error):
                return self(data, part)
            raise
        with self._lock:
            self._on_probation = max(0, self._on_probation - 1)
        return result

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change the store while no other thread and no other process does: an agent, the pages or a command.

        Whoever comes second waits. The kernel takes the lock back when its process ends, however it ends.
        """
        with self._lock, self.folder.with_name(f"{self.folder.name}.lock").open("a") as file:
            if not self._changes:
                fcntl.flock(file, fcntl.LOCK_EX)
            self._changes += 1
            try:
                yield
            finally:
                self._changes -= 1
                if not self._changes:
                    fcntl.flock(file, fcntl.LOCK_UN)  # also of a child that was forked meanwhile

    def start(self) -> None:
        """Open the version in use, or the one before where that does not open.

        Raises:
            ModelNotReady: Neither opens.
        """
        with self._lock:
            pointer = self._read_pointer()
            problems = []
            for version in filter(None, (pointer.current, pointer.previous)):
                try:
                    self._inspect = self._open(self.folder / version)
                except Exception as error:
                    problems.append(f"{version}: {error}")
                    continue
                if problems:
                    self.notice = f"Model {version} is in use, because the newer one does not open ({problems[0]})."
                    logger.error("%s", self.notice)
                    with self.changing():
                        if self._read_pointer() == pointer:
                            self._point(Pointer(version))
                    self.pointer = Pointer(version)
                else:
                    self.pointer = pointer
                return
            raise ModelNotReady(
                f"No model in {self.folder} opens ({'; '.join(problems) or 'none is installed'}); install one.",
                folder=str(self.folder),
            )

    def install(self, source: Path) -> str:
        """Take a new version into use: copied, compared with its manifest, opened, tested; only then changed over.

        The line inspects with the old one meanwhile. Returns the version.

        Raises:
            InvalidInput: A file is missing, not the manifest's, or not named by it; or the self-test failed.
            ModelNotReady: There is no manifest, or a file is missing.
        """
        version = check(source).version
        if not version or version.startswith(".") or Path(version).name != version:
            raise InvalidInput(f"{version!r} cannot be the name of a folder; give the model another version.")
        with self.changing():
            if version == self.pointer.current:
                raise InvalidInput(f"Model {version} is in use already; give the new one another version.")
            staging = self.folder / _STAGING
            shutil.rmtree(staging, ignore_errors=True)
            shutil.copytree(source, staging)
            try:
                inspect = self._open(staging)
            except EvidentError:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            except Exception as error:
                shutil.rmtree(staging, ignore_errors=True)
                raise InvalidInput(
                    f"Model {version} failed its self-test ({error}); {self.pointer.current or 'none'} stays in use.",
                    version=version,
                ) from error
            target = self.folder / version
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            old = self.pointer
            self._point(Pointer(version, old.current))
            self._inspect = inspect
            self._on_probation, self._failures = self._probation, 0
            self.notice = ""
            self._remove_all_but(version, old.current)
        logger.info("Model %s is in use; %s is kept.", version, old.current or "none")
        return version

    def rollback(self, reason: str = "asked for") -> str:
        """Go back to the version before; returns it.

        Raises:
            ModelNotReady: There is none, it does not open, or another process changed the store; the one in use stays.
        """
        with self.changing():
            if (now := self._read_pointer()) != self.pointer:
                raise ModelNotReady(f"Model {now.current} is in use meanwhile; look again.", version=now.current)
            bad, previous = self.pointer.current, self.pointer.previous
            if not previous:
                there = f"There is no model before {bad}" if bad else "No model is in use, and there is none"
                raise ModelNotReady(f"{there} to go back to.", version=bad)
            try:
                inspect = self._open(self.folder / previous)
            except Exception as error:
                raise ModelNotReady(f"Model {previous} does not open any more: {error}", version=previous) from error
            self._point(Pointer(previous))
            self._inspect = inspect
            self._on_probation = self._failures = 0
            self.notice = f"Model {previous} is in use again, model {bad} was taken back: {reason}"
            logger.error("%s", self.notice)
            return previous

    def _failed(self, inspect: Inspect, error: Exception) -> bool:
        """Count a failure of a new model; whether another model is in use after it."""
        with self._lock:
            if inspect is not self._inspect:
                return True
            if not self._on_probation or not self.pointer.previous:
                return False
            self._failures += 1
            if self._failures < self._tolerated:
                return False
            try:
                self.rollback(f"{self._failures} failures, the last: {error}")
            except ModelNotReady as refused:
                logger.error("%s", refused)  # noqa: TRY400  # the failure itself is raised to the caller
                return False
            return True

    def _open(self, folder: Path) -> Inspect:
        check(folder)
        inspect = self._load(folder)
        self._self_test(inspect)
        return inspect

    def _read_pointer(self) -> Pointer:
        return read_pointer(self.folder)

    def _point(self, pointer: Pointer) -> None:
        new = self.folder / f"{_POINTER}.new"
        with new.open("w", encoding="utf-8") as file:
            json.dump({"current": pointer.current, "previous": pointer.previous}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / _POINTER)
        self.pointer = pointer

    def _remove_all_but(self, *kept: str) -> None:
        for each in self.folder.iterdir():
            if each.is_dir() and each.name not in kept:
                shutil.rmtree(each, ignore_errors=True)


def read_pointer(folder: Path) -> Pointer:
    """Which versions a store's folder names; empty where nothing was installed yet.

    Raises:
        ModelNotReady: The file cannot be read.
    """
    try:
        read = json.loads((folder / _POINTER).read_bytes())
        return Pointer(str(read["current"]), str(read["previous"]))
    except (FileNotFoundError, NotADirectoryError):
        return Pointer("")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotReady(f"{folder / _POINTER} cannot be read ({error}); install a model again.") from error


def check(folder: Path) -> Manifest:
    """See that a model's folder is what its manifest says, and return that: each file with its SHA-256, and no other.

    A network that failed its gates need not be there: no agent runs it.

    Raises:
        InvalidInput: A file is another than the manifest's, lies elsewhere, or is not named.
        ModelNotReady: There is no manifest, or a file is missing.
    """
    manifest = read_manifest(folder)
    named = {file.name: file.sha256 for file in manifest.files} | manifest.beside
    if not manifest.files:
        raise InvalidInput(f"The manifest of {folder} names no file; export the model again.", path=str(folder))
    failed = {file.name for file in manifest.files if not file.passed}
    for name, sha256 in named.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink():
            raise InvalidInput(f"The manifest of {folder} names {name!r}, which is not a file in it.", path=str(path))
        if not path.is_file():
            if name in failed:
                continue
            raise ModelNotReady(f"{path} is missing; the manifest beside it names it.", path=str(path))
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise InvalidInput(
                    f"{path} is not the file that its manifest names; copy or export it again.", path=str(path)
                )
    allowed = {*named, _MANIFEST, "CARD.md"}
    if strange := sorted(each.name for each in folder.iterdir() if each.name not in allowed):
        raise InvalidInput(
            f"{strange[0]!r} in {folder} is not in the manifest; take it away, or export again.", path=str(folder)
        )
    return manifest
