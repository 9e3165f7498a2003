"""DeepPCB's layout: what is read, what is refused, and that packing keeps it."""

import cv2
import numpy as np
import pytest

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection.evaluate.pairs import (
    compared_on,
    divide,
    entries,
    held_back,
    pack,
    read,
    read_labels,
    unpack,
)


@pytest.fixture
def folder(tmp_path):
    """Eleven pairs of two boards."""
    lines = []
    for number in range(11):
        group = f"group{number % 2}"
        for kind in (f"{group}/b", f"{group}/b_not"):
            (tmp_path / kind).mkdir(parents=True, exist_ok=True)
        template = np.full((64, 64), 255, np.uint8)
        template[20:40] = 0
        test = template.copy()
        test[25:30, 30:35] = 255
        for name, image in (("temp", template), ("test", test)):
            cv2.imwrite(str(tmp_path / group / "b" / f"{number:03}_{name}.jpg"), image)
        (tmp_path / group / "b_not" / f"{number:03}.txt").write_text("28 23 37 32 6\n")
        lines.append(f"{group}/b/{number:03}.jpg {group}/b_not/{number:03}.txt")
    (tmp_path / "trainval.txt").write_text("\n".join(lines))
    return tmp_path


def test_pairs_are_read(folder):
    every = entries(folder)
    assert [each.group for each in every[:2]] == ["group0", "group1"]
    pair = read(every[0])
    assert pair.boxes.tolist() == [[28, 23, 37, 32]]
    assert pair.classes.tolist() == [5]
    assert pair.template.shape == pair.test.shape == (64, 64)


def test_every_fifth_pair_of_each_board_is_for_validation(folder):
    train, validation = divide(entries(folder))
    assert [each.test.name for each in validation] == ["008_test.jpg", "009_test.jpg"]
    assert not {each.test for each in train} & {each.test for each in validation}
    assert divide(entries(folder)[::-1])[1] == validation


def test_what_is_compared_on_is_half_of_what_is_held_back_and_stays_so():
    held = [number for number in range(2000) if held_back(f"{number:016x}")]
    compared = [number for number in held if compared_on(f"{number:016x}")]
    assert 0.4 < len(compared) / len(held) < 0.6
    # By the names alone, which are what installations have kept their boards by.
    assert (held[:6], compared[:2]) == ([5, 9, 13, 18, 27, 29], [5, 9])


def test_packing_keeps_pairs_and_labels(folder, tmp_path):
    pack(entries(folder), tmp_path / "pack")
    packed = list(unpack(tmp_path / "pack"))
    assert len(packed) == 11
    for pair, entry in zip(packed, sorted(entries(folder), key=lambda each: (each.group, each.test.name)), strict=True):
        given = read(entry)
        assert np.mean((pair.test > 127) != (given.test > 127)) < 0.01
        assert pair.boxes.tolist() == given.boxes.tolist()


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("\ufeff1 2 3 4 1\r\n", [[1, 2, 3, 4]]),
        ("3 4 1 2 1", [[1, 2, 3, 4]]),
        ("1,2,3,4,1\n\n", [[1, 2, 3, 4]]),
        ("", []),
    ],
)
def test_labels_are_read_tolerantly(tmp_path, text, boxes):
    path = tmp_path / "标签.txt"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_labels(path)[0].tolist() == boxes


@pytest.mark.parametrize(
    ("text", "told"), [("1 2 3 4", "x1 y1 x2 y2 type"), ("1 2 3 4 9", "has type 9"), ("a b c d e", "needed")]
)
def test_a_wrong_label_is_named(tmp_path, text, told):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        read_labels(path)


@pytest.mark.parametrize("line", ["group0/b/000.jpg", "/etc/passwd.jpg x.txt", "../x.jpg y.txt"])
def test_a_split_file_cannot_lead_elsewhere(folder, line):
    (folder / "trainval.txt").write_text(line)
    with pytest.raises(InvalidInput, match=r"Line 1 of trainval\.txt"):
        entries(folder)


def test_what_is_missing_or_damaged_is_named(folder):
    with pytest.raises(NotFound, match=r"no test\.txt"):
        entries(folder, "test.txt")
    damaged = entries(folder)[0]
    damaged.test.write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"000_test\.jpg"):
        read(damaged)
    damaged.test.unlink()
    with pytest.raises(NotFound, match=r"000_test\.jpg"):
        entries(folder)
