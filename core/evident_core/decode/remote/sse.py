"""Server-sent events, as far as streamed answers use them (WHATWG HTML, 9.2 "Server-sent events")."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_EVENT_BYTES: Final = 16 << 20
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def event_data(chunks: Iterable[bytes], max_bytes: int = MAX_EVENT_BYTES) -> Iterator[str]:
    """The data of each event, as soon as its last byte has come, however the bytes were cut.

    Comments (servers keep a connection alive with them) and other fields are passed over; an event that the end cuts
    off is dropped, as the standard says. Only CR, LF and CRLF end a line: U+2028 may stand inside JSON.

    Raises:
        ValueError: The bytes are not UTF-8, or one event has more than ``max_bytes``.
    """
    data: list[bytes] = []
    size = 0
    for line in _lines(chunks, max_bytes):
        if not line:
            if data:
                yield b"\n".join(data).decode()
            data, size = [], 0
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            size += len(value)
            if size > max_bytes:
                raise ValueError(f"an event has more than {max_bytes} bytes")
            data.append(value.removeprefix(b" "))


def _lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    pending, begun, half_end = b"", False, False
    for chunk in chunks:
        if not chunk:
            continue
        # A CR ended the line already; the LF that belongs to it came with the next bytes.
        pending += chunk[1:] if half_end and chunk.startswith(b"\n") else chunk
        half_end = chunk.endswith(b"\r")
        if not begun and len(pending) >= len(_BYTE_ORDER_MARK):
            pending, begun = pending.removeprefix(_BYTE_ORDER_MARK), True
        *whole, pending = _LINE_END.split(pending)
        yield from whole
        if len(pending) > max_bytes:
            raise ValueError(f"a line has more than {max_bytes} bytes")
