"""ONNX Runtime on the CPU, with int8 weights and activations that are quantised at run time.

It is measured twice: as ``quantize_dynamic`` quantises a graph, and with the operators that ONNX Runtime itself adds
for language models, which are faster. The cache lies in buffers that are read and written in place.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from evident_core.bench.contestant import Contestant, Logits, library, missing_packages
from evident_core.bench.peers.onnx_graph import Recipe, cache_names, write_onnx
from evident_core.bench.shape import read_shape
from evident_core.bench.timing import fastest

POSITIONS = 1024
"""Of the cache: more than any measurement needs."""

FLOAT = Recipe("float", "float", "branch")
DYNAMIC_TOKEN, DYNAMIC_PROMPT = (
    Recipe("dynamic-gather", "dynamic", "gather"),
    Recipe("dynamic-branch", "dynamic", "branch"),
)
DYNAMIC_FUSED, BLOCKS_FUSED = Recipe("dynamic-fused", "dynamic", "fused"), Recipe("blocks-fused", "blocks", "fused")


class OnnxDynamic(Contestant):
    """Dynamic quantisation in the standard's operators: MatMulInteger, one scale an output."""

    name = "ONNX Runtime dynamic int8"
    ways: ClassVar[dict[str, tuple[Recipe, Recipe]]] = {
        "weights of the chosen experts gathered": (DYNAMIC_TOKEN, DYNAMIC_PROMPT),
        "one branch an expert": (DYNAMIC_PROMPT, DYNAMIC_PROMPT),
    }
    """What computes a token and what computes a prompt, by how it is told."""

    def missing(self) -> str | None:
        """The command that installs it."""
        return missing_packages(["onnxruntime", "onnx"], ["onnxruntime", "onnx"])

    def prepare(self, folder: Path) -> None:
        """Write the graphs, the one in float32 included."""
        for recipe in {FLOAT, *(each for way in self.ways.values() for each in way)}:
            path = _file(folder, recipe)
            if not path.exists():
                write_onnx(folder, path, recipe)

    def load(self, folder: Path, threads: int) -> str:
        """Choose what decodes fastest, and what reads a prompt fastest."""
        prompt = list(range(1, 9))
        runs = {name: OnnxRun(folder, *recipes, threads=threads) for name, recipes in self.ways.items()}
        best = fastest({name: partial(run.decode, prompt, 24) for name, run in runs.items()}, 6)
        reader = fastest({name: partial(run.first_token, prompt * 25) for name, run in runs.items()})
        self._run, self._reader = runs[best], runs[reader]
        same = self.ways[best][1] is self.ways[reader][1]
        return best if same else f"{best}; prompts: {reader}"

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        """See :class:`Contestant`; of the way that is listed first."""
        recipe = FLOAT if exact else next(iter(self.ways.values()))[0]
        run = OnnxRun(folder, recipe, recipe, threads=1)
        return np.stack([run.step([token], position).copy() for position, token in enumerate(tokens)])

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """See :class:`Contestant`."""
        return self._run.decode(prompt, tokens)

    def first_token(self, prompt: Sequence[int]) -> float:
        """See :class:`Contestant`."""
        return self._reader.first_token(prompt)


class OnnxFused(OnnxDynamic):
    """8-bit weights and int8 activations in ONNX Runtime's own operators: QMoE, and MatMulNBits or the above."""

    name = "ONNX Runtime QMoE 8-bit"
    ways: ClassVar[dict[str, tuple[Recipe, Recipe]]] = {
        "matrices in MatMulNBits": (BLOCKS_FUSED, BLOCKS_FUSED),
        "matrices in DynamicQuantizeMatMul": (DYNAMIC_FUSED, DYNAMIC_FUSED),
    }


def _file(folder: Path, recipe: Recipe) -> Path:
    return folder / f"{recipe.name}.onnx"


class OnnxRun:
    """One sequence: a cache in place, and for each number of tokens the bound inputs and outputs.

    Args:
        folder: Where the graphs are.
        token: Computes single tokens.
        prompt: Computes several tokens at once.
        threads: That compute an operator.
    """

    def __init__(self, folder: Path, token: Recipe, prompt: Recipe, *, threads: int) -> None:
        self._value = library("onnxruntime").OrtValue.ortvalue_from_numpy
        shape = read_shape(folder)
        room = np.zeros((1, shape.num_kv_heads, POSITIONS, shape.head_dim), np.float32)
        self._cache = [tuple(self._value(room.copy()) for _ in range(2)) for _ in range(shape.num_layers)]
        self._logits = self._value(np.zeros((1, 1, shape.vocab_size), np.float32))
        self._token = _session(_file(folder, token), threads)
        self._prompt = self._token if prompt is token else _session(_file(folder, prompt), threads)
        self._bound: dict[int, tuple[Any, Any, Any, Any]] = {}

    def step(self, tokens: Sequence[int], position: int) -> Logits:
        """Read tokens from a position on; the logits [V] after the last one, valid until the next step."""
        session = self._token if len(tokens) == 1 else self._prompt
        if len(tokens) not in self._bound:
            self._bound[len(tokens)] = self._bind(session, len(tokens))
        binding, ids, last, total = self._bound[len(tokens)]
        ids.update_inplace(np.array([tokens], np.int64))
        last.update_inplace(np.array([position + len(tokens) - 1], np.int32))
        total.update_inplace(np.array([position + len(tokens)], np.int32))
        session.run_with_iobinding(binding)
        logits: Logits = self._logits.numpy()[0, 0]
        return logits

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds for so many tokens; reading the prompt is not counted, in its favour."""
        token = int(self.step(prompt, 0).argmax())
        began = time.perf_counter()
        for position in range(len(prompt), len(prompt) + tokens):
            token = int(self.step([token], position).argmax())
        return time.perf_counter() - began

    def first_token(self, prompt: Sequence[int]) -> float:
        """Seconds to read a prompt and take a token; binding its buffers is not counted."""
        if len(prompt) not in self._bound:
            self._bound[len(prompt)] = self._bind(self._prompt, len(prompt))
        began = time.perf_counter()
        self.step(prompt, 0).argmax()
        return time.perf_counter() - began

    def _bind(self, session: Any, tokens: int) -> tuple[Any, Any, Any, Any]:
        binding = session.io_binding()
        ids = self._value(np.zeros((1, tokens), np.int64))
        last, total = (self._value(np.zeros(1, np.int32)) for _ in range(2))
        for name, value in (("tokens", ids), ("last_position", last), ("total_length", total)):
            binding.bind_ortvalue_input(name, value)
        for layer, pair in enumerate(self._cache):
            for past, present, value in zip(
                cache_names("past", layer), cache_names("present", layer), pair, strict=True
            ):
                binding.bind_ortvalue_input(past, value)
                binding.bind_ortvalue_output(present, value)
        binding.bind_ortvalue_output("logits", self._logits)
        return binding, ids, last, total


def _session(path: Path, threads: int) -> Any:
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
