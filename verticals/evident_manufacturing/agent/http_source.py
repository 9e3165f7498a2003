"""Images from a server: asked for, one after the other."""

import logging
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from evident_core.errors import InvalidInput
from evident_manufacturing.agent.sources import FIELDS, MAX_BYTES, Taken, Unusable, make_part, make_revision, unnamed

logger = logging.getLogger(__name__)

_NONE: Final = frozenset({204, 304})


class HttpSource:
    """A server that gives one image for each GET: 200 with the image, or 204 and 304 where there is none.

    ``Evident-Part-Id``, ``-Product``, ``-Lot``, ``-Camera`` name the part (percent-encoded UTF-8), and
    ``Evident-Revision`` is above 1 where it is inspected again on purpose. Where the answer has
    ``Evident-Ack``, a path on the same server, that is posted to once the event is safe, or with the reason why not.

    Raises:
        InvalidInput: The URL is not one of http or https.
    """

    def __init__(self, url: str, *, product: str = "", seconds: float = 10.0, max_bytes: int = MAX_BYTES) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise InvalidInput(f"{url!r} is not an address to get images from; give one with http:// or https://.")
        self.url, self._product, self._max_bytes = url, product, max_bytes
        import httpx  # an agent without such a source starts without it: it takes a sixth of the start

        self._client, self._broken = httpx.Client(timeout=seconds), httpx.HTTPError
        self._etag = self._new_etag = self._refused = ""
        self.problem = ""

    def next(self) -> Taken | None:
        """The image that the server has; None also while it does not answer.

        Raises:
            Unusable: An image that is too large, or a part that cannot be.
        """
        condition = {"If-None-Match": self._etag} if self._etag else {}
        try:
            with self._client.stream("GET", self.url, headers=condition) as answer:
                if answer.status_code != 200:
                    # 204 and 304 say that there is none now; all else, that nobody will come by waiting.
                    if answer.status_code in _NONE:
                        self._refused = ""
                    self._say("" if answer.status_code in _NONE else f"{self.url} answers {answer.status_code}.")
                    return None
                token = answer.headers.get("Evident-Ack", "")
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > self._max_bytes:
                        raise Unusable(f"An image of more than {self._max_bytes} bytes came from {self.url}.", token)
                headers = answer.headers
        except self._broken as error:
            self._say(f"{self.url} does not give images: {type(error).__name__}: {error}")
            return None
        self._say(self._refused)
        self._new_etag = headers.get("ETag", "")
        given: dict[str, Any] = {"part_id": unnamed(bytes(data)), "product": self._product}
        for name in FIELDS:
            if value := headers.get(f"Evident-{name.replace('_', '-')}"):
                given[name] = unquote(value)
        return Taken(
            bytes(data), make_part(given, token), token, make_revision(headers.get("Evident-Revision", "1"), token)
        )

    def waits(self) -> bool:
        """Never: a server gives the same image until it is done."""
        return False

    def done(self, taken: Taken) -> None:
        """Tell the server, where it asked for that."""
        self._acknowledge(taken.token, {"status": "done"})

    def failed(self, token: str, reason: str) -> None:
        """Tell the server, where it asked for that."""
        self._acknowledge(token, {"status": "failed", "reason": reason})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _acknowledge(self, token: str, said: dict[str, str]) -> None:
        target = urljoin(self.url, token)
        # Else none was asked for, or another server than ours would be told.
        if token and urlsplit(target)[:2] == urlsplit(self.url)[:2]:
            try:
                self._client.post(target, json=said).raise_for_status()
            except self._broken as error:
                # It gives the image again, and the outbox knows the part.
                self._etag = ""
                self._refused = f"{target} does not take that an image is {said['status']}: {error}"
                return
        self._refused = ""
        self._etag = self._new_etag  # not before: an image that is not safe must be given again

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.warning("%s", problem)
        self.problem = problem
