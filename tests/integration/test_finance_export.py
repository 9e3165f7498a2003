"""Every file of a report says the same: facts, sentences and pages agree between JSON, HTML, PDF, XLSX and DOCX."""

import io
import json
import re
from decimal import Decimal

import pypdfium2
import pytest
from docx import Document
from lxml import html
from openpyxl import load_workbook

from evident_core.checks import run_checks
from evident_core.errors import InvalidInput
from evident_core.evidence import Status
from evident_finance.risk_report.export import FORMATS, export
from evident_finance.risk_report.export.html import to_html, to_pdf
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis


def folded(text: str) -> str:
    return re.sub(r"\s+", "", text)


def sentences(analysis: Analysis, language: str) -> list[str]:
    return [s.text[language] for section in analysis.report.sections for s in section.sentences]  # type: ignore[index]


@pytest.fixture(params=["en", "zh"])
def analysis(request: pytest.FixtureRequest, sample_analysis: Analysis, chinese_analysis: Analysis) -> Analysis:
    return sample_analysis if request.param == "en" else chinese_analysis


def test_json_states_each_value_with_its_dimensions_and_source(analysis: Analysis) -> None:
    document = json.loads(export(analysis, "json"))
    assert document["documentInfo"]["documentType"] == "https://xbrl.org/2021/xbrl-json"
    for fact in analysis.reading.facts:
        entry = document["facts"].get(fact.id)
        assert (entry is None) == (fact.value is None)
        if entry and isinstance(fact.value, Decimal):
            assert Decimal(entry["value"]) == fact.value
            assert entry["dimensions"]["unit"]
            assert document["evident"]["facts"][fact.id]["sources"]


def test_json_decimals_follow_the_printed_scale(sample_analysis: Analysis) -> None:
    document = json.loads(export(sample_analysis, "json"))
    fact = next(f for f in sample_analysis.reading.facts if f.name == "revenue" and f.status is Status.PRESENTED)
    assert document["facts"][fact.id]["decimals"] == -(len(str(fact.scale)) - 1)


def test_html_carries_all_sentences_in_both_languages_and_every_link_leads_somewhere(analysis: Analysis) -> None:
    page = html.document_fromstring(to_html(analysis))
    text = folded(re.sub(r"\s+", " ", "".join(page.xpath("//main//p//text()[not(parent::sup)]"))))
    for language in ("en", "zh"):
        for sentence in sentences(analysis, language):
            assert folded(sentence) in text
    ids = set(page.xpath("//@id"))
    for target in page.xpath("//a/@href"):
        assert target.startswith("#")
        assert target[1:] in ids
    assert not page.xpath("//script|//link|//iframe|//img[not(starts-with(@src,'data:'))]")


def test_a_hostile_passage_stays_text(sample_analysis: Analysis) -> None:
    evil = "<script>alert(1)</script>"
    changed = sample_analysis.model_copy(update={"input": sample_analysis.input.model_copy(update={"name": evil})})
    for mode in ("both", "en"):
        assert evil.encode() not in to_html(changed, mode)  # type: ignore[arg-type]


def test_xlsx_formulas_give_the_values_of_the_report(sample_analysis: Analysis) -> None:
    """Each live formula is computed here from the sheet's own cells, and is what the report says."""
    sheets = load_workbook(io.BytesIO(export(sample_analysis, "xlsx")))
    cells = {f"{s.title}!${c.column_letter}${c.row}": c.value for s in sheets for row in s.iter_rows() for c in row}
    ids = {f"Ratios!$E${row}": sheets["Ratios"].cell(row, 1).value for row in range(2, sheets["Ratios"].max_row + 1)}
    computed = {fact.id: fact for fact in sample_analysis.assessment.facts}
    names = {
        "N": float,
        "ABS": abs,
        "LN": lambda x: __import__("math").log(x),
        "EXP": lambda x: __import__("math").exp(x),
    }
    names |= {"AND": lambda *a: all(a), "OR": lambda *a: any(a), "NOT": lambda a: not a}

    def value(ref: str) -> float:
        content = cells[ref]
        if not (isinstance(content, str) and content.startswith("=")):
            return float(content)  # type: ignore[arg-type]
        source = re.sub(r"(Facts|Ratios)!\$E\$\d+", lambda m: f"value({m.group()!r})", content[1:])
        source = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", source).replace("<>", "!=")
        source = re.sub(r"(?<![<>!=])=(?!=)", "==", source)
        return float(eval(source, {"__builtins__": {}}, {**names, "value": value}))

    live = [ref for ref in ids if isinstance(cells[ref], str) and cells[ref].startswith("=")]  # type: ignore[union-attr]
    assert len(live) > 20
    for ref in live:
        fact = computed[str(ids[ref])]
        expected = float(fact.number) / (100 if fact.unit == "%" else 1)
        assert value(ref) == pytest.approx(expected, rel=1e-6, abs=1e-9), fact.id


def test_xlsx_never_turns_text_into_a_formula(sample_analysis: Analysis) -> None:
    statement = sample_analysis.reading.statements[0]
    row = statement.rows[0].model_copy(update={"label": '=HYPERLINK("http://127.0.0.1","x")'})
    changed = statement.model_copy(update={"rows": (row, *statement.rows[1:])})
    reading = sample_analysis.reading.model_copy(update={"statements": (changed,)})
    sheets = load_workbook(io.BytesIO(export(sample_analysis.model_copy(update={"reading": reading}), "xlsx")))
    cell = sheets.worksheets[1].cell(2, 1)
    assert cell.data_type == "s"


def test_docx_carries_all_sentences_in_both_languages(analysis: Analysis) -> None:
    document = Document(io.BytesIO(export(analysis, "docx")))
    text = folded("".join(cell.text for table in document.tables for row in table.rows for cell in row.cells))
    for language in ("en", "zh"):
        for sentence in sentences(analysis, language):
            assert folded(sentence) in text


@pytest.mark.slow
def test_pdf_prints_the_chinese_text_as_text(chinese_analysis: Analysis) -> None:
    missing = [c for c in run_checks() if c.state != "ok" and ("CJK" in c.name or "Pango" in c.name)]
    if missing:
        pytest.skip(f"{missing[0].name} is missing: {missing[0].remedy}")
    document = pypdfium2.PdfDocument(to_pdf(chinese_analysis, "zh"))
    text = "".join(page.get_textpage().get_text_range() for page in document)
    company = View(chinese_analysis).company
    assert company in text
    assert "风险" in text


def test_an_unknown_format_is_refused_with_those_there_are(sample_analysis: Analysis) -> None:
    with pytest.raises(InvalidInput, match=r"'odt'.*json, html"):
        export(sample_analysis, "odt")
    assert set(FORMATS) == {"json", "html", "pdf", "xlsx", "docx"}
