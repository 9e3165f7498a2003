"""The words for defects: complete in both languages, true of what they are paired with, and trained on end to end."""

import json
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from evident_core.errors import InvalidInput  # noqa: E402
from evident_manufacturing.inspection.perceive.descriptions import LANGUAGES, load_descriptions  # noqa: E402
from evident_manufacturing.inspection.schema import KINDS  # noqa: E402
from evident_manufacturing.training import align  # noqa: E402
from evident_manufacturing.training.captions import Shown, Statement, alike, known, shown, state, truths, word  # noqa: E402
from pcb_boards import OTHER_KINDS  # noqa: E402

DESCRIPTIONS = load_descriptions()


def test_every_kind_that_can_be_drawn_is_described_and_two_stay_out_of_training() -> None:
    assert set(DESCRIPTIONS.kinds) == {*KINDS, *OTHER_KINDS}
    assert {name for name, kind in DESCRIPTIONS.kinds.items() if kind.unseen} == {"scratch", "missing_hole"}
    for name, kind in DESCRIPTIONS.kinds.items():
        for language in LANGUAGES:
            assert len(kind.wordings[language]) >= 4, (name, language)
        assert all(any("一" <= c <= "鿿" for c in text) for text in kind.wordings["zh"])


def test_no_wording_stands_for_two_things() -> None:
    texts = [t for kind in DESCRIPTIONS.kinds.values() for language in LANGUAGES for t in kind.wordings[language]]
    texts += [t for trait in DESCRIPTIONS.traits.values() for language in LANGUAGES for t in trait[language]]
    assert len(texts) == len(set(texts))


def test_kinds_differ_in_their_traits() -> None:
    traits = [frozenset(kind.traits) for kind in DESCRIPTIONS.kinds.values()]
    assert len(traits) == len(set(traits))


def test_size_gives_traits() -> None:
    assert shown(DESCRIPTIONS, "copper", 0.06, 0.05).traits == {"extra", "alone", "round", "small"}
    assert shown(DESCRIPTIONS, "open", 0.6, 0.1).traits == {"lacks", "across", "line", "large"}


def test_what_is_said_is_true_and_truth_is_what_the_definition_says() -> None:
    rng = random.Random(0)
    pictures = [
        shown(DESCRIPTIONS, rng.choice(list(DESCRIPTIONS.kinds)), rng.uniform(0.05, 0.8), rng.uniform(0.05, 0.4))
        for _ in range(60)
    ]
    said = [state(each, rng) for each in pictures]
    true = truths(pictures, said)
    assert true.diagonal().all()
    assert not true.all()
    for i, picture in enumerate(pictures):
        for j, one in enumerate(said):
            assert bool(true[i, j]) == (one.kind in (None, picture.kind) and one.traits <= picture.traits)
    same = alike(said)
    assert all(bool(same[i, j]) == (said[i] == said[j]) for i in range(60) for j in range(60))


def test_a_kind_that_no_picture_shows_is_true_of_none() -> None:
    pictures = [Shown("open", frozenset({"lacks"}))]
    said = [
        Statement("short", frozenset()),
        Statement(None, frozenset({"extra"})),
        Statement(None, frozenset({"lacks"})),
    ]
    assert truths(pictures, said).tolist() == [[False, False, True]]


def test_wordings_that_are_held_back_are_never_used() -> None:
    rng = random.Random(1)
    wordings = DESCRIPTIONS.kinds["spur"].wordings
    used = {word(DESCRIPTIONS, Statement("spur", frozenset()), rng) for _ in range(400)}
    assert used == {text for language in LANGUAGES for text in wordings[language][:-1]}
    assert known({"en": ("only one",)}, "en", 1) == ("only one",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kinds: {}", "is no file of descriptions"),
        ("traits: [", "is no file of descriptions"),
        (
            "traits: {a: {en: [x], zh: [y]}}\nkinds: {k: {traits: [b], en: [x], zh: [y]}}",
            "'k' in .* not described: b",
        ),
        ("traits: {a: {en: [x]}}\nkinds: {}", "'a' has no wording in 'zh'"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "描述.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=says):
        load_descriptions(path)


def test_a_view_keeps_what_is_in_the_crop() -> None:
    images = torch.zeros(8, 3, 72, 72, dtype=torch.uint8)
    images[:, 1, 34:38, 34:38] = 255
    seen = align.view(images, torch.Generator().manual_seed(0))
    assert seen.shape == (8, 3, 64, 64)
    assert ((seen > 0.5).sum(dim=(1, 2, 3)) == 16).all()
    assert not torch.equal(seen[0] > 0.5, seen[1] > 0.5)


def test_the_command_trains_measures_and_saves(tmp_path: Path) -> None:
    out = tmp_path / "out"
    threads = torch.get_num_threads()
    align.main(
        [
            "--out",
            str(out),
            "--device",
            "cpu",
            "--boards",
            "10",
            "--steps",
            "1",
            "1",
            "2",
            "--batch",
            "16",
            "--processes",
            "1",
        ]
    )
    torch.set_num_threads(threads)
    figures = json.loads((out / "figures.json").read_text("utf-8"))
    assert figures["crops"] > 20
    assert figures["crops_unseen"] > 2
    assert all(0 <= figures[key] <= 1 for key in figures if key.startswith(("recall", "accuracy")))
    assert figures["zero_shot_unseen_only_chance"] == 0.5
    assert 1 << 20 < (out / "aligner.safetensors").stat().st_size <= 6 << 20
