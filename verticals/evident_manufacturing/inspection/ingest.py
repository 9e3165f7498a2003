"""Bytes to a Board: an image as one channel of 8 bits, upright, or a refusal that says why.

What an image is, its bytes say and not its name. Colour becomes luma (ITU-R BT.601); samples of more than 8 bits are
scaled by the depth of the camera; transparent pixels are laid on black, as no light came from there.
"""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from evident_core.errors import InvalidInput, NotFound, TooLarge, UnsupportedMedia
from evident_core.evidence import InputRef
from evident_manufacturing.inspection.file_kinds import kind_of

BLANK_RANGE = 12
"""Grey levels between the darkest and the brightest 0.01 % below which an image shows nothing."""

WASHED_OUT = 96
"""Grey level that the darkest 0.01 % should stay below where a quarter of the board is saturated."""

TOO_DARK = 64
"""Grey level that the brightest 0.01 % of a board should exceed."""

BLURRED_EDGE = 5.0
"""Pixels over which the steepest edges may rise: over 1.8 to 1.9 on 1,000 DeepPCB boards, over 5.2 to 5.3 when the same
are blurred by a Gaussian of 2 pixels."""

_BAND = 512
"""Rows of a picture that are worked on at once."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    struct.error,
    zlib.error,
    Warning,
)
"""What Pillow raises on broken files; Warning, where a caller turned its warnings about them into errors."""


@dataclass(frozen=True)
class Limits:
    """How much of an image is read at most, and how small it may be.

    Attributes:
        max_bytes: Of the file.
        max_pixels: Width times height, from the header, before a pixel is unpacked: 16,384 x 16,384.
        min_side: Pixels of the shorter side.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_pixels: int = 16_384 * 16_384
    min_side: int = 32


@dataclass(frozen=True)
class Note:
    """A remark on an image: ``code`` for programs, a sentence for a person, and the figure it rests on."""

    code: str
    message: str
    value: float = 0.0


@dataclass(frozen=True)
class Board:
    """An image to inspect, or a template.

    Attributes:
        input: Its SHA-256 and the name that its sender gave it.
        gray: uint8 [H, W], upright; read-only, so that what was made of a template once stays true.
        width: Pixels.
        height: Pixels.
        notes: What was done to the samples: turned, scaled, laid on black.
    """

    input: InputRef
    gray: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[Note, ...] = ()


def ingest(data: bytes, *, name: str, limits: Limits = Limits(), allow_blank: bool = False) -> Board:
    """Read an image.

    Args:
        data: The file's bytes: JPEG, PNG, BMP, TIFF or WebP.
        name: What its sender calls it; shown, never opened as a path.
        limits: What is refused for its size.
        allow_blank: Whether an image that shows nothing is read: a template of a bare area is one.

    Raises:
        UnsupportedMedia: The bytes are not such an image, whatever the name says, or its samples are not brightness.
        InvalidInput: Empty, truncated, more than one frame, too small, or blank.
        TooLarge: More bytes or pixels than are read.
    """
    shown = _shown(name)
    if not data:
        raise InvalidInput(f"{shown} is empty (0 bytes); send the image again", name=shown, reason="empty")
    if len(data) > limits.max_bytes:
        raise TooLarge(f"{shown} has {len(data):,} bytes; at most {limits.max_bytes:,} are read", bytes=len(data))
    kind, opener = kind_of(data, shown)
    # A switch of the whole process, which other libraries turn on: half a board must not pass for a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with opener(io.BytesIO(data)) as image:
            _check_header(image, shown, limits)
            gray, notes = _gray(image, shown)
    except _BROKEN as error:
        raise InvalidInput(
            f"{shown} is a {kind} that cannot be read to its end ({error}); it is truncated, damaged "
            "or of a rare kind: send it again, or as PNG",
            name=shown,
            kind=kind,
            reason="damaged",
        ) from error
    if not allow_blank and not _shows_something(gray):
        raise InvalidInput(
            f"{shown} is blank: its grey levels lie within {BLANK_RANGE} of each other, so there is nothing to "
            "inspect; check the light, the lens cap and the trigger",
            name=shown,
            reason="blank",
        )
    gray.flags.writeable = False
    ref = InputRef(sha256=hashlib.sha256(data).hexdigest(), name=shown)
    return Board(ref, gray, gray.shape[1], gray.shape[0], notes)


def read(path: Path, *, limits: Limits = Limits(), allow_blank: bool = False) -> Board:
    """:func:`ingest` of a file; its name may be in any script (OpenCV's own reader refuses some)."""
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise TooLarge(f"{path.name} has {size:,} bytes; at most {limits.max_bytes:,} are read", bytes=size)
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    return ingest(data, name=path.name, limits=limits, allow_blank=allow_blank)


