"""What a report says of itself: company, year, currency, scale, accounting standard, form, auditor.

Each is read from where reports print it (the cover, the heads of the statements, the auditor's report), carries that
place, and is "not presented" where it is not found. The file's name is never used.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import Decimal

from evident_core.evidence import Fact, PageBox, Source, Status
from evident_finance.risk_report.ingest.dates import dates, spoken_year
from evident_finance.risk_report.ingest.filing import Filing
from evident_finance.risk_report.ingest.parties import FRONT_PAGES, Found, auditor, company
from evident_finance.risk_report.ingest.vocabulary import Term, vocabulary

_HEAD_LINES = 14
_MOST_HEADS = 40
_YEAR_END = re.compile(
    r"(?:(?:fiscal|financial)?\s*years?\s+ended?|(?:52|53)[\s-]weeks?\s+ended|year\s+ending|截至)[\s:]*$", re.IGNORECASE
)
_CHINESE_YEAR = re.compile(
    r"((?:19|20)\d\d|二[〇零○一二三四五六七八九]{3})\s*年?\s*(?:年\s*度\s*报\s*告|年度報告|年\s*报|年報)"
)
_STATED = re.compile(r"conformity\s+with|accordance\s+with|compl\w+\s+with|按照|根据|根據|遵循|符合")
_BARE_DOLLARS = ("$", "dollar", "dollars")
_PRESENTED = re.compile(
    r"(?:amounts?|figures|statements|currency|report)[^.]{0,60}\b(?:presented|expressed|stated|reported|is|are)\s+(?:in\s+)?"
    r"(?:millions\s+of\s+|thousands\s+of\s+|the\s+)?((?:Canadian|Australian|Hong\s+Kong|Singapore|New\s+Taiwan|U\.?S\.?|"
    r"United\s+States)\s+dollars?)",
    re.IGNORECASE,
)


def cover_facts(filing: Filing) -> tuple[Fact, ...]:
    """The facts about the document, each once, found or not presented."""
    heads = tuple(_heads(filing.texts))
    end = _fiscal_year_end(filing, heads)
    form = _form(filing)
    read: dict[str, Found | None] = {
        "company": company(filing),
        "form": form,
        "fiscal_year_end": end,
        "fiscal_year": _fiscal_year(filing, end),
        "standard": _standard(filing),
        "currency": _currency(filing, heads),
        "scale": _scale(heads),
        "auditor": auditor(filing),
    }
    return tuple(_fact(filing, name, found) for name, found in read.items())


def _fact(filing: Filing, name: str, found: Found | None) -> Fact:
    key = f"filing.{name}"
    if found is None:
        return Fact(id=key, name=key, value=None, status=Status.NOT_PRESENTED)
    quote = " ".join(found.quote.split())
    box = filing.locate(found.page, [found.quote])[0] or (0.0, 0.0, *filing.page_size(found.page))
    source = Source(input=filing.input, where=PageBox(page=found.page, bbox=box, quote=quote))
    if name == "scale":
        scale = int(found.value)
        return Fact(
            id=key,
            name=key,
            value=Decimal(scale),
            unit="1",
            scale=scale,
            confidence=found.confidence,
            sources=(source,),
        )
    return Fact(id=key, name=key, value=found.value, confidence=found.confidence, sources=(source,))


def _heads(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The first lines of the pages that open a primary statement: page number and text."""
    titles, given = vocabulary().titles, 0
    for number, text in enumerate(texts, start=1):
        lines = text.splitlines()
        start = next((i for i, line in enumerate(lines[:40]) if len(line) < 120 and titles.search(line)), None)
        if start is None or len(re.findall(r"\d[\d,.]{2,}", text)) < 20:
            continue
        yield number, "\n".join(lines[max(0, start - 3) : start + _HEAD_LINES])
        given += 1
        if given >= _MOST_HEADS:
            return


def _form(filing: Filing) -> Found | None:
    return _first(vocabulary().forms, enumerate(filing.texts[:FRONT_PAGES], start=1), 0.98)


def _first(terms: tuple[Term, ...], pages: Iterable[tuple[int, str]], confidence: float) -> Found | None:
    """On the first page that has any of the terms, the term that comes first in the list."""
    for number, text in pages:
        for value, pattern in terms:
            if match := pattern.search(text):
                return Found(value, number, match[0], confidence)
    return None


def _fiscal_year_end(filing: Filing, heads: tuple[tuple[int, str], ...]) -> Found | None:
    """From the cover's "for the fiscal year ended", else the latest date that most statements' heads agree on."""
    for number, text in enumerate(filing.texts[:FRONT_PAGES], start=1):
        for dated in dates(text):
            before = text[max(0, dated.start - 60) : dated.start]
            if re.search(_YEAR_END.pattern + r"$", before, re.IGNORECASE) or text[dated.end : dated.end + 4].startswith(
                "止年度"
            ):
                return Found(dated.value.isoformat(), number, text[dated.start : dated.end], 0.98)
    votes: dict[date, list[tuple[int, str]]] = {}
    for number, text in heads:
        found = [(each.value, text[each.start : each.end]) for each in dates(text)]
        if found:
            latest, quote = max(found)
            votes.setdefault(latest, []).append((number, quote))
    if votes:
        most = max(len(places) for places in votes.values())
        latest = max(day for day, places in votes.items() if len(places) * 2 >= most)
        number, quote = votes[latest][0]
        return Found(latest.isoformat(), number, quote, 0.95 if len(votes[latest]) > 1 else 0.8)
    for number, text in enumerate(filing.texts[:FRONT_PAGES], start=1):
        if match := _CHINESE_YEAR.search(text):
            year = spoken_year(match[1])
            return Found(f"{year}-12-31", number, match[0], 0.7)
    return None


