"""The models of this installation: which inspects, where each came from, and how one takes another's place.

Results are made by the model that the store names when their job runs, so that a model promoted here inspects from the
next board on: on these pages, and with an agent that has the same data folder.
"""

import logging
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import select

from evident_core.errors import Conflict, EvidentError, InvalidInput
from evident_core.evidence import Frozen
from evident_core.web.auth import LOCAL
from evident_core.web.frame import current_frame
from evident_core.web.tables import AuditEntry, Job
from evident_manufacturing.agent.installed import (
    KINDS,
    InstalledModels,
    Kind,
    folder_in_use,
    open_installed,
    stores_folder,
)
from evident_manufacturing.agent.models import Inspect, read_pointer
from evident_manufacturing.inspection.perceive.detector import FOLDER, Manifest, read_manifest
from evident_manufacturing.inspection.pipeline import Station
from evident_manufacturing.inspection.schema import Inspection, Part
from evident_manufacturing.retraining import (
    Candidate,
    candidates,
    folder_of,
)
from evident_manufacturing.training.comparison import Comparison
from evident_manufacturing.trainings import compared, forget

logger = logging.getLogger(__name__)

State = Literal["in use", "before", "candidate"]
Origin = Literal["shipped", "trained", "installed"]
HISTORY: Final = 20


class Model(Frozen):
    """A model that is here.

    Attributes:
        state: ``before`` is the one that a rollback goes back to, ``candidate`` one that can be promoted.
        origin: It ships with Evident, was trained here, or was installed by a command.
        candidate: Of one that was trained here: on what, and how it compared then.
        comparison: The newest of this one with the model in use, or of the one in use with that before its training;
            None where there is none.
    """

    kind: Kind
    manifest: Manifest
    state: State
    origin: Origin
    candidate: Candidate | None = None
    comparison: Comparison | None = None

    @property
    def version(self) -> str:
        """What results name it by, but for the precision."""
        return self.manifest.version


class Models(Frozen):
    """The models of one kind, the one in use first."""

    kind: Kind
    models: tuple[Model, ...]

    @property
    def previous(self) -> str:
        """The version that a rollback goes back to; empty: there is none."""
        return next((each.version for each in self.models if each.state == "before"), "")


class Change(Frozen):
    """A line of the audit log about models: who did what, when."""

    at: datetime
    by: str
    action: str
    kind: str
    version: str
    before: str
    reason: str


def models() -> tuple[Models, ...]:
    """All that is here, by kind."""
    return tuple(Models(kind=kind, models=tuple(_models(kind))) for kind in KINDS if _there(kind))


def history() -> tuple[Change, ...]:
    """What was changed last, the newest first; a training once it has made its model."""
    frame = current_frame()
    names = {key.id: key.name for key in frame.keys.list()} | {LOCAL.id: LOCAL.name}
    query = (
        select(AuditEntry)
        .where(AuditEntry.action.in_(("model.promote", "model.rollback", "model.retrain", "model.delete")))
        .order_by(AuditEntry.number.desc())
        .limit(HISTORY)
    )
    with frame.store.reading() as session:
        rows = session.scalars(query).all()
        asked = {row.details.get("job"): row for row in rows if row.action == "model.retrain"}
        unmade = select(Job.id).where(Job.id.in_(asked), Job.state != "done")
        failed = {asked[job].number for job in session.scalars(unmade)}
    return tuple(
        Change(
            at=row.at,
            by=names.get(row.actor, row.actor),
            action=row.action,
            kind=str(row.details.get("kind", "")),
            version=row.subject,
            before=str(row.details.get("before", "")),
            reason=str(row.details.get("reason", "")),
        )
        for row in rows
        if row.number not in failed
    )


def promote(kind: Kind, version: str) -> str:
    """Take a model into use, once it has shown that it finds the known defects; the one before is kept.

    Raises:
        NotFound: There is none of that version.
        InvalidInput: It is in use already, is not what its manifest says, or misses a known defect.
        ModelNotReady: A file is missing, or none passed its gates.
    """
    frame = current_frame()
    folder = folder_of(frame.store.folder, kind, version)
    store = _store(kind)
    with store.changing():
        before = read_manifest(folder_in_use(stores_folder(frame.store.folder), kind)).version
        if version == before:
            raise InvalidInput(f"Model {version} is in use already.", version=version)
        store.begin()  # so that there is a model to go back to
        store.add(folder)
        frame.record("model.promote", version, kind=kind, before=before)
    return version


