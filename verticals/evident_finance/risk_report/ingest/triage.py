"""Every page once: its text, and what is unusual about it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pypdfium2

from evident_core.evidence import Language
from evident_finance.risk_report.ingest.page import HiddenText, Page

_LEAST_TEXT = 20
_PICTURE_SHARE = 0.4
_JUDGED_LETTERS = 200
_LEAST_VOWELS = 0.15
_MOST_UNKNOWN = 0.2
_UNKNOWN = re.compile("[\ue000-\uf8ff\ufffd\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_ASCII_LETTER = re.compile("[A-Za-z]")
_VOWEL = re.compile("[AEIOUYaeiouy]")


@dataclass
class Triage:
    """All pages' texts and sizes (as displayed), and the numbers of the pages that need more than reading."""

    texts: list[str] = field(default_factory=list)
    sizes: list[tuple[float, float]] = field(default_factory=list)
    hidden: list[tuple[int, HiddenText]] = field(default_factory=list)
    turned: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    scanned: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)


def triage(document: pypdfium2.PdfDocument) -> Triage:
    """Read all pages of a document, each closed before the next; pages printed sideways are turned for good."""
    result = Triage()
    for number in range(1, len(document) + 1):
        try:
            opened = document[number - 1]
        except pypdfium2.PdfiumError:
            result.texts.append("")
            result.sizes.append((0.0, 0.0))
            result.unreadable.append(number)
            continue
        with Page(opened, number, upright=True) as page:
            if page.turned:
                result.turned.append(number)
            result.sizes.append(page.shown.size)
            text = page.text
            ink = len("".join(text.split()))
            if ink < _LEAST_TEXT and page.layer.pictured > _PICTURE_SHARE:
                result.pictures.append(number)
            elif page.layer.scan:
                result.scanned.append(number)
            elif is_unreadable(text):
                result.unreadable.append(number)
                text = ""
            if page.is_doubled:
                result.doubled.append(number)
            result.texts.append(text)
            result.hidden.extend((number, run) for run in page.hidden)
    return result


def language_of(texts: Iterable[str]) -> Language:
    """The language that a report is written in: a Chinese character says about as much as two Latin letters."""
    chinese = latin = 0
    for text in texts:
        chinese += len(_CJK.findall(text))
        latin += len(_ASCII_LETTER.findall(text))
    return "zh" if 2 * chinese > latin else "en"


def is_unreadable(text: str) -> bool:
    """Whether a page's text is not what it prints: fonts that do not tell which characters their shapes are.

    Such text comes out as private or control characters, or as letters moved along the alphabet, which no language
    survives: a twelfth of all letters or fewer would be vowels, where every language has a third.
    """
    ink = "".join(text.split())
    if len(ink) < _LEAST_TEXT:
        return False
    if len(_UNKNOWN.findall(ink)) > _MOST_UNKNOWN * len(ink):
        return True
    letters = _ASCII_LETTER.findall(ink)
    if len(letters) < _JUDGED_LETTERS or len(_CJK.findall(ink)) > len(letters) / 4:
        return False
    return len(_VOWEL.findall(ink)) < _LEAST_VOWELS * len(letters)


def ranges(pages: list[int]) -> str:
    """Page numbers as a person writes them: 3, 5-8, 12."""
    return ", ".join(_runs(pages))


def _runs(pages: list[int]) -> Iterator[str]:
    start = previous = None
    for page in [*sorted(pages), None]:
        if previous is not None and page != previous + 1:
            yield str(previous) if start == previous else f"{start}-{previous}"
            start = page
        if start is None:
            start = page
        previous = page
