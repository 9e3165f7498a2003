"""The tables of the store, as SQLAlchemy classes. A change here needs a migration in ``migrations/versions``."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

OPEN_STATES = ("queued", "running")
FINAL_STATES = ("done", "failed", "cancelled")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, which SQLite too gives back as one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a moment that does not say where on Earth it is."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """SQLite forgets the zone: it is UTC."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """An id that nobody can guess: 32 hexadecimal digits."""
    return uuid4().hex


# SQLite counts rowids only for a column declared INTEGER.
_Counter = BigInteger().with_variant(Integer, "sqlite")


class Table(DeclarativeBase):
    """Base of all tables. Constraints are named, so that a migration can address them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class Input(Table):
    """An upload: one row for each owner and content. ``name`` is what its sender called it: shown, never a path."""

    __tablename__ = "inputs"
    __table_args__ = (UniqueConstraint("owner", "sha256"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(String(127))
    size: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[datetime] = mapped_column(default=now)


class Result(Table):
    """What a service of a version made of some inputs under some options. ``key`` is the hash of all of these."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("owner", "key"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(32))
    version: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64))
    options: Mapped[dict[str, Any]]
    media_type: Mapped[str] = mapped_column(String(127), default="application/json")
    body: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    created: Mapped[datetime] = mapped_column(default=now)


class ResultInput(Table):
    """Which inputs a result was made from, in their order."""

    __tablename__ = "result_inputs"

    result_id: Mapped[str] = mapped_column(ForeignKey("results.id", ondelete="CASCADE"), primary_key=True)
    input_id: Mapped[str] = mapped_column(ForeignKey("inputs.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)


class Revision(Table):
    """One correction of a result by a person: appended, never changed. ``number`` counts from 1 within the result."""

    __tablename__ = "revisions"

    result_id: Mapped[str] = mapped_column(ForeignKey("results.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(String(127))
    reason: Mapped[str] = mapped_column(Text, default="")
    change: Mapped[dict[str, Any]]
    created: Mapped[datetime] = mapped_column(default=now)


class Job(Table):
    """A piece of queued work: ``run`` (``"module:function"``) on its inputs.

    ``lease`` is the token of the worker that runs it: who has another may neither report nor finish it. While a job is
    queued, ``lease_until`` is when it is put into the queue again, should the queue have lost it. ``secrets`` (a file's
    password) are options that no result is kept under, and are forgotten when the job ends.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_owner_key_open",
            "owner",
            "key",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index(None, "state", "lease_until"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(32))
    version: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64))
    run: Mapped[str] = mapped_column(String(127))
    options: Mapped[dict[str, Any]]
    secrets: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    lease: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(default=now)
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result_id: Mapped[str | None] = mapped_column(ForeignKey("results.id", ondelete="SET NULL"), index=True)


class JobInput(Table):
    """Which inputs a job works on, in their order."""

    __tablename__ = "job_inputs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    input_id: Mapped[str] = mapped_column(ForeignKey("inputs.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(default=0)


class JobEvent(Table):
    """Something that happened to a job. ``id`` grows within a job, and is the id of the server-sent event."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(_Counter, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]
    created: Mapped[datetime] = mapped_column(default=now)


class ApiKey(Table):
    """A caller's key, of which only a hash is kept. Its ``id`` is the owner of what the caller stores."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(127))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created: Mapped[datetime] = mapped_column(default=now)
    last_used: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class AuditEntry(Table):
    """One line of the audit log; ``hash`` covers the line and ``previous``, the hash of the line before."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(_Counter, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text, default="")
    request_id: Mapped[str] = mapped_column(String(64), default="")
    details: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
