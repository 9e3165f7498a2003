"""The shipped aligner: unseen kinds named from words, past defects found, wordings chosen. Prints figures (-s)."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from evident_core.errors import InvalidInput, ModelNotReady
from evident_manufacturing.inspection.evaluate.pairs import divide, entries, read
from evident_manufacturing.inspection.perceive.aligner import (
    IMAGE,
    Aligner,
    open_aligner,
    pack,
    tokenise,
    unit,
    unpack,
    whole,
)
from evident_manufacturing.inspection.perceive.descriptions import load_descriptions
from evident_manufacturing.inspection.perceive.naming import (
    FOLDER,
    by_description,
    cut_crops,
    embed,
    name_defects,
    refuse_unclear,
    remarks,
    similar,
)
from evident_manufacturing.inspection.schema import KINDS, Defect, Quantity, Seen, Size
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
    kept, hits = unpack(pack(vectors)), []
    assert kept.nbytes == 512 * len(vectors)
    for i in range(len(vectors)):
        (first, score), *_ = similar(vectors[i], np.delete(kept, i, axis=0), 3)
        assert -1 <= score <= 1 + 1e-5
        hits.append(np.delete(gallery.kinds, i)[first] == gallery.kinds[i])
    chance = np.mean([(gallery.kinds == kind).mean() for kind in gallery.kinds])
    print(f"\nnearest past defect of the same kind: {np.mean(hits):.3f} of {len(hits)} (chance {chance:.3f})")  # noqa: T201
    assert np.mean(hits) >= 0.8


def test_a_defect_is_most_like_itself_and_the_best_come_first(gallery: Gallery) -> None:
    vectors = embed(gallery.crops[:8])
    found = similar(vectors[3], vectors, 20)
    assert found[0] == (3, pytest.approx(1, abs=1e-4))
    assert len(found) == 8
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    apart = np.abs(unit(whole(vectors).astype(np.float32)) @ vectors.T - vectors @ vectors.T)
    assert apart.max() < 0.01


def test_what_clearly_has_a_described_kind_is_named_and_ordinary_defects_are_not(gallery: Gallery) -> None:
    found = []
    for board, defects in gallery.boards:
        seen = [each.model_copy(update={"kind": _as_detected(each.kind)}) for each in defects]
        vectors = embed(cut_crops(board.test, board.template, seen))
        named = by_description(seen, vectors, DESCRIPTIONS.of_kinds("missing_hole"))
        found += [(truth.kind, each) for truth, each in zip(defects, named, strict=True)]
        assert by_description(named, vectors, {}) == tuple(seen)
        unseen = [each.model_copy(update={"seen": Seen.LEARNED}) for each in seen]
        assert by_description(unseen, vectors, DESCRIPTIONS.of_kinds("missing_hole")) == tuple(unseen)
    holes = [each for truth, each in found if truth == "missing_hole"]
    wrong = [each for truth, each in found if truth != "missing_hole" and each.naming]
    right = [each for each in holes if each.kind == "missing_hole"]
    print(f"\nmissing holes named {len(right)} of {len(holes)}, others {len(wrong)} of {len(found) - len(holes)}")  # noqa: T201
    assert len(right) >= 0.7 * len(holes) > 0
    assert len(wrong) <= 0.03 * len(found)
    for each in right:
        assert each.naming is not None
        assert each.naming.instead_of == "short"
        assert each.naming.likeness > each.naming.ordinary
        assert 0.55 <= each.naming.share <= 1


def _as_detected(kind: str) -> str:
    """What the detector says of the kinds that it does not know."""
    return {"missing_hole": "short", "scratch": "open"}.get(kind, kind)


def test_descriptions_that_say_the_same_or_contradict_themselves_are_refused() -> None:
    refuse_unclear({})
    refuse_unclear(DESCRIPTIONS.of_kinds("scratch", "missing_hole"))
    with pytest.raises(InvalidInput, match=r"'crack' and 'scratch' read alike|'scratch' and 'crack' read alike"):
        refuse_unclear(
            {"scratch": ["a long thin line of missing copper"], "crack": ["a long thin line of copper missing"]}
        )
    with pytest.raises(InvalidInput, match="'blot' contradict each other"):
        refuse_unclear({"blot": ["copper is missing", "多余的铜"]})
    refuse_unclear({"shift": ["copper is missing on one side, and there is too much on the other"]})


def test_a_remark_is_of_the_defects_own_kind_and_agrees_with_its_size(gallery: Gallery) -> None:
    told = true = 0
    for board, defects in gallery.boards:
        vectors = embed(cut_crops(board.test, board.template, defects))
        plain = remarks(defects, vectors)
        for truth, defect in zip(board.defects, defects, strict=True):
            if said := plain.get(defect.number):
                kind, _, trait = said.key.partition(".")
                assert kind == defect.kind
                assert 0.7 <= said.share <= 1
                told += 1
                true += (trait == "line") == (truth.length_mm > 2 * truth.width_mm)
        # Another kind than its picture shows, or a size that says otherwise: then nothing is said.
        others = [each.model_copy(update={"kind": "short" if each.kind != "short" else "open"}) for each in defects]
        assert set(remarks(others, vectors)) == set()
        contrary = [
            each.model_copy(update={"size": _size(1.0 if plain[each.number].key.endswith("line") else 9.0)})
            for each in defects
            if each.number in plain
        ]
        rows = [row for row, each in enumerate(defects) if each.number in plain]
        assert remarks(contrary, vectors[rows]) == {}
    print(f"\nremarks: {told} of {len(gallery.kinds)}, long or compact as they say: {true}")  # noqa: T201
    assert told > 0.4 * len(gallery.kinds)
    assert true >= 0.9 * told


def _size(longer: float) -> Size:
    def of(value: float, unit: str) -> Quantity:
        return Quantity.model_validate({"value": str(value), "uncertainty": "0.1", "unit": unit})

    return Size(length=of(longer, "mm"), width=of(1, "mm"), area=of(longer, "mm2"))


# --- the runtime ------------------------------------------------------------------------------------------------------


def test_onnx_runtime_gives_what_torch_gives(gallery: Gallery) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from evident_core.align import load_aligner
    from evident_core.align.towers import tokenise as theirs

    aligner, ours = load_aligner(FOLDER), open_aligner()
    crops = gallery.crops[:40]
    texts = ["a scratch", "划痕", "", "x" * 300, "铜" * 100, "a\u0301 long, thin line"]
    expected = aligner.encode(torch.from_numpy(crops).float() / 255).numpy(), aligner.encode(texts).numpy()
    for mine, one in zip((ours.embed_crops(crops), ours.embed_texts(texts)), expected, strict=True):
        np.testing.assert_allclose(mine, one, atol=1e-4)
    assert np.array_equal(tokenise(texts), theirs(texts, 256).numpy())
    assert ours.temperature == aligner.config.temperature


def test_crops_are_those_that_training_cuts(gallery: Gallery) -> None:
    torch = pytest.importorskip("torch")
    from evident_core.align import crop_around
    from evident_manufacturing.inspection.perceive.align import align, lay
    from evident_manufacturing.inspection.perceive.difference import difference, stack

    board, _ = gallery.boards[0]
    boxes = [
        (300.0, 200.0, 306.0, 204.0),
        (0.0, 0.0, 9.0, 20.0),
        (400.0, 300.0, 500.0, 377.0),
        (590.0, 1.0, 640.0, 90.0),
    ]
    alignment = align(board.test, board.template)
    laid, valid = lay(board.template, alignment, board.test.shape)
    planes = torch.from_numpy(stack(board.test, laid, difference(board.test, laid, valid=valid).map)).permute(2, 0, 1)
    mine = cut_crops(board.test, board.template, defects_of(boxes, ["spur"] * 4), alignment=alignment)
    for crop, box in zip(mine, boxes, strict=True):
        theirs = (crop_around(planes, box, 64) * 255).round().byte().numpy()
        assert np.abs(crop.astype(int) - theirs).max() <= 1


def test_a_crop_is_of_the_defects_own_pixels_and_not_of_the_box_around_it(gallery: Gallery) -> None:
    board, _ = gallery.boards[0]
    tight = Defect(number=1, kind="spur", bbox=(300, 200, 340, 220), score=1, seen=Seen.BOTH)
    mask = np.zeros((60, 120), bool)
    mask[20:40, 40:80] = True
    runs = [
        int(each) for each in np.diff(np.concatenate(([0], np.flatnonzero(np.diff(mask.ravel())) + 1, [mask.size])))
    ]
    wide = tight.model_copy(update={"bbox": (260.0, 180.0, 380.0, 240.0), "mask_rle": " ".join(map(str, runs))})
    one, other = cut_crops(board.test, board.template, [tight, wide])
    assert np.array_equal(one, other)


def test_a_file_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(FOLDER, tmp_path / "aligner"))
    with (copied / IMAGE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidInput, match=r"image\.onnx is not the file that its manifest names"):
        Aligner(copied)
    (copied / IMAGE).unlink()
    with pytest.raises(ModelNotReady, match=r"image\.onnx is missing"):
        Aligner(copied)


def test_what_cannot_be_named_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    vectors = embed(gallery.crops[:2])
    with pytest.raises(InvalidInput, match="No kind is described"):
        name_defects(gallery.crops[:1], {})
    with pytest.raises(InvalidInput, match="'x' has no description"):
        name_defects(gallery.crops[:1], {"x": []})
    with pytest.raises(InvalidInput, match=r"float64 \[1, 3, 64, 64\]"):
        embed(gallery.crops[:1] / 255)
    with pytest.raises(InvalidInput, match=r"\[D\] and \[N, D\] are needed"):
        similar(vectors[0], vectors[:, :9])
    with pytest.raises(InvalidInput, match="at least 1"):
        similar(vectors[0], vectors, 0)
    board, _ = gallery.boards[0]
    outside = defects_of([(700.0, 0.0, 710.0, 9.0)], ["spur"])
    with pytest.raises(InvalidInput, match="does not lie on the board"):
        cut_crops(board.test, board.template, outside)
    with pytest.raises(ModelNotReady, match=r"manifest\.json"):
        embed(gallery.crops[:1], folder=tmp_path)


def test_all_of_it_runs_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from evident_manufacturing.inspection.perceive.naming import embed, name_defects\n"
        "crops = np.zeros((1, 3, 64, 64), np.uint8)\n"
        "print(embed(crops).shape, name_defects(crops, {'a': ['a line'], 'b': ['一条线']})[0].name in 'ab')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["(1,", "512)", "True"]


def test_the_figures_beside_the_weights_stand_beside_chance() -> None:
    figures = json.loads((FOLDER / "FIGURES.json").read_text("utf-8"))
    for name in ("recall_at_1_image_to_text", "recall_at_1_text_to_image"):
        assert figures["measured"][name] > figures["measured"]["recall_at_1_chance"]
    assert figures["measured"]["zero_shot_unseen_only_mean"] > figures["measured"]["zero_shot_unseen_only_chance"]
    for path in FOLDER.iterdir():
        assert path.stat().st_size < 6 << 20, path.name


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
