"""A template, a tested board, and the truth about what is wrong with it."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .flaws import KINDS, LARGEST_MM, SMALLEST_MM, Flaw, Ground
from .layout import SUPERSAMPLING, Mask, lay_out, shrink
from .others import OTHER_KINDS, place_other

Box = tuple[float, float, float, float]

_KINDS_TRIED, _PLACES_TRIED = 6, 6
_BORDER = 14  # pixels along the border that no defect is put into
_LABEL_MARGIN = (8.0, 13.0)


@dataclass(frozen=True)
class Defect:
    """A defect of a tested board.

    Attributes:
        kind: One of ``KINDS`` or ``OTHER_KINDS``.
        bbox: (x0, y0, x1, y1) exactly around what changed, pixels of the tested image, x1 and y1 exclusive.
        label_box: The same as a person would draw it, whole pixels: as DeepPCB's, about 10 pixels wider on each side.
        length_mm: Longer side of the smallest rectangle around it, of any direction.
        width_mm: Shorter side of that.
        area_mm2: Its area.
    """

    kind: str
    bbox: Box
    label_box: tuple[int, int, int, int]
    length_mm: float
    width_mm: float
    area_mm2: float


@dataclass(frozen=True)
class Sample:
    """A pair of pictures, conductor black (0) on white (255) with the marks of compression, and the truth about them.

    ``test(x, y) = template(x - dx, y - dy)`` after a turn of ``angle`` degrees, counter-clockwise as shown, about the
    centre.

    Attributes:
        template: uint8 [H, W].
        test: uint8 [H, W].
        defects: In the order in which they were placed.
        px_per_mm: Scale of both.
    """

    template: Mask
    test: Mask
    defects: list[Defect]
    px_per_mm: float
    dx: float
    dy: float
    angle: float


def generate(
    seed: int,
    size: int = 640,
    px_per_mm: float = 48.0,
    defects: int | None = None,
    *,
    shift: float = 2.0,
    turn: float = 0.12,
    kinds: tuple[str, ...] = KINDS,
    sizes_mm: tuple[float, float] = (SMALLEST_MM, LARGEST_MM),
    compressed: bool = True,
) -> Sample:
    """Make one board and its template; the same arguments give the same bytes.

    Args:
        seed: Any non-negative integer.
        size: Side of both pictures in pixels, at least 128.
        px_per_mm: Scale.
        defects: How many; fewer where the board has no room for so many; None: by chance 0 (one board in ten) to 12.
        shift: Largest displacement of the test, pixels along x and along y.
        turn: Largest turn of the test, degrees.
        kinds: Kinds to choose from, also of ``OTHER_KINDS``.
        sizes_mm: Shortest and longest length of a defect; the other kinds have sizes of their own.
        compressed: Whether most pairs bear the marks of JPEG compression.

    Returns:
        The pair with its truth.
    """
    if size < 128:
        raise ValueError(f"a board of {size} pixels is too small; at least 128 are needed")
    rng = np.random.default_rng(seed)
    dx, dy = (float(v) for v in rng.uniform(-shift, shift, 2))
    angle = float(rng.uniform(-turn, turn))
    # The board goes on beyond the template, so that a displaced test shows no made-up border.
    margin = int(np.ceil(shift + np.radians(turn) * size)) + 2
    canvas = lay_out(rng, size + 2 * margin, px_per_mm / 48)
    cover = shrink(canvas)

    wanted = defects
    if wanted is None:
        wanted = 0 if rng.random() < 0.1 else int(np.clip(rng.normal(7.0, 2.5), 1, 12))
    changed = cover.copy()
    flaws: list[Flaw] = []
    if wanted:
        ground = Ground(canvas, cover, 2 * margin + _BORDER, rng)
        flaws = _place(ground, changed, wanted, kinds, (sizes_mm[0] * px_per_mm, sizes_mm[1] * px_per_mm))

    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, 1.0)
    matrix = np.asarray(matrix, np.float64) + np.array([[0.0, 0.0, dx], [0.0, 0.0, dy]])
    truth = [_truth(rng, flaw, matrix, margin, size, px_per_mm) for flaw in flaws]
    quality = int(rng.integers(78, 99)) if compressed and rng.random() < 0.7 else None
    return Sample(
        _scan(rng, cover, None, margin, size, quality),
        _scan(rng, changed, matrix, margin, size, quality),
        truth,
        px_per_mm,
        dx,
        dy,
        angle,
    )


def _place(ground: Ground, cover: Mask, wanted: int, kinds: tuple[str, ...], sizes: tuple[float, float]) -> list[Flaw]:
    """Place defects that do not come near each other, and redraw ``cover`` where they are."""
    flaws: list[Flaw] = []
    s = SUPERSAMPLING
    for _ in range(wanted):
        flaw = _find_room(ground, flaws, kinds, sizes)
        if flaw is None:
            break
        (x, y), (h, w) = flaw.origin, (n // s for n in flaw.mask.shape)
        here = ground.canvas[y * s : (y + h) * s, x * s : (x + w) * s]
        here ^= flaw.mask
        cover[y : y + h, x : x + w] = shrink(here)
        flaws.append(flaw)
    return flaws


def _find_room(ground: Ground, flaws: list[Flaw], kinds: tuple[str, ...], sizes: tuple[float, float]) -> Flaw | None:
    """Try a few places of a kind before another kind, so that the kinds with little room are not rare."""
    reach = 2 * _LABEL_MARGIN[1] - 4
    for _ in range(_KINDS_TRIED):
        kind = str(ground.rng.choice(kinds))
        for _ in range(_PLACES_TRIED):
            flaw = place_other(ground, kind) if kind in OTHER_KINDS else ground.place(kind, *sizes)
            if flaw is not None and not any(_near(flaw, other, reach) for other in flaws):
                return flaw
    return None


def _near(a: Flaw, b: Flaw, reach: float) -> bool:
    apart = np.maximum(a.outline.min(axis=0) - b.outline.max(axis=0), b.outline.min(axis=0) - a.outline.max(axis=0))
    return bool(apart.max() < reach)


def _truth(
    rng: np.random.Generator, flaw: Flaw, matrix: NDArray[np.float64], margin: int, size: int, px_per_mm: float
) -> Defect:
    # The matrix is of pixel centres, the outline of the plane in which pixel i covers [i, i + 1).
    at = (flaw.outline - margin - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    half = 0.5 / SUPERSAMPLING
    x0, y0 = at.min(axis=0) - half
    x1, y1 = at.max(axis=0) + half
    m = rng.uniform(*_LABEL_MARGIN, 4)
    label = np.clip(np.rint([x0 - m[0], y0 - m[1], x1 + m[2], y1 + m[3]]), 0, size).astype(int)
    return Defect(
        flaw.kind,
        (float(x0), float(y0), float(x1), float(y1)),
        (int(label[0]), int(label[1]), int(label[2]), int(label[3])),
        flaw.length / px_per_mm,
        flaw.width / px_per_mm,
        flaw.area / px_per_mm**2,
    )


@cache
def _grain() -> NDArray[np.int8]:
    """Noise that moves edges, at most of a few pixels' breadth: int8 [1024, 1024], standard deviation 32."""
    white = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(white, (0, 0), 0.6), cv2.GaussianBlur(white, (0, 0), 2.5)
    both = fine / fine.std() + coarse / coarse.std()
    grain: NDArray[np.int8] = np.clip(both / both.std() * 32, -127, 127).astype(np.int8)
    return grain


