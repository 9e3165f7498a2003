"""llama.cpp with Q8_0 weights, through llama-cpp-python.

The loop calls the library's C interface: its own sampler takes the greatest logit, and no Python of the high-level
class lies between two tokens.
"""

import ctypes
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evident_core.bench.contestant import Contestant, Logits, library, missing_packages
from evident_core.bench.peers.gguf_file import write_gguf
from evident_core.bench.timing import fastest

POSITIONS = 1024
"""Of the cache: more than any measurement needs."""


class LlamaCpp(Contestant):
    """Greedy decoding of the GGUF file."""

    name = "llama.cpp Q8_0"

    def missing(self) -> str | None:
        """The command that builds it for this machine's instruction set."""
        return missing_packages(["llama_cpp", "gguf"], ["llama-cpp-python", "gguf"])

    def prepare(self, folder: Path) -> None:
        """Write ``F32.gguf`` and ``Q8_0.gguf``."""
        write_gguf(folder, folder / "F32.gguf", "F32")
        write_gguf(folder, folder / "Q8_0.gguf", "Q8_0")

    def load(self, folder: Path, threads: int) -> str:
        """Choose flash attention or not, and the repacked layout of the weights or not, by what decodes fastest."""
        runs = {
            f"flash attention {'on' if flash else 'off'}, weights {'repacked' if repack else 'as stored'}": _Run(
                folder / "Q8_0.gguf", threads, flash=flash, repack=repack
            )
            for flash, repack in itertools.product((True, False), (True, False))
        }
        prompt = list(range(1, 9))
        best = fastest({name: partial(run.decode, prompt, 24) for name, run in runs.items()}, 6)
        self._run = runs.pop(best)
        for other in runs.values():
            other.close()
        return f"built for {instruction_set(library('llama_cpp').llama_print_system_info().decode())}, {best}"

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        """See :class:`Contestant`; the exact form has a float32 cache too."""
        run = _Run(folder / ("F32.gguf" if exact else "Q8_0.gguf"), 1, flash=False, float_cache=exact)
        try:
            return np.stack([run.read([token]) for token in tokens])
        finally:
            run.close()

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """See :class:`Contestant`."""
        return self._run.decode(prompt, tokens)

    def first_token(self, prompt: Sequence[int]) -> float:
        """See :class:`Contestant`."""
        return self._run.first_token(prompt)


def instruction_set(told: str) -> str:
    """The best of what a build uses, by what the library tells of itself: ``"CPU : SSE3 = 1 | AVX = 1 | …"``."""
    used = {part.split("=")[0].split(":")[-1].strip() for part in told.split("|") if part.strip().endswith("= 1")}
    known = ("AVX512_VNNI", "AVX512", "AVX_VNNI", "AVX2", "AVX", "SSE3", "SVE", "DOTPROD", "NEON")
    return next((each for each in known if each in used), "no vector instructions")


class _Run:
    """A model with one context."""

    def __init__(
        self, path: Path, threads: int, *, flash: bool, repack: bool = True, float_cache: bool = False
    ) -> None:
        self._api = library("llama_cpp")
        _silence()
        self._api.llama_backend_init()
        of_model = self._api.llama_model_default_params()
        of_model.n_gpu_layers = 0
        of_model.use_extra_bufts = repack
        self._model = self._api.llama_model_load_from_file(str(path).encode(), of_model)
        options = self._api.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = POSITIONS
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = int(flash)
        options.no_perf = True
        if float_cache:
            options.type_k = options.type_v = 0  # GGML_TYPE_F32
        self._context = self._api.llama_init_from_model(self._model, options)
        self._memory = self._api.llama_get_memory(self._context)
        self._greedy = self._api.llama_sampler_init_greedy()
        self._vocab_size = self._api.llama_vocab_n_tokens(self._api.llama_model_get_vocab(self._model))

    def read(self, tokens: Sequence[int]) -> Logits:
        """Append tokens; the logits [V] after the last one."""
        self._append(tokens)
        found = self._api.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(found, (self._vocab_size,)).copy()

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds for so many tokens; reading the prompt is not counted, in its favour."""
        self._begin(prompt)
        cell = (ctypes.c_int32 * 1)()
        decode, sample, batch = self._api.llama_decode, self._api.llama_sampler_sample, self._api.llama_batch_get_one
        cell[0] = sample(self._greedy, self._context, -1)
        began = time.perf_counter()
        for _ in range(tokens):
            decode(self._context, batch(cell, 1))
            cell[0] = sample(self._greedy, self._context, -1)
        return time.perf_counter() - began

    def first_token(self, prompt: Sequence[int]) -> float:
        """Seconds to read the prompt and take a token."""
        began = time.perf_counter()
        self._begin(prompt)
        self._api.llama_sampler_sample(self._greedy, self._context, -1)
        return time.perf_counter() - began

    def _begin(self, prompt: Sequence[int]) -> None:
        self._api.llama_memory_clear(self._memory, False)  # a C function
        self._append(prompt)

    def _append(self, tokens: Sequence[int]) -> None:
        cells = (ctypes.c_int32 * len(tokens))(*tokens)
        if code := self._api.llama_decode(self._context, self._api.llama_batch_get_one(cells, len(tokens))):
            raise RuntimeError(f"llama_decode gave {code}")

    def close(self) -> None:
        self._api.llama_sampler_free(self._greedy)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)


_listeners: list[Any] = []


def _silence() -> None:
    """Keep the library's log off the screen; it calls the function for as long as it lives."""
    llama_cpp = library("llama_cpp")
    if not _listeners:
        _listeners.append(llama_cpp.llama_log_callback(lambda _level, _text, _data: None))
        llama_cpp.llama_log_set(_listeners[0], ctypes.c_void_p(0))
