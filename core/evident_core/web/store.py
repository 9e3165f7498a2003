"""What is kept: uploads, results, corrections, and the database that jobs, API keys and the audit log are in too.

SQLite by default, PostgreSQL by URL. The bytes of an upload lie in the data folder under the hash of their content; all
else is in the database. Everything has one owner, and is not found for any other.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer
from sqlalchemy.orm.interfaces import ORMOption

from evident_core.errors import Conflict, NotFound, TooLarge
from evident_core.web.database import Database
from evident_core.web.tables import Input, Job, JobInput, Result, ResultInput, Revision, new_id

_CHUNK = 1 << 20
_STALE_SECONDS = 3600


def result_key(service: str, version: str, contents: Sequence[str], options: Mapping[str, Any]) -> str:
    """Hash of all that decides a result: service, its version, the SHA-256 of each input in order, and the options."""
    whole = json.dumps([service, version, list(contents), dict(options)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()


class Store(Database):
    """An open store. Safe to share between threads; each process opens its own."""

    # --- inputs -------------------------------------------------------------------------------------------------------

    def put_input(
        self,
        data: bytes | BinaryIO,
        *,
        name: str,
        owner: str,
        media_type: str = "application/octet-stream",
        max_bytes: int | None = None,
    ) -> Input:
        """Keep an upload; the same content again is the same input, under its new name.

        The bytes are complete on disk before the row exists, so that nothing is ever half stored.

        Raises:
            TooLarge: There are more than ``max_bytes``; nothing is kept.
        """
        part = self._incoming / new_id()
        try:
            sha256, size = _receive(BytesIO(data) if isinstance(data, bytes) else data, part, max_bytes)
            with self.session() as session:
                row = _claim_row(session, owner, sha256, size)
                row.name, row.media_type = _display_name(name), media_type[:127]
                path = self.input_path(row)
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.replace(path)
            return row
        finally:
            part.unlink(missing_ok=True)

    def input(self, input_id: str, owner: str) -> Input:
        """One upload.

        Raises:
            NotFound: This owner has none of that id.
        """
        with self.reading() as session:
            return owned(session, Input, input_id, owner)

    def inputs(self, owner: str) -> Sequence[Input]:
        """All uploads of an owner, newest first."""
        with self.reading() as session:
            return session.scalars(select(Input).where(Input.owner == owner).order_by(Input.created.desc())).all()

    def input_path(self, row: Input) -> Path:
        """Where the bytes of an upload are. Each owner has a folder, so that what one deletes another keeps."""
        folder = hashlib.sha256(row.owner.encode()).hexdigest()[:32]
        return self.folder / "inputs" / folder / row.sha256[:2] / row.sha256

    def delete_input(self, input_id: str, owner: str) -> Input:
        """Delete an upload's bytes, and all jobs, results and corrections that came of it.

        Raises:
            NotFound: This owner has none of that id.
        """
        with self.session() as session:
            return self.delete_input_in(session, input_id, owner)

    def delete_input_in(self, session: Session, input_id: str, owner: str) -> Input:
        """:meth:`delete_input` inside a transaction that also writes something else, such as an audit line."""
        row = owned(session, Input, input_id, owner, lock=True)
        jobs = select(JobInput.job_id).where(JobInput.input_id == input_id)
        results = select(ResultInput.result_id).where(ResultInput.input_id == input_id)
        session.execute(delete(Job).where(Job.id.in_(jobs)))
        session.execute(delete(Result).where(Result.id.in_(results)))
        session.delete(row)
        session.flush()
        self._set_aside(session, self.input_path(row))
        event.listen(session, "after_commit", lambda _: self.forget(), once=True)
        return row

    def _set_aside(self, session: Session, path: Path) -> None:
        """Take a file away while its row is locked, and delete it with the row, or bring it back with a failure."""
        aside = self._incoming / new_id()
        with suppress(FileNotFoundError):
            path.replace(aside)
            event.listen(session, "after_commit", lambda _: aside.unlink(), once=True)
            event.listen(session, "after_rollback", lambda _: aside.replace(path), once=True)

    @property
    def _incoming(self) -> Path:
        folder = self.folder / "incoming"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def tidy(self) -> int:
        """Remove bytes that a killed process left without a row; returns how many files went."""
        removed = 0
        for path in (*self.folder.glob("incoming/*"), *self.folder.glob("inputs/*/*/*")):
            with self.reading() as session:
                rows = session.scalars(select(Input).where(Input.sha256 == path.name)).all()
            stale = time.time() - path.stat().st_mtime > _STALE_SECONDS
            if stale and path not in [self.input_path(row) for row in rows]:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    # --- results ------------------------------------------------------------------------------------------------------

    def put_result(
        self,
        session: Session,
        body: bytes,
        *,
        owner: str,
        service: str,
        version: str,
        key: str,
        options: Mapping[str, Any],
        input_ids: Sequence[str],
        media_type: str = "application/json",
    ) -> Result:
        """Keep a result in the caller's transaction; one of that key that is there already stays, and is returned."""
        if found := session.scalar(select(Result).where(Result.owner == owner, Result.key == key)):
            return found
        row = Result(
            owner=owner,
            service=service,
            version=version,
            key=key,
            options=dict(options),
            media_type=media_type,
            body=body,
        )
        session.add(row)
        session.flush()
        session.add_all(
            ResultInput(result_id=row.id, input_id=each, position=position)
            for position, each in enumerate(dict.fromkeys(input_ids))
        )
        return row

    def find_result(self, owner: str, key: str) -> Result | None:
        """The result of that key, without its body, if it was made before."""
        with self.reading() as session:
            return session.scalar(select(Result).where(Result.owner == owner, Result.key == key))

    def result(self, result_id: str, owner: str) -> Result:
        """One result, with its body.

        Raises:
            NotFound: This owner has none of that id.
        """
        with self.reading() as session:
            return owned(session, Result, result_id, owner, undefer(Result.body))

    def results(self, owner: str, service: str) -> Sequence[Result]:
        """All results of an owner and service, newest first, without their bodies."""
        query = select(Result).where(Result.owner == owner, Result.service == service).order_by(Result.created.desc())
        with self.reading() as session:
            return session.scalars(query).all()

    def result_inputs(self, result_id: str, owner: str) -> Sequence[Input]:
        """The inputs that a result was made from, in their order."""
        with self.reading() as session:
            owned(session, Result, result_id, owner)
            query = select(Input).join(ResultInput).where(ResultInput.result_id == result_id)
            return session.scalars(query.order_by(ResultInput.position)).all()

    # --- corrections --------------------------------------------------------------------------------------------------

    def revise(
        self,
        result_id: str,
        owner: str,
        change: Mapping[str, Any],
        *,
        author: str,
        reason: str = "",
        after: int | None = None,
    ) -> Revision:
        """Append a correction to a result.

        Args:
            result_id: The result that is corrected.
            owner: Whose it is.
            change: What is corrected, in the service's own terms; JSON-serialisable.
            author: Who corrects it.
            reason: Why, in the person's words.
            after: The number of the last correction that the author has seen (0: none); None does not ask.

        Raises:
            NotFound: This owner has no result of that id.
            Conflict: Somebody else has corrected it since.
        """
        try:
            with self.session() as session:
                owned(session, Result, result_id, owner)
                last = session.scalar(select(func.max(Revision.number)).where(Revision.result_id == result_id)) or 0
                if after is not None and after != last:
                    raise _revised(last, after)
                row = Revision(
                    result_id=result_id, number=last + 1, author=author[:127], reason=reason, change=dict(change)
                )
                session.add(row)
            return row
        except IntegrityError:
            if after is not None:
                raise _revised(after + 1, after) from None
            return self.revise(result_id, owner, change, author=author, reason=reason)

    def revisions(self, result_id: str, owner: str) -> Sequence[Revision]:
        """All corrections of a result, first to last."""
        with self.reading() as session:
            owned(session, Result, result_id, owner)
            query = select(Revision).where(Revision.result_id == result_id).order_by(Revision.number)
            return session.scalars(query).all()

    # --- secrets ------------------------------------------------------------------------------------------------------

    def secret_key(self) -> bytes:
        """A key that all processes over this data folder share, made once: for signing form tokens."""
        path = self.folder / "secret.key"
        if not path.exists():
            part = self.folder / f"secret.{new_id()}"
            part.touch(mode=0o600)
            part.write_bytes(secrets.token_bytes(32))
            try:
                path.hardlink_to(part)
            except FileExistsError:
                pass  # Another process was faster: its key is the one.
            finally:
                part.unlink()
        return path.read_bytes()


