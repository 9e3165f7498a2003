"""An agent that inspects small made-up boards, in a thread, for tests."""

import hashlib
import threading
import time
from collections.abc import Callable

from evident_core.errors import InvalidInput, UnsupportedMedia
from evident_core.evidence import InputRef, Report
from evident_manufacturing.agent.agent import Agent, AgentSettings
from evident_manufacturing.agent.sources import Source
from evident_manufacturing.delivery.courier import Backoff
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Simulator
from evident_manufacturing.inspection.schema import Decision, Inspection, Part, Verdict

SETTINGS = AgentSettings(station="aoi-1", pause=0.01, retry=0.02)
QUICK = Backoff(first=0.02, longest=0.1)


def inspect(data: bytes, part: Part) -> Inspection:
    """A real, small inspection: a board is what begins with "board"; it is good when it says so."""
    if data.startswith(b"GIF"):
        raise UnsupportedMedia("That is a GIF.")
    if not data.startswith(b"board"):
        raise InvalidInput("That is no image of a board.")
    if b"crash" in data:
        raise ZeroDivisionError("in the middle of it")
    return inspection(data, part, Decision.ACCEPT if b"good" in data else Decision.REJECT)


def inspection(data: bytes, part: Part, decision: Decision = Decision.ACCEPT, *, model: str = "m") -> Inspection:
    """What is known of a board in which nothing was measured."""
    return Inspection(
        part=part,
        input=InputRef(sha256=hashlib.sha256(data).hexdigest(), name="image"),
        template=None,
        width=1,
        height=1,
        alignment=None,
        calibration=None,
        defects=(),
        facts=(),
        claims=(),
        verdict=Verdict(decision=decision),
        report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
        model=model,
        version="1",
    )


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


class Running:
    """An agent in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.agent.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.agent.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


def make(source: Source, outbox: Outbox, mes: Simulator, settings: AgentSettings = SETTINGS) -> Agent:
    return Agent(settings, source, inspect, outbox, RestSink(RestSettings(mes.url)), backoff=QUICK)
