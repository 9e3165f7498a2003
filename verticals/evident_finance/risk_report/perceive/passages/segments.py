"""The reportable segments: their names where a sentence lists them, their revenue where a table states it plainly."""

import re
from decimal import Decimal

from evident_core.evidence import Fact, Polarity
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.findings import candidates
from evident_finance.risk_report.perceive.passages.prose import Prose, Span
from evident_finance.risk_report.perceive.passages.schedules import scale_near
from evident_finance.risk_report.perceive.passages.topics import vocabulary

_COUNTS = {
    word: n for n, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=2)
}
_COUNT = re.compile(rf"\b(?P<count>{'|'.join(_COUNTS)})\b[^.;:]{{0,40}}\bsegments\b")
_ABBREVIATION = re.compile(r"\s*[(（][^)）]{1,40}[)）]|[\"“”]")
_NAME = re.compile(r"^(?:[A-Z0-9&][\w.&'’/-]*)(?:[ ,]+(?:[A-Z&0-9][\w.&'’/-]*|and|of|the|&|-|–))*$")
_YEARS = re.compile(r"^(?:fiscal |years? ended .*)?(?P<years>20\d\d(?:[ ,]+20\d\d){1,2})$")
_REVENUE = re.compile(
    r"^(?:total |external )?(?:net )?(?:revenues?|sales|operating revenues?)(?: from external customers)?\b"
    r"(?P<rest>[^a-z]*)$"
)
_REVENUE_HEAD = re.compile(r"\b(?:net )?(?:revenues?|sales)\b")
_ZH_HEAD = re.compile(r"^项目 ?(?P<names>[^\d]{2,120}?) ?(?:分部间抵[销消]|抵[销消]|合计)")
_FIGURE = re.compile(r"\(?\d[\d,]*(?:\.\d+)?\)?|[—–](?= |$)")


def drafts(prose: Prose, facts: tuple[Fact, ...]) -> list[Draft]:
    """``passage.segments#1``, ``segment.name#n`` and, where found, ``segment.revenue#n``."""
    found = _chinese(prose) if prose.language == "zh" else _listed(prose)
    if found is None:
        return []
    announced, names = found
    finding = vocabulary().topic["segments"].finding["en"]
    made = [Draft("passage.segments#1", "passage.segments", announced, note=f"{Polarity.PRESENT}: {finding}")]
    made += [Draft(f"segment.name#{n}", "segment.name", announced, value=name) for n, name in enumerate(names, start=1)]
    known = {fact.name: str(fact.value) for fact in facts if fact.value is not None}
    year_end, currency = known.get("filing.fiscal_year_end"), known.get("filing.currency")
    if year_end is None or currency is None or prose.language == "zh":
        return made
    scale_fact = next((fact for fact in facts if fact.name == "filing.scale"), None)
    revenues = [_revenue(prose, name, year_end[:4]) for name in names]
    if None in revenues:
        return made
    for n, (name, revenue) in enumerate(zip(names, revenues, strict=True), start=1):
        if revenue is None:
            continue
        amount, line = revenue
        scale = scale_near(prose, Span(max(0, line.start - 1200), line.end), scale_fact)
        if scale:
            made.append(
                Draft(
                    id=f"segment.revenue#{n}",
                    name="segment.revenue",
                    span=line,
                    value=amount * scale,
                    unit=currency,
                    scale=scale,
                    period=year_end,
                    subject=name,
                    confidence=0.85,
                )
            )
    return made


def _listed(prose: Prose) -> tuple[Span, list[str]] | None:
    """The first sentence that lists as many names as it says there are segments; else the first that lists some."""
    topic, uncounted = vocabulary().topic["segments"], None
    for sentence in candidates(prose, topic):
        span = _with_bullets(prose, sentence)
        count = _COUNT.search(prose.plain, span.start, span.end)
        for cue in topic.cue:
            match = next((m for p in cue.en if (m := p.search(prose.plain, span.start, span.end))), None)
            if match is None:
                continue
            names = _names(
                prose.text[match.start("names") : match.end("names")], _COUNTS[count["count"]] if count else None
            )
            if names and count:
                return span, names
            uncounted = uncounted or ((span, names) if names else None)
    return uncounted


