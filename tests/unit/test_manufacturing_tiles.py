"""Tiles: what a detector sees in parts is what it would see in the whole."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evident_manufacturing.inspection.perceive.tiles import detect_in_tiles, tiles
from evident_manufacturing.inspection.schema import Detection


def blobs(images):
    """A detector that sees each bright rectangle exactly, as far as it is in the picture."""
    seen = []
    for image in images:
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 0).astype(np.uint8), connectivity=8)
        seen.append(
            [
                Detection(bbox=(float(x), float(y), float(x + w), float(y + h)), kind="copper", score=0.9)
                for x, y, w, h, _ in stats[1:count].tolist()
            ]
        )
    return seen


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2500), st.integers(1, 2500))
def test_cells_cover_each_pixel_once_and_lie_in_their_tiles(height, width):
    cut = tiles(height, width)
    assert sum((c[2] - c[0]) * (c[3] - c[1]) for c in (tile.cell for tile in cut)) == pytest.approx(height * width)
    for tile in cut:
        x0, y0, x1, y1 = tile.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x1 - x0 <= 640
        assert y1 - y0 <= 640
        assert x0 <= tile.cell[0] < tile.cell[2] <= x1
        assert y0 <= tile.cell[1] < tile.cell[3] <= y1


@settings(deadline=None, max_examples=25)
@example(118)  # two that touch, one of them ending at a tile's border
@given(st.integers(0, 10_000))
def test_boxes_are_those_of_the_whole_image(seed):
    chance = np.random.default_rng(seed)
    image = np.zeros((int(chance.integers(700, 1600)), int(chance.integers(700, 1600)), 3), np.uint8)
    for _ in range(25):
        w, h = chance.integers(4, 60, 2)
        x, y = chance.integers(0, image.shape[1] - w), chance.integers(0, image.shape[0] - h)
        image[max(0, y - 3) : y + h + 3, max(0, x - 3) : x + w + 3] = 0
        image[y : y + h, x : x + w] = 255
    whole = {each.bbox for each in blobs([image])[0]}
    assert {each.bbox for each in detect_in_tiles(image, blobs)} == whole


def test_a_defect_longer_than_the_shared_strip_is_one():
    image = np.zeros((640, 1300, 3), np.uint8)
    image[300:310, 100:1200] = 255
    (found,) = detect_in_tiles(image, blobs)
    assert found.bbox == (100.0, 300.0, 1200.0, 310.0)


def test_parts_are_joined_in_whatever_order_their_scores_put_them():
    image = np.zeros((640, 2000, 3), np.uint8)
    image[300:310, 100:1900] = 255
    scores = iter([0.9, 0.3, 0.8, 0.7, 0.6])

    def scored(images):
        return [[one.model_copy(update={"score": next(scores)}) for one in seen] for seen in blobs(images)]

    (found,) = detect_in_tiles(image, scored)
    assert (found.bbox, found.score) == ((100.0, 300.0, 1900.0, 310.0), 0.9)


def test_a_small_image_is_one_tile():
    assert [tile.box for tile in tiles(50, 640)] == [(0, 0, 640, 50)]
