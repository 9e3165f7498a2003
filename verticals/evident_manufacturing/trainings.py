"""Candidates in the making: trainings and comparisons as jobs, in the name of who asks for them."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from evident_core.errors import Conflict, InvalidInput, NotFound
from evident_core.web.deletion import delete_job
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Task
from evident_core.web.tables import Job, Result
from evident_manufacturing.agent.installed import Kind, folder_in_use, stores_folder
from evident_manufacturing.inspection.evaluate import pairs
from evident_manufacturing.inspection.evaluate.pairs import divide, entries, held_back
from evident_manufacturing.inspection.perceive.detector import fp32_file, read_manifest
from evident_manufacturing.label_archive import archive, label_name
from evident_manufacturing.label_sets import LabelSet
from evident_manufacturing.retraining import (
    COMPARE,
    RETRAIN,
    ComparingOptions,
    TrainingOptions,
    candidates,
    candidates_folder,
    folder_of,
    refuse_without_extra,
    unreadable,
)
from evident_manufacturing.settings import ManufacturingSettings, TrainingSection
from evident_manufacturing.training.comparison import Comparison

LISTED: Final = 20
"""Jobs that are looked through for those that are open."""


def retrain(kind: Kind, labels: LabelSet, epochs: int | None) -> JobView:
    """Queue the training of a candidate on a label set.

    Raises:
        MissingExtra: The extra ``training`` is not installed.
        InvalidInput: No board of the set is complete, or too few to train, choose and compare on.
        NotFound: The base data of the settings is not there.
        TooMany: The queue is full.
    """
    refuse_without_extra()
    if labels.boards:
        refuse_too_few(labels)
    frame, section = current_frame(), training_section()
    options = TrainingOptions(
        kind=kind,
        version=f"{kind}-{labels.version[:8]}-{datetime.now(UTC):%Y%m%d%H%M%S}",
        labels=labels.version,
        epochs=epochs or section.epochs,
        device=section.device,
        base=section.base,
        weights=goes_on_from(kind),
    )
    job = _submit(labels, RETRAIN, options)
    frame.record("model.retrain", options.version, kind=kind, labels=labels.version, job=job.id)
    return job


def refuse_too_few(labels: LabelSet) -> None:
    """See that the boards of a label set, with the base data of the settings, are enough for a training.

    Raises:
        InvalidInput: They are not.
        NotFound: The base data is not there.
    """
    names = [label_name(board) for board in labels.boards]
    train, held = ([name for name in names if held_back(name) is half] for half in (False, True))
    if base := training_section().base:
        more, kept = divide(entries(Path(base)))
        train += [each.name for each in more]
        held += [each.name for each in kept]
    pairs.refuse_too_few(train, held)


def compare(kind: Kind, candidate: str, labels: LabelSet) -> JobView:
    """Queue the comparison of a model with the one in use, on the boards of a label set that no training sees.

    Raises:
        NotFound: There is none of that version.
        InvalidInput: It is the one in use, or no board of the set is complete.
        TooMany: The queue is full.
    """
    data_dir = current_frame().store.folder
    folder_of(data_dir, kind, candidate)
    current = read_manifest(folder_in_use(stores_folder(data_dir), kind)).version
    if current == candidate:
        raise InvalidInput(f"Model {candidate} is the one in use; choose another to compare it with.")
    return _submit(labels, COMPARE, ComparingOptions(kind=kind, current=current, candidate=candidate))


def forget(kind: Kind | None, version: str) -> None:
    """Delete a candidate's folder, its training and comparisons, and the label sets that no other work needs.

    Args:
        kind: Of the model; None: what is in the folder cannot be read.
        version: Its version, which is the folder's name.

    Raises:
        NotFound: None of that version was trained here, or it can be read.
        Conflict: The folder cannot be deleted.
    """
    frame = current_frame()
    readable = {each.version for each in candidates(frame.store.folder) if each.kind == kind}
    if version not in (readable if kind else unreadable(frame.store.folder)):
        what = f"No {kind} model" if kind else "No unreadable candidate"
        raise NotFound(f"{what} {version[:64]!r} was trained here.", version=version[:64])
    query = select(Job).where(Job.run.in_((RETRAIN.run, COMPARE.run)))
    with frame.store.session() as session:
        of_it = [
            (job.id, job.owner)
            for job in session.scalars(query)
            if kind in (None, job.options.get("kind"))
            and version in (job.options.get("version"), job.options.get("candidate"))
        ]
        for job_id, owner in of_it:
            if session.scalar(select(Job.id).where(Job.id == job_id)) is None:
                continue  # gone with one before, of the same work
            gone = delete_job(frame.store, session, job_id, owner)
            frame.audit.append(session, frame.caller.id, "job.delete", job_id)
            for row in gone:
                frame.audit.append(session, frame.caller.id, "input.delete", row.id, sha256=row.sha256)
    try:
        shutil.rmtree(candidates_folder(frame.store.folder) / version)
    except OSError as error:
        raise Conflict(f"{error.filename} cannot be deleted: {error.strerror}; delete the folder by hand.") from None


def running() -> tuple[JobView, ...]:
    """The caller's trainings and comparisons that wait or run, and of those that failed the newest."""
    frame = current_frame()
    query = (
        select(Job.id)
        .where(Job.owner == frame.caller.id, Job.run.in_((RETRAIN.run, COMPARE.run)))
        .order_by(Job.created.desc())
        .limit(LISTED)
    )
    with frame.store.reading() as session:
        found = [current_jobs().get(each, frame.caller.id) for each in session.scalars(query)]
    return tuple(each for number, each in enumerate(found) if not each.final or (number == 0 and each.error))


def training_section() -> TrainingSection:
    """How this installation trains."""
    return current_frame().settings.section("manufacturing", ManufacturingSettings).training


def goes_on_from(kind: Kind) -> str:
    """The ``.pt`` that a retraining goes on from; empty: the fp32 file of the model in use, where that has one."""
    if named := training_section().weights:
        return named
    data_dir = current_frame().store.folder
    version = read_manifest(folder_in_use(stores_folder(data_dir), kind)).version
    kept = candidates_folder(data_dir) / version / "weights.pt"
    return str(kept) if kept.is_file() else ""


def begins_with(kind: Kind) -> str:
    """The name of what a retraining goes on from; empty: of nothing, for the model in use has no fp32 file."""
    if weights := goes_on_from(kind):
        return weights
    folder = folder_in_use(stores_folder(current_frame().store.folder), kind)
    return read_manifest(folder).version if fp32_file(folder) else ""


def compared(kind: Kind, current: str) -> dict[str, Comparison]:
    """The caller's newest comparison of each candidate with the model in use."""
    frame = current_frame()
    query = (
        select(Job.options, Result.body)
        .join(Result, Result.id == Job.result_id)
        .where(Job.owner == frame.caller.id, Job.run == COMPARE.run)
        .order_by(Job.created)
    )
    with frame.store.reading() as session:
        return {
            options["candidate"]: Comparison.model_validate_json(body)
            for options, body in session.execute(query)
            if (options["kind"], options["current"]) == (kind, current)
        }


def _submit(labels: LabelSet, task: Task, options: TrainingOptions | ComparingOptions) -> JobView:
    frame = current_frame()
    row = frame.store.put_input(
        archive(labels), name=f"labels-{labels.version[:12]}.zip", owner=frame.caller.id, media_type="application/zip"
    )
    job = current_jobs().submit(task, [row.id], owner=frame.caller.id, options=options.model_dump(mode="json"))
    frame.record("job.submit", job.id, inputs=[row.sha256], service=task.service)
    return job
