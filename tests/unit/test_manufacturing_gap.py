"""What is left at a defect, where pixels are not square."""

import numpy as np
import pytest

from evident_manufacturing.inspection.perceive.gap import REACH, gap


def line(added: bool) -> tuple[np.ndarray, np.ndarray]:
    """A board with a conductor in rows 60 to 79, and a mark of one row, 10 rows above or below its upper edge."""
    test = np.full((160, 160), 255, np.uint8)
    test[60:80] = 0
    row = 49 if added else 70
    test[row, 70:90] = 0 if added else 255
    mask = np.ones((1, 20), np.uint8)
    return test, mask


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (1.0, 0.5), (1.0, 0.7), (0.5, 1.0), (0.02, 0.014), (1.0, 0.3)])
@pytest.mark.parametrize("added", [True, False])
def test_a_mark_of_one_row_has_a_gap_in_the_unit_of_its_pixels(added: bool, pixel: tuple[float, float]) -> None:
    test, mask = line(added)
    found = gap(mask, (70, 49 if added else 70), test, pixel, added=added, conductor="dark")
    if added:  # ten rows of ground are between the mark and the conductor
        assert found.left == pytest.approx(10 * pixel[1], abs=max(pixel))
    else:  # a slit inside a conductor: ground lies 9 rows below it and 10 above
        assert found.left == pytest.approx(9 * pixel[1], abs=max(pixel))
    assert found.over is None


def test_nothing_within_reach_is_told_as_more_than_that() -> None:
    test = np.full((200, 200), 255, np.uint8)
    test[100, 90:110] = 0
    mask = np.ones((1, 20), np.uint8)
    assert gap(mask, (90, 100), test, (1.0, 0.5), added=True, conductor="dark") == (None, REACH * 0.5)
