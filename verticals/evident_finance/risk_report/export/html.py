"""The report as one HTML file that needs nothing beside it, and as a PDF made from the same HTML."""

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from lxml import html
from markupsafe import Markup

from evident_core.errors import MissingExtra, ModelNotReady
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis
from evident_finance.texts import both

Mode = Literal["both", "en", "zh"]

# A file is read on paper-white, and WeasyPrint does not know the function: the first of its colours is the light one.
_LIGHT_DARK = re.compile(r"light-dark\(((?:[^(),]|\([^()]*\))+),(?:[^()]|\([^()]*\))*?\)")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_PART = re.compile(r"^/\* --- (.+?) -+ \*/$", re.MULTILINE)
_TOKEN = re.compile(r"(--[\w-]+):\s*([^;]+);")
_USE = re.compile(r"var\((--[\w-]+)\)")
_PARTS = ("small words", "tables", "badges", "evidence", "report", "print")
"""The parts of the pages' stylesheet that a file needs, by the first words of their headings."""


def to_html(analysis: Analysis, mode: Mode = "both") -> bytes:
    """One HTML file: both languages side by side or one of them, each number leading to its line among the sources."""
    return _render(analysis, mode, _style()).encode()


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
    page = _seen(_render(analysis, mode, _settled(_style())), mode)
    return bytes(HTML(string=page, url_fetcher=_nothing_outside).write_pdf())


def _nothing_outside(url: str, *_: object, **__: object) -> dict[str, object]:
    raise ValueError(f"{url}: a report refers to nothing outside itself")


_UNSEEN: Final = "//*[contains(@class, 'lead-in')] | //table[contains(@class, 'figures')]//sup"
_UNSEEN_IN: Final[dict[Mode, str]] = {
    "both": "//td/*[@class='zh'] | //figure/*[@class='zh'] | //a[contains(@class, 'matrix-dot')]/*[@class='zh']"
    " | //*[@class='quoted']/p[@class='zh']",
    "en": "//main//*[@class='zh']",
    "zh": "//main//*[@class='en'][following-sibling::*[@class='zh']]",
}


def _seen(page: str, mode: Mode) -> str:
    """The page without what its style hides, which a layout engine would still work through."""
    tree = html.document_fromstring(page)
    unseen: Any = tree.xpath(f"{_UNSEEN} | {_UNSEEN_IN[mode]}")  # elements alone, which the stubs cannot know
    for element in unseen:
        element.drop_tree()
    return str(html.tostring(tree, encoding="unicode", doctype="<!doctype html>"))


@cache
def _style() -> str:
    """What the pages' stylesheet says of reports, in its light colours."""
    start, *rest = _PART.split((files("evident_core.web") / "static" / "evident.css").read_text("utf-8"))
    parts = [text for name, text in zip(rest[::2], rest[1::2], strict=True) if name.startswith(_PARTS)]
    return _COMMENT.sub("", _LIGHT_DARK.sub(r"\1", start + "".join(parts)))


def _settled(style: str) -> str:
    """The style with its custom properties put in: WeasyPrint would inherit each of them in each element, slowly."""
    # The first of a name is that of the whole page, and paper is white.
    tokens = dict(reversed(_TOKEN.findall(style))) | {"--paper": "#fff", "--surface": "#fff"}
    style = _TOKEN.sub("", style)
    while _USE.search(style):
        style = _USE.sub(lambda use: tokens[use[1]], style)
    return style


def _render(analysis: Analysis, mode: Mode, style: str) -> str:
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
        return link + Markup("<sup>[{}]</sup>").format(pages) if pages and len(found.pages) == 1 else link

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
