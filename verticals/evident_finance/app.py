"""The finance service's pages and API: drop a report, read it beside its pages, correct, compare, ask."""

import json
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from markupsafe import Markup
from pydantic import BaseModel, Field
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

from evident_core import sandbox
from evident_core.errors import Conflict, EvidentError, InvalidInput, NotFound
from evident_core.settings import Settings
from evident_core.web import i18n
from evident_core.web.attachment import attach
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs, delete_upload, job_routes, submit_upload
from evident_core.web.job_rows import JobView
from evident_core.web.openapi import operation
from evident_core.web.service import create_service
from evident_finance import vertical
from evident_finance.desk import (
    TASK,
    Change,
    Desk,
    correct,
    correctable,
    open_desk,
    page_picture,
    read_again,
    samples,
)
from evident_finance.risk_report.assess.ask import Answer, ask
from evident_finance.risk_report.export import FORMATS, export
from evident_finance.risk_report.export.compare import Comparison, compare
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Facts
from evident_finance.texts import FILE, both

TAG: Final = "Reports"
MOST_BOXES: Final = 24
pages = Blueprint("finance", __name__, template_folder="templates")


def create_app(settings: Settings) -> Flask:
    """The finance service as a Flask app."""
    sandbox.preload(vertical.preload)
    return create_service(vertical, settings, blueprints=(pages, job_routes(TASK)), texts=(FILE,))


class NewCorrection(BaseModel):
    """A value that an analyst sets in place of what was read."""

    fact_id: str = Field(description="The fact, such as revenue@2018-12-31.")
    value: str = Field(min_length=1, max_length=64, description="In whole units: 32765000000, not 32,765 million.")
    unit: str = Field("", max_length=3, description="Of a fact that is not presented, where not the filing's currency.")
    reason: str = Field("", max_length=1000, description="Why; kept in the audit trail.")
    after: int | None = Field(
        None, ge=0, description="Number of the last correction seen; refused if there is a newer."
    )


class Corrections(BaseModel):
    """The corrections of a report, first to last."""

    corrections: tuple[Change, ...]


class Question(BaseModel):
    """A formula over facts."""

    q: str = Field(max_length=500, description='Such as "free cash flow 2018" or "net debt / ebitda".')


class ReportQuery(BaseModel):
    """How the page is laid out."""

    mode: str = Field("both", pattern="^(both|en|zh)$", description="Side by side, or one language.")
    q: str = Field("", max_length=500, description="A question to answer on the page.")


class CompareQuery(BaseModel):
    """Which reports."""

    report: list[str] = Field(default_factory=list, description="Ids of the reports, up to eight.")


@pages.get("/")
@operation("The page on which reports are dropped", returns="text/html", tag="Pages")
def home() -> str:
    """Drop zone, samples, and the reports that are already there."""
    owner = current_frame().caller.id
    names = {row.id: row.name for row in current_frame().store.inputs(owner)}
    newest: dict[str, JobView] = {}
    for job in current_jobs().list(owner, TASK.service, limit=60):
        for input_id in job.input_ids[:1]:
            newest.setdefault(input_id, job)
    return render_template(
        "finance/home.html", jobs=[(job, names.get(each, "")) for each, job in newest.items()], samples=list(samples())
    )


@pages.post("/reports")
def drop() -> AnyResponse:
    """Take the form's file and show how its reading goes."""
    job = submit_upload(TASK, request.files.getlist("file"), password=request.form.get("password", ""))
    return _to(url_for("finance.report", job_id=job.id))


@pages.post("/samples/<name>")
def sample(name: str) -> AnyResponse:
    """Read one of the sample reports that come with the project."""
    path = samples().get(name)
    if path is None:
        raise NotFound(f"There is no sample {name!r}; there are {', '.join(samples()) or 'none'}.", name=name)
    with path.open("rb") as stream:
        job = submit_upload(TASK, [FileStorage(stream, filename=path.name, content_type="application/pdf")])
    return _to(url_for("finance.report", job_id=job.id))


