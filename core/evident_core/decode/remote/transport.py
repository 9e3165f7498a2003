"""Requests to a model server: time-outs, retries before the first byte, and nothing of the key in what is told."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from evident_core.decode.remote.address import base_of, is_on_this_machine
from evident_core.decode.remote.refusals import Refusal, reason_in, refusal
from evident_core.decode.remote.secret import Secret
from evident_core.errors import Cancelled, InvalidInput, MissingExtra, ModelNotReady

if TYPE_CHECKING:
    import httpx

_FIRST_WAIT: Final = 0.5
_LONGEST_OWN_WAIT: Final = 8.0
_QUOTED_CHARACTERS: Final = 300
_QUOTED_BYTES: Final = 64 << 10
_OK: Final = 200


@dataclass(frozen=True)
class Limits:
    """How long a request may take, and how often it is tried again.

    Attributes:
        connect_seconds: Until there is a connection.
        read_seconds: Until the next bytes come; the first come when the server is done with the prompt.
        total_seconds: Until the last byte, retries included. It is looked at whenever bytes come.
        retries: Most further tries after a 429, a 5xx or a lost connection, and only before the first byte.
        retry_after_seconds: Longest wait that a server may ask for; one that asks for more is not tried again.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 120.0
    total_seconds: float = 600.0
    retries: int = 3
    retry_after_seconds: float = 30.0


