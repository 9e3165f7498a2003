"""Headings told from prose by their typeface: bold, italic or another font at the beginning of a line."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.ingest.typeset import Run, ink, sounding
from evident_finance.risk_report.perceive.passages.prose import Prose, Span

_PAGES = 45
_BULLETS = "*•●▪■§-–—· "


@dataclass(frozen=True)
class Heading:
    """A heading in the running text. ``font`` groups headings of one level."""

    span: Span
    font: str


def headings(filing: Filing, prose: Prose, region: Span) -> list[Heading]:
    """The emphasised text that begins a line within a region, in order; none where all is set in one typeface."""
    first, last = prose.page(region.start), prose.page(max(region.start, region.end - 1))
    pages = [(page, filing.runs(page)) for page in range(first, min(last, first + _PAGES) + 1)]
    body = _body_font(run for _, runs in pages for run in runs)
    found: list[Heading] = []
    for page, runs in pages:
        locator = _Locator(prose, prose.page_span(page))
        for run in _joined(runs):
            span = locator.next(run.text)
            if span is None or run.font == body or not (region.start <= span.start and span.end <= region.end):
                continue
            style = f"{run.font}|{run.bold}|{run.italic}"
            before = found[-1] if found else None
            if before and before.font == style and not prose.plain[before.span.end : span.start].strip():
                # A heading broken by the end of its page.
                found[-1] = Heading(Span(before.span.start, span.end), style)
            elif prose.line_at(span.start).start == span.start:
                found.append(Heading(span, style))
    return [Heading(trimmed, each.font) for each in found if (trimmed := _without_bullets(prose, each.span))]


def _without_bullets(prose: Prose, span: Span) -> Span | None:
    text = prose.text[span.start : span.end]
    start = len(text) - len(text.lstrip(_BULLETS))
    end = len(text.rstrip(_BULLETS))
    return Span(span.start + start, span.start + end) if end > start else None


def _body_font(runs: Iterable[Run]) -> str:
    weights: Counter[str] = Counter()
    for run in runs:
        weights[run.font] += len(ink(run.text))
    return weights.most_common(1)[0][0] if weights else ""


def _joined(runs: tuple[Run, ...]) -> list[Run]:
    """Runs with neighbours of the same font joined, so that a change of size within a heading does not split it."""
    joined: list[Run] = []
    for run in runs:
        if joined and joined[-1].font == run.font:
            joined[-1] = joined[-1]._replace(text=joined[-1].text + run.text)
        else:
            joined.append(run)
    return joined


class _Locator:
    """Finds printed text in the running text of one page, from the top downwards, whatever the spaces."""

    def __init__(self, prose: Prose, page: Span) -> None:
        self._offsets, self._ink = sounding((i, prose.text[i]) for i in range(page.start, page.end))
        self._from = 0

    def next(self, text: str) -> Span | None:
        lines = text.splitlines()
        for skip in range(min(3, len(lines))):
            wanted = sounding(enumerate("".join(lines[skip:])))[1]
            at = self._ink.find(wanted, self._from) if wanted else -1
            if at >= 0:
                self._from = at + len(wanted)
                return Span(self._offsets[at], self._offsets[self._from - 1] + 1)
        return None
