"""The shared space of pictures and descriptions: its loss, its towers, what learning changes, and its files."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from evident_core.align import (  # noqa: E402
    Aligner,
    Pairs,
    Schedule,
    TowerConfig,
    classify_by_description,
    crop_around,
    fit,
    info_nce,
    load_aligner,
    recall_at,
    retrieve,
    save_aligner,
    tokenise,
)
from evident_core.errors import InvalidInput, ModelNotReady  # noqa: E402

TINY = TowerConfig(
    dimensions=32, side=16, image_widths=(8, 8, 16, 16), text_width=32, text_layers=1, text_heads=2, text_length=64
)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    random.seed(0)
    # Tensors are tiny here: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _by_loops(
    left: list[list[float]], right: list[list[float]], positives: list[list[bool]], temperature: float
) -> float:
    """The loss from its definition, a number at a time."""

    def unit(v: list[float]) -> list[float]:
        norm = math.sqrt(sum(x * x for x in v))
        return [x / norm for x in v]

    def one_way(a: list[list[float]], b: list[list[float]], belongs: list[list[bool]]) -> float:
        rows = []
        for i, one in enumerate(a):
            logits = [sum(x * y for x, y in zip(unit(one), unit(other), strict=True)) / temperature for other in b]
            total = math.log(sum(math.exp(v) for v in logits))
            own = [v - total for v, yes in zip(logits, belongs[i], strict=True) if yes]
            if own:
                rows.append(-sum(own) / len(own))
        return sum(rows) / len(rows)

    turned = [list(column) for column in zip(*positives, strict=True)]
    return (one_way(left, right, positives) + one_way(right, left, turned)) / 2


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_loss_is_its_definition(temperature: float) -> None:
    left, right = torch.randn(5, 7), torch.randn(5, 7)
    expected = _by_loops(left.tolist(), right.tolist(), torch.eye(5, dtype=torch.bool).tolist(), temperature)
    assert float(info_nce(left, right, temperature=temperature)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_with_several_right_answers_and_with_none() -> None:
    left, right = torch.randn(4, 6), torch.randn(6, 6)
    positives = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0]]).bool()
    expected = _by_loops(left.tolist(), right.tolist(), positives.tolist(), 0.1)
    assert float(info_nce(left, right, positives)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_symmetric_and_least_for_the_right_order() -> None:
    left = torch.eye(6)
    right = left + 0.1 * torch.randn(6, 6)
    assert float(info_nce(left, right)) == pytest.approx(float(info_nce(right, left)), rel=1e-6)
    assert float(info_nce(left, right)) < float(info_nce(left, right.roll(1, 0)))
    assert float(info_nce(left, 5 * right)) == pytest.approx(float(info_nce(left, right)), rel=1e-5)


def test_the_gradient_of_the_loss_is_right() -> None:
    left, right = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    positives = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, positives, 1.0), (left, right), atol=1e-2, eps=1e-3)


@pytest.mark.parametrize(
    ("left", "right", "positives", "says"),
    [
        ((3, 4), (3, 5), None, "both must be rows x D"),
        ((3, 4), (2, 4), None, "3 rows and 2 are no pairs"),
        ((3, 4), (3, 4), torch.zeros(2, 3, dtype=torch.bool), r"must be \(3, 3\)"),
        ((3, 4), (3, 4), torch.zeros(3, 3, dtype=torch.bool), "at least one pair"),
    ],
)
def test_the_loss_refuses(left: tuple[int, int], right: tuple[int, int], positives: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        info_nce(torch.ones(left), torch.ones(right), positives)


def test_texts_become_bytes_of_whole_characters() -> None:
    ids = tokenise(["ab", "孔"], 16)
    assert ids.tolist() == [[257, 97, 98, 256], [257, *"孔".encode()]]
    # Five bytes leave room for one character of three, and not for two thirds of another.
    assert tokenise(["孔孔"], 6).shape == (1, 4)
    assert tokenise(["\ud800"], 8).shape == (1, 2)
    with pytest.raises(InvalidInput, match="no description"):
        tokenise([], 8)


def test_both_towers_end_in_the_same_space() -> None:
    aligner = Aligner()
    images = aligner.encode(torch.rand(3, 3, 64, 64))
    texts = aligner.encode(["a cut through a trace", "短路", ""])
    assert images.shape == texts.shape == (3, 512)
    assert torch.allclose(torch.cat([images, texts]).norm(dim=1), torch.ones(6), atol=1e-5)
    assert float(aligner.temperature) == pytest.approx(0.1)
    assert sum(p.numel() for p in aligner.parameters()) * 4 < 24 << 20
    assert aligner.encode(torch.zeros(0, 3, 64, 64)).shape == (0, 512)
    with pytest.raises(InvalidInput, match=r"\(2, 3, 32, 32\); B x 3 x 64 x 64 is needed"):
        aligner.encode(torch.rand(2, 3, 32, 32))


def test_an_embedding_does_not_depend_on_what_else_is_in_the_batch() -> None:
    aligner = Aligner(TINY).eval()
    texts = ["open", "a much longer text than the other one", "断路"]
    together = aligner.encode(texts)
    assert torch.allclose(together, torch.cat([aligner.encode([text]) for text in texts]), atol=1e-5)
    crops = torch.rand(5, 3, 16, 16)
    assert torch.allclose(aligner.encode(crops), aligner.encode(crops, batch=2), atol=1e-5)


def test_the_order_of_characters_matters() -> None:
    aligner = Aligner(TINY).eval()
    a, b = aligner.encode(["missing copper", "copper missing"])
    assert float(a @ b) < 0.999


def test_retrieval_ranks_by_cosine() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    ranking = retrieve(torch.tensor([[0.1, 5.0]]), gallery, top=2)
    assert ranking.indices_QK.tolist() == [[1, 2]]
    assert ranking.scores_QK[0, 0] > ranking.scores_QK[0, 1]
    assert retrieve(torch.ones(1, 2), gallery, top=9).indices_QK.shape == (1, 3)
    with pytest.raises(InvalidInput, match="gallery is empty"):
        retrieve(torch.ones(1, 2), torch.zeros(0, 2))
    with pytest.raises(InvalidInput, match="rows x D"):
        retrieve(torch.ones(1, 3), gallery)


def test_recall_counts_queries_that_have_an_answer() -> None:
    gallery = torch.eye(3)
    queries = torch.tensor([[1.0, 0.5, 0], [0.5, 1.0, 0], [0, 0, 1.0]])
    relevant = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0]]).bool()
    assert recall_at(1, queries, gallery, relevant) == pytest.approx(0.5)
    assert recall_at(2, queries, gallery, relevant) == pytest.approx(1.0)
    with pytest.raises(InvalidInput, match="no meaning"):
        recall_at(1, queries, gallery, torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(InvalidInput, match="is needed"):
        recall_at(1, queries, gallery, relevant[:2])


_COLOURS = {"red": ([0], "红"), "green": ([1], "绿"), "blue": ([2], "蓝"), "yellow": ([0, 1], "黄")}
_COLOURS |= {"cyan": ([1, 2], "青"), "violet": ([0, 2], "紫"), "white": ([0, 1, 2], "白")}
_SHAPES = {"wide": ((3, 10), "横"), "tall": ((10, 3), "竖"), "small": ((4, 4), "小")}
_KINDS = [(colour, shape) for colour in _COLOURS for shape in _SHAPES]
_UNSEEN = ("yellow", "tall")


def _draw(kinds: list[tuple[str, str]]) -> torch.Tensor:
    """Blots of a colour and a shape."""
    crops = 0.2 * torch.rand(len(kinds), 3, 16, 16)
    for i, (colour, shape) in enumerate(kinds):
        h, w = _SHAPES[shape][0]
        y, x = random.randrange(0, 17 - h), random.randrange(0, 17 - w)
        crops[i, _COLOURS[colour][0], y : y + h, x : x + w] = 1.0
    return crops


def _say(colour: str | None, shape: str | None) -> str:
    """What a blot looks like, or a part of that, in English or Chinese."""
    if random.random() < 0.5:
        words = ([colour] if colour else []) + ([shape] if shape else [])
        return " ".join(["a blot", *words]) if random.random() < 0.5 else ", ".join(words[::-1])
    return (f"{_SHAPES[shape][1]}条" if shape else "") + (f"{_COLOURS[colour][1]}色" if colour else "")


def _batch(count: int) -> tuple[torch.Tensor, list[str], list[str], torch.Tensor, torch.Tensor]:
    """Crops, what is said of each, the same in other words, what is true of what, and what says the same as what."""
    shown = [random.choice([kind for kind in _KINDS if kind != _UNSEEN]) for _ in range(count)]
    said = [random.choice([(c, p), (c, None), (None, p)]) for c, p in shown]
    true = torch.tensor([[c in (None, k[0]) and p in (None, k[1]) for c, p in said] for k in shown])
    same = torch.tensor([[a == b for b in said] for a in said])
    return _draw(shown), [_say(*s) for s in said], [_say(*s) for s in said], true, same


def _stage(name: str) -> Iterator[Pairs]:
    while True:
        crops, texts, others, true, same = _batch(48)
        match name:
            case "image":
                yield Pairs(crops, crops.roll(1, 2) + 0.1 * torch.rand_like(crops))
            case "text":
                yield Pairs(texts, others, same)
            case _:
                yield Pairs(crops, texts, true)


def test_learning_improves_recall_and_describes_what_it_never_saw() -> None:
    aligner = Aligner(TINY)
    crops, texts, _, true, _ = _batch(64)
    before = recall_at(1, aligner.encode(crops), aligner.encode(texts), true)
    for name, steps in (("image", 20), ("text", 60), ("both", 150)):
        losses = fit(aligner, _stage(name), Schedule(steps, learning_rate=3e-3))
        assert len(losses) == steps
        assert sum(losses[-5:]) < sum(losses[:5])
    after = recall_at(1, aligner.encode(crops), aligner.encode(texts), true)
    assert after > 0.9
    assert after > before + 0.2

    # Yellow was never tall and tall never yellow; what tall means is known from the other colours.
    offered = {shape: [f"a blot {shape}", f"{chinese}条"] for shape, (_, chinese) in _SHAPES.items()}
    named = classify_by_description(aligner, _draw([_UNSEEN] * 20), offered)
    assert sum(one.name == "tall" for one in named) >= 12
    assert all(0 < one.second_probability <= one.probability <= 1 for one in named)


def test_a_stage_leaves_the_other_tower_alone() -> None:
    aligner = Aligner(TINY)
    before = {name: p.clone() for name, p in aligner.named_parameters()}
    pairs = Pairs(["open", "short"], ["断路", "短路"])
    told: list[int] = []
    fit(aligner, [pairs] * 3, Schedule(3, weight_decay=1.0), lambda step, _: told.append(step))
    changed = {name.split(".")[0] for name, p in aligner.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"text"}
    assert told == [1, 2, 3]


def test_a_learned_temperature_moves() -> None:
    pairs = Pairs(["open", "short"], ["断路", "短路"])
    for learned in (False, True):
        aligner = Aligner(TowerConfig(**{**TINY.__dict__, "temperature_is_learned": learned}))
        fit(aligner, [pairs] * 3, Schedule(3))
        assert (abs(float(aligner.temperature.detach()) - 0.1) > 1e-5) is learned


def test_naming_refuses_what_has_no_words() -> None:
    aligner = Aligner(TINY)
    crops = torch.rand(2, 3, 16, 16)
    with pytest.raises(InvalidInput, match="No kind is described"):
        classify_by_description(aligner, crops, {})
    with pytest.raises(InvalidInput, match="'scratch' has no description"):
        classify_by_description(aligner, crops, {"scratch": []})
    only = classify_by_description(aligner, crops, {"scratch": ["a line"]})[0]
    assert (only.name, only.probability, only.second) == ("scratch", pytest.approx(1.0), None)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    aligner = Aligner(TINY)
    save_aligner(aligner, tmp_path / "模型")
    again = load_aligner(tmp_path / "模型")
    assert again.config == aligner.config
    crops = torch.rand(2, 3, 16, 16)
    assert torch.equal(again.encode(crops), aligner.eval().encode(crops))
    assert torch.equal(again.encode(["孔"]), aligner.encode(["孔"]))
    save_aligner(aligner, tmp_path / "half", torch.float16)
    half = load_aligner(tmp_path / "half")
    assert torch.allclose(half.encode(crops), aligner.encode(crops), atol=5e-3)
    assert (tmp_path / "half" / "aligner.safetensors").stat().st_size < 0.7 * (
        tmp_path / "模型" / "aligner.safetensors"
    ).stat().st_size


def test_files_that_are_missing_or_foreign_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    with pytest.raises(ModelNotReady, match=r"aligner\.json is missing"):
        load_aligner(tmp_path)
    save_aligner(Aligner(TINY), tmp_path)
    config = tmp_path / "aligner.json"
    good = config.read_text("utf-8")
    for bad in ("[]", "{", json.dumps({"colour": 1}), json.dumps({**json.loads(good), "dimensions": 64})):
        config.write_text(bad, encoding="utf-8")
        with pytest.raises(InvalidInput, match="Train it anew"):
            load_aligner(tmp_path)
    config.write_text(good, encoding="utf-8")
    weights = tmp_path / "aligner.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InvalidInput, match="Train it anew"):
        load_aligner(tmp_path)


def test_a_crop_keeps_the_size_of_small_defects_and_shrinks_large_ones() -> None:
    plane = torch.zeros(3, 200, 300, dtype=torch.uint8)
    plane[:, 100:104, 150:154] = 255
    crop = crop_around(plane, (150, 100, 154, 104))
    assert crop.shape == (3, 64, 64)
    assert float(crop[0].sum()) == 16.0
    assert crop[0, 30:34, 30:34].min() == 1.0
    large = crop_around(plane, (100, 50, 200, 150))
    assert large.shape == (3, 64, 64)
    assert float(large[0].sum()) == pytest.approx(16 * (64 / 200) ** 2, rel=0.2)


def test_a_crop_at_the_border_repeats_it() -> None:
    plane = torch.zeros(1, 80, 80)
    plane[:, 0] = 1.0
    crop = crop_around(plane, (-2.0, -2.0, 4.0, 4.0))
    assert crop.shape == (1, 64, 64)
    assert crop[0, :32].min() == 1.0
    assert crop[0, 34:].max() == 0.0
    for outside in ((90.0, 0.0, 95.0, 5.0), (5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 5.0, 9.0)):
        with pytest.raises(InvalidInput, match="does not lie in an image of 80 x 80"):
            crop_around(plane, outside)


def test_it_imports_with_torch_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('pydantic', 'flask', 'safetensors', 'cv2', 'yaml', 'ultralytics'): sys.modules[name] = None\n"
        "import evident_core.align as align, torch\n"
        "print(tuple(align.Aligner().encode(torch.zeros(1, 3, 64, 64)).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 512)", done.stderr
