"""From a stretch of text to a fact that points at it: each passage gets its page and a tight box, or is not kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from evident_core.evidence import BBox, Fact, PageBox, Source
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.ingest.typeset import ink
from evident_finance.risk_report.perceive.passages.prose import Prose, Span
from evident_finance.risk_report.schema import PageWords


@dataclass(frozen=True)
class Draft:
    """A fact before its box is known. ``value`` None stands for the text of the span itself."""

    id: str
    name: str
    span: Span
    value: Decimal | str | None = None
    unit: str | None = None
    scale: int = 1
    period: str | None = None
    subject: str | None = None
    note: str = ""
    confidence: float = 0.95


def cite(filing: Filing, prose: Prose, drafts: Sequence[Draft]) -> tuple[Fact, ...]:
    """The drafts as facts with page, box and quote. What is not found on its page is left out: nothing to point at."""
    parts = {draft.span: prose.parts(draft.span) for draft in drafts}
    wanted: dict[int, set[str]] = {}
    for pieces in parts.values():
        for page, text in pieces:
            wanted.setdefault(page, set()).add(text)
    boxes = {page: _boxes(filing, page, sorted(texts)) for page, texts in wanted.items()}
    facts = []
    for draft in drafts:
        sources = tuple(
            Source(input=filing.input, where=PageBox(page=page, bbox=box, quote=text))
            for page, text in parts[draft.span]
            if (box := boxes[page].get(text))
        )
        if sources and len(sources) == len(parts[draft.span]):
            facts.append(
                Fact(
                    id=draft.id,
                    name=draft.name,
                    value=prose.print(draft.span) if draft.value is None else draft.value,
                    unit=draft.unit,
                    scale=draft.scale,
                    period=draft.period,
                    subject=draft.subject,
                    confidence=draft.confidence,
                    sources=sources,
                    note=draft.note,
                )
            )
    return tuple(facts)


def _boxes(filing: Filing, page: int, texts: Sequence[str]) -> dict[str, BBox]:
    found = {text: box for text, box in zip(texts, filing.locate(page, texts), strict=True) if box}
    if missing := [text for text in texts if text not in found]:
        words = filing.words(page)
        found |= {text: box for text in missing if (box := _box_of_words(words, text))}
    return found


def _box_of_words(page: PageWords, text: str) -> BBox | None:
    """The box of a text among words: for pages whose text is recognised, or set in another order than it is read."""
    starts, joined = [], ""
    for word in page.words:
        starts.append(len(joined))
        joined += ink(word.text)
    start = joined.find(ink(text))
    if start < 0:
        return None
    end = start + len(ink(text))
    return _around(
        word.bbox for at, word in zip(starts, page.words, strict=True) if start < at + len(ink(word.text)) and at < end
    )


def _around(boxes: Iterable[BBox]) -> BBox:
    x0, top, x1, bottom = zip(*boxes, strict=True)
    return (min(x0), min(top), max(x1), max(bottom))
