"""An analyst's desk: stored analyses with their corrections applied, and pictures of the pages they were read from."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from evident_core import sandbox
from evident_core.errors import Conflict, NotFound
from evident_core.evidence import Correction, Frozen
from evident_core.progress import OnProgress
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.jobs import Task
from evident_core.web.tables import Input
from evident_core.work import Work

from evident_finance.risk_report import pipeline
from evident_finance.risk_report.ingest import render_page
from evident_finance.risk_report.schema import Analysis

TASK: Final = Task(service="finance", version=pipeline.VERSION, run="evident_finance.desk:read")
PAGE_SCALE: Final = 1.75
"""Pixels a point of a page's picture: sharp on a screen, about 200 KB."""

_SAMPLES: Final = (Path(__file__).parent / "samples", Path(__file__).parents[2] / "sample_data" / "finance")


class Change(Frozen):
    """One correction as it is kept: the fact, the value a person set, and what stood there before."""

    number: int
    fact_id: str
    value: str
    previous: str | None
    by: str
    at: str
    reason: str


class Desk(Frozen):
    """One filing on the desk: its analysis with all corrections, the job that made it, and the corrections."""

    job_id: str
    analysis: Analysis
    changes: tuple[Change, ...]


def read(work: Work, *, on_progress: OnProgress) -> bytes:
    """What a job does: the analysis of one PDF, as JSON."""
    (source,) = work.inputs
    password = work.secrets.get("password") or None
    data = source.path.read_bytes()
    analysis = pipeline.analyse(data, name=source.name, password=password, on_progress=on_progress)
    return analysis.model_dump_json().encode()


def open_desk(job_id: str) -> Desk:
    """The caller's filing of that job.

    Raises:
        NotFound: The caller has none of that id.
        Conflict: It is not read yet, or could not be; the message says which.
    """
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    if job.result_id is None:
        reason = job.error["message"] if job.error else "open it again when it is done."
        raise Conflict(f"The filing is {job.state}: {reason}", state=job.state)
    revisions = frame.store.revisions(job.result_id, frame.caller.id)
    changes = tuple(
        Change(
            number=row.number,
            fact_id=row.change["fact_id"],
            value=row.change["value"],
            previous=row.change["previous"],
            by=row.author,
            at=row.created.isoformat(timespec="seconds"),
            reason=row.reason,
        )
        for row in revisions
    )
    result_id, owner = job.result_id, frame.caller.id

    def original() -> Analysis:
        return Analysis.model_validate_json(frame.store.result(result_id, owner).body)

    analysis = _kept.get(result_id, len(changes), lambda: _with(_kept.get(result_id, 0, original), changes))
    return Desk(job_id=job_id, analysis=analysis, changes=changes)


def correct(job_id: str, fact_id: str, value: str, reason: str, after: int | None) -> Desk:
    """Set a value in place of what was read, recompute all that follows, and keep the correction.

    Args:
        job_id: The filing.
        fact_id: The fact.
        value: The value in whole units of the fact.
        reason: Why, in the analyst's words.
        after: The number of the last correction that the analyst saw.

    Raises:
        NotFound: There is no such filing or fact.
        InvalidInput: The value is not a number.
        Conflict: Somebody corrected the filing meanwhile.
    """
    frame = current_frame()
    desk = open_desk(job_id)
    fact = next((each for each in desk.analysis.reading.facts if each.id == fact_id), None)
    if fact is None:
        raise NotFound(f"There is no fact {fact_id!r} in this filing that could be corrected.", fact=fact_id)
    by = frame.caller.name or frame.caller.id
    previous = None if fact.value is None else str(fact.value)
    # Tried before it is kept: a correction that cannot be applied must not stand in the trail.
    pipeline.revise(desk.analysis, {fact_id: (value, Correction(by=by, at="", reason=reason))})
    result_id = str(current_jobs().get(job_id, frame.caller.id).result_id)
    change = {"fact_id": fact_id, "value": value, "previous": previous}
    row = frame.store.revise(result_id, frame.caller.id, change, author=by, reason=reason, after=after)
    frame.record("fact.correct", job_id, fact=fact_id, number=row.number)
    return open_desk(job_id)


def page_picture(job_id: str, page: int) -> bytes:
    """A page of the filing as PNG, rendered in a process of its own.

    Raises:
        NotFound: There is no such filing or page.
        PasswordNeeded: The file is encrypted; its password was forgotten when the reading ended.
    """
    frame = current_frame()
    row = _upload(job_id)
    path = frame.store.input_path(row)
    return sandbox.run(_picture, path, page, PAGE_SCALE, limits=frame.settings.sandbox)


def samples() -> dict[str, Path]:
    """The sample reports that come with the project, by the name they are shown under."""
    folder = next((each for each in _SAMPLES if each.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.pdf"))} if folder else {}


def _upload(job_id: str) -> Input:
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    return frame.store.input(job.input_ids[0], frame.caller.id)


def _picture(path: Path, page: int, scale: float) -> bytes:
    return render_page(path.read_bytes(), page, scale)


class _Kept:
    """The last few analyses, parsed: a result never changes under its id, nor do the corrections up to a number."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._analyses: dict[tuple[str, int], Analysis] = {}
        self._lock = Lock()

    def get(self, result_id: str, number: int, make: Callable[[], Analysis]) -> Analysis:
        key = (result_id, number)
        with self._lock:
            if key in self._analyses:
                return self._analyses[key]
        analysis = make()
        with self._lock:
            self._analyses[key] = analysis
            while len(self._analyses) > self._size:
                self._analyses.pop(next(iter(self._analyses)))
        return analysis


_kept = _Kept(size=12)


def _with(original: Analysis, changes: tuple[Change, ...]) -> Analysis:
    if not changes:
        return original
    corrections = {
        change.fact_id: (change.value, Correction(by=change.by, at=change.at, reason=change.reason))
        for change in changes
    }
    return pipeline.revise(original, corrections)
