"""Sentences that state or deny a finding: litigation, covenants, impairment, whatever ``topics.toml`` describes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evident_core.evidence import Language, Polarity
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.prose import Prose, Span, tidy
from evident_finance.risk_report.perceive.passages.topics import Topic, vocabulary

_LONGEST = {"en": 900, "zh": 400}
_MODAL = {
    "en": re.compile(r"\b(could|may(?! \d)|might|would|if|unless|in the event|no assurance|potential|cannot assure)\b"),
    "zh": re.compile(r"如果|若|可能|假如"),
}
_NEGATION = {"en": re.compile(r"\b(no|not|none|nor|never|without|neither)\b"), "zh": re.compile(r"不|未|无|没有")}
_AMOUNT = re.compile(r"[$€£¥] ?\d|\d ?(?:million|billion|percent|%|万元|亿元|元)")
_TABLE = re.compile(r"(?:[\d,.()]+ ){4,}")
_LEAD = re.compile(r"(?:[•●▪■*–-]|\(\d{1,2}\))\s+")
_CHECKBOX = re.compile(r"[□☐] ?适用 ?[√☑✓☒] ?不适用")


@dataclass(frozen=True)
class Finding:
    """A sentence with what it says of a topic's finding. ``rank`` orders the findings of one topic, best first."""

    span: Span
    polarity: Polarity
    value: str | None
    rank: float


def find(prose: Prose, key: str, fiscal_year: str | None) -> list[Finding]:
    """The best sentences on a topic, in the order of the document."""
    topic = vocabulary().topic[key]
    found = [
        *_sentences(prose, topic, fiscal_year),
        *_under_headings(prose, topic),
        *_checkboxes(prose, topic),
    ]
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda each: -each.rank):
        if len(kept) < topic.limit and not any(_alike(prose, finding, other) for other in kept):
            kept.append(finding)
    # The sentence that decides comes first, so that a reader of "#1" sees what the typed fact rests on.
    decisive = _decisive(kept) if topic.fact else None
    return sorted(kept, key=lambda each: (each is not decisive, each.span.start))


def drafts(prose: Prose, key: str, fiscal_year: str | None) -> list[Draft]:
    """The findings on a topic as facts: ``passage.<topic>#n``, and the topic's typed fact from the best of them."""
    topic, found = vocabulary().topic[key], find(prose, key, fiscal_year)
    passages = [
        Draft(
            id=f"passage.{key}#{n}",
            name=f"passage.{key}",
            span=finding.span,
            note=f"{finding.polarity}: {topic.finding['en']}",
        )
        for n, finding in enumerate(found, start=1)
    ]
    if topic.fact and (best := _decisive(found)):
        passages.append(Draft(id=topic.fact, name=topic.fact, span=best.span, value=best.value))
    return passages


def _decisive(found: list[Finding]) -> Finding | None:
    """An adverse statement outweighs any number of reassuring ones."""
    valued = [finding for finding in found if finding.value]
    return min(valued, key=lambda each: (each.polarity is not Polarity.PRESENT, -each.rank), default=None)


def candidates(prose: Prose, topic: Topic) -> Iterator[Span]:
    """The sentences that contain one of the topic's anchors, each once."""
    seen = set()
    for anchor in topic.anchors.get(prose.language, ()):
        at = prose.plain.find(anchor)
        while at >= 0:
            span = prose.sentence(at)
            if span not in seen:
                seen.add(span)
                yield span
            at = prose.plain.find(anchor, max(span.end, at + 1))