class Call:
    """One request's time and its being called off; ``once`` tries it a single time, whatever the limits say."""

    def __init__(self, limits: Limits, called_off: threading.Event | None = None, *, once: bool = False) -> None:
        self.retries = 0 if once else limits.retries
        self.deadline = time.monotonic() + limits.total_seconds
        self.called_off = called_off or threading.Event()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Wait, unless it is called off."""
        self.called_off.wait(seconds)
        self.refuse_called_off()

    def refuse_called_off(self) -> None:
        """Raise `Cancelled` if it was."""
        if self.called_off.is_set():
            raise Cancelled("The request was taken back.")


class Transport:
    """Sends requests below one base URL.

    Args:
        url: Where the API is; without a path it is ``/v1``.
        key: Sent as a bearer token; may be empty.
        limits: Time-outs and retries.
        allow_plain_http: Whether the key may go over unencrypted HTTP to another machine.

    Raises:
        InvalidInput: The URL is none, or would show the key to others.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str, key: Secret, limits: Limits, *, allow_plain_http: bool = False) -> None:
        self.base = base_of(url)
        is_here = is_on_this_machine(self.base)
        if key and self.base.startswith("http:") and not is_here and not allow_plain_http:
            raise InvalidInput(
                f"{self.base} would be sent llm.api_key unencrypted; use https, or set llm.allow_plain_http if the "
                "network between is trusted.",
                key="llm.url",
            )
        self._key, self._limits, self._httpx = key, limits, _httpx()
        try:
            self._httpx.URL(self.base)
        except self._httpx.InvalidURL:
            raise InvalidInput("llm.url is no address that can be asked; check its host.", key="llm.url") from None
        key.keep_from_logs()
        # A proxy cannot reach this machine's own loopback; redirects would carry the key to wherever they point. Each
        # request has a connection of its own: beside an answer it costs nothing, and none is found dead.
        self._client: httpx.Client = self._httpx.Client(
            trust_env=not is_here,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "evident"},
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=0),
            auth=self._authorise if key else None,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    @contextmanager
    def open(self, method: str, path: str, body: dict[str, Any] | None, call: Call) -> "Iterator[httpx.Response]":
        """Ask, and give the answer whose body is still to be read; leaving the block closes the connection.

        Raises:
            EvidentError: The server refuses, cannot be reached, or takes too long, after all retries; see `refusals`.
        """
        tries = 0
        while True:
            answer = self._try(method, path, body, call)
            if not isinstance(answer, Refusal):
                break
            wait = self._wait_before(answer, tries, call)
            if wait is None:
                raise answer.error
            call.pause(wait)
            tries += 1
        try:
            yield answer
        finally:
            answer.close()

    def read(self, answer: "httpx.Response", call: Call) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            ModelNotReady: The connection is lost, or time is up.
            Cancelled: The request was called off.
        """
        chunks, chunk = answer.iter_bytes(), b""
        while True:
            lost = ""
            try:
                chunk = next(chunks, b"")
            except self._httpx.TimeoutException:
                lost = f"sent nothing for {self._limits.read_seconds:g} s (llm.read_seconds)"
            except (self._httpx.HTTPError, self._httpx.StreamError):
                lost = "closed the connection before its answer was whole"
            if lost:
                raise ModelNotReady(f"{self.base} {lost}.", url=self.base)
            call.refuse_called_off()
            if not chunk:
                return
            if not call.left:
                raise self._too_late()
            yield chunk

    def quote(self, text: str) -> str:
        """Some words of the server's, short, on one line, and without the key."""
        words = " ".join(self._key.mask(text).split())
        return words if len(words) <= _QUOTED_CHARACTERS else words[:_QUOTED_CHARACTERS] + "…"

    def _authorise(self, request: "httpx.Request") -> "httpx.Request":
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request

    def _try(self, method: str, path: str, body: dict[str, Any] | None, call: Call) -> "httpx.Response | Refusal":
        if not call.left:
            return Refusal(self._too_late())
        timeout = self._httpx.Timeout(
            connect=min(self._limits.connect_seconds, call.left),
            read=min(self._limits.read_seconds, call.left),
            write=min(self._limits.read_seconds, call.left),
            pool=min(self._limits.connect_seconds, call.left),
        )
        request = self._client.build_request(method, f"{self.base}/{path}", json=body, timeout=timeout)
        # Errors are made outside of the handlers: the library's own hold the request with its headers.
        try:
            answer = self._client.send(request, stream=True)
        except (self._httpx.ConnectTimeout, self._httpx.PoolTimeout):
            lost, again = f"does not take a connection within {self._limits.connect_seconds:g} s", True
        except self._httpx.TimeoutException:
            # It may be at work on the request: asking once more would only add to its load.
            lost, again = f"did not begin to answer within {self._limits.read_seconds:g} s (llm.read_seconds)", False
        except self._httpx.ConnectError as error:
            lost, again = f"cannot be reached ({self.quote(str(error))})", True
        except self._httpx.HTTPError:
            lost, again = "closed the connection without an answer", True
        else:
            return answer if answer.status_code == _OK else self._refused(answer, call)
        if not call.left:
            return Refusal(self._too_late())
        return Refusal(
            ModelNotReady(f"{self.base} {lost}; check llm.url and whether the server runs.", url=self.base), again
        )

    def _wait_before(self, refusal: Refusal, tries: int, call: Call) -> float | None:
        """Seconds until the next try; None if there is none."""
        if not refusal.again or tries >= call.retries:
            return None
        wait = random.uniform(0.5, 1.0) * min(_FIRST_WAIT * 2**tries, _LONGEST_OWN_WAIT)  # noqa: S311
        if refusal.after is not None:
            if refusal.after > self._limits.retry_after_seconds:
                return None
            wait = max(wait, refusal.after)
        return wait if wait < call.left else None

    def _refused(self, answer: "httpx.Response", call: Call) -> Refusal:
        said = self.quote(self._reason(answer, call))
        answer.close()
        return refusal(self.base, answer.status_code, said, answer.headers.get("Retry-After", ""))

    def _reason(self, answer: "httpx.Response", call: Call) -> str:
        """What the body of a refusal says: ``error.message`` of OpenAI's form, or its text."""
        body = b""
        try:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _QUOTED_BYTES or not call.left or call.called_off.is_set():
                    break
        except (self._httpx.HTTPError, self._httpx.StreamError):
            pass
        return reason_in(body.decode(errors="replace"))

    def _too_late(self) -> ModelNotReady:
        return ModelNotReady(
            f"{self.base} took longer than {self._limits.total_seconds:g} s (llm.total_seconds).", url=self.base
        )


def _httpx() -> ModuleType:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "A model server is asked with httpx, which is not installed: pip install 'evident[llm]'", extra="llm"
        ) from error
    return httpx
