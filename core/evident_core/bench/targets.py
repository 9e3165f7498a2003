"""What the engine is to reach, and whether this run did."""

from collections.abc import Iterator
from dataclasses import replace

from evident_core.bench.ours import Evident
from evident_core.bench.peers.hugging_face import HuggingFace
from evident_core.bench.peers.llama_cpp import LlamaCpp
from evident_core.bench.peers.onnx_runtime import OnnxDynamic, OnnxFused
from evident_core.bench.results import Figures, Target
from evident_core.bench.timing import Spread

RATIOS = ((LlamaCpp.name, 2.0), (OnnxDynamic.name, 3.0), (OnnxFused.name, 3.0), (HuggingFace.name, 15.0))
FIRST_TOKEN_MS = ((200, 200.0), (300, 1000.0))
COMPILE_MS, MASK_MEAN_US, MASK_P99_US, TRIE_US, CONSTRAINED = 10.0, 100.0, 500.0, 20.0, 0.10
TOGETHER = 4.0
STARVED = 0.5
"""Requests that begin together and write equally much end together; who is done in half the time took another's."""


def judge(figures: Figures) -> Figures:
    """The figures with each target's line."""
    return replace(figures, targets=tuple(_lines(figures)))


def _lines(figures: Figures) -> Iterator[Target]:
    places = sorted({(row.vocab_size, row.threads) for row in figures.rows if row.threads})
    for vocab_size, threads in places:
        where = f"vocabulary {vocab_size}, {_threads(threads)}"
        rows = {row.contestant: row for row in figures.rows if (row.vocab_size, row.threads) == (vocab_size, threads)}
        for peer, wanted in RATIOS:
            found = rows[peer].ratio if peer in rows else None
            yield _at_least(f"int8 decode beside {peer}, {where}", found, wanted)
        ours = rows.get(Evident.name)
        for length, most in FIRST_TOKEN_MS:
            spread = ours.first_token_ms.get(length) if ours else None
            name = f"first token of {length}, {where}"
            if spread is None:
                yield Target(name, f"< {most:.0f} ms", "not measured", None)
            else:
                yield Target(name, f"< {most:.0f} ms", _range(spread, " ms"), spread.median < most)
    for grammar in figures.grammar:
        where = f"vocabulary {grammar.vocab_size}"
        yield _at_most(f"compile an unseen schema, {where}", grammar.compile_ms.median, COMPILE_MS, "ms")
        yield _at_most(f"mask, mean, {where}", grammar.mask_mean_us, MASK_MEAN_US, "us")
        yield _at_most(f"mask, 99 of 100, {where}", grammar.mask_p99_us, MASK_P99_US, "us")
        yield _at_most(f"mask of 1,000 terms, mean, {where}", grammar.trie_mean_us, TRIE_US, "us")
    for constrained in figures.constrained:
        where = f"vocabulary {constrained.vocab_size}, {_threads(constrained.threads)}"
        cost = constrained.cost.median * 100
        yield _at_most(f"constrained beside free decode, {where}", cost, CONSTRAINED * 100, "% slower")
    for batch in figures.batching:
        where = f"vocabulary {batch.vocab_size}, {_threads(batch.threads)}"
        yield _at_least(f"{batch.requests} requests beside one, {where}", batch.ratio, TOGETHER)
        share = batch.first_done.median
        yield Target(
            f"no request starves, {where}",
            f"first done after >= {STARVED:.0%} of the time",
            f"{share:.0%}",
            share >= STARVED,
        )


def _at_least(name: str, found: Spread | None, wanted: float) -> Target:
    if found is None:
        return Target(name, f">= {wanted:g}x", "not measured", None)
    return Target(name, f">= {wanted:g}x", _range(found, "x"), found.median >= wanted)


def _at_most(name: str, found: float, wanted: float, unit: str) -> Target:
    return Target(name, f"<= {wanted:g} {unit}", f"{found:.3g} {unit}", found <= wanted)


def _range(spread: Spread, unit: str) -> str:
    return f"{spread.median:.3g}{unit} ({spread.low:.3g}–{spread.high:.3g})"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
