"""Defects put into the conductors of a board, with their exact size.

Each is a blob of bare board or of conductor. What kind it is follows from its outline alone: the stretches of it that
border on the other material. None: a pinhole (or free copper); one: a mousebite (or spur); two: an open (or short).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .layout import SUPERSAMPLING, Mask, Points

KINDS = ("open", "short", "mousebite", "spur", "copper", "pinhole")
ADDED = frozenset({"short", "spur", "copper"})
"""Kinds with conductor where there should be none; the others lack some."""

SMALLEST_MM, LARGEST_MM = 0.05, 0.8
_STRETCHES = {"open": 2, "short": 2, "mousebite": 1, "spur": 1, "copper": 0, "pinhole": 0}
_ROOM = 2.5  # pixels that stay between a defect and what it must not touch
_TOLERANCE = 0.25  # pixels by which a drawn width may fall short
_SAMPLES = 600


@dataclass(frozen=True)
class Flaw:
    """A defect as drawn: which supersampled pixels change, and its size in pixels.

    Attributes:
        origin: (x, y) of the patch that changes, whole pixels.
        mask: uint8 of the patch, supersampled; 255 where conductor becomes bare board or the other way round.
        outline: float [N, 2], pixels, around the changed part.
        length: Pixels, the longer side of the smallest rectangle around it.
        width: Pixels, the shorter side.
        area: Square pixels.
    """

    kind: str
    origin: tuple[int, int]
    mask: Mask
    outline: Points
    length: float
    width: float
    area: float


class Ground:
    """What is around each place of a board: places on edges, how thick the conductor is there and how wide the gap.

    Args:
        canvas: The board, supersampled, conductor 255.
        cover: The same at one pixel a pixel, 0 to 255.
        inset: Pixels from the border in which nothing is placed.
        rng: Source of every choice.
    """

    def __init__(self, canvas: Mask, cover: Mask, inset: int, rng: np.random.Generator) -> None:
        self.canvas, self.cover, self.inset, self.rng = canvas, cover, inset, rng
        low = cv2.resize(cover, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) > 127
        conductor = low.astype(np.uint8)
        inside = cv2.distanceTransform(conductor, cv2.DIST_L2, 3)
        outside = cv2.distanceTransform(1 - conductor, cv2.DIST_L2, 3)
        # Half resolution; the border between the two lies half a pixel before the first one inside.
        self._depth = 2.0 * (np.maximum(inside - 0.5, 0) - np.maximum(outside - 0.5, 0))
        low_side, high_side = inset, cover.shape[0] - inset
        self._points = rng.uniform(low_side, high_side, (_SAMPLES * 8, 2))
        near = np.abs(self.depth(self._points)) < 2.0
        self.edges = self._points[near][:_SAMPLES]
        self._normals, self._room = self._look_around(self.edges)

    def depth(self, points: Points) -> NDArray[np.float32]:
        """How far inside conductor points lie, in pixels to about one; negative on bare board."""
        at = np.clip((points / 2).astype(int), 0, self._depth.shape[0] - 1)
        found: NDArray[np.float32] = self._depth[at[..., 1], at[..., 0]]
        return found

    def _look_around(self, edges: Points) -> tuple[Points, Points]:
        """Unit normals into the conductor, and the way along them, and back, until the material changes."""
        reach = np.array([[3.0, 0.0], [0.0, 3.0]])
        slope = np.stack([self.depth(edges + r) - self.depth(edges - r) for r in reach], axis=-1)
        normals = slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-6)
        steps = np.arange(2.0, 64.0, 1.0)
        room = []
        for sign in (1.0, -1.0):
            along = self.depth(edges[:, None] + sign * steps[None, :, None] * normals[:, None]) * sign
            changed = along < 0
            room.append(np.where(changed.any(axis=1), steps[changed.argmax(axis=1)], np.inf))
        return normals, np.stack(room, axis=-1)

    def place(self, kind: str, smallest: float, largest: float) -> Flaw | None:
        """Try to put a defect of ``smallest`` to ``largest`` pixels somewhere; None where it did not fit."""
        rng, side = self.rng, int(kind in ADDED)
        size = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        if _STRETCHES[kind] == 0:
            depth = self.depth(self._points) * (-1 if kind in ADDED else 1)
            fits = np.flatnonzero(depth > size / 2 + _ROOM + 1)
            if not len(fits):
                return None
            return self._cut(kind, self._points[rng.choice(fits)], _blob(rng, size, smallest), smallest, largest)
        room = self._room[:, side]
        if _STRETCHES[kind] == 2:
            fits = np.flatnonzero((room > 3) & (room < largest - 2))
        else:
            fits = np.flatnonzero(room > size * 0.5 + _ROOM + 2)
        if not len(fits):
            return None
        at = int(rng.choice(fits))
        into = self._normals[at] * (-1 if side else 1)
        if _STRETCHES[kind] == 2:
            thickness = float(np.exp(rng.uniform(np.log(smallest), np.log(max(smallest * 2, min(size, largest / 2))))))
            blob = _bridge(rng, into, room[at], thickness)
            return self._cut(kind, self.edges[at], blob, smallest, largest)
        shape = _blob(rng, size, smallest)
        # About half of it beyond the edge, so that what is left within it is seldom a mere sliver.
        centre = self.edges[at] + into * rng.uniform(-0.1, 0.3) * size
        return self._cut(kind, centre, shape, smallest, largest)

    def _cut(
        self, kind: str, centre: Points, blob: tuple[Points, float], smallest: float, largest: float
    ) -> Flaw | None:
        points, pen = blob
        points = points + centre
        low = np.floor(points.min(axis=0) - pen / 2 - _ROOM - 2).astype(int)
        high = np.ceil(points.max(axis=0) + pen / 2 + _ROOM + 2).astype(int)
        s = SUPERSAMPLING
        if low.min() < 0 or (high * s).max() > self.canvas.shape[0]:
            return None
        mask = np.zeros((high - low)[::-1] * s, np.uint8)
        at = np.rint(((points - low) * s - 0.5) * 16).astype(np.int32).reshape(-1, 1, 2)
        if pen:
            cv2.polylines(mask, [at], False, 255, max(1, round(pen * s)), cv2.LINE_8, 4)
        else:
            cv2.fillPoly(mask, [at], 255, cv2.LINE_8, 4)
        here = self.canvas[low[1] * s : high[1] * s, low[0] * s : high[0] * s]
        material: Mask = 255 - here if kind in ADDED else here
        mask &= material
        if stretches(mask, material) != _STRETCHES[kind]:
            return None
        flaw = measured(kind, (int(low[0]), int(low[1])), mask)
        return flaw if smallest - _TOLERANCE <= flaw.width <= flaw.length <= largest else None


def measured(kind: str, origin: tuple[int, int], mask: Mask) -> Flaw:
    """A defect of what changes in a patch, with its size."""
    outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    outline = np.concatenate(outlines).astype(np.int32)
    length, width = extent(outline)
    where = (outline.reshape(-1, 2) + 0.5) / SUPERSAMPLING + np.array(origin)
    return Flaw(kind, origin, mask, where, length, width, cv2.countNonZero(mask) / SUPERSAMPLING**2)


def extent(outline: NDArray[np.int32]) -> tuple[float, float]:
    """Length and width, in pixels, of the smallest rectangle around an outline of supersampled pixels."""
    (_, (a, b), _) = cv2.minAreaRect(outline)
    return (max(a, b) + 1) / SUPERSAMPLING, (min(a, b) + 1) / SUPERSAMPLING


def stretches(mask: Mask, material: Mask) -> int | None:
    """How many separate stretches of a defect's outline border on the other material.

    Args:
        mask: The defect, within ``material``.
        material: What it is cut out of.

    Returns:
        The number; None where the defect is not in one piece, or is no clear case: its outline has a piece too few or
        too many on its own side, or comes within :data:`_ROOM` pixels of something that it does not touch.
    """
    count, _ = cv2.connectedComponents(mask, connectivity=4)
    if count != 2:
        return None
    found = []
    for reach in (0.75, _ROOM):
        size = 2 * round(reach * SUPERSAMPLING) + 1
        around = np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)
        other = cv2.connectedComponents(around & ~material, connectivity=8)[0] - 1
        own = cv2.connectedComponents(around & material & ~mask, connectivity=8)[0] - 1
        found.append((other, own))
    other, own = found[0]
    return other if found[0] == found[1] and own == max(1, other) else None


def _blob(rng: np.random.Generator, size: float, thinnest: float) -> tuple[Points, float]:
    """An uneven round or a bent stroke, ``size`` pixels long: its points about the origin, and its pen (0: filled)."""
    turn = rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, s], [-s, c]])
    if size < 2.2 * thinnest or rng.random() < 0.45:
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        uneven = np.ones_like(angle)
        for k in (2, 3, 5, 7):
            uneven += rng.uniform(0, 0.3 / k) * np.cos(k * angle + rng.uniform(0, 7))
        narrow = max(rng.uniform(0.45, 1.0), min(1.0, thinnest / size))
        points = np.stack([np.cos(angle), narrow * np.sin(angle)], axis=1) * uneven[:, None]
        points *= size / max(np.ptp(points[:, 0]), np.ptp(points[:, 1]))
        # What is filled is drawn half a supersampled pixel too large on each side.
        points *= 1 - 1 / SUPERSAMPLING / size
        return points @ rotation, 0.0
    pen = float(np.exp(rng.uniform(np.log(thinnest), np.log(max(thinnest, size * 0.45)))))
    along = np.linspace(-0.5, 0.5, 9) * (size - pen)
    bend = rng.uniform(-0.35, 0.35) * size * (1 - (2 * along / size) ** 2) + rng.normal(0, 0.02 * size, 9)
    return np.stack([along, bend], axis=1) @ rotation, pen


def _bridge(rng: np.random.Generator, into: Points, room: float, pen: float) -> tuple[Points, float]:
    """A stroke from an edge (the origin) across ``room`` pixels along ``into`` and a little beyond both ends."""
    beyond = pen / 2 + 3
    along = np.linspace(-beyond, room + beyond, 7)
    aside = rng.normal(0, 0.06 * room, 7).clip(-4, 4) + rng.uniform(-0.35, 0.35) * along
    return along[:, None] * into + aside[:, None] * np.array([-into[1], into[0]]), pen
