"""Where the template lies under a tested board, and whether it is that board's template at all.

Three steps. Phase correlation (Kuglin and Hines, 1975) of small Hann-windowed copies gives the shift to a few pixels; a
Gauss-Newton fit (Lucas and Kanade, 1981) over the template's edges, weighted by Tukey's biweight so that defects do not
pull it, gives shift and turn to some hundredths of a pixel; and the share of the conductor that then still differs by
more than an edge's jitter says how far to trust the result.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.perceive.fit import ACCEPT, HALF_CONFIDENCE, MAX_ANGLE, Fit, Pair
from evident_manufacturing.inspection.perceive.laying import lay, warp
from evident_manufacturing.inspection.perceive.orientation import refuse_blank, refuse_other_ways
from evident_manufacturing.inspection.schema import Alignment

__all__ = ["ACCEPT", "HALF_CONFIDENCE", "SURE", "align", "lay", "lay_under", "warp"]

SURE = 0.97
"""Confidence from which no other orientation is tried: nearly symmetric boards also half fit when mirrored."""

_ANGLES: Final = tuple(float(each) for each in np.arange(-MAX_ANGLE - 0.5, MAX_ANGLE + 0.75, 0.5))


def align(test: Gray, template: Gray) -> Alignment:
    """Find the shift and the turn that bring the template onto the tested board.

    Args:
        test: uint8 [H, W].
        template: uint8, of the test's size.

    Raises:
        InvalidInput: The template does not fit: another size, blank, mirrored, turned, a negative, another scale, or
            another board; the message says which.
    """
    return _fitted(test, template).alignment(2.0)


def lay_under(test: Gray, template: Gray) -> tuple[Alignment, Gray, NDArray[np.bool_]]:
    """:func:`align` and :func:`lay` in one.

    Raises:
        InvalidInput: As :func:`align` says.
    """
    fit = _fitted(test, template)
    alignment = fit.alignment(2.0)
    return (alignment, *(fit.laid or lay(template, alignment, test.shape)))


def _fitted(test: Gray, template: Gray) -> Fit:
    _check_sizes(test, template)
    pair = Pair(test)
    best = pair.fit(template, (0.0,))
    if best.confidence < ACCEPT:
        best = min(best, pair.fit(template, _ANGLES), key=lambda fit: fit.differing)
    if best.confidence < ACCEPT:
        refuse_blank(test, template)
    if best.confidence < SURE:
        refuse_other_ways(test, template, pair, best)
    if best.confidence < ACCEPT:
        # Shapes that cross differ on both sides, which may be more pixels than the conductor has.
        share = f"{best.differing:.0%}" if best.differing < 1 else "more than all"
        raise InvalidInput(
            f"the template is not of this board: {share} of the conductor differs at the best position "
            f"(confidence {best.confidence:.2f}, {ACCEPT} is needed); choose the template of this product and side",
            reason="foreign",
            confidence=round(best.confidence, 3),
        )
    return best


def _check_sizes(test: Gray, template: Gray) -> None:
    for name, image in (("test", test), ("template", template)):
        if image.dtype != np.uint8 or image.ndim != 2:
            raise InvalidInput(
                f"the {name} image is {image.dtype} {list(image.shape)}; give uint8 [H, W], as ingest makes it",
                image=name,
            )
    if test.shape == template.shape:
        return
    turned = test.shape == template.shape[::-1]
    raise InvalidInput(
        f"the template is {template.shape[1]} x {template.shape[0]} pixels and the board {test.shape[1]} x "
        f"{test.shape[0]}; "
        + ("turn one of them by 90 degrees" if turned else "use a template taken with this camera and product"),
        reason="turned by 90 degrees" if turned else "size",
        template=list(template.shape),
        test=list(test.shape),
    )
