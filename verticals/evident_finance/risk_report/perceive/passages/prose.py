"""A filing's pages as one running text: sentences across lines and pages, each knowing the page it stands on.

Annual reports reach us as lines. Here running heads and page numbers are dropped, the lines joined, and the borders of
sentences found once; offsets into ``text`` and into ``plain`` (folded for matching) are the same.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from evident_core.evidence import Language
from evident_finance.risk_report.perceive.passages.topics import folding

_CJK = "\u3000-\u303f\u3400-\u9fff\uff00-\uffef"
_JOIN_CJK = re.compile(rf"(?<=[{_CJK}]) (?=[{_CJK}\d])|(?<=[\d.%]) (?=[{_CJK}])")
_SENTENCE_END = {
    "en": re.compile(r"[.!?][\"”’)\]]{0,2}\s+(?=[\"“‘(\[]?[A-Z0-9•*§])|\s(?=[•●▪■]\s)"),
    "zh": re.compile(r"[。！？!?；;][”’」』）)]?"),
}
_ABBREVIATION = re.compile(
    r"(?:\b(?:Inc|Corp|Co|Ltd|No|Nos|Mr|Mrs|Ms|Dr|vs|St|Jr|Sr|Rs|approx|Sec|Art|v|al|Cal|Del|Supp|Fla|Ill|Mass|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|[A-Z]"
    r"|[a-z]\.[a-z])|[A-Z]\.[A-Z])\.$"
)
_FINAL = re.compile(r"[.!?。！？；:：][\"”’)）]*$")
_OPENS = re.compile(r"[\"“‘(（\[]?(?:[A-Z0-9•●▪■*☐☒√□①-⑩]|[" + _CJK + "])")
_NUMERIC = re.compile(r"[\d,.$€£¥%()\-–—\s]")


@dataclass(frozen=True)
class Span:
    """A stretch of the running text."""

    start: int
    end: int


class Prose:
    """The running text of a document.

    ``text`` is as printed, with one space for a break of lines (none in Chinese); ``plain`` is the same length, lower
    case, with traditional characters and full-width forms folded, for matching. Pages count from 1.
    """

    def __init__(self, texts: Sequence[str], language: Language) -> None:
        self.language: Language = language
        lines: list[tuple[int, str]] = []
        for page, kept in enumerate(_without_running_heads(texts), start=1):
            lines.extend((page, line) for line in kept)
        self._page_of_line = [page for page, _ in lines]
        self._line_starts: list[int] = []
        # Chinese does not space words: a term broken by the end of a line stays one.
        gap = "" if language == "zh" else " "
        self._gap = len(gap)
        offset = 0
        for _, line in lines:
            self._line_starts.append(offset)
            offset += len(line) + self._gap
        self.text = gap.join(line for _, line in lines) + gap
        self.plain = folding(self.text)
        self._borders = self._find_borders([line for _, line in lines])

    def page(self, offset: int) -> int:
        """The page on which the character at that offset stands."""
        return self._page_of_line[self._line(offset)]

    def page_span(self, page: int) -> Span:
        """The stretch of text of one page; empty where the page has none."""
        first, last = bisect_left(self._page_of_line, page), bisect_right(self._page_of_line, page)
        if first == last:
            return Span(0, 0)
        return Span(self._line_starts[first], self._start_of_line(last))

    def lines(self, span: Span) -> list[Span]:
        """The printed lines that begin within a span."""
        first = bisect_left(self._line_starts, span.start)
        last = bisect_left(self._line_starts, span.end)
        return [Span(self._line_starts[i], self._start_of_line(i + 1) - self._gap) for i in range(first, last)]

    def line_at(self, offset: int) -> Span:
        """The printed line of that offset."""
        line = self._line(offset)
        return Span(self._line_starts[line], self._start_of_line(line + 1) - self._gap)

    def sentence(self, offset: int) -> Span:
        """The sentence of that offset."""
        after = bisect_right(self._borders, offset)
        return Span(self._borders[after - 1], self._borders[after])

    def sentences(self, span: Span) -> list[Span]:
        """The sentences that begin within a span."""
        first, last = bisect_left(self._borders, span.start), bisect_left(self._borders, span.end)
        return [Span(a, b) for a, b in pairwise(self._borders[first : last + 1])]

    def parts(self, span: Span) -> list[tuple[int, str]]:
        """The text of a span by page, each part as a reader would write it in one line."""
        parts: dict[int, list[str]] = {}
        line = self._line(span.start)
        while line < len(self._line_starts) and self._line_starts[line] < span.end:
            start, end = max(span.start, self._line_starts[line]), min(span.end, self._start_of_line(line + 1))
            parts.setdefault(self._page_of_line[line], []).append(self.text[start:end])
            line += 1
        trimmed = ((page, tidy(" ".join(pieces))) for page, pieces in parts.items())
        return [(page, text) for page, text in trimmed if text]

    def print(self, span: Span) -> str:
        """The text of a span in one line."""
        return tidy(self.text[span.start : span.end])

    def _line(self, offset: int) -> int:
        return max(0, bisect_right(self._line_starts, offset) - 1)

    def _start_of_line(self, line: int) -> int:
        return self._line_starts[line] if line < len(self._line_starts) else len(self.text)

    def _find_borders(self, lines: list[str]) -> list[int]:
        borders = {0, len(self.text)}
        for match in _SENTENCE_END[self.language].finditer(self.text):
            if self.language == "zh" or not _ABBREVIATION.search(
                self.text, max(0, match.start() - 8), match.start() + 1
            ):
                borders.add(match.end())
        # A heading, a table row or the last line of a paragraph ends where its line does.
        width = _usual_width(lines)
        for i, (line, following) in enumerate(pairwise(lines)):
            start, after = self._line_starts[i], self._line_starts[i + 1]
            if not line or not following or not _OPENS.match(following):
                continue
            short = _breadth(line) < 0.72 * width
            heading = short and (start in borders or len(line) > 20 or _FINAL.search(line))
            if heading or _is_row(line) or _is_row(following):
                borders.add(after)
        return sorted(borders)


def tidy(text: str) -> str:
    """One line, single spaces, none between Chinese characters, words broken at the end of a line joined."""
    text = re.sub(r"[\ufffe\u00ad\ufffb\u0002]\s*", "", text)
    text = re.sub(r"[\s\u00a0\u200b]+", " ", text).strip()
    return _JOIN_CJK.sub("", text)


def _breadth(line: str) -> int:
    return sum(2 if c > "\u2e7f" else 1 for c in line)


def _usual_width(lines: list[str]) -> float:
    long = sorted(_breadth(line) for line in lines if len(line) > 20)
    return long[int(len(long) * 0.7)] if long else 80


def _is_row(line: str) -> bool:
    """Mostly figures: a row of a table."""
    return len(line) > 3 and sum(c.isdigit() for c in line) > 4 and len(_NUMERIC.findall(line)) > 0.6 * len(line)


def _without_running_heads(texts: Sequence[str]) -> list[list[str]]:
    """Each page's lines without page numbers and the lines that head or foot most pages."""
    pages = [[line for raw in text.splitlines() if (line := raw.replace("\u00a0", " ").strip())] for text in texts]
    edges = Counter(_shape(line) for lines in pages for line in {*lines[:3], *lines[-2:]})
    often = max(4, len(pages) // 8)
    kept = []
    for lines in pages:
        head, foot = 0, len(lines)
        while head < min(4, foot) and _is_running(lines[head], edges, often):
            head += 1
        while foot > max(head, len(lines) - 3) and _is_running(lines[foot - 1], edges, often):
            foot -= 1
        kept.append(lines[head:foot])
    return kept


def _shape(line: str) -> str:
    return re.sub(r"\d+", "#", line)


def _is_running(line: str, edges: Counter[str], often: int) -> bool:
    return edges[_shape(line)] >= often or bool(
        re.fullmatch(r"[-–— ]*(?:[A-Z]-?)?\d{1,3}(?: ?/ ?\d{1,3})?[-–— ]*", line)
    )
