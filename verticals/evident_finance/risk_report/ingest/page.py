"""One page, open for reading: what is printed on it, with boxes as displayed, and what it only hides."""

import ctypes
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from math import hypot
from typing import Any, NamedTuple, Self

import pypdfium2
from pdfplumber.utils.text import extract_words
from pypdfium2 import raw

from evident_core.evidence import BBox
from evident_finance.risk_report.ingest.hidden import address, fast, layer
from evident_finance.risk_report.ingest.rendering import turn_upright
from evident_finance.risk_report.ingest.rules import rules
from evident_finance.risk_report.ingest.shown import Box, Shown
from evident_finance.risk_report.schema import PageWords, Word

_SPACE = 0x20
_HYPHENS = {0x02, 0xFFFE}
_LEANING = {ord("f"), ord("/")}
_DRAWN_SINGLY = 0.5
_SHIFTED = 0.2
_ASCENT, _DESCENT = 0.78, 0.22
_BOLD = ("bold", "black", "heavy", "semibold", "demi", "黑体", "simhei", "-bd", "_b")
_BOLD_WEIGHT = 600
_RED, _RED_SHARE = 140, 0.4
_WORD_GAP = 0.3
_SAME_PLACE = 1.0
_STRAIGHT = 0.02
_NOT_INK = re.compile(r"[\s\u00ad\u0000-\u001f\ufffe\uffff]+")
_LEAST_QUOTE = 3
_LONG_LINE = 6
_ENOUGH_LINES = 6
_MOSTLY_TWICE = 0.65

_unicode: Callable[[int, int], int] = fast(raw.FPDFText_GetUnicode, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int)
_text_object: Callable[[int, int], int | None] = fast(
    raw.FPDFText_GetTextObject, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)


class Char(NamedTuple):
    """A printed character: text, box as displayed, font size in points, weight, whether upright and red."""

    text: str
    box: BBox
    size: float
    bold: bool
    upright: bool
    red: bool = False


class HiddenText(NamedTuple):
    """A run of text that is on a page and not seen: why, what it says, and where it would stand."""

    why: str
    text: str
    box: BBox


class _Style(NamedTuple):
    size: float
    bold: bool
    upright: bool
    straight: bool
    hidden: str
    red: bool


