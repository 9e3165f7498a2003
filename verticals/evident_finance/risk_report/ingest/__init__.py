"""Bytes to a Filing: what is refused and why, what every page says, and where each word stands."""

import hashlib

from evident_core.evidence import InputRef
from evident_finance.risk_report.ingest.cover import cover_facts
from evident_finance.risk_report.ingest.filing import Filing
from evident_finance.risk_report.ingest.kind import check_kind
from evident_finance.risk_report.ingest.notes import notes
from evident_finance.risk_report.ingest.opening import open_pdf
from evident_finance.risk_report.ingest.recognition import recognise
from evident_finance.risk_report.ingest.rendering import PDFIUM, page_size, render_page
from evident_finance.risk_report.ingest.triage import triage

__all__ = ["Filing", "ingest", "page_size", "render_page"]


def ingest(data: bytes, *, name: str, password: str | None = None) -> Filing:
    """Open an annual report.

    Args:
        data: The PDF's bytes, friendly or not.
        name: What its sender calls it; shown, never opened as a path.
        password: For an encrypted file.

    Raises:
        UnsupportedMedia: The bytes are not a PDF.
        InvalidInput: Empty, without pages, or broken beyond repair.
        PasswordNeeded: Encrypted, and the password is missing or wrong.
        NotThisService: A PDF of another kind: a quarterly report, slides.
        TooLarge: More bytes or pages, or larger pages, than are read.
        ResourceExceeded: A part of the file unpacks to more than is read.
        MissingExtra: All pages are pictures, and the part that recognises text is not installed.
    """
    with PDFIUM:
        opened = open_pdf(data, password)
        try:
            read = triage(opened.document)
            recognised = recognise(opened.document, read)
            filing = Filing(_named(data, name), opened, read, recognised)
            check_kind(read)
            filing.facts = cover_facts(filing)
            filing.notes = notes(filing, opened, read, recognised)
        except BaseException:
            opened.document.close()
            raise
    return filing


def _named(data: bytes, name: str) -> InputRef:
    """The last part of whatever was given as a name: it is for display, and a path in it says nothing."""
    shown = "".join(char for char in name.replace("\\", "/").rsplit("/", 1)[-1] if char.isprintable()).strip()
    return InputRef(sha256=hashlib.sha256(data).hexdigest(), name=shown[:200] or "report.pdf")
