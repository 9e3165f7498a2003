"""What goes to an MQTT broker and what it says to that; where it is, and how to be let in."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from evident_core.errors import InvalidInput

_LEVEL: Final = re.compile(r"[^+#/\x00-\x1f\x7f]{1,64}")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and how to be let in.

    Attributes:
        host: Name or address.
        client_id: One for each agent; a broker closes the connection of an older client of the same id.
        tls: Whether to encrypt; 8883 is the usual port then.
        ca: A file of certificates to trust in place of the system's; empty: the system's.
        certificate: And ``key``: files of this agent's own certificate, where the broker asks for one.
        keepalive: Seconds of silence after which either side tests the other.
        session_seconds: How long the broker keeps this client's subscriptions while it is away.
        seconds: To connect, and to have a batch confirmed.
    """

    host: str
    client_id: str
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    keepalive: int = 20
    session_seconds: int = 7 * 86_400
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, with user properties (MQTT 5) beside it."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Confirmed:
    """What a broker said to published messages, by their index; ``problem`` is why the others were not confirmed."""

    taken: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    problem: str = ""


def level(name: str, what: str) -> str:
    """A name as one level of a topic.

    Raises:
        InvalidInput: It is empty, longer than 64 characters, or has one of ``+ # /`` or a control character in it.
    """
    if not _LEVEL.fullmatch(name):
        raise InvalidInput(
            f"The {what} {name!r} cannot be in a topic: give 1 to 64 characters without + # / or controls."
        )
    return name


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """What is trusted, and what is shown where the broker asks.

    Raises:
        InvalidInput: A file of the settings cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(each for each in (settings.ca, settings.certificate, settings.key) if each)
        raise InvalidInput(f"A certificate or key of {files} cannot be read: {error}.") from error
    return context
