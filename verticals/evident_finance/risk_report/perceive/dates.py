"""Dates as statements print them: with month names, as numbers, in Chinese digits, whole or without their year."""

import re
from datetime import date

from evident_finance.risk_report.perceive.numbers import plain

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_FULL = (
    re.compile(rf"\b{_MONTH}\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s*,?\s*{_YEAR}(?!\d)", re.IGNORECASE),
    re.compile(
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?[\s-]*{_MONTH}[\s,-]*{_YEAR}(?!\d)", re.IGNORECASE
    ),
    re.compile(rf"{_YEAR}\s*[年./-]\s*(?P<monthno>\d{{1,2}})\s*[月./-]\s*(?P<day>\d{{1,2}})(?:\s*日)?(?!\d)"),
    re.compile(rf"(?<!\d)(?P<day>\d{{1,2}})[./](?P<monthno>\d{{1,2}})[./]{_YEAR}(?!\d)"),
)
_MONTH_DAY = (
    re.compile(rf"\b{_MONTH}\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s*,?\s*(?:19|20)\d\d)", re.IGNORECASE),
    re.compile(
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+{_MONTH}\b(?!\s*,?\s*(?:19|20)\d\d)", re.IGNORECASE
    ),
    re.compile(r"(?P<monthno>\d{1,2})月(?P<day>\d{1,2})日"),
)
_ZH_DIGITS = str.maketrans("零〇○一二三四五六七八九", "000123456789")


def dates_in(text: str) -> list[tuple[int, date]]:
    """All full dates in the text with their places."""
    found: dict[int, date] = {}
    text = western_digits(plain(text))
    for pattern in _FULL:
        for match in pattern.finditer(text):
            when = _date(match, int(match["year"]))
            if when and not any(start <= match.start() < start + 6 for start in found):
                found[match.start()] = when
    return sorted(found.items())


def month_days_in(text: str) -> list[tuple[int, int]]:
    """All (month, day) that stand without a year, in order."""
    text = western_digits(plain(text))
    found = {}
    for pattern in _MONTH_DAY:
        for match in pattern.finditer(text):
            when = _date(match, 2000)
            if when:
                found[match.start()] = (when.month, when.day)
    return [found[start] for start in sorted(found)]


def western_digits(text: str) -> str:
    """The text with the dates in it that are spelled in Chinese numerals (二零一九年十二月) in digits."""

    def digits(match: re.Match[str]) -> str:
        return match[0].translate(_ZH_DIGITS)

    text = re.sub(r"[二一][〇零○一二三四五六七八九]{3}(?=\s*年)", digits, text)
    numbers = {"十": "10", "十一": "11", "十二": "12"}
    text = re.sub(
        r"(?<=年)\s*(十[一二]?|[一二三四五六七八九])(?=月)",
        lambda m: numbers.get(m[1], m[1].translate(_ZH_DIGITS)),
        text,
    )

    def day(match: re.Match[str]) -> str:
        tens, _, ones = match[1].rpartition("十")
        if "十" not in match[1]:
            return match[1].translate(_ZH_DIGITS)
        return str(
            (int(tens.translate(_ZH_DIGITS)) if tens else 1) * 10 + (int(ones.translate(_ZH_DIGITS)) if ones else 0)
        )

    return re.sub(r"(?<=月)\s*([一二三四五六七八九十]{1,3})(?=日)", day, text)


def _date(match: re.Match[str], year: int) -> date | None:
    groups = match.groupdict()
    if groups.get("monthno"):
        month = int(groups["monthno"])
    else:
        month = 1 + next(i for i, name in enumerate(_MONTHS) if name.startswith(groups["month"].lower()[:3]))
    try:
        return date(year, month, int(groups["day"]))
    except ValueError:
        return None
