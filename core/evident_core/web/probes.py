"""Whether a service lives, whether it is ready, and its figures for Prometheus."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import BaseModel

from evident_core import __version__
from evident_core.errors import EvidentError
from evident_core.web.openapi import operation

REQUESTS: Final = Counter("evident_requests", "Answered requests.", ["service", "method", "route", "status"])
SECONDS: Final = Histogram(
    "evident_request_seconds",
    "Time to answer, until the first byte.",
    ["service", "route"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
PROBLEMS: Final = Counter("evident_problems", "Refused or failed requests by kind.", ["service", "code"])
OPERATION: Final = "Operation"
MULTIPROCESS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

Check = Callable[[], None]
"""Raises an `EvidentError` that says what is not ready and what to do."""


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    service: str
    version: str = __version__


class Readiness(BaseModel):
    """What the service needs: each part is ``ok``, or says what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]


class QueueDepth(Collector):
    """How many jobs wait and run, counted when asked: the store knows, whichever process asks."""

    def __init__(self, depths: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._depths = depths

    def collect(self) -> Iterator[Metric]:
        """One gauge, by service and state."""
        gauge = GaugeMetricFamily(
            "evident_jobs", "Jobs that wait (queued) or run (running).", labels=["service", "state"]
        )
        for (service, state), count in sorted(self._depths().items()):
            gauge.add_metric([service, state], count)
        yield gauge


def measure(app: Flask) -> None:
    """Count and time every request of an app, by route and never by path, so that the number of series is bounded."""

    @app.before_request
    def _begin() -> None:
        g.measured_from = time.perf_counter()

    @app.after_request
    def _end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        REQUESTS.labels(app.name, _method(), route, str(response.status_code)).inc()
        SECONDS.labels(app.name, route).observe(time.perf_counter() - g.get("measured_from", time.perf_counter()))
        if code := g.get("problem"):
            PROBLEMS.labels(app.name, code).inc()
        return response


def _method() -> str:
    return request.method if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


def probes(checks: Mapping[str, Check], depths: Callable[[], Mapping[tuple[str, str], int]]) -> Blueprint:
    """The three routes that machines watch."""
    blueprint = Blueprint("probes", __name__)

    @blueprint.get("/healthz")
    @operation("Is the process alive?", scope="public", returns=Health, tag=OPERATION)
    def healthz() -> Health:
        return Health(service=current_app.name)

    @blueprint.get("/readyz")
    @operation("Can it take work?", scope="public", returns=Readiness, tag=OPERATION)
    def readyz() -> Response:
        """Answers 503 with the same body while a part is not ready."""
        found = {name: _outcome(check) for name, check in checks.items()}
        ready = all(outcome == "ok" for outcome in found.values())
        body = Readiness(status="ready" if ready else "not ready", checks=found)
        return Response(body.model_dump_json(), 200 if ready else 503, mimetype="application/json")

    @blueprint.get("/metrics")
    @operation("Figures for Prometheus", scope="metrics", returns="text/plain", tag=OPERATION)
    def metrics() -> Response:
        """The sum over all worker processes."""
        queue = CollectorRegistry()
        queue.register(QueueDepth(depths))
        text = generate_latest(_registry()) + generate_latest(queue)
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    return blueprint


def _outcome(check: Check) -> str:
    try:
        check()
    except EvidentError as error:
        return error.message
    return "ok"


def _registry() -> CollectorRegistry:
    if not os.environ.get(MULTIPROCESS_FOLDER):
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
