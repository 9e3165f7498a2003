"""The shipped model on what is larger than a board, in what else can compute it, and for many who ask at once."""

from importlib.util import find_spec

import numpy as np
import pytest

from evident_core.errors import InvalidInput, MissingExtra, ModelNotReady
from evident_core.evidence import InputRef
from evident_core.progress import Progress
from evident_manufacturing.inspection import perceive as perceiving
from evident_manufacturing.inspection.evaluate.boards import CALIBRATION, FIRST_SEED, generate
from evident_manufacturing.inspection.evaluate.slicers import NAMES, slicers
from evident_manufacturing.inspection.evaluate.speed import measure_speed
from evident_manufacturing.inspection.ingest import Board
from evident_manufacturing.inspection.perceive import Models, lay_under, perceive
from evident_manufacturing.inspection.perceive.batcher import Batcher
from evident_manufacturing.inspection.perceive.detector import FOLDER, Detector, batch
from evident_manufacturing.inspection.perceive.difference import difference, stack
from evident_manufacturing.inspection.perceive.tiles import detect_in_tiles
from evident_manufacturing.inspection.pipeline import open_models
from evident_manufacturing.inspection.schema import Detection

SIDE = 1100


@pytest.fixture(scope="module")
def models() -> Models:
    return open_models(threads=2)


@pytest.fixture(scope="module")
def pair() -> tuple[Board, Board]:
    """A board of some tiles, and its template."""
    sample = generate(FIRST_SEED + 300, size=SIDE, defects=12)
    ref = InputRef(sha256="0" * 64, name="large.png")
    test, template = (Board(ref, each, SIDE, SIDE) for each in (sample.test, sample.template))
    return test, template


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """What the fused detector sees of three boards."""
    made = []
    for seed in range(FIRST_SEED + 310, FIRST_SEED + 313):
        sample = generate(seed, defects=6)
        _, laid, valid = lay_under(sample.test, sample.template)
        made.append(stack(sample.test, laid, difference(sample.test, laid, valid=valid).map))
    return made


def near(ours: list[Detection], others: list[Detection], apart: float, least: float = 0.3) -> bool:
    """Whether each sure box of either has one of its kind in the other, with sides at most so many pixels off."""

    def has(box: Detection, found: list[Detection]) -> bool:
        return any(
            box.kind == each.kind and max(abs(a - b) for a, b in zip(box.bbox, each.bbox, strict=True)) <= apart
            for each in found
        )

    return all(has(box, other) for one, other in ((ours, others), (others, ours)) for box in one if box.score >= least)


def test_a_board_in_bands_has_the_defects_of_the_board_in_one_piece(models, pair, monkeypatch):
    test, template = pair
    whole = perceive(test, template, models, CALIBRATION)
    assert len(whole.defects) > 5
    assert any(each.size is not None for each in whole.defects)
    monkeypatch.setattr(perceiving, "WHOLE", 640 * 640)
    told: list[Progress] = []
    assert perceive(test, template, models, CALIBRATION, on_progress=told.append).defects == whole.defects
    assert {(each.stage, each.total) for each in told} == {("perceive", 2 * SIDE)}
    bands, views = ([each.done for each in told if (each.done < SIDE) is first] for first in (True, False))
    assert (bands, views) == (sorted(set(bands)), sorted(views))
    assert len(bands) > 1
    assert len(views) >= len({defect.bbox[1] // 300 for defect in whole.defects})


def test_many_images_have_the_boxes_of_each_alone(models, images):
    alone = [models.fused.detect([image])[0] for image in images]
    assert models.fused.detect(images) == alone
    assert models.fused.detect(iter(images)) == alone
    together = models.fused.forward(batch(images))
    assert all(
        np.array_equal(rows, models.fused.forward(batch([each]))[0])
        for rows, each in zip(together, images, strict=True)
    )
    most, workers = models.fused.at_once
    for how in ({"most": most, "workers": workers}, {"most": 2, "budget": 0.01}):
        with Batcher(models.fused.detect, **how) as batcher:
            assert batcher(images) == alone


def test_an_image_that_cannot_be_seen_fails_alone(models, images):
    with Batcher(models.fused.detect, most=4, budget=0.05) as batcher:
        answers = [batcher.submit(each) for each in (images[0], np.zeros((700, 700, 3), np.uint8), images[1])]
        with pytest.raises(InvalidInput, match="700 x 700"):
            answers[1].result(60)
        assert [answers[index].result(60) for index in (0, 2)] == models.fused.detect(images[:2])


@pytest.mark.parametrize("name", NAMES)
def test_other_slicers_see_the_same_boxes(name, models, pair):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install {name}")
    test, template = pair
    _, laid, valid = lay_under(test.gray, template.gray)
    image = stack(test.gray, laid, difference(test.gray, laid, valid=valid).map)
    assert near(detect_in_tiles(image, models.fused.detect), slicers(models.fused)[name](image), apart=4.0)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_openvino_sees_the_same_boxes(precision, images):
    if find_spec("openvino") is None:
        with pytest.raises(MissingExtra, match="pip install openvino"):
            Detector(FOLDER / "fused", precision=precision, runtime="openvino")
        pytest.skip("openvino is not installed: pip install openvino")
    ours = Detector(FOLDER / "fused", precision=precision)
    theirs = Detector(FOLDER / "fused", precision=precision, runtime="openvino")
    assert theirs.version == f"{ours.version} openvino"
    for a, b in zip(ours.detect(images), theirs.detect(images), strict=True):
        assert near(a, b, apart=4.0, least=0.5)
    assert theirs.detect(images[:1]) == theirs.detect(images[:1])


def test_a_runtime_that_is_not_there_is_refused_by_name():
    import onnxruntime

    with pytest.raises(InvalidInput, match="no runtime 'rocm'; take one of onnxruntime, openvino, tensorrt"):
        Detector(FOLDER / "fused", runtime="rocm")
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ModelNotReady, match=r"has only .*CPUExecutionProvider.* here"):
            Detector(FOLDER / "fused", runtime="tensorrt")


def test_large_images_and_waiting_requests_are_compared(models):
    found = measure_speed(models, FOLDER / "fused", rounds=1, side=700, requests=6, parts=("queue", "tiles"))
    assert all((each.value is None) == bool(each.note and each.ours is None) for each in found.ratios)
    names = [each.name for each in found.ratios]
    for peer in NAMES:
        assert any(peer in name for name in names)
    queue = found.ratios[0]
    assert "p99" in queue.note
