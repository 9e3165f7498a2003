"""A pen that writes on the pages of a PDF and tells where each word came to stand."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import reportlab
from reportlab.lib.colors import white
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from .truth import BBox

_EMBEDDED = Path(__file__).parents[1] / "fonts" / "EvidentSampleSans.ttf"
_WIDE = re.compile(r"[⺀-鿿　-〿＀-￯‐-―−—“”‘’…－（）]+")
_FACES = {
    "serif": ("Times-Roman", "Times-Bold"),
    "sans": ("Helvetica", "Helvetica-Bold"),
    "vera": ("Vera", "VeraBd"),
    "embedded": ("EvidentSampleSans", "EvidentSampleSans"),
    "embedded_times": ("EvidentSampleSans", "EvidentSampleSans"),
    "cid": ("STSong-Light", "STSong-Light"),
    "cid_times": ("STSong-Light", "STSong-Light"),
    "cid_hk": ("MSung-Light", "MSung-Light"),
    "cid_hk_times": ("MSung-Light", "MSung-Light"),
}


def _register(face: str) -> None:
    if face in pdfmetrics.getRegisteredFontNames():
        return
    if face.startswith("Vera"):
        pdfmetrics.registerFont(TTFont(face, str(Path(reportlab.__file__).parent / "fonts" / f"{face}.ttf")))
    elif face == "EvidentSampleSans":
        pdfmetrics.registerFont(TTFont(face, str(_EMBEDDED)))
    elif face.endswith("-Light"):
        pdfmetrics.registerFont(UnicodeCIDFont(face))


class Pen:
    """Draws text on pages; ``y`` is the height of the next line above the lower edge.

    ``rotated`` pages are stored upright with a /Rotate of 90, and read as landscape. ``doubled`` sets every word
    twice, as some printers fake bold.
    """

    def __init__(self, font: str, *, chinese: bool = False, doubled: bool = False, title: str = "") -> None:
        self._buffer = io.BytesIO()
        self.paper = A4 if chinese else LETTER
        self.canvas = Canvas(self._buffer, pagesize=self.paper, invariant=1, pageCompression=1)
        self.canvas.setTitle(title)
        self.canvas.setAuthor("Evident sample data")
        self.face, self.bold_face = _FACES[font]
        for face in _FACES[font]:
            _register(face)
        self._mixed = font.endswith("_times")
        self._doubled = doubled
        self.page = 0
        self.width, self.height = self.paper
        self.y = 0.0
        self.margin, self.leading = 50.0, 1.35
        self.furniture: Callable[[Pen], None] | None = None

    def new_page(self, kind: str = "portrait") -> None:
        """Close the page and open the next."""
        if self.page:
            self.canvas.showPage()
        self.page += 1
        short, long = self.paper
        self.width, self.height = (short, long) if kind == "portrait" else (long, short)
        if kind == "rotated":
            self.canvas.setPageSize(
                (long, short)
            )  # as displayed: reportlab turns the MediaBox of a rotated page itself
            self.canvas.setPageRotation(90)
            self.canvas.translate(short, 0)
            self.canvas.rotate(90)
        else:
            self.canvas.setPageSize((self.width, self.height))
            self.canvas.setPageRotation(0)
        self.y = self.height - self.margin
        if self.furniture:
            self.furniture(self)

    def finish(self) -> bytes:
        """Close the file and give its bytes."""
        self.canvas.showPage()
        self.canvas.save()
        return self._buffer.getvalue()

    def measure(self, text: str, size: float, bold: bool = False) -> float:
        """Width in points."""
        return float(sum(pdfmetrics.stringWidth(run, face, size) for run, face in self._runs(text, bold)))

    def text(
        self, x: float, text: str, size: float, *, bold: bool = False, rise: float = 0.0, y: float | None = None,
        red: bool = False,
    ) -> BBox:  # fmt: skip
        """Write from x on; gives the box of the words."""
        if red:
            self.canvas.saveState()
            self.canvas.setFillColorRGB(0.8, 0, 0)
            box = self.text(x, text, size, bold=bold, rise=rise, y=y)
            self.canvas.restoreState()
            return box
        y = (self.y if y is None else y) + rise
        width = 0.0
        for run, face in self._runs(text, bold):
            self.canvas.setFont(face, size)
            stroked = bold and face == self.face  # a face without a bold of its own is thickened by its outline
            if stroked:
                self.canvas.setLineWidth(size / 45)
            for shift in (0.0, 0.25) if self._doubled else (0.0,):
                self.canvas.drawString(x + width + shift, y, run, mode=2 if stroked else None)
            width += pdfmetrics.stringWidth(run, face, size)
        return (x, self.height - y - 0.78 * size, x + width, self.height - y + 0.22 * size)

    def right(
        self, x: float, text: str, size: float, *, bold: bool = False, y: float | None = None, red: bool = False
    ) -> BBox:
        """Write up to x; a closing parenthesis hangs out, as in set tables."""
        hang = self.measure(text[-1], size, bold) if text[-1:] in (")", "）") else 0.0
        return self.text(x - self.measure(text, size, bold) + hang, text, size, bold=bold, y=y, red=red)

    def centre(self, x: float, text: str, size: float, *, bold: bool = False, y: float | None = None) -> BBox:
        """Write around x."""
        return self.text(x - self.measure(text, size, bold) / 2, text, size, bold=bold, y=y)

    def hide(self, x: float, text: str, size: float = 1.0) -> None:
        """White on white: what a reader of the page does not see."""
        self.canvas.saveState()
        self.canvas.setFillColor(white)
        self.canvas.setFont(self.face, size)
        self.canvas.drawString(x, self.y, text)
        self.canvas.restoreState()

    def rule(self, x0: float, x1: float, y: float, width: float = 0.5) -> None:
        """A horizontal line."""
        self.canvas.setLineWidth(width)
        self.canvas.line(x0, y, x1, y)

    def upright(self, x: float, y0: float, y1: float) -> None:
        """A vertical line."""
        self.canvas.setLineWidth(0.4)
        self.canvas.line(x, y0, x, y1)

    def wrap(self, text: str, width: float, size: float, bold: bool = False) -> list[str]:
        """Break a text into lines: at spaces, in Chinese anywhere."""
        tokens = re.findall(r"[⺀-鿿　-〿＀-￯]|[^\s⺀-鿿　-〿＀-￯]+\s*|\s+", text)
        lines, line = [], ""
        for part in tokens:
            full = self.measure((line + part).rstrip(), size, bold) > width
            if line and full and part not in "，。；：、）”！？":
                lines.append(line.rstrip())
                line = part.lstrip()
            else:
                line += part
        return [*lines, line.rstrip()] if line.strip() or not lines else lines

    def paragraph(self, text: str, size: float = 9.0, *, x: float | None = None, width: float | None = None) -> None:
        """Prose; goes on over the page where it must."""
        x = self.margin if x is None else x
        for line in self.wrap(text, width or self.width - 2 * self.margin, size):
            if self.y < self.margin + size:
                self.new_page()
            self.text(x, line, size)
            self.y -= size * self.leading
        self.y -= size * 0.6

    def _runs(self, text: str, bold: bool) -> list[tuple[str, str]]:
        face = self.bold_face if bold else self.face
        if not self._mixed:
            return [(text, face)]
        runs: list[tuple[str, str]] = []
        start = 0
        for wide in _WIDE.finditer(text):
            if wide.start() > start:
                runs.append((text[start : wide.start()], "Times-Bold" if bold else "Times-Roman"))
            runs.append((wide.group(), face))
            start = wide.end()
        if start < len(text):
            runs.append((text[start:], "Times-Bold" if bold else "Times-Roman"))
        return runs
