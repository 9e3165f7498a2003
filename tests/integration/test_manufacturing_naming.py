"""The shipped aligner: unseen kinds named from words, past defects found, wordings suggested. Prints figures (-s)."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from evident_core.errors import InvalidInput, ModelNotReady
from evident_manufacturing.inspection.evaluate.pairs import divide, entries, read
from evident_manufacturing.inspection.perceive.descriptions import load_descriptions
from evident_manufacturing.inspection.perceive.naming import (
    FOLDER,
    cut_crops,
    describe,
    embed,
    name_defects,
    similar,
)
from evident_manufacturing.inspection.schema import KINDS, Defect, Seen
from evident_manufacturing.training.captions import shown
from pcb_boards import Sample, generate

DESCRIPTIONS = load_descriptions()
UNSEEN = [name for name, kind in DESCRIPTIONS.kinds.items() if kind.unseen]
PCB = Path(__file__).parents[3] / "shared" / "data" / "pcb"


@dataclass(frozen=True)
class Gallery:
    """Crops of generated boards that no training has seen, and their kinds."""

    boards: list[tuple[Sample, list[Defect]]]
    crops: np.ndarray
    kinds: np.ndarray


def defects_of(boxes: list[tuple[float, ...]], kinds: list[str]) -> list[Defect]:
    return [
        Defect(number=i, kind=kind, bbox=tuple(float(v) for v in box), score=1.0, seen=Seen.BOTH)
        for i, (box, kind) in enumerate(zip(boxes, kinds, strict=True), 1)
    ]


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    boards = []
    for seed in range(30_000_000, 30_000_012):
        board = generate(seed, defects=9, kinds=(*KINDS, *UNSEEN))
        boards.append((board, defects_of([d.bbox for d in board.defects], [d.kind for d in board.defects])))
    crops = np.concatenate([cut_crops(board.test, board.template, defects) for board, defects in boards])
    return Gallery(boards, crops, np.array([d.kind for _, defects in boards for d in defects]))


def test_kinds_that_were_never_trained_on_are_told_apart_by_their_descriptions(gallery: Gallery) -> None:
    novel = np.isin(gallery.kinds, UNSEEN)
    assert novel.sum() >= 10
    named = name_defects(gallery.crops[novel], DESCRIPTIONS.of_kinds(*UNSEEN))
    right = np.mean([each.name == kind for each, kind in zip(named, gallery.kinds[novel], strict=True)])
    print(f"\nzero-shot between {' and '.join(UNSEEN)}: {right:.3f} of {novel.sum()} (chance 0.5)")  # noqa: T201
    assert right >= 0.9
    assert all(each.probability > 0.5 > each.second_probability for each in named)


def test_another_description_names_otherwise(gallery: Gallery) -> None:
    novel = gallery.crops[gallery.kinds == "scratch"]
    too_much, too_little = ["copper where none should be", "多余的铜"], ["copper is missing", "缺少铜"]
    assert {each.name for each in name_defects(novel, {"a": too_much, "b": too_little})} == {"b"}
    assert {each.name for each in name_defects(novel, {"a": too_little, "b": too_much})} == {"a"}


def test_the_nearest_past_defect_is_mostly_of_the_same_kind(gallery: Gallery) -> None:
    vectors = embed(gallery.crops)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    hits = []
    for i in range(len(vectors)):
        (first, score), *_ = similar(gallery.crops[i], np.delete(vectors, i, axis=0), 3)
        assert -1 <= score <= 1 + 1e-5
        hits.append(np.delete(gallery.kinds, i)[first] == gallery.kinds[i])
    chance = np.mean([(gallery.kinds == kind).mean() for kind in gallery.kinds])
    print(f"\nnearest past defect of the same kind: {np.mean(hits):.3f} of {len(hits)} (chance {chance:.3f})")  # noqa: T201
    assert np.mean(hits) >= 0.85


def test_a_defect_is_most_like_itself_by_crops_and_by_vectors(gallery: Gallery) -> None:
    by_crops = similar(gallery.crops[3], gallery.crops[:8], 20)
    by_vectors = similar(gallery.crops[3], embed(gallery.crops[:8]), 20)
    assert by_crops[0][0] == by_vectors[0][0] == 3
    assert by_crops[0][1] == pytest.approx(1, abs=1e-4)
    assert len(by_crops) == 8
    assert [score for _, score in by_crops] == sorted((score for _, score in by_crops), reverse=True)


def test_suggested_wordings_are_of_the_kind_in_the_language_that_is_asked_for(gallery: Gallery) -> None:
    board, defects = gallery.boards[0]
    for language in ("en", "zh"):
        found = describe(board.test, board.template, defects[0], language=language, top=4)
        assert len(found) == 4
        assert {text for text, _ in found} <= set(DESCRIPTIONS.kinds[defects[0].kind].wordings[language])
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_a_kind_that_nobody_described_is_described_by_properties_that_it_has(gallery: Gallery) -> None:
    right = []
    for board, defects in gallery.boards[:3]:
        for truth, defect in zip(board.defects, defects, strict=True):
            has = shown(DESCRIPTIONS, truth.kind, truth.length_mm, truth.width_mm).traits
            true = {text for trait in has for text in DESCRIPTIONS.traits[trait]["zh"]}
            strange = defect.model_copy(update={"kind": "something new"})
            found = describe(board.test, board.template, strange, language="zh")
            assert len(found) == 2
            right += [text in true for text, _ in found]
    print(f"\nproperties of a kind that nobody described: {np.mean(right):.3f} of {len(right)} are true")  # noqa: T201
    assert np.mean(right) >= 0.8


def test_what_cannot_be_named_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No kind is described"):
        name_defects(gallery.crops[:1], {})
    with pytest.raises(InvalidInput, match="'x' has no description"):
        name_defects(gallery.crops[:1], {"x": []})
    with pytest.raises(InvalidInput, match=r"float64 \[1, 3, 64, 64\]"):
        embed(gallery.crops[:1] / 255)
    with pytest.raises(InvalidInput, match="gallery is empty"):
        similar(gallery.crops[0], gallery.crops[:0])
    with pytest.raises(InvalidInput, match="at least 1"):
        similar(gallery.crops[0], gallery.crops, 0)
    with pytest.raises(ModelNotReady, match=r"aligner\.json is missing"):
        embed(gallery.crops[:1], folder=tmp_path)


def test_without_torch_the_module_loads_and_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from evident_core.errors import MissingExtra\n"
        "from evident_manufacturing.inspection.perceive.naming import embed\n"
        "try: embed(np.zeros((1, 3, 64, 64), np.uint8))\n"
        "except MissingExtra as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "pip install 'evident[training]'" in done.stdout


def test_the_figures_beside_the_weights_stand_beside_chance() -> None:
    figures = json.loads((FOLDER / "FIGURES.json").read_text("utf-8"))
    for name in ("recall_at_1_image_to_text", "recall_at_1_text_to_image"):
        assert figures["measured"][name] > figures["measured"]["recall_at_1_chance"]
    assert figures["measured"]["zero_shot_unseen_only_mean"] > figures["measured"]["zero_shot_unseen_only_chance"]
    assert (FOLDER / "aligner.safetensors").stat().st_size < 6 << 20


@pytest.mark.skipif(not PCB.is_dir(), reason=f"the real boards are not at {PCB}")
def test_defects_of_real_boards_are_named_by_words_though_training_saw_generated_ones_only() -> None:
    right = []
    for entry in divide(entries(PCB))[1][::20]:
        pair = read(entry)
        kinds = [KINDS[each] for each in pair.classes]
        crops = cut_crops(pair.test, pair.template, defects_of(list(pair.boxes), kinds))
        named = name_defects(crops, DESCRIPTIONS.of_kinds(*KINDS))
        right += [each.name == kind for each, kind in zip(named, kinds, strict=True)]
    print(f"\nreal defects named by description: {np.mean(right):.3f} of {len(right)} (chance 0.167)")  # noqa: T201
    assert np.mean(right) >= 0.9
