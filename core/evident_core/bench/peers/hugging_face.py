"""transformers in float32, with its best way to compute experts and its best cache; compiled by torch, and not."""

import itertools
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evident_core.bench.contestant import DECODED, Contestant, Logits, library, missing_packages
from evident_core.bench.timing import fastest

EXPERTS = ("eager", "batched_mm", "grouped_mm")
CACHES = ("dynamic", "static")


class HuggingFace(Contestant):
    """Greedy ``generate()`` of the checkpoint as it is."""

    name = "transformers float32"

    def missing(self) -> str | None:
        """Version 5 is the first with a choice of how experts are computed."""
        return missing_packages(["transformers", "torch"], ["'transformers>=5.11'", "torch"])

    def prepare(self, folder: Path) -> None:
        """Nothing: the checkpoint is in its own format."""

    def load(self, folder: Path, threads: int) -> str:
        """Choose the implementation of the experts, and the cache, by what decodes and what reads fastest."""
        library("torch").set_num_threads(threads)
        models = {experts: _open(folder, experts) for experts in EXPERTS}
        prompt = list(range(1, 9))
        ways = {
            f"experts {experts}, {cache} cache": partial(_generate, models[experts], cache)
            for experts, cache in itertools.product(EXPERTS, CACHES)
        }
        best = fastest({name: partial(way, prompt, 12) for name, way in ways.items()})
        reader = fastest({name: partial(way, prompt * 25, 1) for name, way in ways.items()})
        self._write, self._read = ways[best], ways[reader]
        return best if best == reader else f"{best}; prompts: {reader}"

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:  # noqa: ARG002
        """See :class:`Contestant`; it is the reference, whose only form is exact."""
        torch = library("torch")
        model, cache, rows = _open(folder, "eager"), None, []
        with torch.inference_mode():
            for token in tokens:
                found = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
                cache = found.past_key_values
                rows.append(found.logits[0, -1].numpy())
        return np.stack(rows)

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds for so many tokens, the short prompt included."""
        return self._write(prompt, tokens)

    def first_token(self, prompt: Sequence[int]) -> float:
        """See :class:`Contestant`."""
        return self._read(prompt, 1)


class HuggingFaceCompiled(HuggingFace):
    """The same with the decoding step compiled by torch, which ``generate`` does by itself on GPUs only."""

    name = "transformers float32, torch.compile"

    def load(self, folder: Path, threads: int) -> str:
        """Compile; the experts are batched, the fastest way of those that compile."""
        library("torch").set_num_threads(threads)
        self._write = partial(_generate, _open(folder, "batched_mm"), "compiled")
        self._read = partial(_generate, _open(folder, "grouped_mm"), "dynamic")
        for tokens in (DECODED, 16, DECODED):  # it compiles for the cache's length, which the longest text decides
            self._write(range(1, 9), tokens)
        return "experts batched_mm, static cache; prompts: experts grouped_mm, dynamic cache"


def _open(folder: Path, experts: str) -> Any:
    # A text model needs no torchvision, and the registry's cannot be imported beside a CPU build of PyTorch.
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
    transformers = library("transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=library("torch").float32, experts_implementation=experts
        )
    return model.eval()


def _generate(model: Any, cache: str, prompt: Sequence[int], tokens: int) -> float:
    torch, transformers = library("torch"), library("transformers")
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "use_cache": True}
    if cache != "dynamic":
        options |= {"cache_implementation": "static", "disable_compile": cache == "static"}
    if cache == "compiled":
        options["compile_config"] = transformers.CompileConfig(fullgraph=False, mode="default")
        options["compile_config"]._compile_all_devices = True  # the library's own switch for CPUs
    ids = torch.tensor([list(prompt)])
    with torch.inference_mode():
        began = time.perf_counter()
        found = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=transformers.GenerationConfig(max_new_tokens=tokens, **options),
        )
        took = time.perf_counter() - began
    if found.shape[1] != len(prompt) + tokens:
        raise RuntimeError(f"generate wrote {found.shape[1] - len(prompt)} tokens instead of {tokens}")
    return took
