"""An analyst's desk: stored analyses with their corrections applied, and pictures of the pages they were read from."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final

from evident_core import sandbox
from evident_core.errors import Conflict, InvalidInput, NotFound, PasswordNeeded
from evident_core.evidence import Correction, Derived, Fact, Frozen
from evident_core.progress import OnProgress
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Task
from evident_core.web.tables import Input
from evident_core.work import Work
from evident_finance.risk_report import pipeline
from evident_finance.risk_report.ingest import render_page
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Analysis, Facts

TASK: Final = Task(service="finance", version=pipeline.VERSION, run="evident_finance.desk:read")
PAGE_SCALE: Final = 1.75
"""Pixels a point of a page's picture: sharp on a screen, about 200 KB."""

_UNIT: Final = re.compile(r"[A-Z]{3}|1")
_SAMPLES: Final = (Path(__file__).parent / "samples", Path(__file__).parents[2] / "sample_data" / "finance")


class Change(Frozen):
    """One correction as it is kept: the fact, the value a person set, and what stood there before."""

    number: int
    fact_id: str
    value: str
    unit: str
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
            unit=row.change.get("unit", ""),
            previous=row.change["previous"],
            by=row.author,
            at=row.created.isoformat(timespec="seconds"),
            reason=row.reason,
        )
        for row in revisions
    )
    return Desk(job_id=job_id, analysis=_revised(job.result_id, changes), changes=changes)


def _revised(result_id: str, changes: tuple[Change, ...]) -> Analysis:
    """The analysis of a stored result with these corrections, in their order, made once."""
    frame = current_frame()

    def original() -> Analysis:
        return Analysis.model_validate_json(frame.store.result(result_id, frame.caller.id).body)

    return _kept.get(result_id, len(changes), lambda: _with(_kept.get(result_id, 0, original), changes))


def correctable(analysis: Analysis, fact_id: str) -> str:
    """The unit in which a person may set a fact.

    Raises:
        NotFound: There is no such fact.
        InvalidInput: It is text, or follows from other facts, which can be set instead.
    """
    facts = Facts((*analysis.reading.facts, *analysis.assessment.facts))
    fact = facts.by_id(fact_id)
    if fact is None:
        raise NotFound(f"There is no fact {fact_id!r} in this filing that could be corrected.", fact=fact_id)
    items = Items.load()
    if fact.name not in items.names:
        inputs = [e for source in fact.sources if isinstance(source.where, Derived) for e in source.where.fact_ids]
        if inputs:
            raise InvalidInput(f"{fact_id} follows from other facts; correct one of {', '.join(inputs)}.", fact=fact_id)
        raise InvalidInput(f"{fact_id} is text; only the numbers of the statements can be corrected.", fact=fact_id)
    if fact.unit is not None:
        return fact.unit
    currency = facts.get("filing.currency")
    return "1" if items.is_count(fact.name) else str(currency.value or "") if currency is not None else ""


def correct(job_id: str, fact_id: str, value: str, reason: str, after: int | None, unit: str = "") -> Desk:
    """Set a value in place of what was read, recompute all that follows, and keep the correction.

    Args:
        job_id: The filing.
        fact_id: The fact.
        value: The value in whole units of the fact.
        reason: Why, in the analyst's words.
        after: The number of the last correction that the analyst saw.
        unit: For a fact that the filing does not present: an ISO 4217 code, or ``1`` for a pure number. Without it
            the filing's currency is taken.

    Raises:
        NotFound: There is no such filing or fact.
        InvalidInput: The value is not a number, or the fact is none that a person can set.
        Conflict: Somebody corrected the filing meanwhile.
    """
    frame = current_frame()
    desk = open_desk(job_id)
    unit = _unit(fact_id, correctable(desk.analysis, fact_id), unit.strip())
    by = frame.caller.name or frame.caller.id
    before = Facts(desk.analysis.reading.facts).by_id(fact_id)
    change = Change(
        number=len(desk.changes) + 1,
        fact_id=fact_id,
        value=value,
        unit=unit,
        previous=_digits(before),
        by=by,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    result_id = str(current_jobs().get(job_id, frame.caller.id).result_id)
    # Applied before it is kept: a correction that cannot be applied must not stand in the trail.
    revised = _with(_revised(result_id, ()), (*desk.changes, change))
    kept = {"fact_id": fact_id, "unit": unit, "previous": change.previous}
    kept["value"] = _digits(Facts(revised.reading.facts).by_id(fact_id))
    row = frame.store.revise(result_id, frame.caller.id, kept, author=by, reason=reason, after=after)
    frame.record("fact.correct", job_id, fact=fact_id, number=row.number)
    if row.number == change.number:
        _kept.get(result_id, row.number, lambda: revised)
    return open_desk(job_id)


def _unit(fact_id: str, own: str, given: str) -> str:
    if not (own or given):
        raise InvalidInput(f"{fact_id} has no unit in this filing; give one, such as USD.", fact=fact_id)
    if given and not _UNIT.fullmatch(given):
        raise InvalidInput(f"{given!r} is not a unit; give a currency's code such as USD, or 1.", unit=given)
    if own and given and given != own:
        raise InvalidInput(f"{fact_id} is in {own}, not in {given}; give the value in whole {own}.", unit=given)
    return own or given


def _digits(fact: Fact | None) -> str | None:
    return None if fact is None or fact.value is None else f"{fact.value:f}" if fact.unit else str(fact.value)


def page_picture(job_id: str, page: int) -> bytes:
    """A page of the filing as PNG, rendered in a process of its own.

    Raises:
        NotFound: There is no such filing or page.
        PasswordNeeded: The file is encrypted; its password was forgotten when the reading ended.
    """
    frame = current_frame()
    row = _upload(job_id)
    path = frame.store.input_path(row)
    try:
        return sandbox.run(_picture, path, page, PAGE_SCALE, limits=frame.settings.sandbox)
    except PasswordNeeded:
        raise PasswordNeeded(
            "The file is encrypted and its password was forgotten when the reading ended, so no picture can be made; "
            f"see page {page} of your own copy.",
            page=page,
        ) from None


def read_again(job_id: str, password: str) -> JobView:
    """Queue the reading of an encrypted file once more, with its password.

    Raises:
        NotFound: There is no such filing.
        InvalidInput: No password was given.
        TooMany: The queue is full.
    """
    if not password:
        raise InvalidInput("The password is empty; give the one that opens the file.")
    frame = current_frame()
    failed = current_jobs().get(job_id, frame.caller.id)
    job = current_jobs().submit(TASK, failed.input_ids, owner=frame.caller.id, secrets={"password": password})
    frame.record("job.submit", job.id, service=TASK.service)
    return job


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
    corrections = {
        change.fact_id: (change.value, Correction(by=change.by, at=change.at, reason=change.reason))
        for change in changes
    }
    return pipeline.revise(original, corrections, {change.fact_id: change.unit for change in changes})
