"""Figures of the language model for Prometheus, beside those of every service."""

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from evident_core.decode.generator import Completion

TOKENS: Final = Counter("evident_llm_tokens", "Tokens that were read (prompt) and written (completion).", ["kind"])
TEXTS: Final = Counter(
    "evident_llm_texts", "Texts by how they ended: stop, length, left (its reader is gone), failed.", ["reason"]
)
FIRST_SECONDS: Final = Histogram(
    "evident_llm_first_token_seconds",
    "Time from a request to the first piece of its text.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30),
)
SECONDS: Final = Histogram(
    "evident_llm_text_seconds",
    "Time from a request to the end of its texts.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
WITHIN: Final = Gauge("evident_llm_texts_within", "Texts that are written or wait.", multiprocess_mode="livesum")


class Watch:
    """Measures one request of ``texts`` texts."""

    def __init__(self, texts: int) -> None:
        self._texts, self._begun = texts, time.perf_counter()
        self._first_seen = self._over = False
        WITHIN.inc(texts)

    def first(self) -> None:
        """Note the first piece of text; further ones change nothing."""
        if not self._first_seen:
            self._first_seen = True
            FIRST_SECONDS.observe(time.perf_counter() - self._begun)

    def done(self, tokens: tuple[int, int], completions: list[Completion]) -> None:
        """Note that all texts are whole; ``tokens`` is how many were read and written."""
        SECONDS.observe(time.perf_counter() - self._begun)
        TOKENS.labels("prompt").inc(tokens[0])
        TOKENS.labels("completion").inc(tokens[1])
        for each in completions:
            TEXTS.labels(each.finish_reason).inc()
        self._over = True

    def failed(self) -> None:
        """Note that an error ended them."""
        TEXTS.labels("failed").inc(self._texts)
        self._over = True

    def close(self) -> None:
        """Note that nothing more comes: if they were not over, their reader is gone."""
        if not self._over:
            TEXTS.labels("left").inc(self._texts)
        self._over = True
        WITHIN.dec(self._texts)
        self._texts = 0
