"""Structured logs: one JSON object a line, with the request's id; never a file's contents, never a key."""

import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO
from uuid import uuid4

from flask import Flask, Response, g, has_request_context, request

from evident_core.errors import EvidentError

REQUEST_ID_HEADER: Final = "X-Request-Id"
KEY_PREFIX: Final = "evd_"
OWN: Final = "evident"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_KEY: Final = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]+")
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
log = logging.getLogger("evident.web")


class JsonLines(logging.Formatter):
    """A record as a line of JSON.

    Of an exception it keeps the type and where it was raised, and its message only if it is one of the suite's own: the
    message of any other may quote the file that was being read.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": _event(record),
        }
        if has_request_context() and "request_id" in g:
            line["request_id"] = g.request_id
        line.update({name: value for name, value in vars(record).items() if name not in _OWN_FIELDS})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        return _KEY.sub(f"{KEY_PREFIX}…", json.dumps(line, ensure_ascii=False, default=str))


def _event(record: logging.LogRecord) -> str:
    """What happened. Of a library's words only the template is kept: what it would fill in may be from a file."""
    own = record.name.partition(".")[0] == OWN
    return record.getMessage() if own else str(record.msg)


def _exception(error: BaseException) -> dict[str, object]:
    told: dict[str, object] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "frames": [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)],
    }
    if isinstance(error, EvidentError):
        told["message"] = error.message
    if (cause := error.__cause__ or error.__context__) is not None:
        told["cause"] = _exception(cause)
    return told


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send the log to standard error (or ``stream``) as lines of JSON: the suite's own, and warnings of libraries.

    It may be called again.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(level)


def log_requests(app: Flask) -> None:
    """Give every request an id, taken over from a caller who sends a sound one, and log it when it is answered."""

    @app.before_request
    def _begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex

    @app.after_request
    def _end(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        caller = g.get("caller")
        log.info(
            "request",
            extra={
                "service": app.name,
                "method": request.method,
                "route": request.url_rule.rule if request.url_rule else None,
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - g.began) * 1000, 1),
                "bytes_in": request.content_length or 0,
                "caller": caller.id if caller else None,
                "problem": g.get("problem"),
            },
        )
        return response