def quality(board: Board) -> tuple[Note, ...]:
    """What is wrong with the exposure or the focus of a board: remarks, as a bad picture may still show a defect."""
    gray = board.gray
    shares = np.cumsum(cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()) / gray.size
    dark, bright = (int(np.searchsorted(shares, share)) for share in (0.0001, 0.9999))
    saturated = 1.0 - float(shares[253])
    notes = []
    if saturated > 0.25 and dark > WASHED_OUT:
        notes.append(
            Note(
                "over_exposed", f"{saturated:.0%} of the pixels are saturated and none is dark; expose less", saturated
            )
        )
    if bright < TOO_DARK:
        notes.append(Note("under_exposed", f"the brightest pixels have level {bright} of 255; expose more", bright))
    edge = _edge_width(gray)
    if edge > BLURRED_EDGE:
        notes.append(
            Note("blurred", f"the sharpest edges rise over {edge:.1f} pixels; check the focus and the speed", edge)
        )
    return tuple(notes)


def _edge_width(gray: NDArray[np.uint8]) -> float:
    """Pixels over which the steepest edges rise: the contrast over the median slope of the steepest 64 pixels."""
    steepest: NDArray[np.floating] = np.zeros(0, np.float32)
    low, high = 255, 0
    for top in range(0, len(gray), _BAND):  # slopes of a whole line scan would take twelve times its memory
        first, last = max(0, top - 1), min(len(gray), top + _BAND + 1)
        own, band = np.s_[top - first : min(len(gray), top + _BAND) - first], gray[first:last]
        slope_x, slope_y = (cv2.Sobel(band, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
        slope = np.concatenate((steepest, cv2.magnitude(slope_x, slope_y)[own].ravel()))
        steepest = np.partition(slope, slope.size - 64)[-64:]
        smooth = cv2.medianBlur(band, 3)[own]
        low, high = min(low, int(smooth.min())), max(high, int(smooth.max()))
    return float((high - low) / max(float(np.median(steepest)), 1e-6)) if high > low else 0.0


def _shows_something(gray: NDArray[np.uint8]) -> bool:
    """Whether grey levels differ, but for the ten-thousandth at each end."""
    least = gray.size * 0.0001
    # A part of the rows that has enough of both dark and bright speaks for all: most boards are settled by it.
    for rows in (gray[:: max(1, len(gray) // 64)], gray):
        counts = np.cumsum(cv2.calcHist([np.ascontiguousarray(rows)], [0], None, [256], [0, 256]).ravel())
        low, high = np.searchsorted(counts, (least, counts[-1] - least))
        if int(high) - int(low) >= BLANK_RANGE:
            return True
    return False


def _shown(name: str) -> str:
    """The last part of whatever was given as a name: it is for display, and a path in it says nothing."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(char for char in last if char.isprintable()).strip()[:200] or "image"


def _check_header(image: ImageFile.ImageFile, shown: str, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"{shown} has {width:,} x {height:,} pixels; at most {limits.max_pixels:,} are read; "
            "cut it and its template into the same parts, and send each part as a board of its own",
            name=shown,
            width=width,
            height=height,
            most=limits.max_pixels,
            reason="pixels",
        )
    if min(width, height) < limits.min_side:
        raise InvalidInput(
            f"{shown} has {width} x {height} pixels; at least {limits.min_side} a side are needed to see a defect",
            name=shown,
            width=width,
            height=height,
            least=limits.min_side,
            reason="small",
        )
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        raise InvalidInput(
            f"{shown} has {frames} frames, and an inspection is of one picture; send each as its own file",
            name=shown,
            frames=frames,
            reason="frames",
        )


def _gray(image: Image.Image, shown: str) -> tuple[NDArray[np.uint8], tuple[Note, ...]]:
    notes = []
    orientation = image.getexif().get(0x0112, 1)
    image.load()
    if orientation in range(2, 9):
        image = ImageOps.exif_transpose(image)
        notes.append(Note("turned", f"turned upright by its EXIF orientation {orientation}", float(orientation)))
    if image.mode.startswith("I"):
        gray, note = _scaled(np.asarray(image), shown)
        return gray, (*notes, note)
    if image.mode == "F":
        raise UnsupportedMedia(f"{shown} has floating-point samples, whose white is not known; send 8 or 16 bits")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        solid = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", solid.size, (0, 0, 0, 255)), solid)
        if np.asarray(solid.getchannel("A")).min() < 255:
            notes.append(Note("alpha", "transparent pixels were laid on black"))
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB") if image.mode not in ("1",) else image
    return np.array(image if image.mode == "L" else image.convert("L"), dtype=np.uint8), tuple(notes)


def _scaled(samples: NDArray[np.integer], shown: str) -> tuple[NDArray[np.uint8], Note]:
    """Eight bits of more: cameras of 10, 12 and 14 bits leave the upper bits of two bytes empty."""
    low, high = int(samples.min()), int(samples.max())
    if low < 0 or high > 0xFFFF:
        raise UnsupportedMedia(
            f"{shown} has samples from {low} to {high}; send 8 or 16 bits, 0 to 65535", low=low, high=high
        )
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 1 << bits)
    levels = np.round(np.arange(1 << bits) * (255.0 / ((1 << bits) - 1))).astype(np.uint8)
    gray = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _BAND):  # looking up takes eight bytes a pixel
        gray[top : top + _BAND] = levels[samples[top : top + _BAND]]
    return gray, Note("scaled", f"scaled from {bits} to 8 bits", float(bits))