def _sentences(prose: Prose, topic: Topic, fiscal_year: str | None) -> Iterator[Finding]:
    language = prose.language
    for span in candidates(prose, topic):
        text = tidy(prose.plain[span.start : span.end])
        if not 12 <= len(text) <= _LONGEST[language] or _TABLE.search(text):
            continue
        if topic.reject.search(text, language) or not _is_sentence(text, language):
            continue
        for order, cue in enumerate(topic.cue):
            match = cue.search(text, language)
            if match is None:
                continue
            if topic.factual and _MODAL[language].search(text):
                break
            if cue.polarity is Polarity.PRESENT and _NEGATION[language].search(
                text[max(0, match.start() - 30) : match.start()]
            ):
                break
            if topic.current and _is_old(text, fiscal_year):
                break
            rank = (
                1.0 - 0.2 * order + 0.5 * bool(_AMOUNT.search(text)) + 0.4 * bool(fiscal_year and fiscal_year in text)
            )
            lead = _LEAD.match(prose.text, span.start)
            span = Span(lead.end(), span.end) if lead else span
            yield Finding(span, cue.polarity, cue.value, rank - 0.3 * (len(text) > 500))
            break


def _under_headings(prose: Prose, topic: Topic) -> Iterator[Finding]:
    """The first sentences under a heading of the topic's own, such as the note on subsequent events."""
    if not topic.heading.of(prose.language):
        return
    for anchor in topic.anchors.get(prose.language, ()):
        at = prose.plain.find(anchor)
        while at >= 0:
            line = prose.line_at(at)
            if topic.heading.search(prose.plain[line.start : line.end].strip(), prose.language):
                for n, span in enumerate(prose.sentences(Span(line.end + 1, line.end + 1500))[:2]):
                    text = prose.plain[span.start : span.end]
                    if len(text) < 40 or topic.reject.search(text, prose.language) or _TABLE.search(text):
                        break
                    cue = next((cue for cue in topic.cue if cue.search(text, prose.language)), None)
                    yield Finding(span, cue.polarity if cue else Polarity.PRESENT, None, 2.0 - n / 10)
            at = prose.plain.find(anchor, line.end + 1)


def _checkboxes(prose: Prose, topic: Topic) -> Iterator[Finding]:
    """Chinese forms ask, and answer with a ticked box: "□适用 √不适用" under a heading denies it."""
    if not topic.checkbox.of(prose.language):
        return
    for match in _CHECKBOX.finditer(prose.text):
        heading = prose.line_at(max(0, prose.line_at(match.start()).start - 1))
        title = prose.plain[heading.start : heading.end].strip()
        if topic.checkbox.search(title, prose.language):
            value = next((cue.value for cue in topic.cue if cue.polarity is Polarity.ABSENT), None)
            yield Finding(Span(heading.start, match.end()), Polarity.ABSENT, value, 0.9)


def _is_old(text: str, fiscal_year: str | None) -> bool:
    """All the years it names lie more than one year back, in a report on a later one."""
    years = re.findall(r"\b(?:19|20)\d\d\b", text)
    return bool(years and fiscal_year and max(map(int, years)) < int(fiscal_year) - 1)


def _is_sentence(text: str, language: Language) -> bool:
    """Prose, not a heading or a row of figures."""
    if language == "zh":
        return len(text) >= 12 and sum(c.isdigit() for c in text) < 0.45 * len(text)
    words = text.split()
    return (
        len(words) >= 6
        and sum(c.isdigit() for c in text) < 0.25 * len(text)
        and text.rstrip().endswith((".", '"', ")", ";", ":"))
    )


def _alike(prose: Prose, one: Finding, other: Finding) -> bool:
    """Nearly the same words: reports say things twice (in the discussion and in the notes)."""
    if one.span.start < other.span.end and other.span.start < one.span.end:
        return True
    a, b = (_units(prose, each.span) for each in (one, other))
    return len(a & b) >= 0.7 * min(len(a), len(b))


def _units(prose: Prose, span: Span) -> set[str]:
    """The words of a sentence; in Chinese its pairs of characters."""
    text = prose.plain[span.start : span.end]
    if prose.language == "en":
        return set(re.findall(r"\w+", text))
    return {text[i : i + 2] for i in range(len(text) - 1)}
