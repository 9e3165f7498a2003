"""Dates as reports print them: English, Chinese with digits, Chinese in words."""

import re
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

_MONTHS = (
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
)
_MONTH = "|".join(f"{name}|{name[:4]}\\.?|{name[:3]}\\.?" for name in _MONTHS)
_CHINESE = {digit: value for value, digit in enumerate("〇一二三四五六七八九")} | {"零": 0, "○": 0, "Ｏ": 0}
_CHINESE_DIGIT = "[〇零○Ｏ一二三四五六七八九]"

DATE = re.compile(
    rf"(?P<mdy>\b(?P<m1>{_MONTH})\s*(?P<d1>\d{{1,2}})(?:st|nd|rd|th)?\s*,?\s*(?P<y1>(?:19|20)\d\d)\b)"
    rf"|(?P<dmy>\b(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\s*(?P<m2>{_MONTH})\s*,?\s*(?P<y2>(?:19|20)\d\d)\b)"
    r"|(?P<zh>(?P<y3>(?:19|20)\d\d)\s*年\s*(?P<m3>\d{1,2})\s*月\s*(?P<d3>\d{1,2})\s*日)"
    rf"|(?P<zw>(?P<y4>[二一]{_CHINESE_DIGIT}{{3}})\s*年\s*"
    r"(?P<m4>[十一二三四五六七八九]{1,2})\s*月\s*(?P<d4>[十一二三四五六七八九]{1,3})\s*日)",
    re.IGNORECASE,
)


class Dated(NamedTuple):
    """A date in a text, and where it stands."""

    value: date
    start: int
    end: int


def dates(text: str) -> Iterator[Dated]:
    """All dates in a text that the calendar has."""
    for match in DATE.finditer(text.translate(_WIDE)):
        try:
            yield Dated(_value(match), match.start(), match.end())
        except ValueError:
            continue


_WIDE = {ord("０") + digit: ord("0") + digit for digit in range(10)}


def _value(match: re.Match[str]) -> date:
    if match["mdy"]:
        return date(int(match["y1"]), _month(match["m1"]), int(match["d1"]))
    if match["dmy"]:
        return date(int(match["y2"]), _month(match["m2"]), int(match["d2"]))
    if match["zh"]:
        return date(int(match["y3"]), int(match["m3"]), int(match["d3"]))
    return date(int(spoken_year(match["y4"])), _spoken(match["m4"]), _spoken(match["d4"]))


def spoken_year(printed: str) -> str:
    """A year in digits, of either kind: 2019, 二〇一九."""
    return "".join(str(_CHINESE.get(digit, digit)) for digit in printed)


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, start=1) if month.startswith(name.lower()[:3]))


def _spoken(number: str) -> int:
    """A Chinese number up to 31: 十二, 三十一."""
    tens, ten, ones = number.partition("十")
    if not ten:
        return int("".join(str(_CHINESE[digit]) for digit in number))
    return 10 * (_CHINESE[tens] if tens else 1) + (_CHINESE[ones] if ones else 0)
