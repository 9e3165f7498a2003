"""Bytes to a Filing: all pages as text at once, words with places only for the pages that are asked for."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Self

import pdfplumber
import pypdfium2
from evident_core.evidence import BBox, Fact, InputRef, Language

from evident_finance.risk_report import typeset
from evident_finance.risk_report.schema import PageWords, Rule, Word
from evident_finance.risk_report.typeset import Run


class Filing:
    """An annual report, open for reading.

    ``texts`` holds each page's plain text (``texts[0]`` is page 1); ``words(page)`` gives words with their boxes, read on
    demand and closed again, because an open pdfplumber page keeps megabytes. ``facts`` are those about the document
    itself (``filing.company``, ``filing.fiscal_year_end``, ``filing.currency``, ``filing.scale``, ``filing.standard``,
    ``filing.form``), ``notes`` what a reader should know of the file (an owner password, hidden text, missing OCR).
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.input = InputRef(sha256=hashlib.sha256(data).hexdigest(), name=name)
        self._pdfium = pypdfium2.PdfDocument(data)
        self._plumber = pdfplumber.open(io.BytesIO(data))
        self.texts: tuple[str, ...] = tuple(_texts(self._pdfium))
        self.language: Language = "zh" if sum("一" <= c <= "鿿" for t in self.texts for c in t) > 5000 else "en"
        self.facts: tuple[Fact, ...] = ()
        self.notes: tuple[Fact, ...] = ()
        self.words = lru_cache(maxsize=64)(self._words)

    @property
    def page_count(self) -> int:
        """How many pages the file has."""
        return len(self.texts)

    def _words(self, page: int) -> PageWords:
        plumbed = self._plumber.pages[page - 1]
        try:
            words = plumbed.extract_words(keep_blank_chars=False, use_text_flow=False, extra_attrs=["fontname", "size"])
            return PageWords(
                page=page,
                width=float(plumbed.width),
                height=float(plumbed.height),
                words=tuple(
                    Word(
                        text=w["text"],
                        bbox=(w["x0"], w["top"], w["x1"], w["bottom"]),
                        size=w["size"],
                        bold="bold" in w["fontname"].lower(),
                    )
                    for w in words
                ),
                rules=tuple(
                    Rule(bbox=(e["x0"], e["top"], e["x1"], e["bottom"]))
                    for e in (*plumbed.lines, *plumbed.rects)
                    if e["bottom"] - e["top"] < 3 or e["x1"] - e["x0"] < 3
                ),
            )
        finally:
            plumbed.close()

    def runs(self, page: int) -> tuple[Run, ...]:
        """The page's text in runs of one typeface: headings told from prose at a tenth of the cost of words."""
        return typeset.runs(self._pdfium, page)

    def locate(self, page: int, texts: Iterable[str]) -> list[BBox | None]:
        """A tight box for each of the texts on that page, whatever the breaks of lines; None where not printed."""
        return typeset.locate(self._pdfium, page, texts)

    def close(self) -> None:
        """Let go of the file."""
        self._plumber.close()
        self._pdfium.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ingest(data: bytes, *, name: str, password: str | None = None) -> Filing:
    """Open an annual report."""
    return Filing(data, name)


def _texts(document: pypdfium2.PdfDocument) -> Iterator[str]:
    for page in document:
        text = page.get_textpage()
        yield text.get_text_range()
        text.close()
        page.close()
