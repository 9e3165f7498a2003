"""Text that a page carries and a reader does not see: found by its drawing, and confirmed by rendering without it.

Every text object that is drawn invisibly, transparently, near white, smaller than a point, off the page, or before an
opaque area that contains it, is suspected. The page is then rendered twice, with and without the suspects: those whose
box does not change are hidden. White letters on a dark head stay what they are: visible.
"""

import ctypes
from collections.abc import Callable
from math import hypot
from typing import Any, NamedTuple

import pypdfium2
from PIL import Image, ImageChops
from pypdfium2 import raw

from evident_finance.risk_report.ingest.shown import Box, Matrix, Shown, moved, times

_INVISIBLE_MODES = (raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP)
_FILLED_MODES = (raw.FPDF_TEXTRENDERMODE_FILL, raw.FPDF_TEXTRENDERMODE_FILL_CLIP)
_NEAR_WHITE = 235
_UNSEEN_CONTRAST = 24
_SMALLEST_SIZE = 1.0
_SMALLEST_COVER = 4.0
_MOST_COVERS = 2_000
_RENDERED_SIDE = 1600
_FORM_DEPTH = 8
_SCAN_SHARE = 0.5
_GRID = 36.0

Getter = Callable[[int, int], int]


def fast(function: Any, result: Any, *arguments: Any) -> Any:
    """A pdfium function over plain addresses: half the cost of a call; some filings have 600,000 objects."""
    return ctypes.PYFUNCTYPE(result, *arguments)(ctypes.cast(function, ctypes.c_void_p).value or 0)


_P = ctypes.c_void_p
_page_object: Getter = fast(raw.FPDFPage_GetObject, _P, _P, ctypes.c_int)
_form_object: Getter = fast(raw.FPDFFormObj_GetObject, _P, _P, ctypes.c_ulong)
_form_count: Callable[[int], int] = fast(raw.FPDFFormObj_CountObjects, ctypes.c_int, _P)
_kind: Callable[[int], int] = fast(raw.FPDFPageObj_GetType, ctypes.c_int, _P)
_mode: Callable[[int], int] = fast(raw.FPDFTextObj_GetTextRenderMode, ctypes.c_int, _P)
_fill: Callable[[int, int, int, int, int], int] = fast(raw.FPDFPageObj_GetFillColor, ctypes.c_int, _P, _P, _P, _P, _P)
_bounds: Callable[[int, int, int, int, int], int] = fast(raw.FPDFPageObj_GetBounds, ctypes.c_int, _P, _P, _P, _P, _P)
_matrix: Callable[[int, int], int] = fast(raw.FPDFPageObj_GetMatrix, ctypes.c_int, _P, _P)
_font_size: Callable[[int, int], int] = fast(raw.FPDFTextObj_GetFontSize, ctypes.c_int, _P, _P)
_draw_mode: Callable[[int, int, int], int] = fast(raw.FPDFPath_GetDrawMode, ctypes.c_int, _P, _P, _P)
_set_active: Callable[[int, int], int] = fast(raw.FPDFPageObj_SetIsActive, ctypes.c_int, _P, ctypes.c_int)


class _Suspect(NamedTuple):
    why: str
    box: Box
    certain: bool


class Layer(NamedTuple):
    """What is known of a page's text objects.

    ``hidden`` maps an object's address to why it is not seen. ``scan`` tells that a picture fills the page, so that
    unseen text is what a scanner's software recognised; ``pictured`` is the largest picture's share of the page.
    ``texts`` are the addresses and boxes (in user space) of all text objects, in the order they are drawn.
    """

    hidden: dict[int, str]
    scan: bool
    pictured: float
    texts: list[tuple[int, Box]]


