"""Peers compute the same function as transformers: otherwise a comparison of times would mean nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evident_core.bench import bandwidth
from evident_core.bench.batching import BatchingBench
from evident_core.bench.comparison import ids
from evident_core.bench.constrained import ConstrainedBench
from evident_core.bench.contestant import Contestant, Logits, relative_error
from evident_core.bench.ours import Evident
from evident_core.bench.peers.gguf_file import neighbouring_pairs
from evident_core.bench.peers.hugging_face import HuggingFace
from evident_core.bench.peers.llama_cpp import LlamaCpp, instruction_set
from evident_core.bench.peers.onnx_graph import block_size, quantize_blocks, quantize_rows, rotary_table
from evident_core.bench.peers.onnx_runtime import FLOAT, OnnxDynamic, OnnxFused, OnnxRun
from evident_core.bench.shape import Shape, write_checkpoint

# Warnings at import of foreign libraries are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = Shape(
    vocab_size=600, num_layers=2, hidden_size=128, num_heads=4, num_kv_heads=2, head_dim=32, num_experts=4,
    intermediate_size=64,
)  # fmt: skip
TOKENS = [5, 300, 17, 17, 599, 42, 1, 256, 99, 3, 511, 77]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("small")
    write_checkpoint(written, SMALL)
    return written


@pytest.fixture(scope="module")
def reference(folder: Path) -> Logits:
    pytest.importorskip("transformers", exc_type=ImportError)
    return HuggingFace().logits(folder, TOKENS, exact=True)


def ready(kind: type[Contestant], folder: Path) -> Contestant:
    contestant = kind()
    if command := contestant.missing():
        pytest.skip(f"{contestant.name} is not installed: {command}")
    contestant.prepare(folder)
    return contestant


@pytest.mark.parametrize("kind", [Evident, LlamaCpp, OnnxDynamic, OnnxFused])
def test_logits_are_those_of_transformers(kind: type[Contestant], folder: Path, reference: Logits) -> None:
    contestant = ready(kind, folder)
    assert relative_error(contestant.logits(folder, TOKENS, exact=True), reference) < 1e-5
    assert 1e-4 < relative_error(contestant.logits(folder, TOKENS, exact=False), reference) < 0.1


@pytest.mark.parametrize("kind", [OnnxDynamic, OnnxFused])
def test_each_way_of_onnx_runtime_computes_the_same(kind: type[OnnxDynamic], folder: Path, reference: Logits) -> None:
    ready(kind, folder)
    for token, prompt in [(FLOAT, FLOAT), *kind.ways.values()]:
        run = OnnxRun(folder, token, prompt, threads=1)
        for count in (1, 7):  # what is left over in the cache is never read
            found = [run.step(TOKENS[:count], 0).copy()]
            found += [run.step([TOKENS[at]], at).copy() for at in range(count, len(TOKENS))]
            assert relative_error(np.stack(found), reference[count - 1 :]) < (1e-5 if token is FLOAT else 0.1)


@pytest.mark.parametrize("kind", [Evident, LlamaCpp, OnnxDynamic, OnnxFused, HuggingFace])
def test_peers_time_what_they_are_asked(kind: type[Contestant], folder: Path) -> None:
    if kind is HuggingFace:
        pytest.importorskip("transformers", exc_type=ImportError)
    contestant = ready(kind, folder)
    assert contestant.load(folder, 1)
    prompt = ids(folder, 8, 0)
    assert 0 < contestant.decode(prompt, 5) < 60
    assert 0 < contestant.first_token(prompt) < 60


@pytest.mark.parametrize("quantize", [quantize_rows, lambda matrix: quantize_blocks(matrix, 32)])
def test_quantised_weights_are_half_a_step_away_at_most(
    quantize: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    matrix = np.random.default_rng(0).standard_normal((6, 96)).astype(np.float32)
    values, scales = quantize(matrix)
    zero = 128 if values.dtype == np.uint8 else 0
    restored = ((values.astype(np.float32) - zero) * scales[..., None]).reshape(matrix.shape)
    step = np.broadcast_to(scales[..., None], values.shape).reshape(matrix.shape)
    assert (np.abs(restored - matrix) <= step / 2 + 1e-6).all()
    assert np.abs(values.astype(int) - zero).max() == 127


def test_many_requests_are_measured_together(folder: Path) -> None:
    found = BatchingBench().run(folder, threads=1, rounds=2, tokens=6)
    assert (found["requests"], found["vocab_size"], found["threads"]) == (16, SMALL.vocab_size, 1)
    assert found["ratio"]["rounds"] == 2
    assert found["together"]["median"] > 0
    assert 0 < found["first_done"]["low"] <= found["first_done"]["high"] <= 1


def test_a_report_is_written_under_its_schema(folder: Path) -> None:
    found = ConstrainedBench().run(folder, threads=1, rounds=1, tokens=900)
    assert 0 < found["model_steps"] < found["written"] <= 900
    assert found["speed"]["median"] > 0


def test_memory_is_read_at_some_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "MEMORY_BYTES", 1 << 24)
    found = bandwidth.BandwidthBench().run(threads=2, model_bytes=1 << 20)
    assert found["memory"] > 1e8
    assert found["model"] > 1e8


def test_the_build_of_llama_cpp_is_told_by_its_best_instructions() -> None:
    assert (
        instruction_set("CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_VNNI = 1 | REPACK = 1 | ")
        == "AVX512_VNNI"
    )
    assert instruction_set("CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 |") == "AVX2"
    assert instruction_set("") == "no vector instructions"


def test_blocks_divide_all_inputs() -> None:
    assert block_size(512) == 256
    assert block_size(512, 128) == 128
    assert block_size(96) == 32


def test_reordered_rows_turn_in_pairs_as_the_halves_do() -> None:
    draw = np.random.default_rng(0)
    matrix, x = draw.standard_normal((2 * 32, 10)).astype(np.float32), draw.standard_normal(10).astype(np.float32)
    cosines, sines = (table[5] for table in rotary_table(SMALL))
    heads = (matrix @ x).reshape(2, 2, 16)
    first, second = heads[:, 0], heads[:, 1]
    halves = np.stack([first * cosines - second * sines, second * cosines + first * sines], axis=1)
    pairs = (neighbouring_pairs(matrix, 2) @ x).reshape(2, 16, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = np.stack([even * cosines - odd * sines, odd * cosines + even * sines], axis=-1)
    np.testing.assert_allclose(turned.swapaxes(1, 2), halves, rtol=1e-6)
