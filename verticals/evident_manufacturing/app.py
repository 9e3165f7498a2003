"""The inspection service's pages and API: the live line, a board, the review queue, the specification editor."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from markupsafe import Markup
from pydantic import BaseModel, Field
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

from evident_core import sandbox
from evident_core.errors import Conflict, InvalidInput, NotFound, TooLarge, TooMany
from evident_core.settings import Settings
from evident_core.web import i18n
from evident_core.web.attachment import attach
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs, job_routes
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Task
from evident_core.web.openapi import operation
from evident_core.web.problems import wants_page
from evident_core.web.service import create_service
from evident_manufacturing import (
    desk,
    editor,
    judged_by,
    likeness,
    lot_pages,
    model_pages,
    pictures,
    refused,
    review,
    samples,
    sink,
    versions,
    vertical,
)
from evident_manufacturing.agent.installed import folder_in_use, stores_folder
from evident_manufacturing.alarms import RECENT
from evident_manufacturing.board_page import BoardQuery, board_page
from evident_manufacturing.charts import control_chart
from evident_manufacturing.desk import Options, open_desk, task
from evident_manufacturing.inspection.assess.spc import LEAST_SAMPLES, Chart
from evident_manufacturing.inspection.export import FORMATS, export
from evident_manufacturing.inspection.perceive.detector import read_manifest
from evident_manufacturing.line import PACED, SAMPLE, Line, Sample, line, results_of, window
from evident_manufacturing.lots import lots
from evident_manufacturing.refusals import in_chinese
from evident_manufacturing.station_alarms import station_alarms
from evident_manufacturing.texts import FILE, part_name

TAG: Final = "Boards"
SHOWN: Final = 12
"""Boards that the line's page shows."""
NEWEST_PRODUCTS: Final = 3
NEWEST_LOTS: Final = 5
"""Lots of a product that it shows."""
pages = Blueprint("manufacturing", __name__, template_folder="templates")
pages.add_app_template_global(in_chinese)


def create_app(settings: Settings) -> Flask:
    """The inspection service as a Flask app."""
    sandbox.preload(vertical.preload)
    return create_service(
        vertical,
        settings,
        blueprints=(
            pages,
            refused.pages,
            review.pages,
            editor.pages,
            likeness.pages,
            lot_pages.pages,
            model_pages.pages,
            sink.pages,
            job_routes(_sent),
        ),
        texts=(FILE,),
        checks={"model": _model},
    )


def _sent() -> Task:
    """What is sent to the queue itself, which cites no version that says something else."""
    return replace(task(), options=versions.SentOptions)


def _model() -> None:
    read_manifest(folder_in_use(stores_folder(current_frame().store.folder), "fused"))


class NewBoard(BaseModel):
    """What comes with a board's picture. Files in the form win over names of what was kept before."""

    part_id: str = Field("", max_length=128, description="By default the name of the file.")
    product: str = Field("", max_length=128, description="By default the specification's.")
    lot: str = Field("", max_length=128)
    camera: str = Field("", max_length=128)
    template_id: str = Field("", max_length=64, description="A template that was sent before.")
    calibration_name: str = Field("", max_length=256, description="The id of a certificate that is kept.")
    specification_name: str = Field("", max_length=256, description="`product@version` of one that is kept.")


class LineQuery(BaseModel):
    """How the charts are made."""

    sample: int = Field(SAMPLE, ge=1, le=100, description="Boards in a row that make a sample of the control charts.")


class HomeQuery(LineQuery):
    """How the line's page is shown."""

    fresh: bool = Field(False, description="Nothing is chosen that the next board would be judged by.")


# --- the line ---------------------------------------------------------------------------------------------------------


@pages.get("/")
@operation("The page of the live line", query=HomeQuery, returns="text/html", tag="Pages")
def home(query: HomeQuery) -> str:
    """Drop zone, samples, figures, charts, alarms and the last boards."""
    return render_template(
        "manufacturing/home.html",
        samples=list(samples.samples()),
        offer=judged_by.offer(fresh=query.fresh),
        **_line_values(query.sample),
    )


@pages.get("/line.html")
def line_part() -> str:
    """The part of the page that changes, for the pages that are open."""
    sample = request.args.get("sample", "")
    size = int(sample) if sample.isascii() and sample.isdecimal() else SAMPLE
    return render_template("manufacturing/_line.html", **_line_values(min(max(size, 1), 100)))


@pages.get("/line")
@operation("The line's figures", query=LineQuery, returns=Line, tag=TAG)
def line_figures(query: LineQuery) -> Line:
    """Over the last 240 boards: throughput, yield, control charts, drift and alarms."""
    return line(window(), query.sample, station_alarms())


@pages.post("/boards")
@operation(
    "Send a board",
    form=NewBoard,
    uploads=("file", "template", "calibration", "specification"),
    returns=JobView,
    status=202,
    problems=(InvalidInput, NotFound, Conflict, TooLarge, TooMany),
    tag=TAG,
)
def submit(form: NewBoard) -> AnyResponse:
    """Its picture, and what it is judged by. A specification or certificate that is sent is kept as a version."""
    options = Options(
        part_id=form.part_id,
        product=form.product,
        lot=form.lot,
        camera=form.camera,
        calibration=_document("calibration", form.calibration_name),
        specification=_document("specification", form.specification_name),
    )
    sent = request.files.get("template")
    template = sent if sent is not None and sent.filename else form.template_id or None
    job = desk.send(request.files.get("file") or FileStorage(), template, options)
    where = url_for("manufacturing.board", job_id=job.id)
    response: AnyResponse = (
        _to(where) if wants_page() else Response(job.model_dump_json(), 202, mimetype="application/json")
    )
    response.headers["Location"] = where
    judged_by.remember(response, job, options)
    return response