@pages.get("/reports/<job_id>")
@operation("Open a report", query=ReportQuery, returns="text/html", problems=(NotFound,), tag=TAG)
def report(job_id: str, query: ReportQuery) -> str | AnyResponse:
    """While the file is read the page shows the progress; the report as JSON is at `/reports/{job_id}/files/json`."""
    job = current_jobs().get(job_id, current_frame().caller.id)
    if job.result_id is None:
        row = current_frame().store.input(job.input_ids[0], current_frame().caller.id)
        items = Items.load()
        labels = {name: items.label(name, i18n.language()) for name in items.names}
        return render_template("finance/job.html", job=job, name=row.name, labels=labels)
    desk = open_desk(job_id)
    return _page("finance/report.html", desk, mode=query.mode, answer=_answer(desk, query.q), question=query.q)


@pages.get("/reports/<job_id>/facts/<path:fact_id>")
@operation("Open a fact: its value, sources and page", returns="text/html", problems=(NotFound,), tag=TAG)
def fact(job_id: str, fact_id: str) -> str:
    """The page lit where it was read, or the facts and formula it was computed from."""
    desk = open_desk(job_id)
    found = View(desk.analysis).places.facts.get(fact_id)
    if found is None:
        raise NotFound(f"There is no fact {fact_id!r} in this report.", fact=fact_id)
    trail = [change for change in desk.changes if change.fact_id == fact_id]
    try:
        unit, refusal = correctable(desk.analysis, fact_id), ""
    except InvalidInput as error:
        unit, refusal = "", error.message
    return _page("finance/fact.html", desk, fact=found, trail=trail, unit=unit, refusal=refusal)


@pages.get("/reports/<job_id>/cards/<path:fact_id>")
def card(job_id: str, fact_id: str) -> str:
    """What stands under the viewer when a number is pointed at: a piece of a page."""
    desk = open_desk(job_id)
    found = View(desk.analysis).places.facts.get(fact_id)
    if found is None:
        raise NotFound(f"There is no fact {fact_id!r} in this report.", fact=fact_id)
    return _page("finance/_card.html", desk, fact=found)


@pages.post("/reports/<job_id>/corrections")
@operation(
    "Correct a value",
    body=NewCorrection,
    returns=Corrections,
    problems=(NotFound, InvalidInput, Conflict),
    tag=TAG,
)
def correct_fact(job_id: str, body: NewCorrection) -> Corrections:
    """All ratios, scores, claims and sentences follow; what was read before stays in the trail."""
    return Corrections(
        corrections=correct(job_id, body.fact_id, body.value, body.reason, body.after, body.unit).changes
    )


@pages.post("/reports/<job_id>/facts/<path:fact_id>")
def correct_by_form(job_id: str, fact_id: str) -> AnyResponse:
    """The same from the page's form."""
    form = request.form
    after = int(form["after"]) if form.get("after", "").isdecimal() else None
    correct(job_id, fact_id, form.get("value", "")[:64], form.get("reason", "")[:1000], after, form.get("unit", "")[:3])
    return _to(url_for("finance.fact", job_id=job_id, fact_id=fact_id))


@pages.get("/reports/<job_id>/corrections")
@operation("List the corrections of a report", returns=Corrections, problems=(NotFound,), tag=TAG)
def corrections(job_id: str) -> Corrections:
    """The audit trail of one report."""
    return Corrections(corrections=open_desk(job_id).changes)


@pages.get("/reports/<job_id>/answer")
@operation("Ask a formula over the facts", query=Question, returns=Answer, problems=(NotFound, InvalidInput), tag=TAG)
def answer(job_id: str, query: Question) -> Answer:
    """Typed: the answer has a unit, its formula, and the facts it rests on; there is no free text model behind it."""
    analysis = open_desk(job_id).analysis
    return ask(query.q, Facts((*analysis.reading.facts, *analysis.assessment.facts)))


