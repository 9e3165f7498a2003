"""What kind of file some bytes are: they say so themselves, and a name may say otherwise."""

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from PIL import ImageFile

from evident_core.errors import UnsupportedMedia

Opener = Callable[[io.BytesIO], ImageFile.ImageFile]
_READ: tuple[tuple[str, Callable[[bytes], bool], str], ...] = (
    ("JPEG", lambda data: data[:3] == b"\xff\xd8\xff", "Jpeg"),
    ("PNG", lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", "Png"),
    ("BMP", lambda data: data[:2] == b"BM" and len(data) > 26, "Bmp"),
    ("TIFF", lambda data: data[:4] in (b"II*\0", b"MM\0*"), "Tiff"),
    ("WebP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", "WebP"),
)
"""Kinds of files, how each is told, and Pillow's plug-in for it."""

_KNOWN = (
    (b"GIF8", "a GIF", ".gif"),
    (b"%PDF", "a PDF", ".pdf"),
    (b"PK\x03\x04", "a ZIP or Office file", ".zip .docx .xlsx .pptx"),
    (b"\x1f\x8b", "a gzip file", ".gz .tgz"),
    (b"<", "HTML, SVG or XML text", ".html .htm .svg .xml"),
    (b"{", "JSON text", ".json"),
    (b"\x93NUMPY", "a NumPy array", ".npy"),
    (b"II+\0", "a BigTIFF", ".tif .tiff .btf"),
    (b"MM\0+", "a BigTIFF", ".tif .tiff .btf"),
)
"""How other files begin, what they are, and how their names end."""
_SUFFIXES = ".jpg .jpeg .png .bmp .tif .tiff .webp"


def kind_of(data: bytes, shown: str) -> tuple[str, Opener]:
    """The kind of a file of an image, and what opens it.

    Args:
        data: Its bytes.
        shown: Its name.

    Raises:
        UnsupportedMedia: It is of none that is read; the message says what it is, where that is known.
    """
    for kind, is_it, plugin in _READ:
        if is_it(data):
            # By itself: Image.open warns from 89 megapixels on by a limit that is global. And only the one that is
            # needed: a line has images of one kind, and all five take 5 ms of an agent's start.
            opener: Opener = getattr(import_module(f"PIL.{plugin}ImagePlugin"), f"{plugin}ImageFile")
            return kind, opener
    begins = data.lstrip()
    found, endings = next(
        ((what, ends) for start, what, ends in _KNOWN if begins.startswith(start)), ("no image that is read here", "")
    )
    suffix = Path(shown).suffix.lower()
    otherwise = suffix in _SUFFIXES.split() and suffix not in endings.split()
    raise UnsupportedMedia(
        f"{shown} is {found}{', whatever its name says' if otherwise else ''}; send JPEG, PNG, BMP, TIFF or WebP",
        name=shown,
        found=found,
        reason="kind",
    )
