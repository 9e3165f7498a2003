"""The risks a company states about itself, each with its category and severity by the rules of ``topics.toml``."""

import re
from collections import Counter
from dataclasses import dataclass

from evident_core.evidence import Derived, Fact, Polarity, Severity, Source, Status
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.headings import Heading, headings
from evident_finance.risk_report.perceive.passages.prose import Prose, Span
from evident_finance.risk_report.perceive.passages.topics import Cues, vocabulary

_LONGEST = 260_000
_ZH_TITLE = re.compile(
    r"^ ?(?:[(（][一二三四五六七八九十\d]{1,3}[)）]|[一二三四五六七八九十\d]{1,2} ?[、.．)）]|[①-⑩]) ?"
    r"(?P<title>[^。;:：；]{2,36}?(?:风险|不确定性)[^。:：;；]{0,12}?)(?= ?[:：。]| *$)"
)
_ZH_ANSWER = re.compile(r"^(?:公司)?(?:应对|对策|采取)(?:措施|方案)?")
_INTRODUCTION = re.compile(
    r"(described|discussed|listed|set forth) (below|above|elsewhere)|not the only|carefully (consider|read|review)|"
    r"following (risk|factor|discussion|summary)|^item 1a|^risk factors?( summary)?\.?$|forward-looking|\(continued\)"
)
_WORDS_OF_A_STATEMENT = 7


@dataclass(frozen=True)
class RiskFactor:
    """One stated risk: its heading (or title with first sentence), the text under it, and what the rules make of it."""

    span: Span
    body: Span
    category: str
    severity: Severity
    polarity: Polarity
    signs: tuple[str, ...]


def risk_factors(filing: Filing, prose: Prose) -> list[RiskFactor]:
    """The risk factors of the filing's own section on them, in its order; empty where there is no such section."""
    region = section(prose)
    if region is None:
        return []
    spans = _chinese(prose, region) if prose.language == "zh" else _statements(prose, headings(filing, prose, region))
    factors = []
    for n, span in enumerate(spans):
        end = spans[n + 1].start if n + 1 < len(spans) else region.end
        factors.append(_judged(prose, span, Span(span.end, max(span.end, end)), n / len(spans)))
    return factors


def drafts(factors: list[RiskFactor]) -> list[Draft]:
    """The factors as facts: the category is the subject, the note tells polarity, severity and the signs of it."""
    finding = vocabulary().topic["risk_factor"].finding["en"]
    return [
        Draft(
            id=f"passage.risk_factor#{n}",
            name="passage.risk_factor",
            span=factor.span,
            subject=factor.category,
            note=f"{factor.polarity}: {finding}; severity {factor.severity} ({', '.join(factor.signs) or 'no sign'})",
        )
        for n, factor in enumerate(factors, start=1)
    ]


