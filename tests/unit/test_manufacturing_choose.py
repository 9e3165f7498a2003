"""The labelling loop's choices: what is taught unasked, what is left out, and which board a person is asked about."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from evident_manufacturing.inspection.evaluate.metrics import Boxes
from evident_manufacturing.inspection.evaluate.pairs import Pair, packed
from evident_manufacturing.inspection.perceive.difference import TOLERANCE, difference
from evident_manufacturing.inspection.schema import KINDS, Detection
from evident_manufacturing.training.asked import errors, measure
from evident_manufacturing.training.choose import Look, look, order, uncertainty, worth
from evident_manufacturing.training.rounds import STRATEGIES, Board, Run, Setup, ask, prepare, unasked, write_round
from evident_manufacturing.training.weak import Place, agreed_labels, golden_labels, places, ready

BOX = (10.0, 10.0, 40.0, 40.0)


def place(detector: float, template: float, by_template: str = "short") -> Place:
    return Place(BOX, "short", by_template if template else "", detector, template)


SURE, NOTHING = place(1.0, 1.0), place(0.2, 0.0)
DOUBTS = {
    "only the template": place(0.0, 1.0),
    "only the detector": place(1.0, 0.0),
    "two kinds": place(1.0, 1.0, "copper"),
    "the detector wavers": place(0.4, 1.0),
}


def conductors(seed: int = 0) -> np.ndarray:
    """A board that an aligner can hold on to."""
    rng = np.random.default_rng(seed)
    image = np.full((320, 320), 255, np.uint8)
    for _ in range(12):
        x, y, length = (int(each) for each in rng.integers(10, 200, 3))
        cv2.rectangle(image, (x, y), (x + length, y + 18), 0, -1)
        cv2.rectangle(image, (y, x), (y + 18, x + length), 0, -1)
    return image


def pair(name: str, seed: int = 0, *spots: tuple[int, int, int]) -> Pair:
    """A board with white and black squares (x, y, side) that its template has not."""
    template = conductors(seed)
    test = template.copy()
    for x, y, side in spots:
        test[y : y + side, x : x + side] = 255 - test[y : y + side, x : x + side]
    return Pair(name, template, test, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def test_a_thick_difference_is_a_weak_label_and_a_thin_one_is_none():
    template = np.full((200, 200), 255, np.uint8)
    template[40:70] = 0
    test = template.copy()
    test[90:102, 90:102] = 0
    test[150:190, 30 : 30 + TOLERANCE] = 0
    found = difference(test, template)
    assert len(found.candidates) == 2
    labels = golden_labels(places([], found, test, template))
    assert [KINDS[kind] for kind in labels.kinds] == ["copper"]
    ((x0, y0, x1, y1),) = labels.xyxy
    assert x0 < 90 < 102 < x1
    assert y0 < 90 < 102 < y1


def test_a_detection_and_the_difference_in_it_are_one_place():
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    test[90:102, 90:102] = 0
    seen = Detection(bbox=(76.0, 76.0, 116.0, 116.0), kind="spur", score=0.25)
    (found,) = places([seen], difference(test, template), test, template)
    assert (found.bbox, found.kind, found.by_template, found.detector) == (seen.bbox, "spur", "copper", 0.5)
    assert found.template == 1.0
    assert not found.alike
    assert found.around == (80.0, 80.0, 112.0, 112.0)


def test_the_box_of_an_agreed_label_is_the_differences_whatever_the_detector_drew():
    template = np.full((200, 200), 255, np.uint8)
    test = template.copy()
    test[90:102, 90:102] = 0
    seen = Detection(bbox=(60.0, 82.0, 104.0, 140.0), kind="copper", score=0.9)
    labels = agreed_labels(places([seen], difference(test, template), test, template))
    assert labels.xyxy.tolist() == [[80.0, 80.0, 112.0, 112.0]]


def test_agreed_places_are_labels():
    labels = agreed_labels([SURE, NOTHING])
    assert labels.xyxy.tolist() == [list(BOX)]
    assert [KINDS[kind] for kind in labels.kinds] == ["short"]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_board_with_an_ambiguous_place_is_left_out_whole(doubt):
    assert agreed_labels([SURE, DOUBTS[doubt]]) is None


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_is_ambiguous_is_what_a_person_is_asked_about(doubt):
    assert uncertainty(DOUBTS[doubt]) > 0.5
    assert uncertainty(SURE) == 0.0
    assert worth([SURE, DOUBTS[doubt]]) > worth([SURE, SURE])


def test_a_board_without_any_place_is_taught_as_background():
    assert len(agreed_labels([NOTHING]).kinds) == len(golden_labels([]).kinds) == 0


def test_a_detector_counts_once_it_confirms_nine_in_ten_of_the_templates_places():
    assert not ready([])
    assert not ready([[place(0.0, 1.0)]])
    assert not ready([[SURE] * 8 + [place(0.0, 1.0)] * 2])
    assert ready([[SURE] * 5, [SURE] * 4 + [place(0.0, 1.0)]])


def looked(name: str, seed: int, *seen: Place) -> Look:
    vector = np.random.default_rng(seed).normal(size=8)
    return Look(name, seen, vector / np.linalg.norm(vector))


def test_the_uncertain_board_comes_first_and_its_twin_last():
    doubt = DOUBTS["only the template"]
    looks = [looked("sure", 1, SURE), looked("doubt", 2, doubt), looked("twin", 2, doubt), looked("other", 3, doubt)]
    asked = order(looks)
    assert sorted(asked) == [0, 1, 2, 3]
    assert {looks[index].name for index in asked[:2]} == {"doubt", "other"}
    assert looks[asked[-1]].name == "twin"


def test_a_board_like_a_labelled_one_waits():
    doubt = DOUBTS["only the template"]
    looks = [looked("like", 2, doubt), looked("unlike", 3, doubt)]
    assert [looks[index].name for index in order(looks, [looked("labelled", 2, SURE)])] == ["unlike", "like"]
    assert order([]) == []


def test_boards_are_looked_at_with_any_detector():
    boards = [pair("flawed", 0, (120, 120, 14)), pair("sound", 0)]

    def detect(images):
        return [[Detection(bbox=(106.0, 106.0, 148.0, 148.0), kind="open", score=0.9)] for _ in images]

    (flawed, sound), (_, doubted) = look(boards), look(boards, detect)
    assert all(each.template == 1.0 and each.detector == 0.0 for each in flawed.places)
    assert flawed.places
    assert sound.places == ()
    assert [(each.template, each.detector) for each in doubted.places] == [(0.0, 1.0)]
    assert worth(doubted.places) > worth(sound.places)
    assert not np.allclose(look([pair("other", 5)])[0].descriptor, sound.descriptor)


@pytest.fixture
def setup(tmp_path):
    """Ten boards of which the third has five labels and the others one each."""
    boards = [
        Board(f"b{index}", tmp_path / f"{index}.bmp", Boxes(np.zeros((n, 4)), np.zeros(n, np.int64), np.ones(n)), ())
        for index, n in enumerate([1, 1, 5, 1, 1, 1, 1, 1, 1, 1])
    ]
    return Setup(tmp_path, tuple(boards), (), "cpu", 4, 1)


@pytest.mark.parametrize("name", ["random", "active"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_a_budget_is_of_labels_and_is_kept(setup, name, share):
    looks = [looked(board.name, number, DOUBTS["two kinds"]) for number, board in enumerate(setup.train)]
    run = Run(name, seed=0, asked=(0,))
    new = list(ask(run, STRATEGIES[name], share, looks, setup))
    taken = sum(len(setup.train[index].labels.kinds) for index in (*run.asked, *new))
    assert 0 not in new
    assert len(set(new)) == len(new)
    assert taken <= max(1, share * 14)
    assert taken == 14 or share < 1.0


def test_random_choice_is_by_its_seed(setup):
    first, again, other = (list(ask(Run("random", seed), STRATEGIES["random"], 0.6, [], setup)) for seed in (0, 0, 1))
    assert first == again != other
    assert list(ask(Run("weak", 0), STRATEGIES["weak"], 0.6, [], setup)) == []


def test_every_strategy_is_taught_as_many_pictures(tmp_path):
    (tmp_path / "pack").mkdir()
    for name, spots in {"a": ((130, 60, 14),), "b": ((130, 60, 14),), "c": ()}.items():
        board = pair(name, 0, *spots)
        cv2.imwrite(str(tmp_path / "pack" / f"{name}.png"), np.hstack([board.template, board.test]))
        (tmp_path / "pack" / f"{name}.txt").write_text("116 46 158 88 2\n" if spots else "")
    boards = prepare(packed(tmp_path / "pack"), tmp_path / "all", processes=1)
    setup = Setup(tmp_path, boards, boards[:1], "cpu", 4, 1)
    told = unasked([1, 2], [look_at_nothing(board) for board in boards], setup)
    assert [len(told[index].kinds) for index in (1, 2)] == [1, 0]
    few = write_round(tmp_path / "few", {0: boards[0].labels}, (0,), setup)
    many = write_round(tmp_path / "many", {0: boards[0].labels} | told, (0,), setup)
    listed = [(path.parent / "train.txt").read_text().split() for path in (few, many)]
    assert [len(each) for each in listed] == [3, 3]
    assert [len(set(each)) for each in listed] == [1, 3]
    assert all(Path(each).is_file() for each in listed[0] + listed[1])
    assert (many.parent / "labels" / "a.txt").read_text().startswith("1 0.428125 ")
    assert (many.parent / "labels" / "c.txt").read_text() == ""
    assert json.loads(many.read_text())["names"] == list(KINDS)


def look_at_nothing(board: Board) -> Look:
    return Look(board.name, (), np.zeros(1))


def test_errors_are_wrong_labels_and_missing_ones():
    def boxes(*rows):
        every = np.array(rows, np.float64).reshape(-1, 5)
        return Boxes(every[:, :4], every[:, 4].astype(np.int64), np.ones(len(every)))

    true = boxes((0, 0, 20, 20, 0), (50, 50, 70, 70, 1))
    assert errors(true, true) == errors(boxes(), boxes()) == 0
    assert errors(boxes(), true) == errors(true, boxes()) == 2
    assert errors(boxes((0, 0, 20, 20, 0), (50, 50, 70, 70, 2)), true) == 2
    assert errors(boxes((2, 2, 22, 22, 0), (60, 60, 80, 80, 1)), true) == 2


def test_boards_in_doubt_show_the_errors_first():
    boards, seen = [], []
    for number in range(8):
        board = pair(f"board{number}", number, (130, 60, 14))
        given = golden_labels(look([board])[0].places)
        if len(given.kinds) != 1:
            continue  # the square lies across an edge: two differences
        box, kind = given.xyxy[0], given.kinds[0]
        true = kind if boards else (kind + 1) % len(KINDS)
        boards.append(replace(board, boxes=box[None].astype(np.float32), classes=np.array([true])))
        seen.append([Detection(bbox=tuple(box), kind=KINDS[true], score=0.9)])
    assert len(boards) >= 4

    found = measure(boards, lambda images: [seen.pop(0) for _ in images])
    assert (found.labels, found.errors, found.boards) == (len(boards), 2, 1)
    assert found.agreed == (len(boards) - 1, 0)
    assert found.active[0.4] == 1.0
    assert found.random[0.4] < 0.6