def _with_bullets(prose: Prose, sentence: Span) -> Span:
    """A sentence that ends in a colon, with the list under it."""
    end = sentence.end
    while prose.plain[sentence.start : end].rstrip().endswith((":", ";", "; and")) and end < sentence.end + 500:
        end = prose.sentence(end).end
    return Span(sentence.start, min(end, len(prose.text)))


def _names(listed: str, count: int | None) -> list[str]:
    """The names of a list as printed, or nothing where it does not read as one."""
    text = _ABBREVIATION.sub("", listed.split(". ")[0]).strip(" .;:•")
    text = re.sub(r"\s+", " ", re.sub(r"^(?:the|of|our) ", "", text))
    if ";" in text or "•" in text:
        splits = [re.split(r"\s*(?:;|•)\s*(?:and\s)?•?\s*", text)]
    else:
        oxford = re.split(r",\s(?:and\s)?", text)
        last = oxford[-1].split(" and ")
        # "A, B and C": without a stated count a list whose end can be read in two ways is not read.
        splits = [oxford, oxford[:-1] + last] if count or ", and " in text or len(last) == 1 else [oxford[:-1] + last]
        if not count and len(last) > 2:
            return []
    for split in splits:
        names = [re.sub(r"^(?:and|the) | segments?$", "", part.strip(" ,.;•")) for part in split if part.strip(" ,.;•")]
        if len(names) >= 2 and (count is None or len(names) == count) and all(_is_name(name) for name in names):
            return names
    return []


def _is_name(name: str) -> bool:
    return len(name.split()) <= 8 and _NAME.match(name) is not None


def _chinese(prose: Prose) -> tuple[Span, list[str]] | None:
    for anchor in candidates(prose, vocabulary().topic["segments"]):
        for line in prose.lines(Span(anchor.start, min(len(prose.text), anchor.start + 900))):
            if match := _ZH_HEAD.match(prose.text[line.start : line.end]):
                names = match["names"].split()
                if len(names) >= 2 and all(len(name) >= 2 for name in names):
                    return line, names
    return None


def _revenue(prose: Prose, name: str, year: str) -> tuple[Decimal, Span] | None:
    """A segment's revenue: in a row of its own in a table of revenue, or in the row of revenue under its name."""
    wanted, at = name.lower(), prose.plain.find(name.lower())
    while at >= 0:
        line = prose.line_at(at)
        text = prose.plain[line.start : line.end].strip()
        after = text[len(wanted) :].strip(" :$") if text.startswith(wanted) else None
        if after is not None:
            row, figures = line, after
            if not after:
                headed = False
                for following in prose.lines(Span(line.end, min(len(prose.text), line.end + 120)))[:2]:
                    if match := _REVENUE.match(prose.plain[following.start : following.end].strip()):
                        row, figures, headed = following, match["rest"], True
                        break
            else:
                headed = not re.search(r"[a-z]", after) and _headed_by_revenue(prose, line)
            column = _column(prose, line, year)
            numbers = _FIGURE.findall(figures)
            if headed and column is not None and len(numbers) == column[1]:
                digits = re.sub(r"[^\d.]", "", numbers[column[0]])
                if digits:
                    return Decimal(digits), row
        at = prose.plain.find(wanted, max(line.end, at + 1))
    return None


def _column(prose: Prose, line: Span, year: str) -> tuple[int, int] | None:
    """Where among how many columns the year stands, by the nearest line of years above."""
    for above in reversed(prose.lines(Span(max(0, line.start - 1500), line.start))):
        text = prose.plain[above.start : above.end].strip()
        if match := _YEARS.match(text):
            years = re.findall(r"20\d\d", match["years"])
            return (years.index(year), len(years)) if year in years else None
    return None


def _headed_by_revenue(prose: Prose, line: Span) -> bool:
    """The lines right above (rows of other segments apart) name revenue, and nothing else that is measured."""
    for above in reversed(prose.lines(Span(max(0, line.start - 700), line.start))):
        text = prose.plain[above.start : above.end].strip()
        if re.search(r"[a-z]", text) and len(_FIGURE.findall(text)) < 2 and not _YEARS.match(text):
            if re.fullmatch(
                r"\(?(?:dollars )?(?:in )?(?:millions|thousands)[^a-z]*\)?|years? ended .*|fiscal years?", text
            ):
                continue
            return _REVENUE_HEAD.search(text) is not None and not re.search(r"income|profit|assets|expense|cost", text)
    return False
