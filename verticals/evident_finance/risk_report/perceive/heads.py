"""What the head of a statement says of its columns: the period of each, whose they are, and which are restated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from evident_finance.risk_report.perceive.dates import dates_in, month_days_in, western_digits
from evident_finance.risk_report.perceive.labels import squash
from evident_finance.risk_report.perceive.lines import Line
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.perceive.pages import announcement
from evident_finance.risk_report.schema import Word

_BARE_YEAR = re.compile(r"(?<![\d,.])(?:FY|fiscal)?\s*'?(?P<year>(?:19|20)\d\d)(?![\d,]|\.\d)", re.IGNORECASE)
_CURRENT = re.compile(r"期末|年末|本期|本年|当期|本报告期|thisyear|currentyear|currentperiod")
_PRIOR = re.compile(r"期初|年初|上期|上年|去年|同期|prioryear|previousyear|lastyear")
_RESTATED = re.compile(r"(?<!not)restated|asadjusted|recast|asrevised|重述|调整后|经调整|经重列|重列")
_BEFORE_RESTATEMENT = re.compile(r"asreported|aspreviouslyreported|调整前|重述前")
_COMPANY = re.compile(
    r"^(?:the)?company(?!and)|parentcompany|母公司|本公司|^公司|registrant|本行|本银行|guarantor|eliminations|reclass"
)
_PARENT_MARK = re.compile(r"(?:母公司|本公司|公司|本行|本银行|company|parent)(?:数)?")
_GROUP_MARK = re.compile(r"(?:合并|本集团|集团|group|consolidated)(?:数)?")
_CHANGE = re.compile(r"change|variance|增减|变动|同比|增长|%|convenience|translation")
_DATED = re.compile(
    r"(?:19|20)\d\d|[二一][〇零○]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|\d{1,2}月|[期年]|company|group|parent|restate|adjust|recast|公司|集团|合并|重述|调整|change|%"
)
_RUNNING = re.compile(r"年度报告|annualreport|form10-?k|tableofcontents|编制单位|^单位")


@dataclass(frozen=True)
class Head:
    """The columns of one table: the end of each one's period (None: not the group's), its label, and restatement."""

    periods: tuple[date | None, ...]
    labels: tuple[str, ...]
    restated: tuple[bool, ...]
    superseded: tuple[bool, ...]

    @property
    def known(self) -> int:
        """How many columns have a period."""
        return sum(period is not None for period in self.periods)


def read_head(lines: Sequence[Line], columns: Sequence[tuple[float, float]], year_end: date | None) -> Head | None:
    """The periods of the columns, from the lines above them; None where fewer than one can be told.

    ``year_end`` is the end of the reported year, where known: it dates heads that give only years or only "this year".
    """
    whole = "\n".join(line.text for line in lines)
    days = month_days_in(whole) or [(when.month, when.day) for _, when in dates_in(whole)]
    default_day = max(set(days), key=days.count) if days else ((year_end.month, year_end.day) if year_end else None)
    anchor = _anchor(whole, year_end)
    whose = _whose(lines, columns)
    titled = [line for line in lines if not (len(columns) > 1 and _dates_whole(line.text))]
    for considered in (lines, titled):
        texts = _column_texts(considered, columns)
        foreign = [
            other or bool(_COMPANY.search(squash(text)) or _CHANGE.search(squash(text)))
            for text, other in zip(texts, whose, strict=True)
        ]
        own: list[date | None] = [
            None if out else _period(text, default_day, anchor) for text, out in zip(texts, foreign, strict=True)
        ]
        if _plausible(own, foreign, texts):
            break
    dated = _full_dates(lines, len(columns)) if not any(foreign) else None
    if dated:
        own = list(dated)
    elif not _plausible(own, foreign, texts):
        own = _by_sequence(lines, len(columns), default_day) or own
        if not _plausible(own, [False] * len(own), texts):
            own = _by_words(whole, own, anchor)
    if not any(own):
        return None
    restated = tuple(bool(_RESTATED.search(squash(text))) for text in texts)
    before = tuple(bool(_BEFORE_RESTATEMENT.search(squash(text))) for text in texts)
    return Head(tuple(own), tuple(texts), restated, before)


def _column_texts(lines: Sequence[Line], columns: Sequence[tuple[float, float]]) -> list[str]:
    """What stands above each column, top to bottom; a word belongs to the column whose middle is nearest."""
    middles = [(x0 + x1) / 2 for x0, x1 in columns]
    pitch = min((b - a for a, b in pairwise(middles)), default=120.0)
    texts: list[list[str]] = [[] for _ in columns]
    for line in lines:
        if not _DATED.search(squash(line.text)) or _RUNNING.search(squash(line.text)) or announcement(line.text):
            continue
        for phrase in _phrases(line):
            left, right = phrase[0].bbox[0], phrase[-1].bbox[2]
            middle = (left + right) / 2
            index = min(range(len(columns)), key=lambda i: abs(middle - middles[i]))
            x0, x1 = columns[index]
            reach = max(0.55 * pitch, (x1 - x0) / 2 + 6)
            if abs(middle - middles[index]) <= reach or x0 <= middle <= x1 or abs(right - x1) < 4:
                texts[index].append(" ".join(word.text for word in phrase))
    return [" ".join(parts) for parts in texts]


def _phrases(line: Line) -> list[list[Word]]:
    """The words of a line, those together that no more than a space parts."""
    phrases: list[list[Word]] = []
    for word in line.words:
        if phrases and word.bbox[0] - phrases[-1][-1].bbox[2] < 0.45 * line.height:
            phrases[-1].append(word)
        else:
            phrases.append([word])
    return phrases


def _dates_whole(text: str) -> bool:
    """Whether a line gives the one date of the whole statement, under its title."""
    return len(dates_in(text)) == 1 and len(_BARE_YEAR.findall(western_digits(plain(text)))) <= 1


def _whose(lines: Sequence[Line], columns: Sequence[tuple[float, float]]) -> list[bool]:
    """For each column whether a head over several columns says that it is the parent company's, beside the group's."""
    for line in lines:
        marks = [
            ((word.bbox[0] + word.bbox[2]) / 2, bool(_PARENT_MARK.fullmatch(squash(word.text))))
            for word in line.words
            if _PARENT_MARK.fullmatch(squash(word.text)) or _GROUP_MARK.fullmatch(squash(word.text))
        ]
        if len({parent for _, parent in marks}) == 2:
            return [min(marks, key=lambda mark: abs(mark[0] - (x0 + x1) / 2))[1] for x0, x1 in columns]
    return [False] * len(columns)


def _anchor(text: str, year_end: date | None) -> date | None:
    """The end of the current period as the lines around the head state it."""
    stated = [when for _, when in dates_in(text)]
    match = re.search(r"((?:19|20)\d\d)年(?:度|1[-—–至]+12月)", squash(western_digits(plain(text))))
    if match:
        stated.append(date(int(match[1]), 12, 31))
    return max(stated) if stated else year_end


def _period(text: str, default_day: tuple[int, int] | None, anchor: date | None) -> date | None:
    full = dates_in(text)
    if full:
        return _closing(full[-1][1])
    tight = squash(text)
    if anchor and _CURRENT.search(tight) and not _PRIOR.search(tight):
        return anchor
    if anchor and _PRIOR.search(tight):
        return _year_before(anchor)
    days, years = (
        month_days_in(text),
        [int(match["year"]) for match in _BARE_YEAR.finditer(western_digits(plain(text)))],
    )
    years += [
        int(y) for y in re.findall(r"((?:19|20)\d\d)年", squash(western_digits(plain(text)))) if int(y) not in years
    ]
    if years:
        if "年" in text and not days:
            default_day = default_day or (12, 31)
        day = days[-1] if days else default_day
        return _on(years[-1], *day) if day else date(years[-1], 12, 31)
    return None


def _closing(when: date) -> date:
    """1 January opens the year that 31 December before it closes: opening balances are those of that day."""
    return when - timedelta(days=1) if (when.month, when.day) == (1, 1) else when


def _on(year: int, month: int, day: int) -> date:
    try:
        return _closing(date(year, month, day))
    except ValueError:
        return date(year, month, 28)


def _year_before(when: date) -> date:
    return _on(when.year - 1, when.month, when.day)


def _plausible(periods: Sequence[date | None], foreign: Sequence[bool], texts: Sequence[str]) -> bool:
    known = [period for period, out in zip(periods, foreign, strict=True) if not out]
    twice = any(_RESTATED.search(squash(text)) or _BEFORE_RESTATEMENT.search(squash(text)) for text in texts)
    return bool(known) and None not in known and (len(set(known)) == len(known) or (twice and len(known) > 2))


def _full_dates(lines: Sequence[Line], count: int) -> list[date] | None:
    """The dates of a head line that has exactly one for each column."""
    for line in reversed(lines):
        full = [_closing(when) for _, when in dates_in(line.text)]
        if len(full) == count and len(set(full)) == count:
            return full
    return None


def _by_sequence(lines: Sequence[Line], count: int, default_day: tuple[int, int] | None) -> list[date | None] | None:
    """Periods from a head line that has exactly as many years as there are columns."""
    days: list[tuple[int, int]] = []
    for line in lines:
        found = month_days_in(line.text)
        if len(found) == count:
            days = found
    for line in reversed(lines):
        years = [int(match["year"]) for match in _BARE_YEAR.finditer(western_digits(plain(line.text)))]
        if len(years) == count and len(set(years)) == count:
            each = days or [default_day or (12, 31)] * count
            return [_on(year, *day) for year, day in zip(years, each, strict=True)]
    return None


def _by_words(text: str, own: list[date | None], anchor: date | None) -> list[date | None]:
    tight = squash(text)
    places = sorted(
        [(m.start(), 0) for m in _CURRENT.finditer(tight)] + [(m.start(), 1) for m in _PRIOR.finditer(tight)]
    )
    if anchor and len(places) == len(own) and not any(own):
        return [anchor if which == 0 else _year_before(anchor) for _, which in places]
    return own
