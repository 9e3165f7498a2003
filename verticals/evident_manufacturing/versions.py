"""Documents that boards are judged by, kept by version: specifications and certificates."""

import hashlib
from datetime import datetime
from typing import Final, Literal, Self

from pydantic import model_validator
from sqlalchemy import select

from evident_core.errors import Conflict, NotFound
from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import Input, Job, JobInput
from evident_manufacturing.desk import TASK, Options, shipped_specification, specification_of
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.calibration import parse
from evident_manufacturing.inspection.perceive.naming import refuse_unclear

Kind = Literal["specification", "calibration"]
_MEDIA_TYPES: Final[dict[Kind, str]] = {
    "specification": "application/vnd.evident.specification+yaml",
    "calibration": "application/vnd.evident.calibration+yaml",
}
_SENT: Final = "; sent"
"""Ends the media type of what came with a board, and was not kept by a person: it may never have served."""
_RECENT: Final = 200
"""Boards that are looked at for what has served."""


class Document(Frozen):
    """One version of a document: ``name`` is ``product@version`` of a specification, the id of a certificate."""

    name: str
    sha256: str
    created: datetime | None = None


class Template(Frozen):
    """A golden sample that was sent with a board before."""

    id: str
    name: str


def keep(kind: Kind, text: str, *, sent: bool = False) -> Document:
    """Keep a document as the version that it says it is.

    Args:
        kind: What it is.
        text: YAML, or JSON.
        sent: It came with a board: :func:`offered` only once that board, or another one, was judged by it.

    Raises:
        InvalidInput: It is none; the message names the line.
        Conflict: Another document of that version is kept already, or ships with the service.
    """
    name = checked(text).name if kind == "specification" else parse(text).id
    frame = current_frame()
    _refuse_another(kind, name, text)
    media_type, sha256 = _MEDIA_TYPES[kind], _hash(text)
    if sent and not any(row.sha256 == sha256 and row.media_type == media_type for row in _rows(kind)):
        media_type += _SENT
    row = frame.store.put_input(
        text.encode(), name=_file_name(name), owner=frame.caller.id, media_type=media_type, max_bytes=1 << 20
    )
    frame.record(f"{kind}.keep", row.id, sha256=row.sha256, name=name)
    return Document(name=name, sha256=row.sha256, created=row.created)


class SentOptions(Options):
    """What a board is judged by that is sent with the text of its specification."""

    @model_validator(mode="after")
    def _no_other_version(self) -> Self:
        if specification := specification_of(self.specification):
            _refuse_another("specification", specification.name, self.specification)
        return self


def checked(text: str) -> Specification:
    """A specification by whose descriptions, where it has some, kinds can be told apart.

    Raises:
        InvalidInput: It is none, or its descriptions are unclear; the message says which.
    """
    specification = Specification.load(text)
    refuse_unclear(specification.descriptions)
    return specification


def documents(kind: Kind) -> tuple[Document, ...]:
    """The caller's documents of a kind, newest first."""
    return tuple(_document(row) for row in _rows(kind))


def offered(kind: Kind) -> tuple[Document, ...]:
    """Those of :func:`documents` that a person kept, or that a board was judged by."""
    rows = _rows(kind)
    served = _served(kind) if any(row.media_type.endswith(_SENT) for row in rows) else ()
    return tuple(_document(row) for row in rows if row.media_type == _MEDIA_TYPES[kind] or row.sha256 in served)


def text_of(kind: Kind, name: str) -> str:
    """The text of a kept document; the specification that ships is always there.

    Raises:
        NotFound: There is none of that name.
    """
    for row in _rows(kind):
        if row.name == _file_name(name):
            return current_frame().store.input_path(row).read_text("utf-8")
    if kind == "specification" and name == shipped_name():
        return shipped_specification()
    known = ", ".join(each.name for each in documents(kind)) or "none"
    raise NotFound(f"There is no {kind} {name[:200]!r}; there are: {known}.", name=name[:200])


def shipped_name() -> str:
    """``product@version`` of the specification that comes with the service."""
    return Specification.load(shipped_specification()).name


def templates() -> tuple[Template, ...]:
    """The golden samples that the caller's inspected boards were compared with, the last used first."""
    frame = current_frame()
    query = (
        select(Input.id, Input.name)
        .join(JobInput, JobInput.input_id == Input.id)
        .join(Job, Job.id == JobInput.job_id)
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, Job.state == "done", JobInput.position == 1)
        .order_by(Job.created.desc())
        .limit(_RECENT)
    )
    with frame.store.reading() as session:
        found = {row.id: row.name for row in session.execute(query)}
    return tuple(Template(id=each, name=name) for each, name in found.items())


def _refuse_another(kind: Kind, name: str, text: str) -> None:
    """See that a version that is kept, or ships, is cited for one text alone."""
    known = [current_frame().store.input_path(row).read_bytes() for row in _rows(kind) if row.name == _file_name(name)]
    if kind == "specification" and name == shipped_name():
        known.append(shipped_specification().encode())
    if any(each != text.encode() for each in known):
        what = "version number" if kind == "specification" else "id"
        raise Conflict(
            f"{name} is kept already and says something else; what verdicts cite never changes, so give this one "
            f"another {what}.",
            name=name,
            reason="kept",
        )


def _rows(kind: Kind) -> list[Input]:
    frame = current_frame()
    types = _MEDIA_TYPES[kind], _MEDIA_TYPES[kind] + _SENT
    query = select(Input).where(Input.owner == frame.caller.id, Input.media_type.in_(types))
    with frame.store.reading() as session:
        return list(session.scalars(query.order_by(Input.created.desc())))


def _served(kind: Kind) -> set[str]:
    """SHA-256 of the documents of a kind that the last inspected boards were judged by."""
    frame = current_frame()
    query = (
        select(Job.options)
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, Job.run == TASK.run, Job.state == "done")
        .order_by(Job.created.desc())
        .limit(_RECENT)
    )
    with frame.store.reading() as session:
        return {_hash(text) for options in session.scalars(query) if (text := options.get(kind))}


def _document(row: Input) -> Document:
    return Document(name=row.name.removesuffix(".yaml"), sha256=row.sha256, created=row.created)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_name(name: str) -> str:
    # The store shows the last part of a name with slashes, as it would of a path.
    return f"{name.replace('/', '∕').replace(chr(92), '∖')[:200]}.yaml"
