"""The review: which defects a person is asked about, in what order, and the routes by which labels come and go."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from flask import Blueprint, Response, redirect, render_template, request, url_for
from pydantic import BaseModel, Field, ValidationError
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import Conflict, InvalidInput, NotFound
from evident_core.evidence import Frozen
from evident_core.web.openapi import operation
from evident_manufacturing.board_page import BoardQuery, Draft, board_page
from evident_manufacturing.desk import open_desk, specification_of
from evident_manufacturing.inspection.assess.judge import SCORE_WITHOUT_SPECIFICATION
from evident_manufacturing.inspection.schema import Defect, Seen
from evident_manufacturing.label_archive import archive
from evident_manufacturing.label_sets import LabelSet, label_set
from evident_manufacturing.labels import (
    Action,
    Labels,
    NewLabel,
    all_labels,
    kinds_of,
    label,
    labels_of,
    last_said,
    said,
)
from evident_manufacturing.line import Board, results_of, window

TAG: Final = "Review"
ASKED: Final = 12
"""Defects that one page of the queue asks about."""
_BOX: Final = re.compile(r"\s*-?\d+(\.\d+)?([\s,]+-?\d+(\.\d+)?){3}\s*")
FormT = TypeVar("FormT", bound=BaseModel)
pages = Blueprint("review", __name__)


class Question(Frozen):
    """A defect that a person should look at.

    Attributes:
        pictured: The board's picture is here.
        template: The template's picture is.
        kinds: What it may be called instead.
        disagreement: Only one of template and detector sees it.
        distance: Of its probability from the threshold of the specification.
    """

    job_id: str
    part_id: str
    defect: Defect
    width: int
    height: int
    pictured: bool
    template: bool
    kinds: tuple[str, ...]
    disagreement: bool
    threshold: float
    distance: float


class Quiet(Frozen):
    """A board on which nothing was found, and of which nobody has said whether that is so."""

    job_id: str
    part_id: str


class Queue(BaseModel):
    """The defects without a label, the least certain first; and the boards without any defect, the newest first."""

    questions: tuple[Question, ...]
    quiet: tuple[Quiet, ...]
    labelled: int


class ReviewQuery(BaseModel):
    """What the page asks first: where a label was just taken back."""

    board: str = Field("", max_length=64, description="The id of a board's job.")
    defect: int = Field(0, ge=0, description="The number of one of its defects; 0: all of them.")


def queue(boards: Sequence[Board], first: ReviewQuery | None = None) -> Queue:
    """What to ask next; nothing of a board whose part has a higher revision.

    Args:
        boards: The newest first.
        first: What comes before all else; then where only one of template and detector sees it, then by closeness to
            the threshold.
    """
    known, results = all_labels(boards), results_of(boards)
    questions, quiet, labelled = list[Question](), list[Quiet](), 0
    for board in boards:
        if board.record is None or board.result_id is None:
            continue
        inspection, holds = board.record.inspection, said(known.get(board.result_id, ()))
        done = holds.decided(defect.number for defect in inspection.defects)
        labelled += len(done)
        if board.revision < results[board.part_id].revision:
            continue
        if not inspection.defects and holds.nothing and board.pictured:
            quiet.append(Quiet(job_id=board.job_id, part_id=board.part_id))
        specification = specification_of(board.options.specification)
        threshold = float(specification.score) if specification else SCORE_WITHOUT_SPECIFICATION
        questions += [
            Question(
                job_id=board.job_id,
                part_id=board.part_id,
                defect=defect,
                width=inspection.width,
                height=inspection.height,
                pictured=board.pictured,
                template=board.template,
                kinds=kinds_of(board.options),
                disagreement=inspection.template is not None and defect.seen is not Seen.BOTH,
                threshold=threshold,
                distance=abs(defect.score - threshold),
            )
            for defect in inspection.defects
            if defect.number not in done
        ]
    wanted = first or ReviewQuery()

    def order(each: Question) -> tuple[bool, bool, float]:
        asked = each.job_id == wanted.board and wanted.defect in (0, each.defect.number)
        return not asked, not each.disagreement, each.distance

    return Queue(
        questions=tuple(sorted(questions, key=order)),
        quiet=tuple(quiet),
        labelled=labelled,
    )


@pages.get("/review")
@operation("The page of the review queue", query=ReviewQuery, returns="text/html", tag="Pages")
def page(query: ReviewQuery) -> str:
    """The defects that are least certain, each beside its template, to confirm, reject or relabel."""
    asked = queue(window(), query)
    return render_template(
        "manufacturing/review.html",
        questions=asked.questions[:ASKED],
        quiet=asked.quiet[:ASKED],
        left=len(asked.questions),
        labelled=asked.labelled,
        labels=label_set(),
        last=last_said(),
    )


@pages.get("/review/queue")
@operation("List what waits for a review", returns=Queue, tag=TAG)
def waiting() -> Queue:
    """Defects without a label: where template and detector disagree first, then by closeness to the threshold."""
    return queue(window())


@pages.get("/boards/<job_id>/labels")
@operation("List the labels of a board", returns=Labels, problems=(NotFound, Conflict), tag=TAG)
def board_labels(job_id: str) -> Labels:
    """First to last; of two on one defect the later one holds, and what `undo` took back does not."""
    return labels_of(open_desk(job_id).result_id)


@pages.post("/boards/<job_id>/labels")
@operation(
    "Label a defect or a board",
    body=NewLabel,
    returns=Labels,
    problems=(NotFound, InvalidInput, Conflict),
    tag=TAG,
)
def label_board(job_id: str, body: NewLabel) -> Labels:
    """Confirm, reject or relabel a defect, add one that was missed, say that the whole board is clean, or take back.

    Of two labels on one thing the later one holds, and after `clean` none before it; what is undone counts as not said.
    But nothing that was said is lost, and a set that was downloaded or trained on stays as it was.
    """
    return label(job_id, body)


class LabelForm(BaseModel):
    """The form of the review page."""

    action: Action
    kind: str = ""
    defect: int | None = None
    box: str = Field("", max_length=100, description="x0 y0 x1 y1")
    undoes: int | None = None
    back: str = Field("review", pattern="^(review|board)$")


@pages.post("/boards/<job_id>/label")
def label_by_form(job_id: str) -> AnyResponse:
    """The same from the pages' forms; a box that is refused is shown again on the board's page, as it was given."""
    given = _form(LabelForm, request.form.to_dict())
    try:
        labels = label(job_id, _label_of(given)).labels
    except InvalidInput as error:
        if given.action != "add" or given.back != "board":
            raise
        draft = Draft(box=given.box, kind=given.kind, wrong=error.message)
        return Response(board_page(job_id, BoardQuery(), draft), error.status)
    if given.back == "board":
        where = "#section-labels" if given.action == "undo" else "#defects"
        return redirect(url_for("manufacturing.board", job_id=job_id) + where, 303)
    if given.action == "undo":
        defect = next(each.defect for each in labels if each.number == given.undoes)
        return redirect(url_for("review.page", board=job_id, defect=defect), 303)
    return redirect(url_for("review.page"), 303)


def _label_of(given: LabelForm) -> NewLabel:
    values: dict[str, Any] = {"action": given.action, "undoes": given.undoes}
    if given.action in ("confirm", "reject", "relabel"):  # else the form around it may be about a defect all the same
        values["defect"] = given.defect
    if given.action in ("relabel", "add"):
        values["kind"] = given.kind
    if given.action == "add":
        if not _BOX.fullmatch(given.box):
            raise InvalidInput(f"{given.box!r} is no box; give four numbers, x0 y0 x1 y1, in pixels.", box=given.box)
        values["bbox"] = tuple(given.box.replace(",", " ").split())
    return _form(NewLabel, values)


@pages.get("/labels")
@operation("The label set as of now", returns=LabelSet, tag=TAG)
def current_set() -> LabelSet:
    """Its version is the hash of what it says."""
    return label_set()


@pages.get("/labels/deeppcb.zip")
@operation("Download the label set", returns="application/zip", problems=(InvalidInput,), tag=TAG)
def download() -> Response:
    """In DeepPCB's layout, as `evident manufacturing train` and `evaluate` read it, with `labels.json` beside."""
    held = label_set()
    data = archive(held)
    response = Response(data, mimetype="application/zip")
    response.headers.set("Content-Disposition", "attachment", filename=f"labels-{held.version[:12]}.zip")
    response.set_etag(hashlib.sha256(data).hexdigest())  # it says too what is left out, which the version does not
    return response


def _form(model: type[FormT], values: dict[str, Any]) -> FormT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(each) for each in first["loc"]) or "form"
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{where}: {message}.", field=where) from None