class Page:
    """A page of a document; to be closed at once, since open pages are kept in memory.

    With ``upright`` a page that is printed sideways is turned, for as long as its document is open; ``turned`` tells by
    how many degrees.
    """

    def __init__(self, page: pypdfium2.PdfPage, number: int, *, upright: bool = False) -> None:
        self.number = number
        self.pdfium = page
        self._text = page.get_textpage()
        self.turned = turn_upright(page, self._text) if upright else 0
        self.shown = Shown.of(page)
        self.layer = layer(page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self.pdfium.close()

    @cached_property
    def text(self) -> str:
        """All that the page prints, in its own order, without what it hides or prints twice in a place."""
        if self.is_doubled:
            return _clean(_set_in_lines(self.chars()))
        if self.layer.hidden:
            return _clean("".join(char for char, style, _ in self._drawn if style is None or not style.hidden))
        if self._twins:
            return _clean("".join(char * (1 + (index in self._twins)) for char, index in self._letters()))
        return self._plain

    @cached_property
    def is_doubled(self) -> bool:
        """Whether the page prints all of its text twice in the same place, as some converters do."""
        lines = [ink for line in self._plain.splitlines() if len(ink := _ink(line)) >= _LONG_LINE]
        if len(lines) < _ENOUGH_LINES or len(set(lines)) > _MOSTLY_TWICE * len(lines):
            return False
        printed = [char for char in self._printed() if char.text != " "]
        return len(_each_once(printed)) < _MOSTLY_TWICE * len(printed)

    @cached_property
    def _plain(self) -> str:
        return _clean(self._text.get_text_range())

    @property
    def hidden(self) -> list[HiddenText]:
        """The runs of text that are not seen; a mark or two, and copies of what is printed anyway, are left out."""
        if not self.layer.hidden:
            return []
        runs: list[tuple[str, str, list[BBox]]] = []
        for char, style, box in self._drawn:
            if style is None or box is None:
                if runs and runs[-1][0]:
                    runs[-1] = (runs[-1][0], runs[-1][1] + char, runs[-1][2])
                continue
            if not runs or runs[-1][0] != style.hidden:
                runs.append((style.hidden, "", []))
            if style.hidden:
                runs[-1] = (style.hidden, runs[-1][1] + char, [*runs[-1][2], box])
        printed = _ink(self.text)
        return [
            HiddenText(why, " ".join(text.split()), _around(boxes))
            for why, text, boxes in runs
            if why and len(_ink(text)) >= _LEAST_QUOTE and _ink(text) not in printed
        ]

    def chars(self) -> list[Char]:
        """The printed characters and spaces, each once however often it is drawn in its place."""
        return _each_once(self._printed())

    def _printed(self) -> list[Char]:
        chars: list[Char] = []
        for text, style, box in self._characters():
            if style is None and text == " " and chars:
                chars.append(_space_after(chars[-1]))
            if style is not None and box is not None and not style.hidden and style.straight and text:
                chars.append(Char(text, box, style.size, style.bold, style.upright, style.red))
        return chars

    def words(self) -> PageWords:
        """The printed words and rules."""
        width, height = self.shown.size
        words = extract_words(
            [_plumbed(char) for char in self.chars()],
            x_tolerance_ratio=_WORD_GAP,
            keep_blank_chars=False,
            use_text_flow=False,
            extra_attrs=["size", "bold", "red"],
        )
        return PageWords(
            page=self.number,
            width=width,
            height=height,
            words=tuple(
                Word(
                    text=word["text"],
                    bbox=tuple(round(word[side], 2) for side in ("x0", "top", "x1", "bottom")),
                    size=word["size"],
                    bold=word["bold"],
                    red=word["red"],
                )
                for word in words
            ),
            rules=rules(self.pdfium, self.shown),
            recognised=self.layer.scan,
        )

    @cached_property
    def _drawn(self) -> list[tuple[str, _Style | None, BBox | None]]:
        return list(self._characters())

    def _characters(self) -> Iterator[tuple[str, _Style | None, BBox | None]]:
        """Every character in the page's own order; without style and box those that pdfium adds (spaces, line ends)."""
        text_page = self._text.raw
        box = raw.FS_RECTF()
        x, y = ctypes.c_double(), ctypes.c_double()
        styles: dict[int, _Style] = {}
        for text, index in self._letters():
            drawn = raw.FPDFText_GetTextObject(text_page, index)
            if not drawn or raw.FPDFText_IsGenerated(text_page, index) == 1:
                yield text, None, None
                continue
            where = address(drawn)
            style = styles.get(where)
            if style is None:
                style = styles[where] = self._style(drawn, where, index)
            raw.FPDFText_GetLooseCharBox(text_page, index, box)
            left, top, right, bottom = self.shown.box(box.left, box.bottom, box.right, box.top)
            if style.upright:
                raw.FPDFText_GetCharOrigin(text_page, index, x, y)
                _, baseline = self.shown.point(x.value, y.value)
                top, bottom = baseline - _ASCENT * style.size, baseline + _DESCENT * style.size
            yield text, style, (left, top, right, bottom)
            if index in self._twins:
                yield text, style, (right, top, right + (right - left), bottom)

    def _letters(self) -> Iterator[tuple[str, int]]:
        """Each character with its index, without the space that pdfium reads where it dropped a letter's twin."""
        skip = False
        for index, code in enumerate(self._codes):
            if skip and code == _SPACE and raw.FPDFText_IsGenerated(self._text.raw, index) == 1:
                continue
            skip = False
            yield "-" if code in _HYPHENS else chr(code) if code and not 0xD800 <= code < 0xE000 else "", index
            if index in self._twins:
                skip = True

    @cached_property
    def _codes(self) -> list[int]:
        text_page = address(self._text.raw)
        return [_unicode(text_page, index) for index in range(self._text.count_chars())]

    @cached_property
    def _twins(self) -> frozenset[int]:
        """The letters whose repetition pdfium dropped.

        A page that draws each letter by itself has "ff" as two objects that overlap by most of their width, since f
        leans over; pdfium drops the second ("of ice", "ef ective"). It is there when the object drawn next after an
        f has its size, stands further along the line, and belongs to no other character.
        """
        if len(self.layer.texts) < _DRAWN_SINGLY * self._text.count_chars():
            return frozenset()
        order = {where: place for place, (where, _) in enumerate(self.layer.texts)}
        text_page, found = address(self._text.raw), set()
        for index, code in enumerate(self._codes):
            if code not in _LEANING:
                continue
            place = order.get(_text_object(text_page, index) or 0, len(order))
            if place + 1 >= len(self.layer.texts):
                continue
            box, (where, next_box) = self.layer.texts[place][1], self.layer.texts[place + 1]
            if not _same_size(box, next_box) or abs(next_box[0] - box[0]) < _SHIFTED * (box[2] - box[0]):
                continue
            following = (_text_object(text_page, i) for i in range(index + 1, min(index + 4, len(self._codes))))
            if where not in following:
                found.add(index)
        return frozenset(found)

    def _style(self, drawn: Any, where: int, index: int) -> _Style:
        matrix, size = raw.FS_MATRIX(), ctypes.c_float()
        raw.FPDFText_GetMatrix(self._text.raw, index, matrix)
        raw.FPDFTextObj_GetFontSize(drawn, size)
        across, down = self.shown.heading(matrix.a, matrix.b)
        length = hypot(across, down) or 1.0
        return _Style(
            size=round(size.value * hypot(matrix.c, matrix.d), 2),
            bold=_is_bold(drawn),
            upright=across / length > 1 - _STRAIGHT,
            straight=min(abs(across), abs(down)) / length < _STRAIGHT,
            hidden=self.layer.hidden.get(where, ""),
            red=_is_red(drawn),
        )


def locate(printed: Iterable[tuple[str, BBox]], texts: Iterable[str]) -> list[BBox | None]:
    """A tight box for each text in what is printed (characters or words, in order), whatever spaces and line breaks."""
    places = [(char, box) for piece, box in printed for char in _ink(piece)]
    ink = "".join(char for char, _ in places)
    boxes: list[BBox | None] = []
    for text in texts:
        wanted = _ink(_clean(text))
        start = ink.find(wanted) if wanted else -1
        boxes.append(_around(box for _, box in places[start : start + len(wanted)]) if start >= 0 else None)
    return boxes


def _is_bold(drawn: Any) -> bool:
    """By the font's weight or name, or because its letters are outlined as well as filled."""
    font = raw.FPDFTextObj_GetFont(drawn)
    name = ctypes.create_string_buffer(128)
    raw.FPDFFont_GetBaseFontName(font, name, 128)
    lower = name.value.decode("utf-8", "replace").lower()
    return (
        any(mark in lower for mark in _BOLD)
        or raw.FPDFFont_GetWeight(font) >= _BOLD_WEIGHT
        or raw.FPDFTextObj_GetTextRenderMode(drawn) == raw.FPDF_TEXTRENDERMODE_FILL_STROKE
    )


def _is_red(drawn: Any) -> bool:
    """Red as a person sees it: much red, and little of the other two."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not raw.FPDFPageObj_GetFillColor(drawn, red, green, blue, alpha):
        return False
    return red.value > _RED and max(green.value, blue.value) < red.value * _RED_SHARE


def _each_once(chars: list[Char]) -> list[Char]:
    """Without the second drawing of a character in the same place: doubled text layers, bold by printing twice."""
    seen: dict[tuple[str, int, int], list[BBox]] = {}
    once: list[Char] = []
    for char in chars:
        column, row = round(char.box[0] / _SAME_PLACE), round(char.box[3] / _SAME_PLACE)
        near = (
            box for dx in (-1, 0, 1) for dy in (-1, 0, 1) for box in seen.get((char.text, column + dx, row + dy), ())
        )
        if any(abs(box[0] - char.box[0]) <= _SAME_PLACE and abs(box[3] - char.box[3]) <= _SAME_PLACE for box in near):
            continue
        seen.setdefault((char.text, column, row), []).append(char.box)
        once.append(char)
    return once


def _same_size(one: Box, other: Box) -> bool:
    return (
        one[2] > one[0]
        and abs((one[2] - one[0]) - (other[2] - other[0])) < 0.02 * (one[2] - one[0])
        and abs(one[1] - other[1]) < 0.05
        and abs(one[3] - other[3]) < 0.05
    )


def _space_after(char: Char) -> Char:
    """The space that pdfium reads between two characters which are set apart without one."""
    _, top, right, bottom = char.box
    return char._replace(text=" ", box=(right, top, right, bottom))


def _set_in_lines(chars: list[Char]) -> str:
    """The characters' text, a new line wherever the place moves back or down."""
    text: list[str] = []
    last: Char | None = None
    for char in chars:
        if last is not None and abs(char.box[3] - last.box[3]) > char.size / 2:
            text.append("\n")
        text.append(char.text)
        last = char
    return "".join(text)


def _plumbed(char: Char) -> dict[str, Any]:
    """A character as pdfplumber's word grouping takes it."""
    left, top, right, bottom = char.box
    return {
        "text": char.text,
        "x0": left,
        "x1": right,
        "top": top,
        "bottom": bottom,
        "doctop": top,
        "upright": char.upright,
        "size": char.size,
        "bold": char.bold,
        "red": char.red,
        "direction": 1,
    }


def _around(boxes: Iterable[BBox]) -> BBox:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _ink(text: str) -> str:
    return _NOT_INK.sub("", text)


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("￾", "-").replace("\x02", "-").replace("\x00", "")
