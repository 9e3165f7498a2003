"""Where images come from: what every source is, and the folder that a camera's software writes to.

Each gives one image at a time with the part it is of, and is told when that part's event is safe. What a folder or
server gave and was not told of is given again, so an agent that is killed loses no part. A camera's frame is gone with
the process; its part number is not given to another, so the gap is seen.
"""

import hashlib
import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from evident_core.errors import EvidentError, NotFound
from evident_manufacturing.inspection.schema import Part

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 512 << 20
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
DONE, FAILED = "done", "failed"
_AGAIN: Final = re.compile(r"(?P<part>.+)\.rev(?P<revision>[0-9].*)", re.IGNORECASE | re.DOTALL)
"""How a file is named whose part is inspected again: PART.rev2.png; ``BOARD.revB`` is a part's own name."""
_DIGITS: Final = 9
FIELDS: Final = ("part_id", "product", "lot", "camera", "taken")


@dataclass(frozen=True, slots=True)
class Taken:
    """An image and the part it is of.

    Attributes:
        token: What the source knows it by.
        revision: Above 1 where the part is inspected again on purpose; its result takes the place of the one before.
    """

    data: bytes
    part: Part
    token: str
    revision: int = 1


class Source(Protocol):
    """Where images come from.

    Attributes:
        problem: Why it gives nothing and will not before somebody sees to it; empty where all is well.
    """

    problem: str

    def next(self) -> Taken | None:
        """The next image; None where there is none now. An error is about one image, and is told to :meth:`failed`."""
        ...

    def waits(self) -> bool:
        """Whether another image lies ready that was there before: a backlog, of which several may be taken."""
        ...

    def done(self, taken: Taken) -> None:
        """The part's event is in the outbox: the image need not be given again."""
        ...

    def failed(self, token: str, reason: str) -> None:
        """The image cannot be inspected, and will not be given again; a person finds it with the reason."""
        ...

    def close(self) -> None:
        """Let go of the device or connection."""
        ...


class Unusable(EvidentError):
    """An image that a source holds and that cannot be given; ``token`` names it."""

    status, code, title = 422, "unusable_image", "The image cannot be used"

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message, token=token)
        self.token = token


def unnamed(data: bytes) -> str:
    """The part id of an image that came without one: of its content, so that the same image is the same part."""
    return f"sha256:{hashlib.sha256(data).hexdigest()[:32]}"


