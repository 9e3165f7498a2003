"""The routes of the OpenAI API: chats, plain texts, models."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import MethodNotAllowed

from evident_core.decode.generator import Generator
from evident_core.errors import Cancelled, NotFound, UnsupportedMedia
from evident_core.web.llm_api.answers import DONE, Answer, event
from evident_core.web.llm_api.errors import handle_errors, told
from evident_core.web.llm_api.requests import Ask, read_chat, read_text
from evident_core.web.llm_api.texts import Admission, Texts, has_left

OWNER: Final = "evident"
"""What a list of models says of itself; `decode.remote.dialects` knows it by this."""

_METHODS: Final[Mapping[str, str]] = {"chat/completions": "POST", "completions": "POST", "models": "GET"}


def routes(generator: Generator, admission: Admission, default_tokens: int) -> Blueprint:
    """The routes of one model; see `llm_api.llm_api`."""
    blueprint = Blueprint("llm", __name__, url_prefix="/v1")
    handle_errors(blueprint)
    since = int(time.time())

    @blueprint.post("/chat/completions")
    def chat() -> Response:
        return answer(read_chat(_body(), default_tokens))

    @blueprint.post("/completions")
    def complete() -> Response:
        return answer(read_text(_body()))

    @blueprint.get("/models")
    def models() -> Response:
        return jsonify({"object": "list", "data": [described()]})

    @blueprint.get("/models/<path:name>")
    def model(name: str) -> Response:
        refuse_other(name)
        return jsonify(described())

    # Whatever else is asked below /v1 is refused in the form that its clients read.
    @blueprint.route("/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def other(rest: str) -> Response:
        if rest in _METHODS:
            raise MethodNotAllowed([_METHODS[rest]], f"{request.method} is not possible here.")
        raise NotFound(f"There is nothing at /v1/{rest}; there are: {', '.join(_METHODS)}.", path=rest)

    def described() -> dict[str, Any]:
        return {"id": generator.name, "object": "model", "created": since, "owned_by": OWNER}

    def refuse_other(name: str | None) -> None:
        if name not in (None, generator.name):
            raise NotFound(
                f"The model {name!r} does not exist here; this server has {generator.name!r}.",
                parameter="model",
                reason="model_not_found",
            )

    def answer(ask: Ask) -> Response:
        refuse_other(ask.model)
        texts = Texts(generator, ask, admission.enter(len(ask.texts)))
        if not ask.stream:
            return _whole(texts, Answer(ask, generator.name))
        response = Response(_events(texts, Answer(ask, generator.name)), mimetype="text/event-stream")
        response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        # A client may be gone before the first event: then the events are never begun, and end nothing.
        response.call_on_close(texts.close)
        return response

    return blueprint


def _body() -> bytes:
    if not request.is_json:
        raise UnsupportedMedia(
            f"The body is sent as {request.mimetype or 'no media type'}; send JSON with Content-Type: "
            "application/json.",
            content_type=request.mimetype,
        )
    return request.get_data(cache=False)


def _whole(texts: Texts, answer: Answer) -> Response:
    with texts:
        for _ in texts:
            if has_left(request.environ):
                raise Cancelled("The client closed its connection.")
        return jsonify(answer.whole(texts.in_order))


def _events(texts: Texts, answer: Answer) -> Iterator[str]:
    begun: set[int] = set()
    with texts:
        try:
            for index, chunk in texts:
                if index not in begun and (beginning := answer.begin(index)):
                    yield beginning
                begun.add(index)
                if chunk.text:
                    yield answer.piece(index, chunk.text)
                if chunk.completion is not None:
                    yield answer.end(index, chunk.completion)
            if counts := answer.usage(texts.in_order):
                yield counts
            yield DONE
        except Exception as error:  # the status is sent already; the stream itself tells what happened
            yield event(told(error))
