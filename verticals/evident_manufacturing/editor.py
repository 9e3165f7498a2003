"""The specification editor: versions to read and change, tried on past boards before they are kept."""

import hashlib
from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from pydantic import BaseModel, Field
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import Conflict, EvidentError, InvalidInput, NotFound, TooLarge
from evident_core.web.openapi import operation
from evident_manufacturing import past, versions
from evident_manufacturing.desk import specification_of
from evident_manufacturing.inspection.assess.sampling import INSPECTIONS, Plan
from evident_manufacturing.line import window
from evident_manufacturing.rules import in_words

TAG: Final = "Specifications"
pages = Blueprint("specification", __name__)


class SpecificationText(BaseModel):
    """A specification."""

    text: str = Field(max_length=65_536, description="YAML; see the editor for an example.")


class KeptText(SpecificationText):
    """A specification that is to be kept."""

    sure: bool = Field(False, description="Keep it even though past boards of its product would be refused by it.")


class SpecificationQuery(BaseModel):
    """Which version the editor opens."""

    name: str = Field("", max_length=256, description="`product@version`; empty: the newest.")


class Documents(BaseModel):
    """Kept documents, newest first."""

    documents: tuple[versions.Document, ...]


@pages.get("/specification")
@operation(
    "The page of the specification editor",
    query=SpecificationQuery,
    returns="text/html",
    problems=(NotFound,),
    tag="Pages",
)
def page(query: SpecificationQuery) -> str:
    """A version of a specification, to read, change, try on past boards, and keep as a new version."""
    name = query.name or specification_names()[0]
    return _editor(versions.text_of("specification", name), name=name)


@pages.post("/specification")
def edit() -> AnyResponse | tuple[str, int] | str:
    """Check the text and try it on past boards, or keep it as a version; what is wrong is shown at its line."""
    text = request.form.get("text", "").replace("\r\n", "\n")
    try:
        tried = past.preview(versions.checked(text), window())
        sure = request.form.get("sure")
        if sure is None and request.form.get("do") != "keep":
            return _editor(text, preview=tried)
        if tried.refused and sure != _hash(text):  # not agreed to, or to another text
            return _editor(text, preview=tried, asks=True), Conflict.status
        kept = versions.keep("specification", text)
        return redirect(url_for("specification.page", name=kept.name), 303)
    except (InvalidInput, TooLarge, Conflict) as error:
        return _editor(text, error=error), error.status


@pages.get("/specifications")
@operation("List the specifications that are kept", returns=Documents, tag=TAG)
def specifications() -> Documents:
    """By `product@version`, newest first."""
    return Documents(documents=versions.documents("specification"))


@pages.post("/specifications")
@operation(
    "Keep a specification",
    body=KeptText,
    returns=versions.Document,
    status=201,
    problems=(InvalidInput, Conflict, TooLarge),
    tag=TAG,
)
def keep(body: KeptText) -> versions.Document:
    """As the version that it says it is; a version that is kept is never changed.

    One by which past boards of its product would be refused, as a zone lies outside of them, is kept only with `sure`.
    """
    tried = past.preview(versions.checked(body.text), window())
    if tried.refused and not body.sure:
        raise Conflict(
            f"{tried.specification} would refuse {tried.refused} of {tried.boards} past boards of its product: "
            f"{tried.zones[0].message} To keep it all the same, send it with sure: true.",
            boards=tried.boards,
            refused=tried.refused,
        )
    return versions.keep("specification", body.text)


@pages.post("/specifications/preview")
@operation(
    "Try a specification on past boards",
    scope="read",
    body=SpecificationText,
    returns=past.Preview,
    problems=(InvalidInput, TooLarge),
    tag=TAG,
)
def preview(body: SpecificationText) -> past.Preview:
    """What it would have decided, and on which boards that is another decision; nothing is kept."""
    return past.preview(versions.checked(body.text), window())


def specification_names() -> list[str]:
    """The versions that the editor opens, newest first; the one that ships is among them."""
    kept = [each.name for each in versions.documents("specification")]
    return list(dict.fromkeys([*kept, versions.shipped_name()]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plans(text: str) -> list[Plan]:
    """The plans by which a specification samples lots; none where it says nothing of them."""
    specification = specification_of(text)
    lot = specification.lot if specification else None
    return [lot.plan(each) for each in INSPECTIONS if each != "reduced" or lot.reduced] if lot else []


def _editor(
    text: str,
    *,
    name: str = "",
    preview: past.Preview | None = None,
    error: EvidentError | None = None,
    asks: bool = False,
) -> str:
    return render_template(
        "manufacturing/specification.html",
        text=text,
        name=name,
        names=specification_names(),
        preview=preview,
        plans=_plans(text) if preview else (),
        error=error,
        wrong=error.details.get("line") if error else None,
        in_words=in_words,
        asks=asks,
        sure=_hash(text),
    )