def summary(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """For each category with factors: how many (``risk.<category>.factors``) and the worst (``….severity``)."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.name == "passage.risk_factor" and fact.subject and fact.note.startswith(Polarity.PRESENT):
            groups.setdefault(fact.subject, []).append(fact)
    order = list(Severity)
    made = []
    for category, members in groups.items():
        worst = max((_severity(fact) for fact in members), key=order.index)
        gravest = tuple(fact.id for fact in members if _severity(fact) is worst)
        count = Derived(rule="risk_factors.count", formula="count of factors", fact_ids=tuple(f.id for f in members))
        most = Derived(rule="risk_factors.severity", formula="the worst severity of its factors", fact_ids=gravest)
        made.append(
            Fact(
                id=f"risk.{category}.factors",
                name="risk.factors",
                value=str(len(members)),
                unit="1",
                subject=category,
                status=Status.DERIVED,
                sources=(Source(where=count),),
            )
        )
        made.append(
            Fact(
                id=f"risk.{category}.severity",
                name="risk.severity",
                value=worst.value,
                subject=category,
                status=Status.DERIVED,
                sources=(Source(where=most),),
            )
        )
    return tuple(made)


def _severity(fact: Fact) -> Severity:
    match = re.search(r"severity (\w+)", fact.note)
    return Severity(match[1]) if match else Severity.LOW


def section(prose: Prose) -> Span | None:
    """Where the risk factors stand: the longest stretch from a heading that starts them to one that ends them."""
    cues = vocabulary().risk_section
    best: Span | None = None
    lines = prose.lines(Span(0, len(prose.text)))
    for i, line in enumerate(lines):
        if not _fits(prose, cues.start, line):
            continue
        ends = (
            other.start
            for other in lines[i + 1 :]
            if _fits(prose, cues.stop, other) or other.start - line.end > _LONGEST
        )
        region = Span(line.end, next(ends, len(prose.text)))
        if best is None or region.end - region.start > best.end - best.start:
            best = region
    return best if best and best.end - best.start > (60 if prose.language == "zh" else 1500) else None


def _fits(prose: Prose, cues: Cues, line: Span) -> bool:
    if line.end - line.start > 90:
        return False
    return cues.search(prose.plain[line.start : line.end].strip(), prose.language) is not None


_GROUP = re.compile(
    r"^(?:general )?(?:(?:[a-z]+[ ,&-]+){1,6}risks?(?: factors)?|"
    r"risks? of our [a-z ,]{3,40}|risks? (?:related|relating|associated|specific) (?:to|with) .{3,60})$"
)


def _statements(prose: Prose, found: list[Heading]) -> list[Span]:
    """Of all headings those that state a risk: the levels whose headings are sentences, not names of groups."""
    spans = [Heading(_without_group(prose, heading.span), heading.font) for heading in found]
    plain = [(heading, prose.plain[heading.span.start : heading.span.end].strip()) for heading in spans]
    plain = [(heading, text) for heading, text in plain if not _INTRODUCTION.search(text) and text.count(" ") < 120]
    levels: dict[str, list[int]] = {}
    for heading, text in plain:
        levels.setdefault(heading.font, []).append(len(text.split()))
    stating = {font for font, lengths in levels.items() if sum(lengths) / len(lengths) >= _WORDS_OF_A_STATEMENT}
    if not stating and levels:
        stating = {Counter(heading.font for heading, _ in plain).most_common(1)[0][0]}
    kept = [(heading.span, text) for heading, text in plain if heading.font in stating and len(text) > 8]
    closed = sum(text.endswith(".") for _, text in kept) > 0.6 * len(kept)
    return [
        span for span, text in kept if not closed or text.endswith(".") or len(text.split()) > _WORDS_OF_A_STATEMENT
    ]


def _without_group(prose: Prose, span: Span) -> Span:
    """The heading without a group's name ("Legal Risks") that is set in the same type on the line above it."""
    lines = prose.lines(span)
    if len(lines) < 2:
        return span
    first = prose.text[lines[0].start : lines[0].end].strip()
    if first.isupper() or _GROUP.match(first.lower()):
        return Span(lines[1].start, span.end)
    return span


def _chinese(prose: Prose, region: Span) -> list[Span]:
    """Numbered titles that end in 风险, each with the first sentence under it."""
    spans = []
    for line in prose.lines(region):
        text = prose.plain[line.start : line.end]
        match = _ZH_TITLE.search(text)
        if match is None:
            continue
        end = line.start + match.end()
        following = prose.sentence(min(end + 2, len(prose.text) - 1))
        body = prose.plain[end : following.end].strip(" :。")
        spans.append(Span(line.start, following.end if body and not _ZH_ANSWER.match(body) else end))
    return spans


def _judged(prose: Prose, span: Span, body: Span, position: float) -> RiskFactor:
    heading = prose.plain[span.start : span.end]
    text = " ".join(prose.plain[body.start : min(body.end, body.start + 6000)].split())
    if prose.language == "zh":
        text = heading + text
    scale, signs, points = vocabulary().severity, [], 0
    for sign in scale.sign:
        if sign.search(heading if sign.where == "heading" else text, prose.language):
            points += sign.points
            signs.append(sign.key)
    if position < scale.early.share:
        points += scale.early.points
        signs.append("stated early")
    severity = next((level for least, level in scale.levels if points >= least), Severity.LOW)
    polarity = Polarity.ABSENT if "denied" in signs and prose.language == "zh" else Polarity.PRESENT
    return RiskFactor(span, body, _category(prose, heading, text), severity, polarity, tuple(signs))


def _category(prose: Prose, heading: str, body: str) -> str:
    scores = {
        key: category.weight
        * (3 * category.count(heading, prose.language) + min(3, category.count(body[:2500], prose.language)) / 2)
        for key, category in vocabulary().category.items()
    }
    best = max(scores, key=lambda key: scores[key])
    return best if scores[best] > 0 else "operational"
