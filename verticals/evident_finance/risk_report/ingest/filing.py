"""An annual report, open for reading."""

from collections.abc import Iterable
from functools import lru_cache
from types import TracebackType
from typing import Self

from evident_core.errors import NotFound
from evident_core.evidence import BBox, Fact, InputRef, Language
from evident_finance.risk_report.ingest import typeset
from evident_finance.risk_report.ingest.opening import Opened
from evident_finance.risk_report.ingest.page import Page, locate
from evident_finance.risk_report.ingest.rendering import PDFIUM, picture
from evident_finance.risk_report.ingest.triage import Triage, language_of
from evident_finance.risk_report.ingest.typeset import Run
from evident_finance.risk_report.schema import PageWords

_KEPT_PAGES = 64


class Filing:
    """An annual report, open for reading.

    ``texts`` holds each page's plain text (``texts[0]`` is page 1) without what the page hides; ``words(page)`` gives
    words with their boxes, read on demand. ``facts`` are those about the document itself: ``filing.company``,
    ``filing.fiscal_year_end``, ``filing.fiscal_year``, ``filing.currency``, ``filing.scale``, ``filing.standard``,
    ``filing.form``, ``filing.auditor``. ``notes`` are what a reader should know of the file, as facts ``note.<key>``:
    an owner password, a repair, pages that could not be read, text that is hidden (its value is that text).
    """

    def __init__(self, input_: InputRef, opened: Opened, read: Triage, recognised: dict[int, PageWords]) -> None:
        self.input = input_
        self.texts: tuple[str, ...] = tuple(read.texts)
        self.language: Language = language_of(read.texts)
        self.facts: tuple[Fact, ...] = ()
        self.notes: tuple[Fact, ...] = ()
        self._document = opened.document
        self._sizes = read.sizes
        self._recognised = recognised
        self.words = lru_cache(maxsize=_KEPT_PAGES)(self._words)

    @property
    def page_count(self) -> int:
        """How many pages the file has."""
        return len(self.texts)

    def _words(self, page: int) -> PageWords:
        if page in self._recognised:
            return self._recognised[page]
        with PDFIUM, self._open(page) as opened:
            return opened.words()

    def page_size(self, page: int) -> tuple[float, float]:
        """Width and height of a page in points as it is displayed."""
        self._check(page)
        return self._sizes[page - 1]

    def render(self, page: int, scale: float = 1.5) -> bytes:
        """A page as PNG, ``scale`` pixels a point."""
        with PDFIUM, self._open(page) as opened:
            return picture(opened.pdfium, scale)

    def runs(self, page: int) -> tuple[Run, ...]:
        """The page's text in runs of one typeface: headings told from prose at a tenth of the cost of words."""
        with PDFIUM:
            return typeset.runs(self._document, page)

    def locate(self, page: int, texts: Iterable[str]) -> list[BBox | None]:
        """A tight box for each of the texts on that page, whatever the breaks of lines; None where not printed."""
        texts = list(texts)
        if page in self._recognised:
            return locate(((word.text, word.bbox) for word in self._recognised[page].words), texts)
        with PDFIUM:
            boxes = typeset.locate(self._document, page, texts)
            if any(box is None for box in boxes):
                # Letters repaired or drawn twice: the page as it is read for words, at ten times the cost.
                with self._open(page) as opened:
                    found = locate(((char.text, char.box) for char in opened.chars()), texts)
                boxes = [box or again for box, again in zip(boxes, found, strict=True)]
        return boxes

    def _open(self, page: int) -> Page:
        self._check(page)
        return Page(self._document[page - 1], page)

    def _check(self, page: int) -> None:
        if not 1 <= page <= self.page_count:
            raise NotFound(f"There is no page {page}; the file has pages 1 to {self.page_count}.", page=page)

    def close(self) -> None:
        """Let go of the file."""
        self.words.cache_clear()
        self._document.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
