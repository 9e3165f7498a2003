"""Whether a document is an annual report. When unsure it is read: only what names itself otherwise is refused."""

from evident_core.errors import NotThisService
from evident_finance.risk_report.ingest.triage import Triage
from evident_finance.risk_report.ingest.vocabulary import Term, vocabulary

_COVER_PAGES = 2
_COVER_REACH = 3_000
_FRONT_PAGES = 6
_SLIDE_PAGES = 4
_SLIDE_WORDS = 110
_SLIDE_SHARE = 0.8
_WAY_OUT = "Give the company's annual report (10-K, 20-F, annual report, 年度报告)."


def check_kind(read: Triage) -> None:
    """Refuse a document that is not an annual report, naming what it seems to be.

    Raises:
        NotThisService: It says on its first pages that it is something else, is a set of slides, or nowhere holds
            a financial statement.
    """
    words = vocabulary()
    cover = "\n".join(text[:_COVER_REACH] for text in read.texts[:_COVER_PAGES])
    front = "\n".join(read.texts[:_FRONT_PAGES])
    form = _first(words.forms, cover)
    other = _first(words.others, cover)
    if other and (form is None or other[1] < form[1]):
        raise _refused(other[0])
    if read.pictures or read.unreadable or read.scanned:
        return
    statements = sum(1 for text in read.texts if words.titles.search(text))
    if form or _first(words.forms, front):
        if not statements and _are_slides(read):
            raise _refused("a set of slides")
        return
    if statements >= 2:
        return
    if _are_slides(read):
        raise _refused("a set of slides")
    if not statements:
        raise _refused("a document without balance sheet, income statement or cash-flow statement")


def _first(terms: tuple[Term, ...], text: str) -> tuple[str, int] | None:
    """The term that stands first in a text, and where."""
    found = [(value, match.start()) for value, pattern in terms if (match := pattern.search(text))]
    return min(found, key=lambda each: each[1], default=None)


def _are_slides(read: Triage) -> bool:
    """Most pages lie on their side and hold few words each."""
    if len(read.texts) < _SLIDE_PAGES:
        return False
    like = sum(
        1
        for text, (width, height) in zip(read.texts, read.sizes, strict=True)
        if width > 1.2 * height and len(text.split()) < _SLIDE_WORDS
    )
    return like >= _SLIDE_SHARE * len(read.texts)


def _refused(kind: str) -> NotThisService:
    return NotThisService(f"The file seems to be {kind}; this service reads annual reports. {_WAY_OUT}", found=kind)