class FolderSource:
    """A folder that images are written to, looked at again and again; no kernel feature, so network drives work too.

    A file is taken once its size and time of change are the same in two looks. ``board.json`` beside ``board.png`` may
    give ``part_id, product, lot, camera, taken``; else the part id is the file's name without its ending. Inspected
    images go to ``done/`` and others to ``failed/`` with the reason beside them; nothing is deleted.

    Args:
        folder: To look at, not below.
        product: Of parts whose file does not say.
        camera: The same.
        max_bytes: Of an image.

    Raises:
        NotFound: There is no such folder.
    """

    def __init__(self, folder: Path, *, product: str = "", camera: str = "", max_bytes: int = MAX_BYTES) -> None:
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder} to watch; make it, or give another.", folder=str(folder))
        self.folder, self._product, self._camera, self._max_bytes = folder, product, camera, max_bytes
        self.problem = ""
        self._seen: dict[str, tuple[int, int]] = {}
        self._ready: list[str] = []

    def next(self) -> Taken | None:
        """The first file that nobody writes to any more: by the part's name, and each part's revisions in order.

        Raises:
            Unusable: A file that is too large, empty, or whose JSON cannot be read.
        """
        if not self._ready:
            self._look()
        while self._ready:
            name = self._ready.pop(0)
            path = self.folder / name
            try:
                size = path.stat().st_size
                if size > self._max_bytes:
                    raise Unusable(f"{name} has {size} bytes; at most {self._max_bytes} are read.", name)
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # a person took it away
            except OSError as error:
                raise Unusable(f"{name} cannot be read: {error}.", name) from error
            part, revision = self._part(path)
            return Taken(data, part, name, revision)
        return None

    def waits(self) -> bool:
        """Whether more files were ready when the folder was last looked at."""
        return bool(self._ready)

    def done(self, taken: Taken) -> None:
        """Move the image, and its JSON, to ``done/``."""
        self._move(taken.token, DONE)

    def failed(self, token: str, reason: str) -> None:
        """Move the image, and its JSON, to ``failed/``, and write the reason beside it."""
        moved = self._move(token, FAILED)
        moved.with_name(moved.name + ".txt").write_text(reason + "\n", encoding="utf-8")

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> None:
        now: dict[str, tuple[int, int]] = {}
        try:
            paths = list(self.folder.iterdir())
        except OSError as error:  # a network drive that is away, for example
            self.problem = f"The folder {self.folder} cannot be read: {error.strerror}."
            return
        self.problem = ""
        for path in paths:
            if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.is_symlink():
                continue
            try:
                stat = path.stat()
            except OSError:
                continue
            if path.is_file():
                now[path.name] = (stat.st_size, stat.st_mtime_ns)
        self._ready = sorted((name for name, state in now.items() if self._seen.get(name) == state), key=_order)
        self._seen = now

    def _part(self, path: Path) -> tuple[Part, int]:
        revision: object
        try:
            part_id, revision = named(path.stem)
        except Unusable as error:
            raise Unusable(error.message, path.name) from None
        given: dict[str, Any] = {"part_id": part_id, "product": self._product, "camera": self._camera}
        beside = path.with_suffix(".json")
        if beside.is_file():
            try:
                read = json.loads(beside.read_text(encoding="utf-8-sig"))
                given |= {name: read[name] for name in FIELDS if read.get(name) is not None}
                # A part that is named there is not named by the file.
                said = read.get("revision")
                revision = said if said is not None else 1 if "part_id" in read else revision
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                raise Unusable(f"{beside.name} cannot be read: {str(error)[:200]}.", path.name) from error
        return make_part(given, path.name), make_revision(revision, path.name)

    def _move(self, name: str, to: str) -> Path:
        folder = self.folder / to
        folder.mkdir(exist_ok=True)
        target, number = folder / name, 1
        while target.exists():
            number += 1
            target = folder / f"{Path(name).stem}.{number}{Path(name).suffix}"
        source = self.folder / name
        beside = source.with_suffix(".json")
        if beside.is_file():
            shutil.move(beside, target.with_suffix(".json"))
        shutil.move(source, target)
        return target


def named(stem: str) -> tuple[str, int]:
    """The part and the revision that a file's name, without its ending, says: ``SN-1.rev2`` is SN-1 inspected again."""
    if (again := _AGAIN.fullmatch(stem)) is None:
        return stem, 1
    if _AGAIN.fullmatch(again["part"]):
        raise Unusable(f"{stem[:80]!r} names two revisions; a part that is inspected again is named PART.rev2.", stem)
    return again["part"], make_revision(again["revision"], stem)


def _order(name: str) -> tuple[str, int, str]:
    try:
        part, revision = named(Path(name).stem)
    except Unusable:
        part, revision = Path(name).stem, 1
    return part, revision, name


def make_part(given: dict[str, Any], token: str) -> Part:
    """A part of what a source says.

    Raises:
        Unusable: A field is too long, the id is empty, or the time cannot be read.
    """
    try:
        return Part.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "part"
        said = f"The part of {token or 'an image'} cannot be: {field}: {first['msg']}; give another {field}."
        raise Unusable(said, token) from error


def make_revision(given: object, token: str) -> int:
    """A revision of what a source says.

    Raises:
        Unusable: It is no whole number from 1 on.
    """
    try:
        text = str(given)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = "of thousands of digits"
    if not (len(text) <= _DIGITS and text.isascii() and text.isdecimal() and int(text) >= 1):
        named = token or "an image"
        raise Unusable(f"The revision of {named} is {text[:40]!r}; it is a whole number from 1 on.", token)
    return int(text)
