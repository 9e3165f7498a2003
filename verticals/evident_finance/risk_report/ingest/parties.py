"""Who reports, and who audits: the names on a report's cover and under its auditor's report."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from evident_finance.risk_report.ingest.filing import Filing

FRONT_PAGES = 4
_REGISTRANT = re.compile(r"\(\s*exact\s+names?\s+of\s+(?:the\s+)?registrants?", re.IGNORECASE)
_COMMISSION = re.compile(r"commission\s+file\s+(?:number|no\.?)s?\s*:?\s*[\w.-]+\s*$", re.IGNORECASE)
_SUFFIX = (
    r"(?:Inc\.?|Incorporated|Corporation|Corp\.?|Company|Co\.|plc|PLC|p\.l\.c\.|Ltd\.?|Limited|LLC|L\.P\.|N\.V\.|S\.A\."
    r"|SE|AG|AB|ASA|A/S|S\.p\.A\.|Oyj|Group|Holdings)"
)
_ADDRESSEE = re.compile(
    r"to\s+the\s+(?:members|shareholders|stockholders|board\s+of\s+directors)"
    r"(?:\s+and\s+(?:the\s+)?(?:board\s+of\s+directors|shareholders|stockholders))?"
    r"\s+of\s+([A-Z][^\n()]{1,70}?)\s*(?:\(|[:,]?\s*\n|\.\s*\n)",
    re.IGNORECASE,
)
_NAMED_LINE = re.compile(rf"^\s*([A-Z][\w&.,'’\- ]{{1,70}}?\s{_SUFFIX})\s*$", re.MULTILINE)
_CHINESE_LABEL = re.compile(
    r"(?:公司的?中文名[称稱]|公司法定中文名称|发行人名称|公司名[称稱])\s*[:：]?\s*([^\s:：（(]{4,40})"
)
_CHINESE_NAME = re.compile(
    r"([\u3400-\u9fffA-Za-z0-9（）()·]{2,40}?(?:股份有限公司|有限责任公司|有限責任公司|有限公司|集团公司|銀行|银行))"
)
_AUDITOR = re.compile(
    r"(?:/s/\s*)?((?:Ernst\s*&\s*Young|KPMG|Deloitte\s*(?:&|and)\s*Touche|Deloitte|PricewaterhouseCoopers|BDO(?:\s+USA)?"
    r"|Grant\s+Thornton|RSM(?:\s+US)?|Crowe|Mazars|Forvis[\w ]*|Moss\s+Adams|Marcum|[A-Z][\w&.,' ]{2,40}?),?\s+"
    r"(?:LLP|P\.?C\.?|AG|S\.A\.|Limited|SAS))\b"
)
_CHINESE_AUDITOR = re.compile(r"([\u3400-\u9fff]{2,12}会计师事务所\s*(?:[（(]\s*特殊普通合伙\s*[）)])?)")
_AUDIT_REPORT = re.compile(
    r"report\s+of\s+independent\s+registered|independent\s+auditor[’']?s?[’']?\s+report", re.IGNORECASE
)
_SIGNED_WITHIN = 4


class Found(NamedTuple):
    """A value as it was read: on which page, in which printed words, and how sure that is."""

    value: str
    page: int
    quote: str
    confidence: float


def company(filing: Filing) -> Found | None:
    """The company: from the cover, its Chinese label, the auditor's address, or a line that is a company's name."""
    front = filing.texts[:FRONT_PAGES]
    for number, text in enumerate(front, start=1):
        if found := _registrant(text):
            return Found(found, number, found, 0.98)
    if filing.language == "zh":
        return _chinese_company(filing)
    for number, text in enumerate(filing.texts, start=1):
        if (match := _ADDRESSEE.search(text)) and _AUDIT_REPORT.search(text):
            name = match[1].strip(" ,")
            return Found(" ".join(name.split()), number, name, 0.9)
    for number, text in enumerate(front, start=1):
        if match := _NAMED_LINE.search(text):
            return Found(match[1].strip(), number, match[1], 0.7)
    return None


def registrants(texts: Iterable[str]) -> dict[str, int]:
    """The registrants that covers name, each with its page: more than one in a combined filing."""
    named: dict[str, int] = {}
    for number, text in enumerate(texts, start=1):
        lines = _lines(text)
        for place, line in enumerate(lines):
            if _REGISTRANT.search(line) and place and _is_name(lines[place - 1]):
                named.setdefault(lines[place - 1], number)
    return named


def auditor(filing: Filing) -> Found | None:
    """The auditor: who signs the auditor's report, or the accounting firm that a Chinese report names most."""
    if filing.language == "zh":
        names: Counter[str] = Counter()
        places: dict[str, tuple[int, str]] = {}
        for number, text in enumerate(filing.texts, start=1):
            for match in _CHINESE_AUDITOR.finditer(text):
                name = re.split(r"^(?:公司)?(?:聘任|续聘|聘请|改聘|由)", match[1])[-1]
                names[name] += 1
                places.setdefault(name, (number, name))
        if not names:
            return None
        name, _ = names.most_common(1)[0]
        return Found("".join(name.split()), *places[name], 0.8)
    for number, text in enumerate(filing.texts, start=1):
        opening = _AUDIT_REPORT.search(text)
        if opening is None or _is_index(text):
            continue
        for page in range(number, min(number + _SIGNED_WITHIN, filing.page_count + 1)):
            here = text[opening.end() :] if page == number else filing.texts[page - 1]
            if signed := _AUDITOR.search(here):
                return Found(" ".join(signed[1].split()), page, signed[1], 0.8)
    return None


def _registrant(text: str) -> str | None:
    """The line above "(Exact name of registrant …)", or below the Commission's file number."""
    lines = _lines(text)
    for number, line in enumerate(lines):
        if _REGISTRANT.search(line) and number and _is_name(lines[number - 1]):
            return lines[number - 1]
    for number, line in enumerate(lines[:-1]):
        if _COMMISSION.search(line) and _is_name(lines[number + 1]):
            return lines[number + 1]
    return None


def _lines(text: str) -> list[str]:
    """The lines of a cover, split where it draws rules of underscores."""
    return [part for line in re.split(r"\n|[_\s]{3,}", text) if (part := line.strip())]


def _is_name(line: str) -> bool:
    return (
        2 <= len(line) <= 90
        and bool(re.search(r"[^\W\d_]", line))
        and not re.search(r"commission|\bfile\b", line, re.I)
    )


def _chinese_company(filing: Filing) -> Found | None:
    front = list(enumerate(filing.texts[:12], start=1))
    for number, text in front:
        if (match := _CHINESE_LABEL.search(text)) and _CHINESE_NAME.fullmatch(match[1]):
            return Found(match[1], number, match[1], 0.98)
    for number, text in front[:FRONT_PAGES]:
        for line in text.splitlines():
            if match := _CHINESE_NAME.fullmatch("".join(line.split())):
                return Found(match[1], number, line.strip(), 0.95)
    names: Counter[tuple[str, int]] = Counter()
    for number, text in front:
        names.update((match[1], number) for match in _CHINESE_NAME.finditer(text))
    if names:
        (name, number), _ = names.most_common(1)[0]
        return Found(name, number, name, 0.6)
    return None


def _is_index(text: str) -> bool:
    """Whether most lines end with a page number."""
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(bool(re.search(r"\s[\dF-]{1,4}\s*$", line)) for line in lines) > len(lines) / 2