def _scan(
    rng: np.random.Generator,
    cover: Mask,
    matrix: NDArray[np.float64] | None,
    margin: int,
    size: int,
    quality: int | None,
) -> Mask:
    """Take the picture: lens or position (None: as laid out), threshold with uneven edges, compression."""
    if matrix is None:
        seen = cv2.GaussianBlur(
            cover[margin : margin + size, margin : margin + size], (5, 5), float(rng.uniform(0.35, 0.55))
        )
    else:
        place = matrix.copy()
        place[:, 2] -= matrix[:, :2] @ (margin, margin)
        # Linear interpolation is about as soft as the lens above.
        seen = cv2.warpAffine(cover, place, (size, size), flags=cv2.INTER_LINEAR)
    x, y = rng.integers(0, 1024 - size, 2) if size < 1024 else (0, 0)
    grain = _grain()[y : y + size, x : x + size]
    if grain.shape != (size, size):
        grain = np.tile(grain, (-(-size // 1024),) * 2)[:size, :size]
    noisy = cv2.addWeighted(seen, 1.0, grain, float(rng.uniform(0.2, 0.7)), 0.0, dtype=cv2.CV_16S)
    level = 127 + int(rng.integers(-20, 21))
    picture: Mask = np.multiply(noisy <= level, 255, dtype=np.uint8)
    if quality is None:
        return picture
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