OwnedT = TypeVar("OwnedT", Input, Result, Job)


def owned(
    session: Session,
    kind: type[OwnedT],
    row_id: str,
    owner: str,
    *options: ORMOption,
    lock: bool = False,
) -> OwnedT:
    """The row of that id, if it is this owner's.

    Raises:
        NotFound: It is not, or there is none: a caller cannot tell which.
    """
    row = session.get(kind, row_id, options=options, with_for_update=lock)
    if row is None or row.owner != owner:
        thing = kind.__tablename__.removesuffix("s")
        raise NotFound(f"There is no {thing} {row_id[:64]!r}; it may have been deleted.", **{thing: row_id[:64]})
    return row


def _receive(stream: BinaryIO, part: Path, max_bytes: int | None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with part.open("xb") as file:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                raise TooLarge(
                    f"The upload has more than {max_bytes / _CHUNK:.0f} MiB, which is the most that is read here.",
                    max_bytes=max_bytes,
                )
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def _claim_row(session: Session, owner: str, sha256: str, size: int) -> Input:
    """The row of that content, locked until the transaction ends."""
    found = select(Input).where(Input.owner == owner, Input.sha256 == sha256).with_for_update()
    while (row := session.scalar(found)) is None:
        try:
            with session.begin_nested():
                row = Input(owner=owner, sha256=sha256, size=size, name="", media_type="")
                session.add(row)
            return row
        except IntegrityError:
            continue  # Another upload of the same content was faster, or was just deleted again: look once more.
    return row


def _display_name(name: str) -> str:
    """What a sender calls a file, without its folders and without characters that do not print."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:255].strip() or "unnamed"


def _revised(last: int, after: int) -> Conflict:
    return Conflict(
        f"Correction {last} came in after the one you saw ({after}); reload the report, then correct again.",
        last=last,
        after=after,
    )
