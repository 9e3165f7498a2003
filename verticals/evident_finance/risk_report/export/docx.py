"""The report as a DOCX that an analyst edits on: headings, sentences with page references, tables, both languages."""

import io
from typing import Any

from docx import Document
from docx.document import Document as DocumentType
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

from evident_core.evidence import Language
from evident_finance.risk_report.export.view import Line, View
from evident_finance.risk_report.schema import Analysis
from evident_finance.texts import text

LANGUAGES: tuple[Language, ...] = ("en", "zh")
_GREY = RGBColor(0x66, 0x66, 0x66)


def to_docx(analysis: Analysis) -> bytes:
    """The analysis as an Office Open XML document."""
    view = View(analysis)
    document = Document()
    _typeface(document)
    document.core_properties.title = f"{view.company}: {text('report.kind', 'en')}"
    document.add_heading(view.company, level=0)
    document.add_paragraph(" · ".join(text("report.kind", language) for language in ("en", "zh")))
    for section in view.analysis.report.sections:
        if not section.sentences:
            continue
        document.add_heading(f"{section.title['en']} {section.title['zh']}", level=1)
        table = _table(document, ("English", "中文"))
        for line in view.lines(section):
            cells = table.add_row().cells
            for cell, language in zip(cells, LANGUAGES, strict=True):
                _sentence(cell.paragraphs[0], view, line, language)
    _measures(document, view)
    _sources(document, view)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def _sentence(paragraph: Any, view: View, line: Line, language: Language) -> None:
    pages: dict[int, None] = {}
    for part in line.parts.get(language, ()):
        paragraph.add_run(_printable(part.text))
        if part.fact_id:
            pages |= dict.fromkeys(view.cite(part.fact_id).pages)
    if pages:
        run = paragraph.add_run(f" [{', '.join(map(str, pages))}]")
        run.font.size, run.font.color.rgb = Pt(7), _GREY


def _measures(document: DocumentType, view: View) -> None:
    document.add_heading(f"{text('report.measures', 'en')} {text('report.measures', 'zh')}", level=1)
    table = _table(document, ("Measure 指标", *view.periods, "Formula 公式"))
    for _, rows in view.measures():
        for name, facts in rows:
            cells = table.add_row().cells
            cells[0].text = f"{view.items.label(name, 'en')} {view.items.label(name, 'zh')}"
            for cell, fact in zip(cells[1:], facts, strict=False):
                cell.text = view.shown(fact) if fact is not None else ""
            first = facts[0]
            if first is not None:
                cells[-1].text = _printable(first.note if first.value is None else view.cite(first.id).formula)


def _sources(document: DocumentType, view: View) -> None:
    document.add_heading(f"{text('report.sources', 'en')} {text('report.sources', 'zh')}", level=1)
    document.add_paragraph(f"{_printable(view.analysis.input.name)} · SHA-256 {view.analysis.input.sha256}")
    table = _table(document, ("Page 页码", "Item 项目", "Period 期末", "Value 数值", "As printed 原文"))
    for fact in view.cited():
        cite = view.cite(fact.id)
        values = (
            ", ".join(map(str, cite.pages)),
            f"{view.items.label(fact.name, 'en')} {view.items.label(fact.name, 'zh')}",
            fact.period or "",
            view.shown(fact) if fact.unit else "",
            cite.box.quote if cite.box else "",
        )
        for cell, value in zip(table.add_row().cells, values, strict=True):
            cell.text = _printable(value)


def _table(document: DocumentType, heads: tuple[str, ...]) -> Any:
    table = document.add_table(rows=1, cols=len(heads), style="Light Grid Accent 1")
    for cell, head in zip(table.rows[0].cells, heads, strict=True):
        cell.text = head
    return table


def _typeface(document: DocumentType) -> None:
    """Latin and East Asian typefaces that Word, LibreOffice and WPS have or replace sensibly."""
    style: Any = document.styles["Normal"]
    style.font.name, style.font.size = "Calibri", Pt(10)
    style.element.rPr.rFonts.set(qn("w:eastAsia"), "Microsoft YaHei")
    for section in document.sections:
        section.left_margin = section.right_margin = Cm(1.8)


def _printable(value: str) -> str:
    return "".join(c for c in value if c >= " " or c in "\n\t")
