"""The ruling lines of a page: underlines of columns and totals, borders of cells."""

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2
from pypdfium2 import raw

from evident_core.evidence import BBox
from evident_finance.risk_report.ingest.shown import IDENTITY, Box, Matrix, Shown, moved, times
from evident_finance.risk_report.schema import Rule

_THIN = 3.0
_MOST_SEGMENTS = 400
_MOST_RULES = 4_000
_FORM_DEPTH = 8


def rules(page: pypdfium2.PdfPage, shown: Shown) -> tuple[Rule, ...]:
    """All thin areas and straight lines along an axis, as displayed."""
    found: dict[BBox, None] = {}
    for box in _boxes(page.raw, IDENTITY, 0):
        left, top, right, bottom = (round(side, 2) for side in shown.box(*box))
        if min(right - left, bottom - top) < _THIN <= max(right - left, bottom - top):
            found[(left, top, right, bottom)] = None
        if len(found) >= _MOST_RULES:
            break
    return tuple(Rule(bbox=box) for box in found)


def _boxes(parent: Any, around: Matrix, depth: int) -> Iterator[Box]:
    """Areas and lines of a page or form in user space, in the order they are drawn."""
    inside = depth > 0
    count = raw.FPDFFormObj_CountObjects(parent) if inside else raw.FPDFPage_CountObjects(parent)
    get = raw.FPDFFormObj_GetObject if inside else raw.FPDFPage_GetObject
    for index in range(max(0, count)):
        handle = get(parent, index)
        kind = raw.FPDFPageObj_GetType(handle)
        if kind == raw.FPDF_PAGEOBJ_FORM and depth < _FORM_DEPTH:
            yield from _boxes(handle, times(_matrix(handle), around), depth + 1)
        elif kind == raw.FPDF_PAGEOBJ_PATH:
            yield from (moved(box, around) for box in _path(handle))


def _path(handle: Any) -> Iterator[Box]:
    mode, stroked = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(handle, mode, stroked)
    if not stroked.value and mode.value == raw.FPDF_FILLMODE_NONE:
        return
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top)
    whole = (left.value, bottom.value, right.value, top.value)
    if min(whole[2] - whole[0], whole[3] - whole[1]) < _THIN:
        yield whole
    elif raw.FPDFPath_CountSegments(handle) <= _MOST_SEGMENTS and stroked.value:
        yield from _segments(handle)


def _segments(handle: Any) -> Iterator[Box]:
    """The straight lines that a stroked path is made of."""
    matrix = _matrix(handle)
    x, y = ctypes.c_float(), ctypes.c_float()
    start = here = (0.0, 0.0)
    for index in range(raw.FPDFPath_CountSegments(handle)):
        segment = raw.FPDFPath_GetPathSegment(handle, index)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        there = (x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = there
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield moved((*here, *there), matrix)
        here = there
        if raw.FPDFPathSegment_GetClose(segment):
            yield moved((*here, *start), matrix)
            here = start


def _matrix(handle: Any) -> Matrix:
    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(handle, matrix)
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f
