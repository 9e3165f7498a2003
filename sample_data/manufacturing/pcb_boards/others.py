"""Kinds of defects that the detector is not trained on: what a line may meet that nobody has named yet.

They are there to try the naming of unseen defects from a description, and the golden path, which needs no kinds.
"""

from collections.abc import Callable

import cv2
import numpy as np

from .flaws import Flaw, Ground, measured
from .layout import SUPERSAMPLING, Mask

Change = tuple[tuple[int, int], Mask]
"""The corner of a patch in whole pixels, and which of its supersampled pixels change."""

_S = SUPERSAMPLING
_LEAST = 6.0  # square pixels that must change


def place_other(ground: Ground, kind: str) -> Flaw | None:
    """Try to put a defect of one of :data:`OTHER_KINDS` somewhere; None where it did not fit."""
    change = _DRAWN[kind](ground)
    if change is None or cv2.countNonZero(change[1]) < _LEAST * _S**2:
        return None
    return measured(kind, *change)


def _patch(ground: Ground, centre: np.ndarray, reach: float) -> tuple[tuple[int, int], Mask] | None:
    """The board around a point, ``reach`` pixels to each side, and the patch's corner; None at the border."""
    x, y = (int(v) for v in np.floor(centre - reach))
    side = int(np.ceil(2 * reach))
    last = ground.cover.shape[0] - ground.inset
    if min(x, y) < ground.inset or max(x, y) + side > last:
        return None
    return (x, y), ground.canvas[y * _S : (y + side) * _S, x * _S : (x + side) * _S]


def _edge(ground: Ground) -> np.ndarray | None:
    return ground.edges[ground.rng.integers(len(ground.edges))] if len(ground.edges) else None


def _piece(ground: Ground, bare: bool, smallest: float, largest: float) -> tuple[np.ndarray, float] | None:
    """A separate, compact piece of conductor (or of bare board within conductor): its centre and its extent."""
    seen = (ground.cover > 127) != bare
    _, _, stats, centres = cv2.connectedComponentsWithStats(seen.astype(np.uint8), connectivity=4)
    w, h = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    compact = stats[:, cv2.CC_STAT_AREA] > 0.6 * w * h
    fits = np.flatnonzero(compact & (np.minimum(w, h) >= smallest) & (np.maximum(w, h) <= largest))
    fits = fits[fits > 0]
    if not len(fits):
        return None
    one = int(ground.rng.choice(fits))
    return centres[one], float(max(w[one], h[one]))


