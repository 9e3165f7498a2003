"""A job is followed in the browser while a real worker does it: to its end, to its refusal, and without JavaScript."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import expect

from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.jobs import JobView
from evident_core.web.server import EmbeddedWorker
from specimen_service import TASK, create

pytestmark = pytest.mark.browser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path / "data"}, jobs={"workers": 1})


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with EmbeddedWorker(settings):
        yield create(settings)


def submit(app: Flask, data: bytes) -> JobView:
    frame: Frame = app.extensions["evident"]
    row = frame.store.put_input(data, name="report.pdf", owner="local")
    return frame.jobs.submit(TASK, [row.id], owner="local")


def test_progress_is_followed_to_the_end(app, serve, open_page, shoot):
    page = open_page()
    url = serve(app)
    job = submit(app, b"%PDF-1.7")
    page.goto(f"{url}/working/{job.id}")
    now = page.locator(".stages .now .stage-name")
    expect(now).to_have_text("Applying the rules", timeout=60_000)
    expect(page.locator(".stages .past")).to_have_count(2)
    expect(page.locator(".job-state")).to_have_text("Working", use_inner_text=True)
    shoot(page, "progress-en")
    expect(page).to_have_url(f"{url}/report", timeout=60_000)


def test_a_refusal_is_told_where_the_reader_waits(app, serve, open_page, shoot):
    page = open_page()
    url = serve(app)
    job = submit(app, b"<html>")
    page.goto(f"{url}/working/{job.id}?lang=zh")
    expect(page.locator(".job [data-problem]")).to_have_text(
        "This file begins like no PDF; send the annual report as a PDF.", timeout=60_000
    )
    expect(page.locator(".job-state")).to_have_text("失败", use_inner_text=True)
    shoot(page, "progress-failed-zh")
    page.reload()
    expect(page.locator(".job [data-problem]")).to_be_visible()


def test_progress_is_shown_without_javascript(app, serve, open_page):
    page = open_page(java_script_enabled=False)
    url = serve(app)
    job = submit(app, b"%PDF-1.7 other")
    page.goto(f"{url}/working/{job.id}")
    expect(page.locator(".job-state")).to_have_text("Working", use_inner_text=True, timeout=60_000)
    expect(page.locator(".job-state")).to_have_text("Done", use_inner_text=True, timeout=60_000)