def _fiscal_year(filing: Filing, end: Found | None) -> Found | None:
    """The year that the company calls it by: 52- and 53-week years may end in January and keep last year's number."""
    if end is None:
        return None
    day = date.fromisoformat(end.value)
    if day.month > 2 and filing.language == "zh":
        return Found(str(day.year), end.page, end.quote, end.confidence)
    said: Counter[str] = Counter()
    places: dict[str, tuple[int, str]] = {}
    named = re.compile(
        rf"(?:fiscal|fy|financial)\s*(?:year)?\s*[“\"(]*\s*((?:19|20)\d\d)\b(?=[^.]{{0,60}}?{day.strftime('%B')}\s+{day.day},?\s+{day.year})"
        rf"|{day.strftime('%B')}\s+{day.day},?\s+{day.year}\s*[,(]*\s*(?:is\s+)?(?:referred\s+to\s+as\s+)?[“\"(]*(?:fiscal|fy)\s*(?:year)?\s*((?:19|20)\d\d)",
        re.IGNORECASE,
    )
    for number, text in enumerate(filing.texts, start=1):
        for match in named.finditer(text):
            year = match[1] or match[2]
            if abs(int(year) - day.year) <= 1:
                said[year] += 1
                places.setdefault(year, (number, match[0]))
    if said:
        year, _ = said.most_common(1)[0]
        return Found(year, *places[year], 0.95)
    year = str(day.year - 1 if (day.month, day.day) <= (1, 7) else day.year)
    return Found(year, end.page, end.quote, end.confidence)


def _standard(filing: Filing) -> Found | None:
    """The framework that the text names most often in "in conformity with" sentences, else most often at all."""
    votes: Counter[str] = Counter()
    places: dict[str, tuple[int, str]] = {}
    for number, text in enumerate(filing.texts, start=1):
        for value, pattern in vocabulary().standards:
            for match in pattern.finditer(text):
                before = text[max(0, match.start() - 90) : match.start()]
                stated = re.search(
                    r"conformity\s+with|accordance\s+with|compl\w+\s+with|按照|根据|根據|遵循|符合", before
                )
                votes[value] += 6 if stated else 1
                if stated or value not in places:
                    places.setdefault(value, (number, match[0]))
    if not votes:
        return None
    value, most = votes.most_common(1)[0]
    return Found(value, *places[value], round(0.6 + 0.39 * most / sum(votes.values()), 2))


def _currency(filing: Filing, heads: tuple[tuple[int, str], ...]) -> Found | None:
    """The currency that most statements' heads name.

    A bare $ is the dollar that the report says it presents its figures in, else the US dollar.
    """
    terms = vocabulary().currencies
    pages = [(number, filing.texts[number - 1]) for number, _ in heads]
    found = (
        _voted(heads, lambda text: _specific(terms, text))
        or _voted(pages, lambda text: _specific(terms, text))
        or _voted(enumerate(filing.texts[: 10 * FRONT_PAGES], start=1), lambda text: _specific(terms, text))
    )
    if found is None or found.value != "USD" or found.quote.lower() not in _BARE_DOLLARS:
        return found
    said = _voted(enumerate(filing.texts, start=1), lambda text: _presented_in(terms, text))
    if said is not None:
        return said
    return found


def _presented_in(terms: tuple[Term, ...], text: str) -> tuple[str, str] | None:
    """The dollar of a sentence like "all amounts are presented in Canadian dollars unless stated otherwise"."""
    for stated in _PRESENTED.finditer(text):
        if (named := _specific(terms, stated[1])) and named[1].lower() not in _BARE_DOLLARS:
            return named[0], stated[1]
    return None


def _scale(heads: tuple[tuple[int, str], ...]) -> Found | None:
    terms = vocabulary().scales
    return _voted(heads, lambda text: _earliest(terms, text))


def _specific(terms: tuple[Term, ...], text: str) -> tuple[str, str] | None:
    """The first term in the list's order: what says more (HK$) stands before what says less ($)."""
    for value, pattern in terms:
        if match := pattern.search(text):
            return value, match[0]
    return None


def _earliest(terms: tuple[Term, ...], text: str) -> tuple[str, str] | None:
    """The term that stands first in the text: "in millions, except shares, which are in thousands"."""
    found = [(match.start(), value, match[0]) for value, pattern in terms if (match := pattern.search(text))]
    return min(found)[1:] if found else None


def _voted(pages: Iterable[tuple[int, str]], read: Callable[[str], tuple[str, str] | None]) -> Found | None:
    votes: Counter[str] = Counter()
    places: dict[str, tuple[int, str]] = {}
    for number, text in pages:
        if found := read(text):
            votes[found[0]] += 1
            places.setdefault(found[0], (number, found[1]))
    if not votes:
        return None
    value, most = votes.most_common(1)[0]
    return Found(value, *places[value], round(0.6 + 0.39 * most / sum(votes.values()), 2))