@pages.post("/samples/<name>")
def send_sample(name: str) -> AnyResponse:
    """Inspect one of the sample boards that come with the project."""
    return _to(url_for("manufacturing.board", job_id=samples.send_sample(name).id))


@pages.post("/samples")
def send_all_samples() -> AnyResponse:
    """Send all sample boards down the line."""
    for name in samples.samples():
        samples.send_sample(name)
    return _to(url_for("manufacturing.home"))


# --- a board ----------------------------------------------------------------------------------------------------------


@pages.get("/boards/<job_id>")
@operation("Open a board", query=BoardQuery, returns="text/html", problems=(NotFound,), tag=TAG)
def board(job_id: str, query: BoardQuery) -> str:
    """While it is inspected the page shows the progress; the inspection as JSON is at `/boards/{job_id}/files/json`."""
    return board_page(job_id, query)


@pages.get("/boards/<job_id>/<any(board, template):which>.png")
@operation("A board's picture, or its template laid under it", returns="image/png", problems=(NotFound,), tag=TAG)
def picture(job_id: str, which: pictures.Which) -> Response:
    """As it was inspected: grey and upright. With `?small=1` a thumbnail."""
    response = Response(pictures.picture(job_id, which, small=request.args.get("small") == "1"), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response


@pages.get("/boards/<job_id>/files/<file_format>")
@operation(
    "Download an inspection",
    returns=tuple(each.media_type for each in FORMATS.values()),
    problems=(NotFound, InvalidInput, Conflict),
    tag=TAG,
)
def download(job_id: str, file_format: str) -> Response:
    """As `json` (everything), `csv` (a line for each defect) or `html` (one file, with the picture in it)."""
    opened = open_desk(job_id)
    frame = current_frame()
    image, sent = None, current_jobs().get(job_id, frame.caller.id).input_ids
    if file_format == "html" and sent:
        image = frame.store.input_path(frame.store.input(sent[0], frame.caller.id)).read_bytes()
    response = Response(export(opened.inspection, file_format, image), content_type=FORMATS[file_format].media_type)
    stem = Path(opened.inspection.part.part_id.replace("/", "_")).stem or "board"
    attach(response, f"{stem}.{file_format}")
    return response


@pages.post("/boards/<job_id>/cancel")
def cancel(job_id: str) -> AnyResponse:
    """Stop inspecting."""
    current_jobs().cancel(job_id, current_frame().caller.id)
    current_frame().record("job.cancel", job_id)
    return _to(url_for("manufacturing.board", job_id=job_id))


@pages.post("/boards/<job_id>/delete")
def delete(job_id: str) -> AnyResponse:
    """Delete a board's picture and all that came of it."""
    desk.forget(job_id)
    return _to(url_for("manufacturing.home"))


@pages.delete("/boards/<job_id>")
@operation("Delete a board", status=204, problems=(NotFound,), tag=TAG)
def remove(job_id: str) -> Response:
    """Its picture, inspection and labels go; its template stays, which `DELETE /jobs/{job_id}` takes along."""
    desk.forget(job_id)
    return Response(status=204)


@pages.app_template_filter("part_name")
def _part_name(part_id: str) -> str:
    return part_name(part_id, i18n.language())


# --- pieces -----------------------------------------------------------------------------------------------------------


def _line_values(size: int) -> dict[str, Any]:
    boards = window()
    figures = line(boards, size, station_alarms())
    language = i18n.language()
    texts = current_frame().texts

    def chart(kind: Chart | None) -> Markup:
        if kind is None:
            return Markup("")
        notes = _notes(kind, figures.samples)
        return control_chart(kind, texts.get(f"line.{kind.kind}_chart", language), notes)

    return {
        "figures": figures,
        "boards": boards[:SHOWN],
        "highest": results_of(boards),
        "charts": (chart(figures.p), chart(figures.u)),
        "broken": any(point.signals for each in (figures.p, figures.u) if each for point in each.points),
        "size": size,
        "paced": PACED,
        "products": lots().products[:NEWEST_PRODUCTS],
        "newest_lots": NEWEST_LOTS,
        "recent": RECENT,
        "least_samples": LEAST_SAMPLES,
    }


def _notes(chart: Chart, samples: Sequence[Sample]) -> list[str]:
    language, texts = i18n.language(), current_frame().texts
    return [
        texts.get("line.point", language, number=number, boards=each.boards, bad=each.bad, defects=each.defects)
        + "".join(f" {texts.get(f'rule.{rule}', language)}" for rule in point.signals)
        for number, (point, each) in enumerate(zip(chart.points, samples, strict=True), 1)
    ]


def _document(kind: versions.Kind, name: str) -> str:
    """The text of a document that is sent, which is then kept, or of one that is kept under a name."""
    sent = request.files.get(kind)
    if sent is None or not sent.filename:
        return versions.text_of(kind, name) if name else ""
    try:
        text = sent.stream.read(1 << 20).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"{sent.filename} is not UTF-8 text; save the {kind} as UTF-8.") from None
    versions.keep(kind, text, sent=True)
    return text


def _to(url: str) -> AnyResponse:
    return redirect(url, 303)
