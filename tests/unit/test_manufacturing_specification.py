"""Specifications: what is read, what is refused and on which line, and where zones lie."""

import math
from contextlib import suppress
from importlib.resources import files
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.errors import InvalidInput, TooLarge
from evident_manufacturing.inspection.assess.specification import DecisionRule, Specification
from evident_manufacturing.inspection.assess.zones import Zone, inside, misplaced, on_template, touches
from evident_manufacturing.inspection.schema import KINDS, Alignment, Decision

HEAD = "product: p\nversion: 1\n"


def test_the_shipped_example_has_a_class_for_each_kind_and_limits_with_their_lines() -> None:
    text = (files("evident_manufacturing.inspection") / "data" / "specification.yaml").read_text("utf-8")
    read = Specification.load(text)
    assert read.name == "demo-board@1"
    assert set(read.classes) == {*KINDS, "any"}
    lines = text.splitlines()
    for limit in read.limits:
        assert limit.text in lines[limit.line - 1]
    assert read.limits_of("mousebite", "fingers")[0].key == "mousebite@fingers.reject.length_max"


def test_defaults_are_the_cautious_ones_and_versions_stay_as_typed() -> None:
    read = Specification.load("product: p\nversion: 1.10\n")
    assert read.version == "1.10"
    assert (read.decision_rule, read.default, read.unmeasured) == (
        DecisionRule.PROVE_CONFORMITY,
        Decision.REJECT,
        Decision.REWORK,
    )


def test_a_byte_order_mark_and_crlf_change_nothing_but_the_hash() -> None:
    plain = Specification.load(HEAD + "score: 0.7\n")
    marked = Specification.load(b"\xef\xbb\xbf" + (HEAD + "score: 0.7\n").replace("\n", "\r\n").encode())
    assert marked.model_copy(update={"input": plain.input}) == plain
    assert marked.input.sha256 != plain.input.sha256


