"""A small service that uses every piece of the frame; the tests of the frame look at it."""

import time
from enum import StrEnum
from pathlib import Path

from flask import Blueprint, Flask, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from evident_core.errors import (
    Conflict,
    EvidentError,
    InvalidInput,
    ModelNotReady,
    NotFound,
    TooMany,
    UnsupportedMedia,
)
from evident_core.evidence import Language
from evident_core.progress import OnProgress, Progress
from evident_core.services import Vertical
from evident_core.settings import Settings
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import job_routes
from evident_core.web.jobs import Task
from evident_core.web.openapi import operation
from evident_core.web.probes import Check
from evident_core.web.service import create_service
from evident_core.work import Work

FOLDER = Path(__file__).parent
PAGE_SIZES = {"default": (612, 792), "3": (595, 842)}

specimen = Vertical(
    name="specimen",
    title={"en": "Annual report to risk report", "zh": "年报风险分析"},
    summary={
        "en": "Drop an annual report and get a risk report in which every number opens its page.",
        "zh": "上传年报，得到风险报告；每个数字都能打开它所在的页面。",
    },
    app="",
    cli="",
)


def read(work: Work, *, on_progress: OnProgress) -> bytes:
    """A job that takes its time, and refuses what begins like no PDF."""
    data = work.inputs[0].path.read_bytes()
    if not data.startswith(b"%PDF"):
        raise UnsupportedMedia("This file begins like no PDF; send the annual report as a PDF.")
    for stage in ("ingest", "perceive", "assess", "write"):
        for done in range(4):
            on_progress(Progress(stage=stage, done=done, total=4))
            time.sleep(0.15)
    return b"{}"


class TooFaint(InvalidInput):
    """A kind of refusal of this service's own, without a title in Chinese."""

    code, title = "too_faint", "The print is too faint"


TASK = Task(service="specimen", version="1", run="specimen_service:read")


class Wish(BaseModel):
    """A correction that somebody wishes for."""

    item: str = Field(min_length=1, description="The canonical item.")
    value: float = Field(description="What it should be.")
    reason: str = ""


class Receipt(BaseModel):
    """What was taken in."""

    item: str
    value: float
    language: Language = "en"


class Order(StrEnum):
    """Which comes first."""

    NEWEST = "newest"
    OLDEST = "oldest"


class Page(BaseModel):
    """Which part of a list."""

    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    tag: list[str] = Field([], description="Only with these tags; may be repeated.")
    order: Order = Order.NEWEST


class UploadForm(BaseModel):
    """What goes with a file."""

    note: str = Field("", max_length=20)


def routes() -> Blueprint:
    blueprint = Blueprint("specimen", __name__, template_folder="templates")

    @blueprint.get("/")
    def home() -> str:
        return render_template("specimen_home.html")

    @blueprint.get("/report")
    def report() -> str:
        return render_template("specimen_report.html", sizes=PAGE_SIZES)

    @blueprint.get("/working/<job_id>")
    def working(job_id: str) -> str:
        job = current_frame().jobs.get(job_id, current_frame().caller.id)
        return render_template("specimen_working.html", job=job)

    @blueprint.get("/pages/<int:number>.svg")
    @operation("A page as a picture", returns="image/svg+xml", tag="Pages")
    def picture(number: int) -> ResponseReturnValue:
        lines = "".join(
            f'<rect x="60" y="{y}" width="{400 - y % 70}" height="5" fill="#bbb"/>' for y in range(90, 700, 18)
        )
        text = f'<text x="60" y="60" font-size="20">Page {number}</text><g fill="#bbb">{lines}</g>'
        size = 'viewBox="0 0 612 792" width="612" height="792"'
        body = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{text}</svg>'
        return body, {"Content-Type": "image/svg+xml"}

    @blueprint.post("/upload")
    @operation(
        "Read a file",
        uploads=("file",),
        form=UploadForm,
        returns=Receipt,
        status=201,
        problems=(UnsupportedMedia, InvalidInput),
        tag="Reports",
    )
    def upload(form: UploadForm) -> ResponseReturnValue:
        """Reads a file at once.

        The answer tells where the report is.
        """
        data = request.files["file"].read()
        if not data.startswith(b"%PDF"):
            raise UnsupportedMedia("This file begins like no PDF; send the annual report as a PDF.", size=len(data))
        current_frame().record("file.read", "x", size=len(data))
        return Receipt(item="file", value=len(data)).model_dump(), 201, {"Location": f"{request.script_root}/report"}

    @blueprint.get("/reports")
    @operation("List the reports", query=Page, returns=Receipt, tag="Reports")
    def reports(query: Page) -> Receipt:
        return Receipt(item="+".join(query.tag) or "all", value=query.limit)

    @blueprint.post("/reports/<report_id>/corrections")
    @operation("Correct a value", body=Wish, returns=Receipt, status=201, problems=(NotFound, Conflict), tag="Reports")
    def correct(report_id: str, body: Wish) -> Receipt:
        return Receipt(item=f"{report_id}/{body.item}", value=body.value)

    @blueprint.get("/broken")
    def broken() -> str:
        raise ValueError("could not convert string to float: 'SECRET CONTENT OF A FILE'")

    @blueprint.get("/busy")
    def busy() -> str:
        raise TooMany("200 jobs wait already; try again in a few minutes.", retry_after=30)

    return blueprint


def not_there() -> None:
    raise ModelNotReady("The weights are absent; fetch them.")


def create(settings: Settings, checks: dict[str, Check] | None = None, *blueprints: Blueprint) -> Flask:
    return create_service(
        specimen,
        settings,
        blueprints=(routes(), job_routes(TASK), *blueprints),
        texts=(FOLDER / "texts.toml",),
        checks=checks,
    )


__all__ = ["EvidentError", "create", "not_there", "specimen"]
