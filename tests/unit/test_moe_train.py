"""Training: rows are the packed model, Muon's steps are orthogonal, blocks come in order, and a loss falls."""

import sys
import time
from pathlib import Path

import pytest
import torch

from evident_core.errors import InvalidInput
from evident_core.moe import train as training
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig
from evident_core.moe.feed import Feed
from evident_core.moe.muon import Muon, orthogonalise
from evident_core.moe.rows import Rows
from evident_core.moe.weights import load_model
from tiny_model import tiny_model

ALL_SPARSE = {"moe_layers": (True, True)}


def _tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 320, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the tracer looks at inputs that are no leaves
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_and_their_gradients_are_those_of_the_packed_model(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, same = tiny_model(**ALL_SPARSE), tiny_model(**ALL_SPARSE)
    if compiled:  # traced as for a GPU, and run without a C++ compiler
        whole = torch.compile
        monkeypatch.setattr(
            torch, "compile", lambda function, **options: whole(function, backend="aot_eager", **options)
        )
    rows = Rows(model, compiled=compiled)
    for length in (9, 14) if compiled else (1, 9, 40):
        tokens = _tokens(3, length)
        got, wanted = rows(tokens).flatten(0, 1), same(Batch.packed(list(tokens)))
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)
        got.square().mean().backward()
        wanted.square().mean().backward()
    for (name, parameter), other in zip(model.named_parameters(), same.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        torch.testing.assert_close(parameter.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_rows_refuse_layers_that_they_do_not_run() -> None:
    with pytest.raises(InvalidInput, match="experts only"):
        Rows(tiny_model())(_tokens(1, 4))
    attention = GQAConfig(num_heads=4, num_kv_heads=2, head_dim=16, qk_norm="full")
    with pytest.raises(InvalidInput, match="norms of heads"):
        Rows(tiny_model(attention=attention, **ALL_SPARSE))(_tokens(1, 4))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 6), (1, 5, 20)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=draw)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_muon_steps_stacks_like_their_matrices_and_skips_what_has_no_gradient() -> None:
    draw = torch.Generator().manual_seed(2)
    stack = torch.nn.Parameter(torch.randn(3, 8, 6, generator=draw))
    alone = [torch.nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    idle = torch.nn.Parameter(torch.ones(4, 4))
    together, apart = Muon([stack, idle], weight_decay=0.1), Muon(alone, weight_decay=0.1)
    for _ in range(3):
        gradient = torch.randn(3, 8, 6, generator=draw)
        stack.grad = gradient
        for parameter, part in zip(alone, gradient, strict=True):
            parameter.grad = part.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(stack, torch.stack(list(alone)))
    assert torch.equal(idle, torch.ones(4, 4))


def test_muon_runs_a_closure() -> None:
    parameter = torch.nn.Parameter(torch.eye(4))
    optimiser = Muon([parameter], lr=0.1)

    def closure() -> float:
        optimiser.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimiser.step(closure) == 4.0
    assert parameter.square().sum() < 4.0


def _writer(folder: Path, name: str, blocks: int) -> list[str]:
    """A program that writes blocks whose tokens say whose they are and which."""
    code = f"""import struct, sys
for i in range({blocks}):
    tokens = [{int(name)}, i, 0x8000 | 5, 6, 7, 65535]
    sys.stdout.buffer.write(struct.pack("<2i", 2, 3) + struct.pack("<6H", *tokens))
"""
    path = folder / f"writer{name}.py"
    path.write_text(code, encoding="utf-8")
    return [sys.executable, str(path)]


def test_blocks_come_in_turn_with_their_marks_and_an_end_is_told(tmp_path: Path) -> None:
    with Feed([_writer(tmp_path, "1", 2), _writer(tmp_path, "2", 1)]) as feed:
        assert feed.take().tolist() == [[1, 0, 0x8005], [6, 7, 65535]]
        assert feed.take()[0, 0] == 2
        assert feed.take()[0].tolist() == [1, 1, 0x8005]
        with pytest.raises(InvalidInput, match="text 1 ended with exit code 0"):
            feed.take()


def test_processes_end_with_the_feed(tmp_path: Path) -> None:
    with Feed([_writer(tmp_path, "1", 10_000_000)]) as feed:
        feed.take()
    assert feed.ended


def test_a_model_learns_a_rule_and_pads_count_for_nothing() -> None:
    """Each token is the one before plus one: a loss near that of guessing falls to a small part of it."""
    torch.manual_seed(0)
    model = tiny_model(**ALL_SPARSE)
    lines: list[dict[str, float]] = []
    draw = torch.Generator().manual_seed(5)

    def take() -> torch.Tensor:
        first = torch.randint(1, 40, (16, 1), generator=draw)
        block = ((first + torch.arange(12)) | training.MARK).int()
        block[:, 9:] = 0
        return block

    recipe = training.Recipe(steps=60, blocks=1, warmup=5, log_every=20)
    training.train(model, take, recipe, lines.append, time.monotonic())
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert lines[-1]["answer_loss"] < 0.3 * lines[0]["answer_loss"]
    assert lines[-1]["rate"] < 0.1
    padded = torch.full((1, 12), 0, dtype=torch.long)
    padded[0, :9] = torch.arange(3, 12) | training.MARK
    whole, _, _ = training.loss_of(Rows(model), padded, 0.1)
    cut, _, _ = training.loss_of(Rows(model), padded[:, :9], 0.1)
    torch.testing.assert_close(whole, cut)


def test_a_prompt_counts_for_its_weight() -> None:
    model = tiny_model(**ALL_SPARSE)
    tokens = _tokens(2, 10)
    plain, marked = tokens.clone(), tokens.clone()
    marked[:, 5:] |= training.MARK
    losses = [training.loss_of(Rows(model), block, weight)[0] for block, weight in ((plain, 0.1), (marked, 1.0))]
    torch.testing.assert_close(losses[0], losses[1])  # all alike, whatever the weight
    _, answers, _ = training.loss_of(Rows(model), marked, 0.0)
    only, _, _ = training.loss_of(Rows(model), marked, 0.0)
    torch.testing.assert_close(only, answers)


def test_the_command_trains_and_saves_a_model_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    corpus = " ".join(_writer(tmp_path, "9", 1000))
    sizes = {
        "layers": 1,
        "hidden": 32,
        "heads": 2,
        "kv-heads": 1,
        "experts": 4,
        "expert-width": 16,
        "vocabulary": 65536,
    }
    shape = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    training.main([str(out), "--corpus", corpus, "--workers", "1", "--steps", "2", "--log-every", "1", *shape])
    lines = (out / "train.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 3
    assert lines == capsys.readouterr().out.splitlines()
    model = load_model(out)
    assert model.config.family == "evident"
    assert model(Batch.packed([[1, 2, 3]])).isfinite().all()


@pytest.mark.parametrize("words", [[], ["--steps", "1", "--minutes", "1"]])
def test_one_measure_of_the_end_is_needed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.read_arguments(["out", "--corpus", "x", *words])
    assert "one of --minutes and --steps" in capsys.readouterr().err