def address(handle: Any) -> int:
    """A pdfium pointer as a number that can be compared."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def layer(page: pypdfium2.PdfPage) -> Layer:
    """The hidden text objects of an open page."""
    shown = Shown.of(page)
    survey = _Survey(shown)
    survey.walk(_page_object, address(page.raw), raw.FPDFPage_CountObjects(page.raw))
    survey.find_covered()
    suspects = survey.suspects
    scan = survey.pictured > _SCAN_SHARE and len(suspects) > len(survey.texts) / 2
    if scan or not suspects:
        return Layer({}, scan, survey.pictured, survey.texts)
    uncertain = [handle for handle, suspect in suspects.items() if not suspect.certain]
    changed = _changes(page, shown, uncertain) if uncertain else None
    hidden = {
        handle: suspect.why
        for handle, suspect in suspects.items()
        if suspect.certain or changed is None or not _within(changed, suspect.box)
    }
    return Layer(hidden, scan, survey.pictured, survey.texts)


class _Survey:
    """One pass over a page's objects. Boxes of texts and covers are in user space, those of suspects as displayed."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.suspects: dict[int, _Suspect] = {}
        self.texts: list[tuple[int, Box]] = []
        self.covers: list[tuple[int, Box]] = []
        self.pictured = 0.0
        self._colour = (ctypes.c_uint * 4)()
        self._box = (ctypes.c_float * 4)()

    def walk(self, get: Getter, parent: int, count: int, matrix: Matrix | None = None, depth: int = 0) -> None:
        """Look at all objects of a page or form, in the order they are drawn."""
        left, bottom, right, top, turn = self.shown
        low = 2 if turn in (90, 270) else 3
        colour, colours = _view(self._colour, "I")
        bounds, corners = _view(self._box, "f")
        c0, c1, c2, c3 = colours
        b0, b1, b2, b3 = corners
        for index in range(count):
            handle = get(parent, index)
            mode = _mode(handle)
            if mode < 0:
                self._area(handle, matrix, depth)
                continue
            if not _bounds(handle, b0, b1, b2, b3):
                continue
            box: Box = (bounds[0], bounds[1], bounds[2], bounds[3])
            if matrix is not None:
                box = moved(box, matrix)
            self.texts.append((handle, box))
            _fill(handle, c0, c1, c2, c3)
            if mode in _INVISIBLE_MODES:
                self._suspect(handle, "drawn invisibly", box)
            elif colour[3] < 8 and mode in _FILLED_MODES:
                self._suspect(handle, "drawn transparently", box)
            elif box[2] <= left or box[3] <= bottom or box[0] >= right or box[1] >= top:
                self._suspect(handle, "placed off the page", box, certain=True)
            elif 0 < box[low] - box[low - 2] < _SMALLEST_SIZE and _size(handle, matrix) < _SMALLEST_SIZE:
                self._suspect(handle, "printed smaller than one point", box, certain=True)
            elif colour[0] >= _NEAR_WHITE and colour[1] >= _NEAR_WHITE and colour[2] >= _NEAR_WHITE:
                self._suspect(handle, "in the colour of its background", box)

    def find_covered(self) -> None:
        """Suspect the texts that lie within an opaque area drawn after them."""
        if not self.covers:
            return
        cells: dict[tuple[int, int], list[int]] = {}
        for order, (_, box) in enumerate(self.texts):
            cells.setdefault(_cell((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), []).append(order)
        largest = sorted(self.covers, key=lambda cover: _area(cover[1]), reverse=True)[:_MOST_COVERS]
        for before, cover in largest:
            (first_column, first_row), (last_column, last_row) = _cell(cover[0], cover[1]), _cell(cover[2], cover[3])
            for (column, row), orders in cells.items():
                if first_column <= column <= last_column and first_row <= row <= last_row:
                    for order in orders:
                        handle, box = self.texts[order]
                        if order < before and handle not in self.suspects and _contains(cover, box):
                            self._suspect(handle, "covered by a picture or an area", box)

    def _suspect(self, handle: int, why: str, box: Box, *, certain: bool = False) -> None:
        self.suspects[handle] = _Suspect(why, self.shown.box(*box), certain)

    def _area(self, handle: int, matrix: Matrix | None, depth: int) -> None:
        """A picture, path or form: noted when it may cover text, walked when it is a form."""
        kind = _kind(handle)
        if kind == raw.FPDF_PAGEOBJ_FORM:
            if depth < _FORM_DEPTH:
                own = _matrix_of(handle)
                inner = own if matrix is None else times(own, matrix)
                self.walk(_form_object, handle, max(0, _form_count(handle)), inner, depth + 1)
            return
        if kind not in (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH):
            return
        bounds, corners = _view(self._box, "f")
        if not _bounds(handle, *corners):
            return
        box: Box = (bounds[0], bounds[1], bounds[2], bounds[3])
        if matrix is not None:
            box = moved(box, matrix)
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            self.pictured = max(self.pictured, _share(box, self.shown))
        if self.texts and _area(box) > _SMALLEST_COVER and (kind == raw.FPDF_PAGEOBJ_IMAGE or self._filled(handle)):
            self.covers.append((len(self.texts), box))

    def _filled(self, handle: int) -> bool:
        mode, stroked = ctypes.c_int(), ctypes.c_int()
        _draw_mode(handle, ctypes.addressof(mode), ctypes.addressof(stroked))
        colour, colours = _view(self._colour, "I")
        _fill(handle, *colours)
        return bool(mode.value != raw.FPDF_FILLMODE_NONE and colour[3] > 250)


def _view(array: Any, code: Any) -> tuple[Any, tuple[int, int, int, int]]:
    """A C array of four as numbers to read, and the addresses of its elements to write to."""
    base = ctypes.addressof(array)
    return memoryview(array).cast("B").cast(code), (base, base + 4, base + 8, base + 12)


def _changes(page: pypdfium2.PdfPage, shown: Shown, suspects: list[int]) -> tuple[Image.Image, float]:
    """Where the page looks different without the suspects: white there, black elsewhere; and pixels a point."""
    scale = min(2.0, _RENDERED_SIDE / max(*shown.size, 1.0))
    with_them = page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil()
    for handle in suspects:
        _set_active(handle, 0)
    without = page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil()
    for handle in suspects:
        _set_active(handle, 1)
    difference = ImageChops.difference(with_them.convert("L"), without.convert("L"))
    return difference.point([0 if level < _UNSEEN_CONTRAST else 255 for level in range(256)]), scale


def _within(changed: tuple[Image.Image, float], box: Box) -> bool:
    """Whether anything changed in a box of the displayed page."""
    image, scale = changed
    left, top = max(0, int(box[0] * scale) - 1), max(0, int(box[1] * scale) - 1)
    right, bottom = min(image.width, int(box[2] * scale) + 2), min(image.height, int(box[3] * scale) + 2)
    if right <= left or bottom <= top:
        return False
    return image.crop((left, top, right, bottom)).getbbox() is not None


def _size(handle: int, around: Matrix | None) -> float:
    """The font size in points as printed."""
    size = ctypes.c_float()
    _font_size(handle, ctypes.addressof(size))
    own = _matrix_of(handle)
    outer = hypot(around[2], around[3]) if around else 1.0
    return size.value * hypot(own[2], own[3]) * outer


def _matrix_of(handle: int) -> Matrix:
    matrix = raw.FS_MATRIX()
    _matrix(handle, ctypes.addressof(matrix))
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _cell(x: float, y: float) -> tuple[int, int]:
    return int(x // _GRID), int(y // _GRID)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _share(box: Box, shown: Shown) -> float:
    """How much of the page a box of user space fills."""
    left, top, right, bottom = shown.box(*box)
    width, height = shown.size
    return (
        max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0)) / (width * height or 1)
    )


def _contains(outer: Box, inner: Box) -> bool:
    slack = 1.0
    return (
        outer[0] <= inner[0] + slack
        and outer[1] <= inner[1] + slack
        and outer[2] >= inner[2] - slack
        and outer[3] >= inner[3] - slack
    )