REFUSED = [
    ("", 0, "empty"),
    ("product: p\n", 1, "needs version"),
    ("product: ''\nversion: 1\n", 1, "1 to 128"),
    (HEAD + "prodct: x\n", 3, "did you mean product"),
    (HEAD + "product: q\n", 3, "given twice (before on line 1)"),
    (HEAD + "classes:\n  shrot: {}\n", 4, "did you mean short"),
    (HEAD + "classes:\n  short:\n    reject: {lenght_max: 1 mm}\n", 5, "did you mean length_max"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: 0.2}\n", 5, "has no unit; write it in mm"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: 8 mil}\n", 5, "write it in mm: that is 0.2032 mm."),
    (HEAD + "classes:\n  short:\n    reject: {length_max: 200 µm}\n", 5, "write it in mm: that is 0.200 mm."),
    (HEAD + "classes:\n  short:\n    reject: {length_max: 0.20 inch}\n", 5, "that is 5.080 mm."),
    (HEAD + "classes:\n  short:\n    reject: {area_max: 100 um²}\n", 5, "that is 0.000100 mm2."),
    (HEAD + "classes:\n  short:\n    reject: {area_max: 2 mil2}\n", 5, "as a number and then mm2."),
    (HEAD + "classes:\n  short:\n    reject: {area_max: 2 cm}\n", 5, "as a number and then mm2."),
    (HEAD + "classes:\n  short:\n    reject: {area_max: 0,2 mm2}\n", 5, "a point, as in 0.2, and no comma"),
    (HEAD + "classes:\n  short:\n    reject:\n      area_max: 0,2 mm2\n", 6, "a point, 0.2 mm2, and"),
    (HEAD + "classes:\n  short:\n    reject:\n      length_max: 1,000 mm\n", 6, "a point, as in 0.2 mm, and"),
    (HEAD + "classes:\n  short:\n    reject: {count_max: -1}\n", 5, "a whole number of defects from 0 on"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: 8 px}\n", 5, "is in px"),
    (HEAD + "classes:\n  short:\n    reject: {area_max: 0.2 mm}\n", 5, "write it in mm2"),
    (HEAD + "classes:\n  short:\n    reject: {count_max: 1.5}\n", 5, "whole number"),
    (HEAD + "classes:\n  short:\n    reject: {count_max: 2 mm}\n", 5, "has no unit"),
    (HEAD + "classes:\n  short:\n    reject: {count_min: 2}\n", 5, "not a key"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: -1 mm}\n", 5, "a number with its unit"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: nan mm}\n", 5, "a number with its unit"),
    (HEAD + "classes:\n  short:\n    reject: {length_max: [1]}\n", 5, "single value"),
    (HEAD + "classes:\n  short:\n    reject: 3\n", 5, "a mapping"),
    (HEAD + "classes:\n  spur:\n    rework: {gap_min: 0.1 mm}\n    reject: {gap_min: 0.2 mm}\n", 6, "exchange them"),
    (HEAD + "classes:\n  spur:\n    rework: {width_max: 2 mm}\n    reject: {width_max: 1 mm}\n", 6, "exchange them"),
    (HEAD + "classes:\n  spur:\n    reject:\n      width_max: 1 mm\n      width_min: 2 mm\n", 6, "at most 1 mm"),
    (HEAD + "classes:\n  spur:\n    zones:\n      a: {}\n", 6, "draws none"),
    (HEAD + "zones: {b: {rectangle: [0, 0, 1, 1]}}\nclasses: {spur: {zones: {a: {}}}}\n", 4, "'a' is not a key"),
    (HEAD + "zones: {b: {rectangle: [1, 0, 0, 1]}}\n", 3, "swapped"),
    (HEAD + "zones: {b: {rectangle: [0, 0, 1]}}\n", 3, "needs 4"),
    (HEAD + "zones: {b: {polygon: [[0, 0], [1, 1]]}}\n", 3, "2 corners"),
    (HEAD + "zones: {b: {polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}}\n", 3, "crosses itself"),
    (HEAD + "zones: {b: {polygon: [[0, 0], [1, 1], [2, 2]]}}\n", 3, "empty"),
    (HEAD + "zones: {b: {}}\n", 3, "either rectangle"),
    (HEAD + "zones: {b: {unit: inch, rectangle: [0, 0, 1, 1]}}\n", 3, "px or mm"),
    (HEAD + "zones: {'a b': {rectangle: [0, 0, 1, 1]}}\n", 3, "not a zone's name"),
    (HEAD + "zones: {b: {rectangle: [0, 0, .inf, 1]}}\n", 3, "not a number"),
    (HEAD + "score: 1.5\n", 3, "0 to 1"),
    (HEAD + "default: maybe\n", 3, "one of accept, rework, reject"),
    (HEAD + "decision_rule: best\n", 3, "prove_conformity"),
    (HEAD + "kinds: [any]\n", 3, "not 'any'"),
    (HEAD + "kinds: [a b]\n", 3, "not a kind's name"),
    ("- 1\n", 1, "a mapping"),
    (HEAD + "? [a]\n: 1\n", 3, "a key is a word"),
    ("product: &a p\nversion: *a\n", 1, "YAML anchor"),
    (HEAD + "kinds: !!python/object/apply:os.system [ls]\n", 3, "YAML tag"),
    (HEAD + "---\nproduct: q\n", 3, "second document"),
    (HEAD + "\tscore: 1\n", 3, "not YAML"),
    (HEAD + "score: [1\n", 4, "not YAML"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_what_is_wrong_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Specification.load(text, "board.yaml")
    assert message in refused.value.message
    if line:
        assert f"board.yaml, line {line}:" in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in pairwise("abcdefghi")),
        "\ud800",
        "product: p\x00",
        b"product: \xff\xfe",
    ],
)
def test_bombs_and_bytes_that_are_no_text_are_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        Specification.load(text)


@pytest.mark.parametrize("text", ["[" * 60_000, "a: [" + "1," * 9000 + "]", HEAD + "#" * 70_000])
def test_too_deep_too_many_and_too_long_are_too_large(text: str) -> None:
    with pytest.raises(TooLarge):
        Specification.load(text)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_read_or_refused_in_a_sentence(text: str | bytes) -> None:
    with suppress(InvalidInput, TooLarge):
        assert Specification.load(text).product


SQUARE = ((10.0, 10.0), (20.0, 10.0), (20.0, 20.0), (10.0, 20.0))
L_SHAPE = ((0.0, 0.0), (30.0, 0.0), (30.0, 5.0), (5.0, 5.0), (5.0, 30.0), (0.0, 30.0))


@pytest.mark.parametrize(
    ("box", "touching"),
    [
        ((12, 12, 14, 14), True),  # within
        ((0, 0, 40, 40), True),  # around
        ((0, 12, 40, 14), True),  # through, no corner within
        ((20, 12, 25, 14), True),  # an edge in common
        ((20, 20, 25, 25), True),  # a corner in common
        ((21, 12, 25, 14), False),
        ((0, 0, 9, 9), False),
    ],
)
def test_a_box_is_in_a_zone_when_it_shares_a_point_with_it(
    box: tuple[float, float, float, float], touching: bool
) -> None:
    assert touches(on_template(box, None, 100, 100), SQUARE) is touching
    assert touches(SQUARE, on_template(box, None, 100, 100)) is touching


