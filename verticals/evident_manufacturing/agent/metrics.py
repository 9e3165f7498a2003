"""What an agent tells Prometheus; p50 and p99 come from the histogram, here for a page as there for a query."""

import math
from collections.abc import Callable, Container
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from evident_core.errors import Conflict
from evident_manufacturing.agent.alarms import CODES

BUCKETS: Final = tuple(round(0.001 * 1.25**step, 6) for step in range(45))
"""Seconds, from 1 ms to 18 s, each a quarter more than the one before: a quantile is off by at most a quarter."""

STEPS: Final = ("inspect", "enqueue", "whole")


class Metrics:
    """The metrics of one agent, in a registry of their own.

    Args:
        waiting: Gives the number of events in the outbox.
        refused: Gives the number of those that the MES refuses.
        raised: The alarms that are not over, by their code.
    """

    def __init__(self, waiting: Callable[[], int], refused: Callable[[], int], raised: Container[str]) -> None:
        self.registry = CollectorRegistry()
        self.parts = Counter(
            "evident_parts", "Parts inspected, by what was decided.", ["decision"], registry=self.registry
        )
        self.failures = Counter(
            "evident_failures", "Images and steps that failed, by the error's code.", ["code"], registry=self.registry
        )
        self.seconds = Histogram(
            "evident_step_seconds", "Time of a step of a part.", ["step"], buckets=BUCKETS, registry=self.registry
        )
        self.delivered = Counter("evident_delivered_events", "Events the MES confirmed.", registry=self.registry)
        self.model = Gauge("evident_model_info", "1 for the model in use.", ["version"], registry=self.registry)
        Gauge("evident_outbox_waiting", "Events not delivered yet.", registry=self.registry).set_function(waiting)
        Gauge("evident_outbox_refused", "Events the MES refuses.", registry=self.registry).set_function(refused)
        alarm = Gauge("evident_alarm", "1 while a person must see to it.", ["code"], registry=self.registry)
        for code in CODES:
            alarm.labels(code).set_function(partial(_is_in, raised, code))
        spent = Gauge(
            "evident_step_quantile_seconds",
            "Median and 99th percentile of the time of a step since the start, of evident_step_seconds.",
            ["step", "quantile"],
            registry=self.registry,
        )
        for step in STEPS:
            for q in (0.5, 0.99):
                spent.labels(step, str(q)).set_function(partial(self.quantile, q, step))

    def serve(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Serve ``/metrics``; returns what stops it.

        Raises:
            Conflict: The address cannot be listened on.
        """
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

    def use_model(self, version: str) -> None:
        """Say which model is in use."""
        self.model.clear()
        self.model.labels(version).set(1)

    def quantile(self, q: float, step: str = "inspect") -> float:
        """The q-quantile of a step's seconds, as ``histogram_quantile`` computes it; NaN before the first."""
        counts: dict[float, float] = {}
        for metric in self.seconds.collect():
            for sample in metric.samples:
                if sample.name.endswith("_bucket") and sample.labels["step"] == step:
                    counts[float(sample.labels["le"])] = sample.value
        return quantile(q, counts)


def _is_in(raised: Container[str], code: str) -> float:
    return float(code in raised)


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
