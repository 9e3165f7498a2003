"""What an agent tells Prometheus; p50 and p99 come from the histogram, here for a page as there for a query.

The counts are kept here, and prometheus_client is imported by who asks for them: it brings a web server, and an agent
that serves no ``/metrics`` starts 20 ms sooner without it.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from evident_core.errors import Conflict
from evident_manufacturing.delivery.events import ALARM_CODES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

BUCKETS: Final = tuple(round(0.001 * 1.25**step, 6) for step in range(45))
"""Seconds, from 1 ms to 18 s, each a quarter more than the one before: a quantile is off by at most a quarter."""

STEPS: Final = ("inspect", "enqueue", "whole")


class Metrics:
    """The metrics of one agent: counted by its thread, read by any.

    Args:
        waiting: Gives the number of events in the outbox.
        refused: Gives the number of those that the MES refuses.
        raised: The alarms that are not over, by their code.
    """

    def __init__(self, waiting: Callable[[], int], refused: Callable[[], int], raised: Container[str]) -> None:
        self._waiting, self._refused, self._raised = waiting, refused, raised
        self._lock = threading.Lock()
        self._parts, self._failures = Counter[str](), Counter[str]()
        self._delivered = 0
        self._model = ""
        self._within: dict[str, list[int]] = {}  # of each step how many lie in each bucket, the last without an end
        self._seconds: dict[str, float] = {}

    def count_part(self, decision: str) -> None:
        """A part is inspected."""
        with self._lock:
            self._parts[decision] += 1

    def count_failure(self, code: str) -> None:
        """An image or a step failed with an error of that code."""
        with self._lock:
            self._failures[code] += 1

    def count_delivered(self, events: int) -> None:
        """The MES confirmed so many more."""
        with self._lock:
            self._delivered += events

    def observe(self, step: str, seconds: float) -> None:
        """A step of a part took so long."""
        with self._lock:
            self._within.setdefault(step, [0] * (len(BUCKETS) + 1))[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[step] = self._seconds.get(step, 0.0) + seconds

    def use_model(self, version: str) -> None:
        """Say which model is in use."""
        self._model = version

    def quantile(self, q: float, step: str = "inspect") -> float:
        """The q-quantile of a step's seconds, as ``histogram_quantile`` computes it; NaN before the first."""
        with self._lock:
            within = list(self._within.get(step, ()))
        return quantile(q, _cumulative(within))

    @cached_property
    def registry(self) -> CollectorRegistry:
        """A registry of these metrics alone."""
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def serve(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Serve ``/metrics``; returns what stops it.

        Raises:
            Conflict: The address cannot be listened on.
        """
        from prometheus_client import start_http_server

        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise Conflict(
                f"{host}:{port} cannot be listened on for /metrics ({error.strerror}); choose another with "
                "--metrics-port.",
                port=port,
            ) from None

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now, for a registry of prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        with self._lock:
            parts, failures, delivered = dict(self._parts), dict(self._failures), self._delivered
            seconds = {step: (list(self._within[step]), total) for step, total in self._seconds.items()}
        inspected = CounterMetricFamily("evident_parts", "Parts inspected, by what was decided.", labels=["decision"])
        for decision, count in parts.items():
            inspected.add_metric([decision], count)
        yield inspected
        failed = CounterMetricFamily(
            "evident_failures", "Images and steps that failed, by the error's code.", labels=["code"]
        )
        for code, count in failures.items():
            failed.add_metric([code], count)
        yield failed
        steps = HistogramMetricFamily("evident_step_seconds", "Time of a step of a part.", labels=["step"])
        for step, (within, total) in seconds.items():
            buckets = [(str(bound).replace("inf", "+Inf"), count) for bound, count in _cumulative(within).items()]
            steps.add_metric([step], buckets, total)
        yield steps
        yield CounterMetricFamily("evident_delivered_events", "Events the MES confirmed.", delivered)
        model = GaugeMetricFamily("evident_model_info", "1 for the model in use.", labels=["version"])
        if self._model:
            model.add_metric([self._model], 1)
        yield model
        yield GaugeMetricFamily("evident_outbox_waiting", "Events not delivered yet.", self._waiting())
        yield GaugeMetricFamily("evident_outbox_refused", "Events the MES refuses.", self._refused())
        alarm = GaugeMetricFamily("evident_alarm", "1 while a person must see to it.", labels=["code"])
        for code in ALARM_CODES:
            alarm.add_metric([code], float(code in self._raised))
        yield alarm
        spent = GaugeMetricFamily(
            "evident_step_quantile_seconds",
            "Median and 99th percentile of the time of a step since the start, of evident_step_seconds.",
            labels=["step", "quantile"],
        )
        for step in STEPS:
            for q in (0.5, 0.99):
                spent.add_metric([step, str(q)], self.quantile(q, step))
        yield spent


def _cumulative(within: Sequence[int]) -> dict[float, float]:
    """How many took at most so long, by the bounds of the buckets; empty before the first."""
    return dict(zip((*BUCKETS, math.inf), accumulate(within), strict=False))


def quantile(q: float, counts: dict[float, float]) -> float:
    """The q-quantile of cumulative counts by upper bound, linear within a bucket; of the last one its lower bound."""
    bounds = sorted(counts)
    if not bounds or not counts[bounds[-1]]:
        return math.nan
    rank = q * counts[bounds[-1]]
    lower = below = 0.0
    for upper in bounds:
        if counts[upper] >= rank and counts[upper] > below:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * max(0.0, rank - below) / (counts[upper] - below)
        lower, below = upper, counts[upper]
    return lower