def test_the_hollow_of_a_polygon_is_outside() -> None:
    assert not inside((15.0, 15.0), L_SHAPE)
    assert not touches(on_template((10, 10, 20, 20), None, 100, 100), L_SHAPE)
    assert touches(on_template((10, 3, 20, 20), None, 100, 100), L_SHAPE)


GRID = tuple(
    tuple((4 * math.sin(row + column), 3 * math.cos(row - 2 * column)) for column in range(8)) for row in range(6)
)


@given(
    st.floats(-20, 20),
    st.floats(-20, 20),
    st.floats(-180, 180),
    st.integers(0, 638),
    st.integers(0, 478),
    st.sampled_from([(), GRID]),
)
def test_a_box_lies_on_the_template_where_the_image_was_warped_from(
    dx: float, dy: float, angle: float, x: int, y: int, bend: tuple[tuple[tuple[float, float], ...], ...]
) -> None:
    alignment = Alignment(dx=dx, dy=dy, angle=angle, confidence=1, bend=bend)
    matrix = cv2.getRotationMatrix2D((319.5, 239.5), angle, 1.0)
    matrix[:, 2] += (dx, dy)
    at = np.array([x, y], np.float64)
    if bend:
        at -= cv2.resize(np.array(bend, np.float64), (640, 480), interpolation=cv2.INTER_LINEAR)[y, x]
    expected = cv2.invertAffineTransform(matrix) @ (*at, 1.0)
    assert on_template((x, y, x + 1, y + 1), alignment, 640, 480)[0] == pytest.approx(tuple(expected), abs=1e-3)


def test_a_point_right_of_the_centre_goes_up_in_a_turn_to_the_left() -> None:
    turned = Alignment(angle=90, confidence=1)
    # It is seen above the centre, and lay to the right of it.
    assert on_template((50, 10, 51, 11), turned, 101, 101)[0] == pytest.approx((90, 50))


def test_a_zone_in_mm_needs_a_calibration_and_takes_its_origin_in_pixels() -> None:
    zone = Zone(name="z", unit="mm", origin=(100.0, 50.0), outline=((0.0, 0.0), (1.0, 0.0), (1.0, 2.0)))
    assert zone.corners(None) is None
    assert zone.corners((0.02, 0.05)) == ((100.0, 50.0), (150.0, 50.0), (150.0, 90.0))


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ("{rectangle: [0, 0, 640, 480]}", None),
        ("{rectangle: [-0.5, 0, 640.9, 480]}", None),  # numbers are rounded
        ("{rectangle: [0, 0, 650, 480]}", False),
        ("{rectangle: [-100, -100, 1000, 1000]}", False),
        ("{rectangle: [640, 0, 700, 480]}", True),
        ("{rectangle: [-50, 0, -1, 480]}", True),
        ("{polygon: [[600, 479], [700, 470], [700, 600], [500, 900]]}", False),
        ("{polygon: [[630, 500], [700, 400], [700, 600]]}", True),  # only the box around it meets the board
        ("{unit: mm, rectangle: [0, 0, 12, 9]}", None),
        ("{unit: mm, rectangle: [0, 0, 640, 480]}", False),  # pixels that were called mm
        ("{unit: mm, origin: [0, 480], rectangle: [0, 1, 2, 3]}", True),
    ],
)
def test_a_zone_that_does_not_lie_on_the_board_is_named(zone: str, found: bool | None) -> None:
    text = f"product: a\nversion: 1\nzones: {{z: {zone}}}\nclasses: {{spur: {{zones: {{z: {{}}}}}}}}\n"
    specification = Specification.load(text)
    off = specification.misplaced(640, 480, (0.02, 0.02))
    assert [each.outside for each in off] == ([] if found is None else [found])
    if "mm" in zone:
        assert specification.misplaced(640, 480, None) == ()
    unused = Specification.load(text.partition("classes")[0])
    assert unused.misplaced(640, 480, (0.02, 0.02)) == ()


def test_a_misplaced_zone_in_mm_is_told_in_mm_and_in_pixels() -> None:
    zone = Zone(name="z", unit="mm", origin=(100.0, 50.0), outline=((0.0, 20.0), (1.0, 20.0), (1.0, 22.0)))
    (off,) = misplaced([zone], 640, 480, (0.02, 0.05))
    assert off.where == "x 0…1, y 20…22 mm, origin [100, 50] px = x 100…150, y 450…490 px"
    assert off.board == "640 x 480 px (12.8 x 24 mm)"
