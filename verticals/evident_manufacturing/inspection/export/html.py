"""An inspection as one HTML file that needs nothing beside it: the verdict, the boxes over the image, the report."""

from __future__ import annotations

import base64
import io
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from evident_core.errors import InvalidInput
from evident_core.evidence import Language, Sentence
from evident_manufacturing.inspection.assess.called import called, of_the_board
from evident_manufacturing.inspection.assess.ledger import SIZES
from evident_manufacturing.inspection.schema import Inspection
from evident_manufacturing.inspection.write import phrasebook

_SHOWN_AS_IT_IS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def to_html(inspection: Inspection, image: bytes | None = None) -> bytes:
    """The inspection as a page that prints on A4, in English and Chinese; numbers lead to the defect they are of.

    Args:
        inspection: What is known of one part.
        image: The tested image; without it the boxes stand on an empty frame of its size.

    Raises:
        InvalidInput: The inspection has no report.
    """
    report = inspection.report
    if report is None:
        raise InvalidInput(f"The report of part {inspection.part.part_id!r} was not written; write it first.")
    page = _template().render(
        inspection=inspection,
        picture=_data_uri(image) if image else "",
        called=called(inspection),
        together=of_the_board(inspection.verdict),
        sizes=SIZES,
        words=phrasebook().words,
        labels=phrasebook().labels,
        cite=_cite,
    )
    return page.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("evident_manufacturing.inspection.export"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("inspection.html")


def _cite(sentence: Sentence, language: Language) -> Markup:
    """A sentence in which each stated fact is marked, and linked where it is of a defect."""
    text, at, done = sentence.text[language], 0, Markup("")
    for span in sorted(sentence.spans.get(language, ()), key=lambda each: each.start):
        done += text[at : span.start]
        shown = text[span.start : span.end]
        about, _, rest = span.fact_id.partition(".")
        if about == "defect":
            done += Markup('<a href="#defect-{}" data-fact="{}">{}</a>').format(
                rest.partition(".")[0], span.fact_id, shown
            )
        else:
            done += Markup('<span data-fact="{}">{}</span>').format(span.fact_id, shown)
        at = span.end
    return done + text[at:]


def _data_uri(image: bytes) -> str:
    """PNG and JPEG as they are; another kind as PNG, since browsers show few."""
    media = next((kind for start, kind in _SHOWN_AS_IT_IS.items() if image.startswith(start)), None)
    if media is None:
        out = io.BytesIO()
        with Image.open(io.BytesIO(image)) as opened:
            opened.convert("RGB").save(out, "PNG")
        image, media = out.getvalue(), "image/png"
    return f"data:{media};base64,{base64.b64encode(image).decode()}"
