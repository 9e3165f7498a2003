"""One analysis to files: JSON facts, HTML, PDF, XLSX, DOCX. All are made from the same report, so they agree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evident_core.errors import InvalidInput
from evident_finance.risk_report.export.docx import to_docx
from evident_finance.risk_report.export.facts_json import to_json
from evident_finance.risk_report.export.html import to_html, to_pdf
from evident_finance.risk_report.export.xlsx import to_xlsx
from evident_finance.risk_report.schema import Analysis

_OFFICE = "application/vnd.openxmlformats-officedocument"


@dataclass(frozen=True)
class Format:
    """A kind of file that a report is exported to."""

    media_type: str
    make: Callable[[Analysis], bytes]


FORMATS: Final[dict[str, Format]] = {
    "json": Format("application/json", to_json),
    "html": Format("text/html; charset=utf-8", to_html),
    "pdf": Format("application/pdf", to_pdf),
    "xlsx": Format(f"{_OFFICE}.spreadsheetml.sheet", to_xlsx),
    "docx": Format(f"{_OFFICE}.wordprocessingml.document", to_docx),
}


def export(analysis: Analysis, file_format: str) -> bytes:
    """The analysis as the bytes of a file.

    Args:
        analysis: What is known of one filing.
        file_format: A key of ``FORMATS``: json, html, pdf, xlsx or docx.

    Raises:
        InvalidInput: There is no such format.
        ModelNotReady: A PDF was asked for, and a program that it needs is missing.
    """
    if file_format not in FORMATS:
        raise InvalidInput(
            f"{file_format!r} is not an export format; there are {', '.join(FORMATS)}.", format=file_format
        )
    return FORMATS[file_format].make(analysis)