def _component(patch: Mask, bare: bool) -> Mask:
    """The piece in the middle of a patch."""
    _, labels = cv2.connectedComponents(255 - patch if bare else patch, connectivity=4)
    middle = labels[patch.shape[0] // 2, patch.shape[1] // 2]
    return np.where((labels == middle) & (middle > 0), np.uint8(255), np.uint8(0))


def _line(ground: Ground) -> tuple[tuple[int, int], Mask, Mask] | None:
    """A long thin line over an edge and whatever else it meets: corner, the board there, and the line."""
    rng, centre = ground.rng, _edge(ground)
    half, turn = rng.uniform(20, 34), rng.uniform(0, np.pi)
    found = None if centre is None else _patch(ground, centre, half + 4)
    if found is None:
        return None
    corner, patch = found
    along = np.linspace(-1, 1, 12)
    line = np.stack([along * half, rng.uniform(-3, 3) * (1 - along**2) + rng.normal(0, 0.3, 12)], axis=1)
    line = line @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + patch.shape[0] / 2 / _S
    drawn = np.zeros_like(patch)
    at = np.rint(line * _S).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(drawn, [at], False, 255, max(9, round(rng.uniform(2.4, 4.0) * _S)))
    return corner, patch, drawn


def _scratch(ground: Ground) -> Change | None:
    """A long thin line from which all conductor is gone, whatever it crosses."""
    found = _line(ground)
    return None if found is None else (found[0], found[2] & found[1])


def _whisker(ground: Ground) -> Change | None:
    """A long thin thread of conductor that lies over whatever is in its way."""
    found = _line(ground)
    return None if found is None else (found[0], found[2] & ~found[1])


def _scrape(ground: Ground) -> Change | None:
    """A broad place from which all conductor is gone, several pieces of it."""
    rng, centre = ground.rng, _edge(ground)
    half = rng.uniform(12, 24)
    found = None if centre is None else _patch(ground, centre, half + 2)
    if found is None:
        return None
    corner, patch = found
    middle = (patch.shape[1] // 2, patch.shape[0] // 2)
    axes = (round(half * _S), round(half * rng.uniform(0.65, 1.0) * _S))
    drawn = np.zeros_like(patch)
    cv2.ellipse(drawn, middle, axes, rng.uniform(0, 180), 0, 360, 255, -1)
    gone = drawn & patch
    pieces, _ = cv2.connectedComponents(gone, connectivity=4)
    return (corner, gone) if pieces > 2 else None


def _speckled(ground: Ground, reach: float) -> Mask:
    """A blotch that fades out in speckles, supersampled, ``reach`` pixels to each side."""
    side = int(np.ceil(2 * reach))
    noise = cv2.GaussianBlur(ground.rng.standard_normal((side, side)).astype(np.float32), (0, 0), 1.1)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    squeeze = ground.rng.uniform(0.6, 1.0)
    fall = 1.2 - 1.6 * np.sqrt(x**2 + (y / squeeze) ** 2)
    big = cv2.resize((noise / noise.std() * 0.5 + fall).astype(np.float32), None, fx=_S, fy=_S)
    return np.where(big > 0.45, np.uint8(255), np.uint8(0))


def _stain(ground: Ground) -> Change | None:
    """A speckled blotch of dirt that looks dark, on bare board and over the edge of a conductor alike."""
    centre, reach = _edge(ground), float(ground.rng.uniform(10, 24))
    found = None if centre is None else _patch(ground, centre, reach)
    return None if found is None else (found[0], _speckled(ground, reach) & ~found[1])


def _missing_hole(ground: Ground) -> Change | None:
    """A hole that was not drilled: conductor where a pad or a plane should be open."""
    piece = _piece(ground, True, 6, 44)
    found = None if piece is None else _patch(ground, piece[0], piece[1] / 2 + 4)
    return None if found is None else (found[0], _component(found[1], True))


def _hole(ground: Ground, around: float) -> tuple[tuple[int, int], Mask, Mask, float] | None:
    """An opening within conductor: the patch's corner, the board there, the opening in it, and its extent."""
    piece = _piece(ground, True, 8, 40)
    found = None if piece is None else _patch(ground, piece[0], piece[1] / 2 + around)
    if found is None or piece is None:
        return None
    return found[0], found[1], _component(found[1], True), piece[1]


def _disc(radius: float) -> Mask:
    side = 2 * max(1, round(radius * _S)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _narrow_hole(ground: Ground) -> Change | None:
    """An opening that has grown in from its rim."""
    found = _hole(ground, 4)
    if found is None:
        return None
    corner, _, hole, extent = found
    left = np.asarray(cv2.erode(hole, _disc(ground.rng.uniform(0.14, 0.26) * extent)), np.uint8)
    return (corner, hole & ~left) if cv2.countNonZero(left) else None


def _wide_hole(ground: Ground) -> Change | None:
    """An opening that is larger than it should be, all around."""
    found = _hole(ground, 10)
    if found is None:
        return None
    corner, patch, hole, extent = found
    wide = np.asarray(cv2.dilate(hole, _disc(ground.rng.uniform(0.12, 0.22) * min(extent, 30))), np.uint8)
    return corner, wide & patch


def _shifted_hole(ground: Ground) -> Change | None:
    """An opening that lies beside its place: conductor lacks on one side, and there is too much on the other."""
    found = _hole(ground, 12)
    if found is None:
        return None
    corner, _, hole, extent = found
    turn = ground.rng.uniform(0, 2 * np.pi)
    by = ground.rng.uniform(0.25, 0.45) * min(extent, 22) * _S * np.array([np.cos(turn), np.sin(turn)])
    move = np.array([[1.0, 0.0, round(by[0])], [0.0, 1.0, round(by[1])]])
    return corner, hole ^ np.asarray(cv2.warpAffine(hole, move, hole.shape[::-1], flags=cv2.INTER_NEAREST), np.uint8)


def _misaligned_pad(ground: Ground) -> Change | None:
    """A pad that lies some pixels beside its place: lacking on one side, too much on the other."""
    rng, piece = ground.rng, _piece(ground, False, 9, 44)
    found = None if piece is None else _patch(ground, piece[0], piece[1] / 2 + 12)
    if found is None or piece is None:
        return None
    corner, patch = found
    pad, turn = _component(patch, False), rng.uniform(0, 2 * np.pi)
    by = rng.uniform(0.25, 0.45) * min(piece[1], 22) * _S * np.array([np.cos(turn), np.sin(turn)])
    move = np.array([[1.0, 0.0, round(by[0])], [0.0, 1.0, round(by[1])]])
    moved = np.asarray(cv2.warpAffine(pad, move, pad.shape[::-1], flags=cv2.INTER_NEAREST), np.uint8)
    return corner, ((patch & ~pad) | moved) ^ patch


def _missing_pad(ground: Ground) -> Change | None:
    """A pad that is not there at all."""
    piece = _piece(ground, False, 7, 44)
    found = None if piece is None else _patch(ground, piece[0], piece[1] / 2 + 4)
    return None if found is None else (found[0], _component(found[1], False))


def _etched(ground: Ground, more: bool) -> Change | None:
    """A stretch of conductor that is thinner, or thicker, on all its edges than it should be."""
    rng, centre, reach = ground.rng, _edge(ground), float(ground.rng.uniform(14, 26))
    found = None if centre is None else _patch(ground, centre, reach)
    if found is None:
        return None
    corner, patch = found
    size = 2 * round(rng.uniform(1.6, 2.6) * _S) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    changed = cv2.dilate(patch, kernel) if more else cv2.erode(patch, kernel)
    side = patch.shape[0]
    window = np.zeros_like(patch)
    cv2.ellipse(window, (side // 2, side // 2), (side // 2 - 8, side // 2 - 8), 0, 0, 360, 255, -1)
    return corner, (np.asarray(changed, np.uint8) ^ patch) & window


_DRAWN: dict[str, Callable[[Ground], Change | None]] = {
    "scratch": _scratch,
    "stain": _stain,
    "missing_hole": _missing_hole,
    "misaligned_pad": _misaligned_pad,
    "missing_pad": _missing_pad,
    "overetched": lambda ground: _etched(ground, more=False),
    "underetched": lambda ground: _etched(ground, more=True),
    "whisker": _whisker,
    "scrape": _scrape,
    "narrow_hole": _narrow_hole,
    "wide_hole": _wide_hole,
    "shifted_hole": _shifted_hole,
}

OTHER_KINDS = tuple(_DRAWN)
