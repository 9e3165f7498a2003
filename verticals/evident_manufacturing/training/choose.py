"""Which boards a person should label next: those that are uncertain and unlike the ones that were labelled before.

Uncertainty is the margin of a committee of two, the detector and the golden difference (query by committee: Seung,
Opper and Sompolinsky, 1992; margin: Lewis and Gale, 1994): largest where one is sure of a defect and the other of
none, where both waver, or where they name two kinds. Diversity is farthest-first traversal, the greedy k-centre of
core-set selection (Gonzalez, 1985; Sener and Savarese, "Active Learning for Convolutional Neural Networks", 2018): each
next board is the one with the largest product of uncertainty and distance to the nearest that is chosen, so that of
near-identical boards one is asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.evaluate.pairs import Pair
from evident_manufacturing.inspection.perceive import lay_under
from evident_manufacturing.inspection.perceive.difference import Difference, difference, stack
from evident_manufacturing.inspection.perceive.tiles import Detect, detect_in_tiles
from evident_manufacturing.inspection.schema import KINDS, Detection
from evident_manufacturing.training.weak import Place, places

Gray = NDArray[np.uint8]
_THUMB: Final = 12
_FARTHEST: Final = 8**0.5
"""No two descriptors, of two parts of length 1 each, are farther apart."""
_BASE: Final = 0.1
"""What a board without any doubt counts: where nothing is uncertain, diversity alone decides."""


@dataclass(frozen=True)
class Look:
    """What is known of a board without a label: its places, and a vector [D] that is near that of a board like it."""

    name: str
    places: tuple[Place, ...]
    descriptor: NDArray[np.float64]


def look(pairs: Sequence[Pair], detect: Detect | None = None) -> list[Look]:
    """Look at boards beside their templates.

    Args:
        pairs: Their labels are not used.
        detect: The detector of now, ``Detector(folder).detect`` or of a ``.pt`` ``partial(detect.predict, weights)``;
            None: there is none yet, and the template decides alone.

    Raises:
        InvalidInput: A template does not fit its board.
    """
    looks = []
    for pair in pairs:
        image, found = compared(pair)
        looks.append(look_at(pair.name, image, found, detect_in_tiles(image, detect) if detect else ()))
    return looks


def compared(pair: Pair) -> tuple[NDArray[np.uint8], Difference]:
    """A pair as the fused detector sees it, [H, W, 3] of (difference, template, test), and where the two differ.

    Raises:
        InvalidInput: The template does not fit the board.
    """
    _, laid, valid = lay_under(pair.test, pair.template)
    found = difference(pair.test, laid, valid=valid)
    return stack(pair.test, laid, found.map), found


def look_at(name: str, image: NDArray[np.uint8], found: Difference, detections: Sequence[Detection]) -> Look:
    """A look at a board that was compared and detected on before."""
    laid, test = np.ascontiguousarray(image[..., 1]), np.ascontiguousarray(image[..., 2])
    named = places(detections, found, test, laid)
    return Look(name, tuple(named), descriptor(laid, named))


def descriptor(laid: Gray, seen: Sequence[Place]) -> NDArray[np.float64]:
    """Where copper lies on the board, coarsely, and which kinds of defects are seen on it; each of length 1."""
    thumb = cv2.resize(laid, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    kinds = np.array([sum(each.vote for each in seen if each.kind == kind) for kind in KINDS], np.float64)
    return np.concatenate([_unit(thumb - thumb.mean()), _unit(kinds)])


def uncertainty(place: Place) -> float:
    """How near the committee is to a draw, 0 to 1; two kinds for one defect are a draw."""
    return 1.0 - abs(2.0 * place.vote - 1.0) if place.alike else min(1.0, 2.0 * place.vote)


def worth(seen: Sequence[Place]) -> float:
    """Uncertainty that a person would settle on a board for each label that it is likely to take."""
    return _BASE + sum(map(uncertainty, seen)) / max(1.0, sum(each.vote for each in seen))


def order(looks: Sequence[Look], labelled: Sequence[Look] = ()) -> list[int]:
    """Indices of all ``looks``, the one to label first at the front.

    Args:
        looks: Boards without a label.
        labelled: Boards with one.
    """
    if not looks:
        return []
    vectors = np.stack([each.descriptor for each in looks])
    worths = np.array([worth(each.places) for each in looks])
    nearest = np.full(len(looks), _FARTHEST)
    for each in labelled:
        nearest = np.minimum(nearest, np.linalg.norm(vectors - each.descriptor, axis=1))
    left, chosen = np.ones(len(looks), np.bool_), []
    while left.any():
        # Of equal products, as where all that are left have a twin among the chosen, the more uncertain one.
        rank = np.where(left, worths * nearest + 1e-9 * worths, -1.0)
        index = int(np.argmax(rank))
        chosen.append(index)
        left[index] = False
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[index], axis=1))
    return chosen


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
