"""A page as a picture, upright, at the cost of that page alone."""

import io
import threading
from math import hypot, sqrt

import pypdfium2
from pypdfium2 import raw

from evident_core.errors import InvalidInput, NotFound, PasswordNeeded
from evident_finance.risk_report.ingest.limits import MAX_RENDER_PIXELS
from evident_finance.risk_report.ingest.shown import Shown

PDFIUM = threading.RLock()
"""pdfium is not thread-safe: whoever calls it where threads serve requests holds this."""

_SAMPLED = 60
_MOSTLY = 0.8


def render_page(data: bytes, page: int, scale: float, password: str | None = None) -> bytes:
    """One page as PNG, without reading the rest of the file; ``scale`` in pixels a point.

    Raises:
        NotFound: The file has no such page.
        InvalidInput: The bytes are no PDF that can be opened.
    """
    with PDFIUM:
        document = _open(data, password)
        try:
            opened = _upright(document, page)
            return picture(opened, scale)
        finally:
            document.close()


def page_size(data: bytes, page: int, password: str | None = None) -> tuple[float, float]:
    """Width and height in points of one page as it is displayed."""
    with PDFIUM:
        document = _open(data, password)
        try:
            opened = _upright(document, page)
            return Shown.of(opened).size
        finally:
            document.close()


def picture(page: pypdfium2.PdfPage, scale: float) -> bytes:
    """An open page as PNG; a page that would need too many pixels is rendered smaller."""
    width, height = page.get_size()
    scale = min(scale, sqrt(MAX_RENDER_PIXELS / max(1.0, width * height)))
    buffer = io.BytesIO()
    page.render(scale=scale, may_draw_forms=False).to_pil().save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def turn_upright(page: pypdfium2.PdfPage, text: pypdfium2.PdfTextPage) -> int:
    """Turn a page whose text is printed sideways or upside down, for as long as its document is open.

    Returns:
        The clockwise turn that was added: 0, 90, 180 or 270 degrees.
    """
    shown, directions = Shown.of(page), [0, 0, 0, 0]
    matrix, count = raw.FS_MATRIX(), text.count_chars()
    for index in range(0, count, max(1, count // _SAMPLED)):
        if raw.FPDFText_IsGenerated(text.raw, index) == 1 or not raw.FPDFText_GetMatrix(text.raw, index, matrix):
            continue
        across, down = shown.heading(matrix.a, matrix.b)
        length = hypot(across, down) or 1.0
        for direction, along in enumerate((across, -down, -across, down)):
            directions[direction] += along / length > 0.98
    turn = 90 * max(range(4), key=directions.__getitem__)
    if not turn or max(directions) < _MOSTLY * sum(directions):
        return 0
    page.set_rotation((page.get_rotation() + turn) % 360)
    return turn


def _open(data: bytes, password: str | None) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data, password=password)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise PasswordNeeded("The file is encrypted. Give its password to see its pages.") from error
        raise InvalidInput("The stored file can no longer be opened as a PDF. Upload it again.") from error


def _upright(document: pypdfium2.PdfDocument, page: int) -> pypdfium2.PdfPage:
    if not 1 <= page <= len(document):
        raise NotFound(f"There is no page {page}; the file has pages 1 to {len(document)}.", page=page)
    opened = document[page - 1]
    text = opened.get_textpage()
    turn_upright(opened, text)
    text.close()
    return opened
