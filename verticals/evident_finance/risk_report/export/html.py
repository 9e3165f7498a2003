"""The report as one HTML file that needs nothing beside it, and as a PDF made from the same HTML."""

import re
from importlib.resources import files
from typing import Literal

from evident_core.errors import MissingExtra, ModelNotReady
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis
from evident_finance.texts import both

Mode = Literal["both", "en", "zh"]

# A file is read on paper-white, and WeasyPrint does not know the function: the first of its colours is the light one.
_LIGHT_DARK = re.compile(r"light-dark\(((?:[^(),]|\([^()]*\))+),(?:[^()]|\([^()]*\))*?\)")


def to_html(analysis: Analysis, mode: Mode = "both") -> bytes:
    """One HTML file: both languages side by side or one of them, each number leading to its line among the sources."""
    return _render(analysis, mode).encode()


def to_pdf(analysis: Analysis, mode: Mode = "both") -> bytes:
    """The same HTML, laid out for A4 by WeasyPrint with the CJK glyphs embedded.

    Raises:
        MissingExtra: WeasyPrint is not installed.
        ModelNotReady: Pango is missing on this machine.
    """
    try:
        from weasyprint import HTML  # slow to import, and needs Pango: only who asks for a PDF pays
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "A PDF needs weasyprint, which is not installed: pip install 'evident[finance]'", extra="finance"
        ) from error
    except OSError as error:
        raise ModelNotReady(
            "A PDF needs Pango, which is not on this machine: apt-get install libpango-1.0-0 libpangoft2-1.0-0 "
            f"libharfbuzz-subset0 ({error}). The HTML file prints the same from a browser.",
        ) from error
    return bytes(HTML(string=_render(analysis, mode), url_fetcher=_nothing_outside).write_pdf())


def _nothing_outside(url: str, *_: object, **__: object) -> dict[str, object]:
    raise ValueError(f"{url}: a report refers to nothing outside itself")


def _render(analysis: Analysis, mode: Mode) -> str:
    environment = Environment(
        loader=PackageLoader("evident_finance"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = View(analysis)

    def cite(fact_id: str, text: str) -> Markup:
        found = view.cite(fact_id)
        pages = ", ".join(map(str, found.pages))
        target = _source_of(view, fact_id)
        link = (
            Markup('<a class="evidence" href="#source-{}">{}</a>').format(target, text)
            if target
            else Markup.escape(text)
        )
        return link + Markup("<sup>{}</sup>").format(pages) if pages and len(found.pages) == 1 else link

    style = _LIGHT_DARK.sub(r"\1", (files("evident_core.web") / "static" / "evident.css").read_text("utf-8"))
    return environment.get_template("finance/standalone.html").render(
        v=view, both=both, cite=cite, mode=mode, style=style
    )


def _source_of(view: View, fact_id: str) -> str | None:
    """The fact among the sources that this one leads to: itself, or the first it was computed from."""
    seen: list[str] = [fact_id]
    for each in seen:
        fact = view.places.facts.get(each)
        if fact is None:
            continue
        for source in fact.sources:
            if source.where.kind == "page_box":
                return each
            if source.where.kind == "derived":
                seen.extend(other for other in source.where.fact_ids if other not in seen)
    return None
