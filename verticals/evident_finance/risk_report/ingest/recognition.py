"""Pages that are pictures: their text recognised, where the extra ``ocr`` is installed.

A page costs seconds of CPU time. So of every such page the head is read, and the whole of those whose head (or whose
predecessor's) is a statement's: enough for the three statements of a scanned report.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pypdfium2

from evident_core.errors import MissingExtra
from evident_finance.risk_report.ingest.limits import MAX_OCR_PAGES
from evident_finance.risk_report.ingest.rendering import turn_upright
from evident_finance.risk_report.ingest.shown import Shown
from evident_finance.risk_report.ingest.triage import Triage
from evident_finance.risk_report.ingest.vocabulary import vocabulary
from evident_finance.risk_report.schema import PageWords, Word

COMMAND = "pip install 'evident[ocr]'"

_SCALE = 2.0
_MOST_PIXELS_A_SIDE = 2400.0
_HEAD = 0.3
_COVER_PAGES = 2
_STATEMENT_PAGES = 2
_LEAST_SCORE = 0.5
_LETTER_HEIGHT = 0.75


def is_installed() -> bool:
    """Whether text in pictures can be recognised here."""
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


def recognise(document: pypdfium2.PdfDocument, read: Triage) -> dict[int, PageWords]:
    """The words of the pages without usable text, by page; ``read`` gets their texts. Empty without the extra.

    Raises:
        MissingExtra: No page of the file has text, and the extra is not installed.
    """
    wanted = sorted({*read.pictures, *read.unreadable})
    if not wanted:
        return {}
    if not is_installed():
        if not any(text.strip() for text in read.texts):
            raise MissingExtra(
                f"All {len(read.texts)} page(s) of the file are pictures without text. To have text in pictures "
                f"recognised: {COMMAND}",
                extra="ocr",
            )
        return {}
    engine = _engine()
    found: dict[int, PageWords] = {}
    whole = 0
    due = _COVER_PAGES
    for page in wanted:
        read_whole = due > 0 and whole < MAX_OCR_PAGES
        head = _words(engine, document, page, 1.0 if read_whole else _HEAD)
        if vocabulary().titles.search(text_of(head)):
            due = _STATEMENT_PAGES
            if not read_whole and whole < MAX_OCR_PAGES:
                read_whole, head = True, _words(engine, document, page, 1.0)
        if read_whole:
            whole, due = whole + 1, due - 1
        found[page] = head
        read.texts[page - 1] = text_of(head)
    return found


def text_of(page: PageWords) -> str:
    """The recognised words in lines, as a text layer would give them."""
    lines: list[list[Word]] = []
    for word in sorted(page.words, key=lambda each: (each.bbox[1] + each.bbox[3]) / 2):
        middle = (word.bbox[1] + word.bbox[3]) / 2
        if lines and lines[-1][0].bbox[1] < middle < lines[-1][0].bbox[3]:
            lines[-1].append(word)
        else:
            lines.append([word])
    return "\n".join(" ".join(word.text for word in sorted(line, key=lambda each: each.bbox[0])) for line in lines)


def _engine() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "EngineConfig.onnxruntime.intra_op_num_threads": 2,
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
        }
    )


def _words(engine: Any, document: pypdfium2.PdfDocument, number: int, part: float) -> PageWords:
    """The words in the upper part of a page, in points as it is displayed."""
    page = document[number - 1]
    text = page.get_textpage()
    turn_upright(page, text)
    text.close()
    width, height = Shown.of(page).size
    scale = min(_SCALE, _MOST_PIXELS_A_SIDE / max(width, height))
    picture = page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")
    page.close()
    result = engine(picture.crop((0, 0, picture.width, int(picture.height * part))))
    words: list[Word] = []
    if result.txts:
        for corners, line, score in zip(result.boxes, result.txts, result.scores, strict=True):
            if score >= _LEAST_SCORE:
                words.extend(_split(line, [(float(x) / scale, float(y) / scale) for x, y in corners]))
    return PageWords(page=number, width=width, height=height, words=tuple(words), recognised=True)


def _split(line: str, corners: list[tuple[float, float]]) -> Iterator[Word]:
    """A recognised line's words: its box shared out by their lengths."""
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    each = (right - left) / max(1, len(line))
    start = 0
    for word in line.split():
        start = line.index(word, start)
        box = (left + start * each, top, left + (start + len(word)) * each, bottom)
        yield Word(text=word, bbox=box, size=(bottom - top) * _LETTER_HEIGHT)
        start += len(word)
