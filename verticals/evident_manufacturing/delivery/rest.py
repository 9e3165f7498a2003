"""Events to a MES over HTTP: one POST for an event or for a batch, each with an ``Idempotency-Key``.

A single event is posted as ``application/json``; its key is its event id. A batch is posted as
``application/x-ndjson``, one event a line; its key is the SHA-256 of its ids, and the answer is a JSON object
``{"results": [{"event_id": …, "status": 200}, …]}`` in which an event that is missing counts as not taken.

An answer may ask for the board itself: ``"wants": ["board"]``, and ``"template"`` with it, beside an event's status.
Then its inspection and picture follow as a form to the same address with ``/<event id>/board`` after it, and the event
counts as delivered when they have arrived. The pages of this service ask (see ``arrivals``); other MES do not.

Tried again: 408, 425, 429, 5xx and whatever the connection does. Any other 4xx to an event refuses it for good;
to a batch it says nothing of its events, so they are posted one by one.
"""

import hashlib
import json
import logging
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from evident_core.errors import InvalidInput
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.outbox import Queued, Receipt

logger = logging.getLogger(__name__)

_AGAIN: Final = frozenset({408, 425, 429})
_LOGIN: Final = frozenset({401, 403, 404, 405, 407, 410})
_MAX_ANSWER: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class RestSettings:
    """Where a MES takes events.

    Attributes:
        url: Of the POST.
        headers: To send along, for example ``Authorization``.
        batch: Whether it takes batches; else events are posted one by one over one connection.
        ca: A file of certificates to trust in place of the system's; empty: the system's.
        connect_seconds: To connect.
        seconds: For one request.
    """

    url: str
    headers: Mapping[str, str] | None = None
    batch: bool = True
    ca: str = ""
    connect_seconds: float = 5.0
    seconds: float = 20.0


