"""Our engine behind the OpenAI API: what any of its clients, and `decode.remote` of another machine, can ask.

``/v1/chat/completions`` and ``/v1/completions``, whole or streamed as server-sent events, with structured outputs, and
``/v1/models``. `llm_api` is a blueprint for any app; `create_llm_app` puts it into the suite's frame, with keys,
limits, probes and figures; `serve` runs that.

What these need is imported when they are called: the process that starts the one that serves must not import the
figures, which look for their shared folder then (see `gunicorn_conf`).
"""

from collections.abc import Callable
from typing import Final

from flask import Blueprint, Flask

from evident_core.decode import choose
from evident_core.decode.generator import Generator
from evident_core.settings import LlmSettings, Settings

_SPARE_THREADS: Final = 16


def llm_api(generator: Generator, *, max_texts: int = 80, default_tokens: int = 1024) -> Blueprint:
    """The routes of one model.

    Args:
        generator: Writes.
        max_texts: Most texts that are written or wait; a request beyond is answered 429.
        default_tokens: Length of a chat's answer whose request names none.
    """
    from evident_core.web.llm_api.routes import routes
    from evident_core.web.llm_api.texts import Admission

    return routes(generator, Admission(max_texts), default_tokens)


def create_llm_app(settings: Settings, generator: Generator) -> Flask:
    """The API and a page inside the suite's frame: its keys as bearer tokens, its limits, log, probes and figures.

    Raises:
        InvalidInput: It would be open to other machines without a key.
    """
    from evident_core.web.llm_api.page import PAGE_TEXTS, page
    from evident_core.web.llm_api.routes import routes
    from evident_core.web.llm_api.texts import Admission
    from evident_core.web.service import create_machine_service

    admission, tokens = Admission(_max_texts(settings.llm)), settings.llm.max_tokens
    check = getattr(generator, "check", None)
    return create_machine_service(
        "llm",
        settings,
        blueprints=[routes(generator, admission, tokens), page(generator, admission, tokens)],
        texts=[PAGE_TEXTS],
        checks={"model": check} if check else {},
    )


def serve(
    settings: Settings,
    on_ready: Callable[[str], None] | None = None,
    make: Callable[[], Generator] | None = None,
) -> None:
    """Serve a model at ``settings.web.host`` and ``port`` until SIGTERM or SIGINT.

    Args:
        settings: All settings.
        on_ready: Told the address once it is listened on; the model may still be loading then.
        make: Opens the model; by default the one that ``settings.llm`` names. It is called in the one process that
            serves: what computes has threads, which a fork would not take along.

    Raises:
        InvalidInput: It would be open to other machines without a key.
        Conflict: Another program listens there.
        ModelNotReady: The model could not be opened; the log says why.
    """
    from evident_core.web import server

    def create(settings: Settings) -> Flask:
        return create_llm_app(settings, make() if make else choose.generator(settings.llm))

    options = {
        "workers": 1,
        "preload_app": False,
        "threads": _max_texts(settings.llm) + _SPARE_THREADS,
        # Opening a large model takes as long as it takes, and a process that is replaced would open it again.
        "timeout": 0,
        "max_requests": 0,
    }
    server.serve(settings, create, on_ready, jobs=False, options=options)


def _max_texts(settings: LlmSettings) -> int:
    return (settings.max_concurrent if settings.url else settings.max_batch) + settings.max_queued
