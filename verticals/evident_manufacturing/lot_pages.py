"""The lots' pages and API: verdicts by lot, a lot's boards, and the word that stopped inspection goes on."""

from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from pydantic import BaseModel, Field
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import Conflict, InvalidInput, NotFound
from evident_core.web.openapi import operation
from evident_manufacturing import lots as kept_lots
from evident_manufacturing.inspection.assess.sampling import Standing
from evident_manufacturing.lot_boards import MOST
from evident_manufacturing.lots import LotBoards, Lots

TAG: Final = "Lots"
SHOWN: Final = 2000
"""Boards that a lot's page shows: as many as the largest sample of normal inspection has."""
pages = Blueprint("lots", __name__)


class LotsQuery(BaseModel):
    """Which lot."""

    product: str = Field("", max_length=128)
    lot: str = Field("", max_length=128, description="Empty: all lots.")


class LotQuery(BaseModel):
    """Which lot."""

    product: str = Field("", max_length=128, description="Empty: of the boards that name no product.")
    lot: str = Field(min_length=1, max_length=128)


class Resumption(BaseModel):
    """That the process was put right."""

    product: str = Field(max_length=128)
    reason: str = Field(min_length=1, max_length=500, description="What was put right, for the record.")


@pages.get("/lot")
@operation("The page of the lots, or of one", query=LotsQuery, returns="text/html", problems=(NotFound,), tag="Pages")
def page(query: LotsQuery) -> str:
    """All lots with their verdicts, the newest first; or one with its boards."""
    if query.lot:
        opened = kept_lots.lot_boards(query.product, query.lot)
        return render_template("manufacturing/lot.html", lot=opened.lot, boards=opened.boards, shown=SHOWN)
    return render_template("manufacturing/lots.html", lots=kept_lots.lots(), most=MOST)


@pages.post("/lot/resume")
def resume_by_form() -> AnyResponse:
    """Resume inspection, from the page."""
    kept_lots.resume(request.form.get("product", "")[:128], request.form.get("reason", "")[:500])
    return redirect(url_for("lots.page"), 303)


@pages.get("/lots")
@operation("List lots with their verdicts", returns=Lots, tag=TAG)
def lots() -> Lots:
    """By product, the newest first: plan, counts, verdict and why; and the severity of the next lot (ISO 2859-1)."""
    return kept_lots.lots()


@pages.get("/lots/boards")
@operation("List a lot's boards", query=LotQuery, returns=LotBoards, problems=(NotFound,), tag=TAG)
def boards(query: LotQuery) -> LotBoards:
    """In the order in which they were first inspected, each part once, with its newest verdict."""
    return kept_lots.lot_boards(query.product, query.lot)


@pages.post("/lots/resume")
@operation(
    "Resume inspection that was stopped",
    body=Resumption,
    returns=Standing,
    problems=(InvalidInput, NotFound, Conflict),
    tag=TAG,
)
def resume(body: Resumption) -> Standing:
    """After five lots were not accepted under tightened inspection; it goes on tightened, from the next lot on."""
    return kept_lots.resume(body.product, body.reason)
