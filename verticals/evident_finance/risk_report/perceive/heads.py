"""What the head of a statement says: the period of each column, the currency, the scale, which columns are restated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from evident_finance.risk_report.perceive.grid import Line
from evident_finance.risk_report.perceive.labels import squash
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.perceive.pages import announcement
from evident_finance.risk_report.schema import Word

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
_MONTH = r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
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
_ZH_DIGITS = str.maketrans("零〇○一二三四五六七八九", "000123456789")

CURRENCIES = (
    ("HKD", r"hk\$|港币|港元|港幣|hongkongdollar|千港元|百万港元"),
    ("TWD", r"nt\$|新台币"),
    ("CNY", r"rmb|人民币|renminbi|cny"),
    ("EUR", r"€|eur\b|euros?|欧元"),
    ("GBP", r"£|gbp|poundssterling|英镑"),
    ("JPY", r"jpy|japaneseyen|日元|¥million|millionsofyen"),
    ("CHF", r"chf|swissfranc"),
    ("CAD", r"(?<![a-z])c\$|cdn\$|canadiandollar"),
    ("AUD", r"(?<![a-z])a\$|australiandollar"),
    ("INR", r"₹|rupee|crore|lakh"),
    ("SGD", r"(?<![a-z])s\$|singaporedollar"),
    ("USD", r"us\$|usd|u\.s\.dollar|usdollar|美元|\$|dollar"),
)
_SCALES = (
    (1_000_000_000, r"(?:in|dollarsin|amountsin)billions|[$€£¥]\s*b(?:illio)?n|十亿元?"),
    (100_000_000, r"亿元?"),
    (
        1_000_000,
        r"百万|millions?|[$€£¥]m\b|mio\b|(?:us\$|rmb|hk\$|[$€£¥])'?m(?![a-z])|(?:us\$|hk\$|rmb|[$€£¥])(?:000,000|'000,000)",
    ),
    (10_000, r"万元|单位:?(?:人民币)?万"),
    (1_000, r"千元|千港元|千美元|thousands?|(?:\(|[$€£¥]|rmb|hk\$|us\$|eur|gbp)?'?000(?:'?s)?(?![\d,])|[$€£]k\b"),
    (1, r"单位:?(?:人民币)?元|人民币元|(?:in|expressedin)(?:us)?dollars|wholedollars|币种|actualdollars"),
)


@dataclass(frozen=True)
class Head:
    """The columns of one table: the period's end of each (None: not a period of the group), its label, and restatement."""

    periods: tuple[date | None, ...]
    labels: tuple[str, ...]
    restated: tuple[bool, ...]
    superseded: tuple[bool, ...]

    @property
    def known(self) -> int:
        """How many columns have a period."""
        return sum(period is not None for period in self.periods)


def dates_in(text: str) -> list[tuple[int, date]]:
    """All full dates in the text with their places."""
    found: dict[int, date] = {}
    text = _chinese_digits(plain(text))
    for pattern in _FULL:
        for match in pattern.finditer(text):
            when = _date(match, int(match["year"]))
            if when and not any(start <= match.start() < start + 6 for start in found):
                found[match.start()] = when
    return sorted(found.items())


def month_days_in(text: str) -> list[tuple[int, int]]:
    """All (month, day) that stand without a year, in order."""
    text = _chinese_digits(plain(text))
    found = {}
    for pattern in _MONTH_DAY:
        for match in pattern.finditer(text):
            when = _date(match, 2000)
            if when:
                found[match.start()] = (when.month, when.day)
    return [found[start] for start in sorted(found)]


def _chinese_digits(text: str) -> str:
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
    pitch = min((b - a for a, b in zip(middles, middles[1:], strict=False)), default=120.0)
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
    return len(dates_in(text)) == 1 and len(_BARE_YEAR.findall(_chinese_digits(plain(text)))) <= 1


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
    match = re.search(r"((?:19|20)\d\d)年(?:度|1[-—–至]+12月)", squash(_chinese_digits(plain(text))))
    if match:
        stated.append(date(int(match[1]), 12, 31))
    return max(stated) if stated else year_end


def _period(text: str, default_day: tuple[int, int] | None, anchor: date | None) -> date | None:
    full = dates_in(text)
    if full:
        return _closing(full[-1][1])
    days, years = (
        month_days_in(text),
        [int(match["year"]) for match in _BARE_YEAR.finditer(_chinese_digits(plain(text)))],
    )
    years += [
        int(y) for y in re.findall(r"((?:19|20)\d\d)年", squash(_chinese_digits(plain(text)))) if int(y) not in years
    ]
    if years:
        if "年" in text and not days:
            default_day = default_day or (12, 31)
        day = days[-1] if days else default_day
        return _on(years[-1], *day) if day else date(years[-1], 12, 31)
    tight = squash(text)
    if anchor and _CURRENT.search(tight) and not _PRIOR.search(tight):
        return anchor
    if anchor and _PRIOR.search(tight):
        return _year_before(anchor)
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
        years = [int(match["year"]) for match in _BARE_YEAR.finditer(_chinese_digits(plain(line.text)))]
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


def currency_in(text: str) -> str | None:
    """The ISO 4217 code of the currency that the text names, if any."""
    tight = squash(text)
    return next((code for code, pattern in CURRENCIES if re.search(pattern, tight)), None)


def scale_in(text: str) -> int | None:
    """The multiple that the text gives ("in millions, except …" -> 1,000,000), if any."""
    tight = re.sub(r"except(?:for)?(?:share|per|number|par|the|earnings|where|as).*?(?:\)|$)", ")", squash(text))
    best = None
    for scale, pattern in _SCALES:
        match = re.search(pattern, tight)
        if match and (best is None or match.start() < best[0]):
            best = (match.start(), scale)
    return best[1] if best else None


def share_scale_in(text: str, scale: int) -> int:
    """The multiple in which share counts are printed: the statement's own unless the head sets them apart."""
    tight = squash(text)
    if re.search(
        r"(?:number)?ofshares.{0,40}(?:reflected|stated|shown|presented|are)?in(thousands)|sharesinthousands|\(000'?s\)|shares.{0,12}thousands",
        tight,
    ):
        return 1_000
    if re.search(
        r"except(?:for)?(?:number(?:of)?)?shares?(?:and|data|amounts|,|par)|exceptper-?shareandshare|exceptparvalueandshare",
        tight,
    ):
        return 1
    return scale
