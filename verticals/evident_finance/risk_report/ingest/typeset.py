"""Prose as it is set: runs of one typeface, and the boxes of given text, straight from pdfium.

Rebuilding words with pdfplumber costs ten times as much; for headings and quoted sentences this is enough.
"""

import ctypes
import re
from collections.abc import Iterable
from typing import NamedTuple

import pypdfium2
from pypdfium2 import raw

from evident_core.evidence import BBox

_BOLD = re.compile(r"bold|black|heavy|demi|[-,]bd|[-_]b$|黑体|heiti|simhei", re.IGNORECASE)
_ITALIC = re.compile(r"ital|obli|[-_]it?$", re.IGNORECASE)
_NOT_INK = re.compile(r"[\s\u00ad\u200b\u0000-\u001f\ufffe\uffff]+")
_BLANK = frozenset("\u00a0\u00ad\u2002\u2003\u2009\u200b\u3000\ufffe\uffff")
_DOUBLE_F = re.compile(r"(?<=f)f")


class Run(NamedTuple):
    """Consecutive text in one typeface. ``left`` and ``top`` are its first character's, in points as displayed."""

    text: str
    font: str
    size: float
    bold: bool
    italic: bool
    left: float
    top: float


def ink(text: str) -> str:
    """The characters of a text that leave ink: no spaces, line breaks, soft hyphens or control characters."""
    return _NOT_INK.sub("", text)


def sounding(chars: Iterable[tuple[int, str]]) -> tuple[list[int], str]:
    """The inked characters with their indices, an f after an f left out.

    Where a page draws letters singly, pdfium drops the second f of "ff"; without it both spellings compare equal.
    """
    indices: list[int] = []
    inked: list[str] = []
    for index, char in chars:
        if char > " " and char not in _BLANK and not (char == "f" and inked and inked[-1] == "f"):
            indices.append(index)
            inked.append(char)
    return indices, "".join(inked)


def runs(document: pypdfium2.PdfDocument, page: int) -> tuple[Run, ...]:
    """The page's text in its own order, split where the typeface changes (font, size, or weight)."""
    with _TextPage(document, page) as text_page:
        return tuple(text_page.runs())


def locate(document: pypdfium2.PdfDocument, page: int, texts: Iterable[str]) -> list[BBox | None]:
    """A tight box for each of the texts on that page, whatever the line breaks in it; None where it is not printed."""
    with _TextPage(document, page) as text_page:
        return [text_page.box(text) for text in texts]


def _differs(one: tuple[str, float, int], other: tuple[str, float, int]) -> bool:
    """Another typeface; sizes within a point are one (a font's boxes vary by letter)."""
    return one[0] != other[0] or one[2] != other[2] or abs(one[1] - other[1]) > 1


class _TextPage:
    """A page open for reading its characters; closed at once, since pdfium keeps open pages in memory."""

    def __init__(self, document: pypdfium2.PdfDocument, page: int) -> None:
        self._page = document[page - 1]
        self._text = self._page.get_textpage()
        self._chars = [chr(raw.FPDFText_GetUnicode(self._text.raw, i)) for i in range(self._text.count_chars())]
        self._inked, self._ink = sounding(enumerate(self._chars))

    def __enter__(self) -> "_TextPage":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._page.close()

    def box(self, text: str) -> BBox | None:
        wanted = _DOUBLE_F.sub("", ink(text))
        start = self._ink.find(wanted) if wanted else -1
        if start < 0:
            return None
        first, last = self._inked[start], self._inked[start + len(wanted) - 1]
        count = raw.FPDFText_CountRects(self._text.raw, first, last - first + 1)
        corners = [self._displayed(*self._text.get_rect(i)) for i in range(count)]
        if not corners:
            return None
        return (
            min(c[0] for c in corners),
            min(c[1] for c in corners),
            max(c[2] for c in corners),
            max(c[3] for c in corners),
        )

    def _displayed(self, left: float, bottom: float, right: float, top: float) -> BBox:
        """PDF user space to the page as it is displayed: crop box and rotation are pdfium's to know."""
        fine = 64
        width, height = self._page.get_size()
        points = []
        for x, y in ((left, bottom), (right, top)):
            dx, dy = ctypes.c_int(), ctypes.c_int()
            raw.FPDF_PageToDevice(
                self._page.raw,
                0,
                0,
                round(width * fine),
                round(height * fine),
                0,
                x,
                y,
                ctypes.byref(dx),
                ctypes.byref(dy),
            )
            points.append((dx.value / fine, dy.value / fine))
        (x0, y0), (x1, y1) = points
        return (round(min(x0, x1), 2), round(min(y0, y1), 2), round(max(x0, x1), 2), round(max(y0, y1), 2))

    def runs(self) -> Iterable[Run]:
        start = 0
        style: tuple[str, float, int] | None = None
        for word in self._words():
            now = self._style(word[0])
            if style is None:
                style, start = now, word[0]
            elif _differs(now, style):
                yield self._run(start, word[0], style)
                style, start = now, word[0]
            if len(word) > 1 and _differs(last := self._style(word[-1]), style):
                change = next(i for i in word if _differs(self._style(i), style))
                yield self._run(start, change, style)
                style, start = last, change
        if style is not None:
            yield self._run(start, len(self._chars), style)

    def _words(self) -> Iterable[list[int]]:
        word: list[int] = []
        for i, char in enumerate(self._chars):
            if ink(char):
                word.append(i)
            elif word:
                yield word
                word = []
        if word:
            yield word

    def _style(self, index: int) -> tuple[str, float, int]:
        name, flags = ctypes.create_string_buffer(96), ctypes.c_int()
        raw.FPDFText_GetFontInfo(self._text.raw, index, name, 96, ctypes.byref(flags))
        font = name.value.decode("utf-8", "replace").split("+", 1)[-1]
        box = self._text.get_charbox(index, loose=True)
        return font, round((box[3] - box[1]) * 2) / 2, raw.FPDFText_GetFontWeight(self._text.raw, index)

    def _run(self, start: int, end: int, style: tuple[str, float, int]) -> Run:
        font, size, weight = style
        left, bottom, right, top = self._text.get_charbox(start)
        shown = self._displayed(left, bottom, right, top)
        bold = bool(_BOLD.search(font)) or weight >= 600
        text = "".join(self._chars[start:end])
        return Run(text, font, size, bold, bool(_ITALIC.search(font)), shown[0], shown[1])
