"""The audit report: the kind of opinion, who gave it and since when, and its critical or key audit matters."""

import re
from collections.abc import Iterator

from evident_core.evidence import Polarity
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.headings import headings
from evident_finance.risk_report.perceive.passages.prose import Prose, Span
from evident_finance.risk_report.perceive.passages.topics import vocabulary

_REPORT = 24_000
_MOST_MATTERS = 9
_ZH_MATTER = re.compile(
    r"^ ?(?P<number>\(?[一二三四五六七八九十\d]{1,2} ?[).、])(?! ?\d) ?(?P<title>[^。；;]{2,40}?) *$"
)


def drafts(filing: Filing, prose: Prose) -> list[Draft]:
    """The opinion, the auditor and the matters, as far as the report prints them."""
    opinion, made = _opinion(prose), []
    if opinion is not None:
        span, kind = opinion
        polarity = Polarity.ABSENT if kind == "unqualified" else Polarity.PRESENT
        finding = vocabulary().topic["auditor_opinion"].finding["en"]
        made.append(Draft("passage.auditor_opinion#1", "passage.auditor_opinion", span, note=f"{polarity}: {finding}"))
        made.append(Draft("auditor.opinion", "auditor.opinion", span, value=kind))
    if name := _name(prose, opinion[0].start if opinion else 0):
        made.append(Draft("auditor.name", "auditor.name", name, value=prose.print(name)))
    if since := _since(prose):
        made.append(Draft("auditor.since", "auditor.since", since[0], value=since[1]))
    finding = vocabulary().topic["audit_matter"].finding["en"]
    made.extend(
        Draft(f"passage.audit_matter#{n}", "passage.audit_matter", span, note=f"{Polarity.PRESENT}: {finding}")
        for n, span in enumerate(_matters(filing, prose), start=1)
    )
    return made


def _opinion(prose: Prose) -> tuple[Span, str] | None:
    """The sentence that gives the opinion, and its kind: a modified one before all, then one in the auditor's words."""
    audit, found = vocabulary().audit, []
    for cues in (audit.opinion, audit.stated):
        for preference, pattern in enumerate(cues.of(prose.language)):
            for match in pattern.finditer(prose.plain):
                span = prose.sentence(match.start())
                text = prose.plain[span.start : span.end]
                if "internal control" in text and "financial statements" not in text:
                    continue
                kind = next((kind.value for kind in audit.kind if kind.search(text, prose.language)), None)
                if kind and span.end - span.start < 1200:
                    found.append((kind == "unqualified", preference, span, kind))
        if found:
            break
    if not found:
        return None
    _, _, span, kind = min(found, key=lambda each: (*each[:2], each[2].start))
    return span, kind


def _name(prose: Prose, after: int) -> Span | None:
    """The signature under the report; else the first line that names an audit firm."""
    for start in (after, 0):
        for pattern in vocabulary().audit.signature.of(prose.language):
            for line in prose.lines(Span(start, min(len(prose.text), start + _REPORT) if start else len(prose.text))):
                if match := pattern.search(prose.plain[line.start : line.end].rstrip()):
                    return Span(line.start + match.start("name"), line.start + match.end("name"))
    return None


def _since(prose: Prose) -> tuple[Span, str] | None:
    for pattern in vocabulary().audit.since.of(prose.language):
        if match := pattern.search(prose.plain):
            return prose.sentence(match.start("year")), match["year"]
    return None


def _matters(filing: Filing, prose: Prose) -> Iterator[Span]:
    audit = vocabulary().audit
    start = next((m.end() for p in audit.matters.of(prose.language) for m in p.finditer(prose.plain)), None)
    if start is None:
        return
    region = Span(start, min(len(prose.text), start + _REPORT))
    for line in prose.lines(region):
        text = prose.plain[line.start : line.end].strip()
        if line.start > start and (
            audit.matters_end.search(text, prose.language) or audit.signature.search(text, prose.language)
        ):
            region = Span(start, line.start)
            break
    if prose.language == "zh":
        lines = [(line, _ZH_MATTER.search(prose.plain[line.start : line.end])) for line in prose.lines(region)]
        titled = [(line, match) for line, match in lines if match]
        # Matters share one form of number; steps of the audit within them have another.
        forms = [re.sub(r"\d+", "1", re.sub("[一二三四五六七八九十]+", "一", match["number"])) for _, match in titled]
        spans = [
            Span(line.start + match.start("title"), line.start + match.end("title"))
            for (line, match), form in zip(titled, forms, strict=True)
            if form == forms[0]
        ]
    else:
        spans = [heading.span for heading in headings(filing, prose, region)]
    titles = [
        span
        for span in spans
        if 4 <= len(text := prose.plain[span.start : span.end].strip()) <= 240
        and not audit.not_matters.search(text, prose.language)
    ]
    # A report has a handful; more headings than that are those of pages that follow it.
    yield from titles if len(titles) <= _MOST_MATTERS else []
