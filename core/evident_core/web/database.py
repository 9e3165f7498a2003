"""The database under the store: SQLite by default, PostgreSQL by URL; opened with its tables brought up to date."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from evident_core.errors import Conflict, InvalidInput, MissingExtra, ModelNotReady
from evident_core.settings import Settings

_MIGRATION_LOCK = 0x45564944  # "EVID": any number that no other program locks in this database
_SQLITE_BUSY_SECONDS = 60
_FORGET_SECONDS = 2  # A busy database empties its log at the next occasion.


class Database:
    """An open database with Evident's tables. Safe to share between threads; each process opens its own."""

    def __init__(self, settings: Settings, *, migrate: bool = True) -> None:
        """Open, create and bring up to date.

        Raises:
            InvalidInput: The URL is not one of a database.
            MissingExtra: The driver is not installed.
            ModelNotReady: The database does not answer, or the data folder cannot be made.
            Conflict: The tables were made by a newer Evident.
        """
        self.folder = settings.store.data_dir.expanduser().absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ModelNotReady(
                f"The folder {self.folder} cannot be used: {error.strerror}. Set store.data_dir to one that can."
            ) from None
        self.engine = _engine(settings.store.database_url)
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        if migrate:
            self.migrate()

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database, and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session in one transaction: all of it is kept, or, when the block raises, nothing."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def forget(self) -> None:
        """Empty SQLite's write-ahead log, in which deleted rows would stay for a while."""
        if self.engine.dialect.name == "sqlite":
            with closing(sqlite3.connect(str(self.engine.url.database), timeout=_FORGET_SECONDS)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def shown(self) -> str:
        """The database's URL without its password."""
        return _shown(self.engine.url)

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            ModelNotReady: There is none.
        """
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError as error:
            raise _unreachable(self.engine.url, error) from None

    def revision(self) -> str | None:
        """The migration that the tables stand at; None in an empty database."""
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def migrate(self) -> None:
        """Bring the tables up to date. Processes that start together wait for the first of them to do it."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        try:
            if self.revision() == ScriptDirectory.from_config(config).get_current_head():
                return
            with self._writer.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            raise _unreachable(self.engine.url, error) from None
        except CommandError as error:
            raise Conflict(
                f"The tables in {_shown(self.engine.url)} were made by a newer Evident ({error}); install that version."
            ) from None


def _engine(database_url: str) -> Engine:
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise InvalidInput(
            "store.url is not a database URL; it looks like postgresql://user:password@host/database."
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite":
        return _sqlite(url)
    if url.drivername != "postgresql+psycopg":
        raise InvalidInput(
            f"store.url names {url.drivername}; sqlite and postgresql are the databases that are supported.",
            driver=url.drivername,
        )
    if find_spec("psycopg") is None:
        raise MissingExtra("PostgreSQL needs psycopg, which is not installed: pip install 'evident[postgres]'")
    return create_engine(url, pool_pre_ping=True)


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise InvalidInput("store.url names an SQLite database in memory; give it a file: several processes share it.")
    engine = create_engine(url, connect_args={"timeout": _SQLITE_BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # The driver begins no transactions: the next listener does.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # What is deleted is overwritten, not only let go of.

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer waits for the lock when it begins. Were it to ask later, SQLite would refuse it without waiting.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _unreachable(url: URL, error: OperationalError) -> ModelNotReady:
    reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
    return ModelNotReady(f"The database {_shown(url)} cannot be used: {reason}. Start it, or set store.url.")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
