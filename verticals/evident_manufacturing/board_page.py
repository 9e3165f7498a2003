"""The page of one board: while it is inspected its progress, then what was found, and the forms to label it."""

from flask import render_template
from pydantic import BaseModel, Field

from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_manufacturing import likeness
from evident_manufacturing.desk import open_desk
from evident_manufacturing.inspection.export import FORMATS
from evident_manufacturing.labels import kinds_of, labels_of, said
from evident_manufacturing.line import board_of, boards_of
from evident_manufacturing.texts import both
from evident_manufacturing.view import SIZES, View


class BoardQuery(BaseModel):
    """How the page is laid out."""

    mode: str = Field("both", pattern="^(both|en|zh)$", description="The report side by side, or in one language.")
    defect: int = Field(0, ge=0, description="Show past defects that look like this one.")


class Draft(Frozen):
    """A defect that was missed, as a form gave it, and what is ``wrong`` with it; empty: nothing was given."""

    box: str = ""
    kind: str = ""
    wrong: str = ""


def board_page(job_id: str, query: BoardQuery, draft: Draft | None = None) -> str:
    """The page of the caller's board.

    Args:
        job_id: Of the job that inspects it.
        query: How it is laid out.
        draft: What stands in the form of a missed defect, when it was refused.

    Raises:
        NotFound: The caller has none of that id.
        Conflict: It could not be inspected.
    """
    job = current_jobs().get(job_id, current_frame().caller.id)
    if job.result_id is None:
        return render_template("manufacturing/job.html", job=job, board=board_of(job_id))
    opened = open_desk(job_id)
    revisions = boards_of(opened.inspection.part.part_id)
    labels = labels_of(opened.result_id).labels
    pictured, template = (len(job.input_ids) > number for number in (0, 1))
    return render_template(
        "manufacturing/board.html",
        desk=opened,
        v=View(opened),
        mode=query.mode,
        both=both,
        sizes=SIZES,
        formats=list(FORMATS),
        kinds=kinds_of(opened.options),
        labels=labels,
        asked=query.defect,
        alike=likeness.chosen(opened, query.defect),
        said=said(labels),
        pictured=pictured,
        template=template,
        revisions=sorted(revisions, key=lambda each: (each.revision, each.created)),
        revision=(opened.record.event or opened.inspection.part).revision,
        highest=max((each.revision for each in revisions), default=1),
        draft=draft or Draft(),
    )