@pages.get("/reports/<job_id>/files/<file_format>")
@operation(
    "Download a report",
    returns=tuple(each.media_type for each in FORMATS.values()),
    problems=(NotFound, InvalidInput),
    tag=TAG,
)
def download(job_id: str, file_format: str) -> Response:
    """As `json` (facts in xBRL-JSON style with sources, claims and sentences), `html`, `pdf`, `xlsx` or `docx`."""
    analysis = open_desk(job_id).analysis
    body = export(analysis, file_format)
    response = Response(body, content_type=FORMATS[file_format].media_type)
    stem = Path(analysis.input.name).stem or "report"
    attach(response, f"{stem}.{file_format}")
    return response


@pages.get("/reports/<job_id>/pages/<int:page>.png")
@operation("A page of the filing as a picture", returns="image/png", problems=(NotFound,), tag=TAG)
def picture(job_id: str, page: int) -> Response:
    """What the viewer shows beside the report."""
    response = Response(page_picture(job_id, page), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response


@pages.post("/reports/<job_id>/password")
def password(job_id: str) -> AnyResponse:
    """Read an encrypted file again, with its password."""
    job = read_again(job_id, request.form.get("password", "")[:1000])
    return _to(url_for("finance.report", job_id=job.id))


@pages.post("/reports/<job_id>/cancel")
def cancel(job_id: str) -> AnyResponse:
    """Stop reading."""
    current_jobs().cancel(job_id, current_frame().caller.id)
    current_frame().record("job.cancel", job_id)
    return _to(url_for("finance.report", job_id=job_id))


@pages.post("/reports/<job_id>/delete")
def delete(job_id: str) -> AnyResponse:
    """Delete the file and all that came of it."""
    delete_upload(job_id)
    return _to(url_for("finance.home"))


@pages.get("/compare")
@operation("Put years and companies side by side", query=CompareQuery, returns=Comparison, tag=TAG)
def side_by_side(query: CompareQuery) -> str | Comparison:
    """As a page, or as JSON where `Accept` asks for it."""
    desks = [open_desk(job_id) for job_id in query.report]
    comparison = compare([desk.analysis for desk in desks])
    if request.accept_mimetypes.best_match(("application/json", "text/html")) == "application/json":
        return comparison
    return render_template(
        "finance/compare.html", comparison=comparison, desks=desks, view=View(desks[0].analysis), both=both
    )


def _page(template: str, desk: Desk, **values: Any) -> str:
    view = View(desk.analysis)

    def cite(fact_id: str, text: str) -> Markup:
        return _cite(view, desk.job_id, fact_id, text)

    return render_template(template, desk=desk, v=view, both=both, cite=cite, formats=list(FORMATS), **values)


def _cite(view: View, job_id: str, fact_id: str, text: str) -> Markup:
    """Text that leads to its source: what ``components.html`` calls evidence, for thousands of cells at once."""
    found = view.cite(fact_id)
    place = Markup("")
    if found.box is not None:
        title = current_frame().texts.get("evidence.page", i18n.language(), page=found.box.page)
        bbox = ",".join(f"{side:.1f}" for side in found.box.bbox)
        place = Markup(' data-page="{}" data-bbox="{}" title="{}"').format(found.box.page, bbox, title)
    if len(found.boxes) > 1:
        boxes = [[box.page, *(round(side, 1) for side in box.bbox)] for box in found.boxes[:MOST_BOXES]]
        place += Markup(' data-boxes="{}"').format(json.dumps(boxes, separators=(",", ":")))
    return Markup('<a class="evidence{}" href="{}" data-evidence="{}"{}>{}</a>').format(
        " corrected" if found.corrected else "",
        url_for("finance.fact", job_id=job_id, fact_id=fact_id),
        fact_id,
        place,
        text,
    )


def _answer(desk: Desk, question: str) -> Answer | EvidentError | None:
    if not question:
        return None
    analysis = desk.analysis
    try:
        return ask(question, Facts((*analysis.reading.facts, *analysis.assessment.facts)))
    except EvidentError as error:
        return error


def _to(url: str) -> AnyResponse:
    return redirect(url, 303)
