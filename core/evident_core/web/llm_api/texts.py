"""The texts of one request while they are written: how many there may be, and that none is written for nobody."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Self

from evident_core.decode.generator import Chunk, Completion, Generator
from evident_core.errors import Cancelled, InvalidInput, TooMany
from evident_core.web.llm_api.errors import RETRY_AFTER_SECONDS
from evident_core.web.llm_api.figures import Watch
from evident_core.web.llm_api.requests import Ask


class Admission:
    """Bounds the texts that are written or wait.

    Args:
        limit: Most of them at the same time.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._within, self._lock = limit, 0, threading.Lock()

    @property
    def within(self) -> int:
        """Texts that are written or wait now."""
        return self._within

    def enter(self, count: int) -> "Ticket":
        """Let so many more in.

        Raises:
            InvalidInput: They would never be let in.
            TooMany: There is no room for them now.
        """
        if count > self.limit:
            raise InvalidInput(
                f"The request asks for {count} texts; this server writes {self.limit} at most.", parameter="n"
            )
        with self._lock:
            if self._within + count > self.limit:
                raise TooMany(
                    f"{self._within} texts are written or wait, and there is room for {self.limit}; ask again later.",
                    retry_after=RETRY_AFTER_SECONDS,
                )
            self._within += count
        return Ticket(self, count)

    def leave(self, count: int) -> None:
        """Let others have the room."""
        with self._lock:
            self._within -= count


class Ticket:
    """Room that was given by :meth:`Admission.enter`; closing it twice gives it back once."""

    def __init__(self, admission: Admission, count: int) -> None:
        self._admission, self._count = admission, count

    def close(self) -> None:
        """Give it back."""
        count, self._count = self._count, 0
        self._admission.leave(count)


class Texts:
    """All texts of a request, piece by piece, each in turn; closing ends what is still being written.

    Raises:
        EvidentError: What the generator raises, before the first piece is read where it can tell.
    """

    def __init__(self, generator: Generator, ask: Ask, ticket: Ticket) -> None:
        self._ask, self._ticket, self._watch = ask, ticket, Watch(len(ask.texts))
        self._streams: dict[int, Iterator[Chunk]] = {}
        self.completions: dict[int, Completion] = {}
        try:
            for index, (prompt, params) in enumerate(ask.texts):
                self._streams[index] = generator.stream(prompt, params)
            # Whatever is wrong with a request shows here, while the answer may still have another status than 200.
            self._first = [(index, next(stream)) for index, stream in self._streams.items()]
        except BaseException:
            self._watch.failed()
            self.close()
            raise

    def __enter__(self) -> Self:
        """The texts, which are ended at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what is still being written."""
        self.close()

    def __iter__(self) -> Iterator[tuple[int, Chunk]]:
        """Pieces with the index of their text.

        Raises:
            Cancelled: A text was ended by somebody else.
        """
        try:
            for index, chunk in self._pieces():
                if chunk.text:
                    self._watch.first()
                if chunk.completion is not None:
                    self.completions[index] = _whole(chunk.completion)
                yield index, chunk
        except Exception:
            self._watch.failed()
            raise
        self._watch.done(self._ask.counted(self.in_order), self.in_order)

    @property
    def in_order(self) -> list[Completion]:
        """The whole texts, once all have ended."""
        return [self.completions[index] for index in sorted(self.completions)]

    def close(self) -> None:
        """End what is still being written, and give the room back."""
        try:
            while self._streams:
                _, stream = self._streams.popitem()
                if close := getattr(stream, "close", None):
                    close()
        finally:
            self._ticket.close()
            self._watch.close()

    def _pieces(self) -> Iterator[tuple[int, Chunk]]:
        yield from self._first
        while len(self.completions) < len(self._streams):
            for index, stream in self._streams.items():
                if index not in self.completions:
                    yield index, next(stream)


def _whole(completion: Completion) -> Completion:
    if completion.finish_reason == "cancelled":
        raise Cancelled("The server stopped writing this text; ask again.")
    return completion


def has_left(environ: Mapping[str, Any]) -> bool:
    """Whether the client of a request has closed its connection, where the server lets us see that.

    One that ends only its sending side is taken for gone as well; no HTTP client in use does that.
    """
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if not isinstance(connection, socket.socket) or isinstance(connection, ssl.SSLSocket):
        return False
    waiting = select.poll()
    try:
        waiting.register(connection, select.POLLIN)
        return bool(waiting.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True
