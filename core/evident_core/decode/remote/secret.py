"""A key that is sent, and never shown: not in a log, a message, a representation, or a pickle."""

import json
import logging
import threading
from typing import Final, NoReturn, Self
from urllib.parse import quote
from weakref import WeakSet

from evident_core.errors import InvalidInput

_HIDDEN: Final = "…"
_SHORTEST_MASKED: Final = 4
# These quote whole headers of an answer at DEBUG, and a server may send back what it was sent.
_CHATTY_LOGGERS: Final = tuple(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))


class Secret:
    """A text that only :meth:`reveal` gives out.

    Args:
        value: The key; empty is none.
        setting: What the key is called where it is set, for messages.

    Raises:
        InvalidInput: The key has a character that an HTTP header cannot carry.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str = "", setting: str = "llm.api_key") -> None:
        for index, character in enumerate(value):
            if not "!" <= character <= "~":
                kind = "white space" if character.isspace() else "a character that no key has"
                raise InvalidInput(
                    f"{setting} has {kind} at position {index} of {len(value)}; copy the key again.", key=setting
                )
        self._value = value

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def mask(self, text: str) -> str:
        """The text without the key, however it is escaped there."""
        if len(self._value) < _SHORTEST_MASKED:
            return text
        escaped = (repr(self._value)[1:-1], json.dumps(self._value)[1:-1], quote(self._value, safe=""))
        for form in (self._value, *escaped):
            text = text.replace(form, _HIDDEN)
        return text

    def keep_from_logs(self) -> None:
        """Let the HTTP library log without this key, as long as this object lives."""
        with _lock:
            _MASKED.add(self)
        for name in _CHATTY_LOGGERS:
            logging.getLogger(name).addFilter(_filter)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret('{_HIDDEN if self._value else ''}')"

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled; read it from the settings where it is needed")


_MASKED: Final[WeakSet[Secret]] = WeakSet()
_lock: Final = threading.Lock()


def _filter(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    masked = said
    with _lock:
        secrets = tuple(_MASKED)
    for secret in secrets:
        masked = secret.mask(masked)
    if masked != said:
        record.msg, record.args = masked, ()
    return True
