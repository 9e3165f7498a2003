"""Bounded decompression of a file's streams before any parser sees them: a bomb is refused for the price of a probe."""

import re
import zlib
from collections.abc import Iterator

from evident_core.errors import ResourceExceeded
from evident_finance.risk_report.ingest.limits import (
    MAX_PICTURE_BYTES,
    MAX_STREAM_BYTES,
    MAX_TEXT_OPERATORS,
    MIB,
)

_START = re.compile(rb"stream\r?\n")
_DICTIONARY_REACH = 2048
_ZLIB_MAX_RATIO = 1032
_CHUNK = MIB


def check_streams(data: bytes) -> None:
    """Refuse a file in which one stream unpacks to more than is read.

    The bytes are searched for streams without regard to the file's tables, so broken and deliberately misleading
    files are checked as well. Only streams that could unpack beyond the limit are unpacked, and only up to it.

    Raises:
        ResourceExceeded: A stream unpacks beyond its limit, or shows more text than any page does.
    """
    for dictionary, start, end in _streams(data):
        if b"/EmbeddedFile" in dictionary:
            continue
        filters = dictionary.count(b"/FlateDecode") + len(re.findall(rb"/Fl\b", dictionary))
        picture = re.search(rb"/Image\b|/Length1\b|/FontFile|/CIDFontType0C|/Type1C|/OpenType", dictionary)
        limit = MAX_PICTURE_BYTES if picture else MAX_STREAM_BYTES
        packed = end - start
        if packed > limit:
            raise _exceeded(packed, limit)
        if packed * _ZLIB_MAX_RATIO ** min(filters, 2) > MIB:
            _check(data[start:end] if filters else memoryview(data)[start:end], filters, limit, picture is None)


def _check(stream: bytes | memoryview, filters: int, limit: int, content: bool) -> None:
    unpacked = operators = 0
    for chunk in _unpack(_chunks(stream), filters):
        unpacked += len(chunk)
        if unpacked > limit:
            raise _exceeded(unpacked, limit)
        if content:
            operators += chunk.count(b"Tj") + chunk.count(b"TJ") + chunk.count(b")'")
            if operators > MAX_TEXT_OPERATORS:
                raise ResourceExceeded(
                    f"One part of the file draws more than {MAX_TEXT_OPERATORS:,} pieces of text, "
                    "more than any page of a report holds. Print the report to a new PDF and give that one.",
                    text_operators=operators,
                    limit=MAX_TEXT_OPERATORS,
                )


def _streams(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each stream's dictionary (what stands before it), and where its bytes start and end."""
    position = 0
    while match := _START.search(data, position):
        start = match.end()
        if data[max(0, match.start() - 3) : match.start()] == b"end":
            position = start
            continue
        end = data.find(b"endstream", start)
        end = len(data) if end < 0 else end
        head = data[max(0, match.start() - _DICTIONARY_REACH) : match.start()]
        yield head[head.rfind(b" obj") + 1 :], start, end
        position = end


def _chunks(stream: bytes | memoryview) -> Iterator[bytes]:
    for start in range(0, len(stream), _CHUNK):
        yield bytes(stream[start : start + _CHUNK])


def _unpack(chunks: Iterator[bytes], filters: int) -> Iterator[bytes]:
    for _ in range(min(filters, 3)):
        chunks = _inflate(chunks)
    return chunks


def _inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """zlib, in pieces of at most a chunk; what is damaged ends there, as it does for the reader."""
    inflater = zlib.decompressobj()
    for packed in chunks:
        rest = packed
        while rest:
            try:
                piece = inflater.decompress(rest, _CHUNK)
            except zlib.error:
                return
            if piece:
                yield piece
            if inflater.eof:
                return
            rest = inflater.unconsumed_tail


def _exceeded(unpacked: int, limit: int) -> ResourceExceeded:
    return ResourceExceeded(
        f"One part of the file unpacks to more than {limit // MIB} MB, more than any page of a report needs. "
        "Print the report to a new PDF and give that one.",
        unpacked_bytes=unpacked,
        limit_bytes=limit,
    )
