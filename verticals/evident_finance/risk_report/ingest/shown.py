"""How a page is displayed: the map from PDF user space to points from the upper left corner of what a viewer shows."""

from typing import NamedTuple

import pypdfium2

from evident_core.evidence import BBox

Box = tuple[float, float, float, float]
"""left, bottom, right, top in PDF user space."""

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class Shown(NamedTuple):
    """The visible box of a page in PDF user space, and the clockwise turn (0, 90, 180, 270) it is displayed with."""

    left: float
    bottom: float
    right: float
    top: float
    turn: int

    @classmethod
    def of(cls, page: pypdfium2.PdfPage) -> "Shown":
        """The page's crop box within its media box, as viewers take it."""
        media, crop = page.get_mediabox(), page.get_cropbox()
        left, bottom = max(media[0], crop[0]), max(media[1], crop[1])
        right, top = min(media[2], crop[2]), min(media[3], crop[3])
        if right <= left or top <= bottom:
            left, bottom, right, top = media
        return cls(left, bottom, right, top, page.get_rotation())

    @property
    def size(self) -> tuple[float, float]:
        """Width and height as displayed."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.turn in (90, 270) else (width, height)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point of user space, as displayed."""
        if self.turn == 90:
            return y - self.bottom, x - self.left
        if self.turn == 180:
            return self.right - x, y - self.bottom
        if self.turn == 270:
            return self.top - y, self.right - x
        return x - self.left, self.top - y

    def box(self, left: float, bottom: float, right: float, top: float) -> BBox:
        """A rectangle of user space, as displayed."""
        (xa, ya), (xb, yb) = self.point(left, bottom), self.point(right, top)
        return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)

    def heading(self, a: float, b: float) -> tuple[float, float]:
        """The direction of a line of text (its matrix's first row) as displayed: (1, 0) to the right, (0, 1) down."""
        (x0, y0), (x1, y1) = self.point(0.0, 0.0), self.point(a, b)
        return x1 - x0, y1 - y0


def times(one: Matrix, other: Matrix) -> Matrix:
    """The matrix that applies ``one`` and then ``other``."""
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u


def moved(box: Box, matrix: Matrix) -> Box:
    """The box around a box (or line) that a matrix has moved."""
    a, b, c, d, e, f = matrix
    xs = [a * x + c * y + e for x in (box[0], box[2]) for y in (box[1], box[3])]
    ys = [b * x + d * y + f for x in (box[0], box[2]) for y in (box[1], box[3])]
    return min(xs), min(ys), max(xs), max(ys)
