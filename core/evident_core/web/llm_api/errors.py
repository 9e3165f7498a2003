"""Errors as clients of the OpenAI API read them: ``{"error": {"message", "type", "param", "code"}}``."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, g, jsonify
from werkzeug.exceptions import HTTPException

from evident_core.errors import EvidentError, InvalidInput, TooMany

log = logging.getLogger("evident.web")

_INVALID: Final = "invalid_request_error"
# Clients raise a class of their own for each of these types and statuses.
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES: Final[Mapping[str, str]] = {
    "unauthenticated": "invalid_api_key",
    "too_many": "rate_limit_exceeded",
    "forbidden": "permission_denied",
}
RETRY_AFTER_SECONDS: Final = 2


def handle_errors(blueprint: Blueprint) -> None:
    """Answer every error of a blueprint's routes in that form: the suite's own, HTTP's, and those nobody foresaw."""
    blueprint.register_error_handler(EvidentError, _evident)
    blueprint.register_error_handler(HTTPException, _http)
    blueprint.register_error_handler(Exception, _unforeseen)


def told(error: Exception) -> dict[str, Any]:
    """The body of an error. Of one that nobody foresaw nothing is told; the log keeps where it came from."""
    if not isinstance(error, EvidentError):
        log.error("unforeseen", exc_info=error)
        return _body(500, "Something went wrong here; this is a defect of the server.", code="internal")
    param = error.details.get("parameter")
    code = str(error.details.get("reason") or _CODES.get(error.code, error.code))
    return _body(_status(error), error.message, str(param) if param else None, code)


def _evident(error: EvidentError) -> Response:
    g.problem = error.code
    response = jsonify(told(error))
    response.status_code = _status(error)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="evident"'
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.details.get("retry_after", RETRY_AFTER_SECONDS))
    return response


def _status(error: EvidentError) -> int:
    # Clients of this API know 400 for what the suite calls 422.
    return 400 if isinstance(error, InvalidInput) else error.status


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    code = HTTPStatus(status).name.lower()
    g.problem = code
    response = jsonify(_body(status, error.description or HTTPStatus(status).phrase, code=code))
    response.status_code = status
    kept = ("Allow", "Retry-After")
    response.headers.extend({name: value for name, value in error.get_headers() if name in kept})
    return response


def _unforeseen(error: Exception) -> Response:
    g.problem = "internal"
    response = jsonify(told(error))
    response.status_code = 500
    return response


def _body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _TYPES.get(status, _INVALID)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
