"""Where a model server is: what may stand in ``llm.url``."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from evident_core.errors import InvalidInput


def base_of(url: str) -> str:
    """The base of the API's addresses: without a path it is ``/v1``, and it ends in no slash.

    Raises:
        InvalidInput: It is no address, or more than one: what might be a key is not quoted.
    """
    parts = _parsed(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def is_on_this_machine(base: str) -> bool:
    """Whether only this machine reaches that address."""
    host = urlsplit(base).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True) and url.isprintable()
        usable = usable and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput("llm.url is no address; write it like http://127.0.0.1:8000/v1.", key="llm.url")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # Not quoted: what stands there may be a key.
        raise InvalidInput(
            "llm.url has a user, a query or a fragment; it is only scheme, host, port and path. A key belongs into "
            "llm.api_key.",
            key="llm.url",
        )
    return parts