class RestSink:
    """A MES with an HTTP interface, or the pages of this service.

    Args:
        settings: Where it is.
        boards: Held for a destination that asks for them; None: none are sent.

    Raises:
        InvalidInput: The URL is not one of http or https.
    """

    name = "REST"

    def __init__(self, settings: RestSettings, boards: Boards | None = None) -> None:
        self.settings, self._boards = settings, boards
        if httpx.URL(settings.url).scheme not in ("http", "https"):
            raise InvalidInput(f"{settings.url!r} is not an address of a MES; give one with http:// or https://.")
        self._client = httpx.Client(
            headers=settings.headers,
            verify=_trusting(settings.ca),
            timeout=httpx.Timeout(settings.seconds, connect=settings.connect_seconds),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def idle(self, station_problem: str = "") -> str:  # noqa: ARG002  # an alarm tells of it
        """Nothing to do: HTTP has no session to keep."""
        return ""

    def send(self, batch: list[Queued]) -> Receipt:
        """Post a batch; see the module for what counts as taken."""
        receipt = self._send_batch(batch) if self.settings.batch and len(batch) > 1 else self._send_each(batch)
        if self._boards is not None:
            for each in batch:
                if each.sequence in receipt.refused:
                    self._boards.drop(each.event_id)
        return receipt

    def _send_each(self, batch: list[Queued]) -> Receipt:
        delivered: list[int] = []
        refused: dict[int, str] = {}
        for queued in batch:
            answer = self._post(queued.body, "application/json", queued.event_id)
            if isinstance(answer, Receipt):
                return Receipt(delivered, refused, answer.problem, answer.retry_after)
            status, text = answer
            if status < 300:
                if unseen := self._show(queued, _results(text).get(queued.event_id, _NOTHING).wants):
                    return Receipt(delivered, refused, unseen.problem, unseen.retry_after)
                delivered.append(queued.sequence)
            else:
                refused[queued.sequence] = f"the MES answered {status}: {text[:200]}"
        return Receipt(delivered, refused)

    def _send_batch(self, batch: list[Queued]) -> Receipt:
        key = hashlib.sha256("\n".join(each.event_id for each in batch).encode()).hexdigest()
        answer = self._post(b"\n".join(each.body for each in batch) + b"\n", "application/x-ndjson", key)
        if isinstance(answer, Receipt):
            return answer
        status, text = answer
        if status >= 300:
            return self._send_each(batch)
        results = _results(text)
        refused = {
            each.sequence: f"the MES answered {results[each.event_id].status}"
            for each in batch
            if 400 <= results.get(each.event_id, _NOTHING).status < 500 and results[each.event_id].status not in _AGAIN
        }
        delivered: list[int] = []
        for each in batch:
            result = results.get(each.event_id, _NOTHING)
            if 200 <= result.status < 300:
                if unseen := self._show(each, result.wants):
                    return Receipt(delivered, refused, unseen.problem, unseen.retry_after)
                delivered.append(each.sequence)
        missing = len(batch) - len(delivered) - len(refused)
        return Receipt(delivered, refused, f"the MES did not take {missing} events of a batch" if missing else "")

    def _show(self, queued: Queued, wants: Collection[str]) -> Receipt | None:
        """Send the board that the destination asks for, and let it go; a receipt says why to tell its event again."""
        if self._boards is None:
            return None
        if "board" in wants and (held := self._boards.find(queued.event_id)):
            files = {
                "inspection": ("inspection.json", held.inspection, "application/json"),
                "image": ("image", held.image, "application/octet-stream"),
            }
            if "template" in wants and held.template and held.template.is_file():
                files["template"] = (held.template.name, held.template.read_bytes(), "application/octet-stream")
            url = httpx.URL(self.settings.url)
            address = str(url.copy_with(path=f"{url.path.rstrip('/')}/{queued.event_id}/board"))
            answer = self._request(address, {"Idempotency-Key": f"{queued.event_id}/board"}, files=files)
            if isinstance(answer, Receipt):
                return answer
            if answer[0] >= 300:  # the event itself was taken, so that it is not told again for its picture
                logger.warning("%s does not take the board of %s: %s", address, queued.part_id, answer[1][:200])
        self._boards.drop(queued.event_id)
        return None

    def _post(self, body: bytes, media_type: str, key: str) -> tuple[int, str] | Receipt:
        return self._request(self.settings.url, {"Content-Type": media_type, "Idempotency-Key": key}, content=body)

    def _request(self, url: str, headers: Mapping[str, str], **body: Any) -> tuple[int, str] | Receipt:
        """The status and text of an answer that decides, or a receipt that says why to try again."""
        try:
            with self._client.stream("POST", url, headers=headers, **body) as response:
                text = bytearray()
                for chunk in response.iter_bytes():
                    text += chunk
                    if len(text) > _MAX_ANSWER:
                        return Receipt(problem=f"the MES answered with more than {_MAX_ANSWER} bytes")
        except httpx.HTTPError as error:
            return Receipt(problem=f"{type(error).__name__}: {error}")
        status = response.status_code
        shown = text.decode("utf-8", "replace")
        if status in _AGAIN or status >= 500:
            return Receipt(problem=f"the MES answered {status}: {shown[:200]}", retry_after=_retry_after(response))
        if status in _LOGIN or 300 <= status < 400:
            # The address or the key is wrong, not the event: to refuse it would lose it.
            return Receipt(problem=f"the MES answered {status} for {url}; see its address and the key.")
        return status, shown


def _trusting(ca: str) -> bool | ssl.SSLContext:
    if not ca:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{ca} is not a file of certificates: {error}.", path=ca) from error


@dataclass(frozen=True, slots=True)
class _Result:
    status: int
    wants: tuple[str, ...] = ()


_NOTHING: Final = _Result(0)


def _results(text: str) -> dict[str, _Result]:
    """What an answer says of each event, by its id; nothing where it is not of that form."""
    try:
        results = json.loads(text)["results"]
        return {
            str(each["event_id"]): _Result(int(each["status"]), tuple(map(str, each.get("wants", ()))))
            for each in results
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _retry_after(response: httpx.Response) -> float | None:
    # Only seconds: a date would be compared with this machine's clock, and that may be wrong.
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 7 else None
