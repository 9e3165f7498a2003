"""Where images come from: a folder that a camera writes to, an HTTP server, a camera itself.

Each gives one image at a time with the part it is of, and is told when that part's event is safe. What a folder or
server gave and was not told of is given again, so an agent that is killed loses no part. A camera's frame is gone with
the process; its part number is not given to another, so the gap is seen.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from evident_core.errors import EvidentError, InvalidInput, NotFound
from evident_manufacturing.inspection.schema import Part

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 512 << 20
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
DONE, FAILED = "done", "failed"
_FIELDS: Final = ("part_id", "product", "lot", "camera", "taken")


@dataclass(frozen=True, slots=True)
class Taken:
    """An image and the part it is of; ``token`` is what the source knows it by."""

    data: bytes
    part: Part
    token: str


class Source(Protocol):
    """Where images come from."""

    def next(self) -> Taken | None:
        """The next image; None where there is none now. An error is about one image, and is told to :meth:`failed`."""
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
        self._seen: dict[str, tuple[int, int]] = {}
        self._ready: list[str] = []

    def next(self) -> Taken | None:
        """The first file, by name, that nobody writes to any more.

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
            return Taken(data, self._part(path), name)
        return None

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
        for path in self.folder.iterdir():
            if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.is_symlink():
                continue
            try:
                stat = path.stat()
            except OSError:
                continue
            if path.is_file():
                now[path.name] = (stat.st_size, stat.st_mtime_ns)
        self._ready = sorted(name for name, state in now.items() if self._seen.get(name) == state)
        self._seen = now

    def _part(self, path: Path) -> Part:
        given: dict[str, Any] = {"part_id": path.stem, "product": self._product, "camera": self._camera}
        beside = path.with_suffix(".json")
        if beside.is_file():
            try:
                read = json.loads(beside.read_text(encoding="utf-8-sig"))
                given |= {name: read[name] for name in _FIELDS if read.get(name) is not None}
            except (OSError, ValueError, AttributeError) as error:
                raise Unusable(f"{beside.name} cannot be read: {error}.", path.name) from error
        return make_part(given, path.name)

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


class HttpSource:
    """A server that gives one image for each GET: 200 with the image, or 204 and 304 where there is none.

    ``Evident-Part-Id``, ``-Product``, ``-Lot``, ``-Camera`` name the part (percent-encoded UTF-8). Where the answer has
    ``Evident-Ack``, a path on the same server, that is posted to once the event is safe, or with the reason why not.

    Raises:
        InvalidInput: The URL is not one of http or https.
    """

    def __init__(self, url: str, *, product: str = "", seconds: float = 10.0, max_bytes: int = MAX_BYTES) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise InvalidInput(f"{url!r} is not an address to get images from; give one with http:// or https://.")
        self.url, self._product, self._max_bytes = url, product, max_bytes
        import httpx  # an agent without such a source starts without it: it takes a sixth of the start

        self._client, self._broken = httpx.Client(timeout=seconds), httpx.HTTPError
        self._etag = self._new_etag = ""
        self._problem = ""

    def next(self) -> Taken | None:
        """The image that the server has; None also while it does not answer.

        Raises:
            Unusable: An image that is too large, or a part that cannot be.
        """
        condition = {"If-None-Match": self._etag} if self._etag else {}
        try:
            with self._client.stream("GET", self.url, headers=condition) as answer:
                if answer.status_code != 200:
                    return None
                token = answer.headers.get("Evident-Ack", "")
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > self._max_bytes:
                        raise Unusable(f"An image of more than {self._max_bytes} bytes came from {self.url}.", token)
                headers = answer.headers
        except self._broken as error:
            self._say(f"{self.url} does not give images: {type(error).__name__}: {error}")
            return None
        self._say("")
        self._new_etag = headers.get("ETag", "")
        given: dict[str, Any] = {"part_id": unnamed(bytes(data)), "product": self._product}
        for name in _FIELDS:
            if value := headers.get(f"Evident-{name.replace('_', '-')}"):
                given[name] = unquote(value)
        return Taken(bytes(data), make_part(given, token), token)

    def done(self, taken: Taken) -> None:
        """Tell the server, where it asked for that."""
        self._acknowledge(taken.token, {"status": "done"})

    def failed(self, token: str, reason: str) -> None:
        """Tell the server, where it asked for that."""
        self._acknowledge(token, {"status": "failed", "reason": reason})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _acknowledge(self, token: str, said: dict[str, str]) -> None:
        self._etag = self._new_etag  # not before: an image that is not safe must be given again
        target = urljoin(self.url, token)
        if not token or urlsplit(target)[:2] != urlsplit(self.url)[:2]:
            return  # none was asked for, or another server than ours would be told
        try:
            self._client.post(target, json=said)
        except self._broken:
            self._etag = ""  # it gives the image again, and the outbox knows the part

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem


class CameraSource:
    """A camera, or a video file, through OpenCV; one frame for each trigger, as lossless PNG.

    Args:
        device: Number or address of the camera.
        number: Gives the next part's number, and never one twice: ``lambda: outbox.count("camera top")``.
        trigger: Whether a part lies under the camera now; by default always.
        camera: Its name; also the beginning of the part ids.
        product: Of the parts.
        retry_seconds: Between tries to open a camera that is gone.
    """

    def __init__(
        self,
        device: int | str,
        *,
        number: Callable[[], int],
        trigger: Callable[[], bool] = lambda: True,
        camera: str = "camera",
        product: str = "",
        retry_seconds: float = 2.0,
    ) -> None:
        self._device, self._number, self._trigger = device, number, trigger
        self._camera, self._product, self._retry_seconds = camera, product, retry_seconds
        self._capture: Any = None
        self._again = 0.0
        self._pending: Taken | None = None

    def next(self) -> Taken | None:
        """A frame; the last one again where it was not said to be safe; None without a trigger or a camera."""
        if self._pending is not None:
            return self._pending
        if not self._trigger() or time.monotonic() < self._again:
            return None
        import cv2

        if self._capture is None:
            self._capture = cv2.VideoCapture(self._device)
        got, frame = self._capture.read()
        if not got:
            self._capture.release()
            self._capture = None
            self._again = time.monotonic() + self._retry_seconds
            return None
        _, encoded = cv2.imencode(".png", frame)
        part = Part(part_id=f"{self._camera}-{self._number():08d}", product=self._product, camera=self._camera)
        self._pending = Taken(encoded.tobytes(), part, part.part_id)
        return self._pending

    def done(self, taken: Taken) -> None:  # noqa: ARG002  # there is one frame
        """Take the next frame from now on."""
        self._pending = None

    def failed(self, token: str, reason: str) -> None:  # noqa: ARG002  # the same
        """Take the next frame from now on; a frame cannot be put aside."""
        self._pending = None

    def close(self) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def make_part(given: dict[str, Any], token: str) -> Part:
    """A part of what a source says.

    Raises:
        Unusable: A field is too long, the id is empty, or the time cannot be read.
    """
    try:
        return Part.model_validate(given)
    except ValueError as error:
        raise Unusable(f"The part of {token or 'an image'} cannot be: {error}", token) from error
