"""Every error as RFC 9457 ``application/problem+json``, or as a page where a person is looking."""

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, g, render_template, request
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import EvidentError, TooMany

PROBLEM_JSON: Final = "application/problem+json"
log = logging.getLogger("evident.web")


class Problem(BaseModel):
    """A refusal, told to programs and people alike (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Names the kind of problem; stays the same for ever.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was found, and what to do about it.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="The kind as a short word, for programs.")
    request_id: str = Field(description="Names this one request; the log knows it.")


def place(location: Iterable[int | str]) -> str:
    """A place in a JSON value as a person reads it: ``.items[2].price``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def handle_errors(app: Flask) -> None:
    """Answer every error of an app as a problem: the suite's own, HTTP's, and those nobody foresaw."""
    app.register_error_handler(EvidentError, _evident)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    details: Mapping[str, object] | None = None,
) -> Response:
    """A problem as JSON, or as a page if the request prefers HTML."""
    body = Problem(
        type=f"urn:evident:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.script_root + request.path,
        code=code,
        request_id=g.get("request_id", ""),
        **{name: value for name, value in (details or {}).items() if name not in Problem.model_fields},
    )
    response = (wants_page() and _page(body)) or Response(body.model_dump_json(), status, mimetype=PROBLEM_JSON)
    response.headers.extend(dict(headers or {}))
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    g.problem = code
    return response


def _page(body: Problem) -> Response | None:
    try:
        return Response(render_template("problem.html", problem=body), body.status, mimetype="text/html")
    except Exception:
        log.exception("the page of a problem could not be made")
        return None


def wants_page() -> bool:
    """Whether the answer is read by a person: HTML is accepted and preferred over JSON."""
    accept = request.accept_mimetypes
    return "text/html" in accept.values() and accept["text/html"] >= max(
        accept[PROBLEM_JSON], accept["application/json"]
    )


def _evident(error: EvidentError) -> Response:
    # Details come from everywhere; what JSON does not know is told as text.
    details = json.loads(json.dumps(error.details, default=str))
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="evident"'
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.details.get("retry_after", 10))
    return problem(error.status, error.code, error.title, error.message, headers=headers, details=details)


def _http(error: HTTPException) -> AnyResponse:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response(request.environ)
    status = HTTPStatus(error.code)
    code = "too_large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else status.name.lower()
    kept = ("Allow", "Retry-After", "WWW-Authenticate")
    headers = {name: value for name, value in error.get_headers(request.environ) if name in kept}
    return problem(status, code, status.phrase, _detail(error, status), headers=headers)


def _detail(error: HTTPException, status: HTTPStatus) -> str:
    here = request.script_root + request.path
    if isinstance(error, MethodNotAllowed):
        possible = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.method} is not possible at {here}; possible are: {possible}."
    if isinstance(error, RequestEntityTooLarge):
        limit = f"{request.max_content_length or 0:,} bytes in at most {request.max_form_parts} parts"
        announced = f"{request.content_length:,} bytes were announced" if request.content_length else "it does not end"
        return f"The request is too large: {announced}, and at most {limit} are read. Send a smaller file."
    if status == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {here}; the start page is at {request.script_root}/."
    return error.description or status.description or status.phrase


def _unforeseen(error: Exception) -> Response:
    """Nothing of an unforeseen error leaves the house: the log keeps where it came from, the answer its request id."""
    log.error("unforeseen", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong here",
        "This is a defect of the service, not of your request. Please report it together with the request id.",
    )
