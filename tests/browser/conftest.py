"""A real browser for every page: Debian's chromium, driven by Playwright; nothing but this machine is reached."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect, sync_playwright
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Serve = Callable[[Flask], str]
Shoot = Callable[..., Path]
OpenPage = Callable[..., Page]

expect.set_options(timeout=30_000)  # a page that is right is not late, however busy the machine is


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; tests that need it are skipped where it is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--font-render-hinting=none"],
        )
        yield browser
        browser.close()


def closed_at_the_end(app: Flask) -> WSGIApplication:
    """The app, with its answers closed however they end.

    Werkzeug's server does not close an answer, and the file in it, where the browser reset the connection: it reads
    what is left of the request first, and that fails.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with closing(app(environ, start_response)) as body:
            yield from body

    return answer


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve an app on a free port of this machine; returns its address without a slash at the end."""
    running = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, closed_at_the_end(app), threaded=True)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Open pages that fail their test when they log an error, break, or reach for another machine.

    ``expect_errors=True`` is for the pages whose point is a refusal: the browser logs each status of 400 and above.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(*, expect_errors: bool = False, **options: object) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()

        def keep_home(route: Route) -> None:
            if urlsplit(route.request.url).hostname == "127.0.0.1":
                route.continue_()
            else:
                complaints.append(f"reached for {route.request.url}")
                route.abort()

        def listen(message: ConsoleMessage) -> None:
            refused = expect_errors and message.text.startswith("Failed to load resource")
            if message.type == "error" and not refused:
                complaints.append(message.text)

        context.route(lambda url: url.startswith("http"), keep_home)
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    """Save a screenshot of a page, in ``SHOTS`` where a person wants to look at them."""
    folder = Path(os.environ.get("SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)

    def save(page: Page, name: str, *, full_page: bool = True) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=full_page)
        return path

    return save