def roll_back(kind: Kind, reason: str) -> str:
    """Go back to the model before; returns its version.

    Raises:
        Conflict: There is none, since none was promoted here.
        ModelNotReady: It does not open; the one in use stays.
    """
    frame = current_frame()
    store = _store(kind)
    with store.changing():
        pointer = read_pointer(store.folder)
        if not pointer.previous:
            raise Conflict(f"There is no {kind} model before the one in use to go back to.", kind=kind)
        version = store.take_back(reason or "asked for")
        frame.record("model.rollback", version, kind=kind, before=pointer.current, reason=reason)
    return version


def delete_unreadable(version: str) -> None:
    """Delete a candidate whose note or manifest cannot be read, with its weights and its label set.

    Raises:
        NotFound: There is none of that name, or it can be read.
        Conflict: The model in use, or the one before, has that name; or the folder cannot be deleted.
    """
    frame = current_frame()
    for kind in KINDS:  # without their locks: what cannot be read is not promoted meanwhile
        _refuse_needed(stores_folder(frame.store.folder) / kind, version)
    forget(None, version)
    frame.record("model.delete", version, kind="")


def delete(kind: Kind, version: str) -> None:
    """Delete a candidate that was trained here: its files, its weights, and the label set that it was trained on.

    Raises:
        NotFound: None of that version was trained here.
        Conflict: It is in use, or a rollback goes back to it.
    """
    frame = current_frame()
    store = _store(kind)
    with store.changing():
        _refuse_needed(store.folder, version)
        forget(kind, version)
        frame.record("model.delete", version, kind=kind)


def _refuse_needed(store: Path, version: str) -> None:
    pointer = read_pointer(store)
    if version in (pointer.current, pointer.previous):
        raise Conflict(f"Model {version} is in use, or would be after a rollback; it stays.", version=version)


def _there(kind: Kind) -> bool:
    return folder_in_use(stores_folder(current_frame().store.folder), kind).is_dir()


def _models(kind: Kind) -> list[Model]:
    data_dir = current_frame().store.folder
    store = stores_folder(data_dir) / kind
    pointer = read_pointer(store)
    trained = {each.version: each for each in candidates(data_dir) if each.kind == kind}
    shipped = read_manifest(FOLDER / kind).version if (FOLDER / kind).is_dir() else ""
    current = pointer.current or shipped
    known = compared(kind, current)
    states: dict[str, State] = {current: "in use"}
    if pointer.previous:
        states[pointer.previous] = "before"
    for version in (*trained, *filter(None, (shipped,))):
        states.setdefault(version, "candidate")
    found = []
    for version, state in states.items():
        candidate = trained.get(version)
        comparison = known.get(version)
        of_current = candidate and candidate.comparison.current.version.startswith(f"{current} ")
        if candidate and (state == "in use" or (comparison is None and of_current)):
            comparison = candidate.comparison
        origin: Origin = "trained" if candidate else "shipped" if version == shipped else "installed"
        try:
            manifest = read_manifest(folder_of(data_dir, kind, version))
        except EvidentError as error:
            logger.warning("The %s model %s (%s) is left out: %s", kind, version, state, error)
            continue
        found.append(
            Model(
                kind=kind,
                manifest=manifest,
                state=state,
                origin=origin,
                candidate=candidate,
                comparison=comparison,
            )
        )
    return found


def _store(kind: Kind) -> InstalledModels:
    return InstalledModels(stores_folder(current_frame().store.folder), kind, partial(_opened, kind))


def _opened(kind: Kind, folder: Path) -> Inspect:
    """The model, which opening has tested; the pages' inspections open it anew, in processes of their own."""
    station = Station(open_installed(folder, kind))

    def inspect(data: bytes, part: Part) -> Inspection:
        return station.inspect(data, part, name=part.part_id, report=False, facts=False)

    return inspect
