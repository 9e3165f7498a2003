"""Titles, notes on the scale, and heads of columns."""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

from .numerals import chinese_year
from .switches import Switches

Kind = str

_TITLES: dict[str, dict[Kind, tuple[str, ...]]] = {
    "us": {
        "balance_sheet": (
            "Consolidated Balance Sheets",
            "Consolidated Balance Sheet",
            "Consolidated Statements of Financial Condition",
        ),
        "income_statement": (
            "Consolidated Statements of Income",
            "Consolidated Statements of Operations",
            "Consolidated Statements of Earnings",
            "Consolidated Statement of Income",
        ),
        "cash_flow": ("Consolidated Statements of Cash Flows", "Consolidated Statement of Cash Flows"),
    },
    "ifrs": {
        "balance_sheet": (
            "Consolidated Statement of Financial Position",
            "Consolidated Balance Sheet",
            "Group Balance Sheet",
        ),
        "income_statement": (
            "Consolidated Income Statement",
            "Consolidated Statement of Profit or Loss",
            "Group Income Statement",
        ),
        "cash_flow": (
            "Consolidated Statement of Cash Flows",
            "Consolidated Cash Flow Statement",
            "Group Statement of Cash Flows",
        ),
    },
    "zh": {
        "balance_sheet": ("合并资产负债表",),
        "income_statement": ("合并利润表",),
        "cash_flow": ("合并现金流量表",),
    },
    "hk": {
        "balance_sheet": ("綜合財務狀況表",),
        "income_statement": ("綜合損益表", "綜合收益表"),
        "cash_flow": ("綜合現金流量表",),
    },
}

_SCALE_NAMES = {1_000: "thousands", 1_000_000: "millions"}
_SYMBOLS = {"USD": "$", "GBP": "£", "EUR": "€", "CHF": "CHF "}
_NAMES = {"USD": "U.S. dollars", "GBP": "pounds sterling", "EUR": "euros", "CHF": "Swiss francs"}
_ZH_UNITS = {1: "元", 1_000: "千元", 10_000: "万元", 1_000_000: "百万元", 100_000_000: "亿元"}


@dataclass(frozen=True)
class Heads:
    """What stands above the columns: title lines, a note on the unit, spanning heads, and each column's own lines."""

    title: tuple[str, ...]
    unit: str
    spans: tuple[tuple[str, int, int], ...]
    columns: tuple[tuple[str, ...], ...]


def year_end(switches: Switches, year: int) -> date:
    """The last day of a fiscal year; of 52/53 weeks, the last Saturday of the month (January's in the year after)."""
    kind = switches.year_end
    if kind.startswith("52w"):
        month = int(kind[4:])
        in_year = year + (month == 1)
        last = date(in_year, month, calendar.monthrange(in_year, month)[1])
        return last - timedelta(days=(last.weekday() - 5) % 7)
    month, day = (int(part) for part in kind.split("-"))
    return date(year + (month == 1), month, day)


def english_date(day: date, *, european: bool = False) -> str:
    """December 31, 2018, or 31 December 2018."""
    month = calendar.month_name[day.month]
    return f"{day.day} {month} {day.year}" if european else f"{month} {day.day}, {day.year}"


def title(switches: Switches, kind: Kind, choice: int) -> str:
    """The statement's title."""
    options = _TITLES[switches.family][kind]
    text = options[choice % len(options)]
    if switches.sector not in ("bank", "insurer") and "Condition" in text:
        text = options[0]
    return text.upper() if switches.upper_titles else text


def symbol(switches: Switches) -> str:
    """The currency's sign."""
    return _SYMBOLS.get(switches.currency, "")


def unit_note(switches: Switches, *, shares_in_full: bool = False) -> str:
    """The remark that gives the scale."""
    name = _SCALE_NAMES.get(switches.scale)
    if switches.family == "us":
        except_for = "share and per share" if shares_in_full else "per share"
        if name is None:
            return "(In U.S. dollars)" if switches.newest_first else "(in dollars, except share data)"
        style = len(switches.dash) + switches.years + int(switches.size * 2)
        return (
            f"(In {name}, except {except_for} data)",
            f"(Dollars in {name}, except {except_for} amounts)",
            f"({name} of dollars, except {except_for} data)".replace("(m", "(M").replace("(t", "(T"),
            f"(in {name}, except {except_for} data)",
        )[style % 4]
    if switches.family == "ifrs":
        return f"(in {name} of {_NAMES[switches.currency]})" if name else f"(in {_NAMES[switches.currency]})"
    unit = _ZH_UNITS[switches.scale]
    if switches.family == "zh":
        return (f"单位：{unit}  币种：人民币", f"单位:{unit} 币种:人民币", f"金额单位：人民币{unit}")[
            int(switches.size * 2) % 3
        ]
    return f"（以{_hk_unit(switches)}列示）"


def _hk_unit(switches: Switches) -> str:
    name = {1_000: "千", 1_000_000: "百萬"}[switches.scale]
    return f"{name}港元" if switches.currency == "HKD" else f"人民幣{name}元"


def column_unit(switches: Switches) -> str:
    """The unit as it stands under a year: £m, $'000, 千港元."""
    if switches.family == "hk":
        return _hk_unit(switches)
    if switches.family == "zh":
        return _ZH_UNITS[switches.scale]
    return symbol(switches) + {1_000_000: "m", 1_000: "’000", 1: ""}[switches.scale]


def heads(switches: Switches, kind: Kind, years: tuple[int, ...], company: str, choice: int) -> Heads:
    """Title and heads of a primary statement, ``years`` in the order of its columns."""
    days = [year_end(switches, year) for year in years]
    if switches.family in ("zh", "hk"):
        return _chinese(switches, kind, years, days, company, choice)
    flow = kind != "balance_sheet"
    european = switches.family == "ifrs"
    newest = max(days)
    spans: tuple[tuple[str, int, int], ...] = ()
    weeks = switches.year_end.startswith("52w")
    month_day = english_date(newest).rsplit(" ", 1)[0]
    period = f"{'For the years ended' if flow else 'As of'} "
    full = [english_date(day, european=european) for day in days]
    subtitle = ""
    style = switches.heads
    columns: list[tuple[str, ...]]
    if style in ("years", "years_unit"):
        columns = [(str(day.year),) for day in days]
        if european:
            subtitle = ("For the year ended " if flow else "At ") + english_date(newest, european=True)
        else:
            listed = [str(day.year) for day in sorted(days, reverse=True)]
            subtitle = f"{period}{month_day}, {', '.join(listed[:-1])} and {listed[-1]}"
        if style == "years_unit":
            columns = [(*each, column_unit(switches)) for each in columns]
    elif style == "spanned":
        columns = [(str(day.year),) for day in days]
        spans = (
            (
                f"{('Years Ended', 'Year ended', 'Fiscal Year Ended')[choice % 3] if flow else ''} {month_day}".strip(),
                0,
                len(days) - 1,
            ),
        )
    elif style == "split_dates":
        columns = [
            ((("Year ended", "Fiscal year ended")[weeks],) if flow else ())
            + (english_date(day).split(",")[0] + ",", str(day.year))
            if not european
            else ((("Year ended",) if flow else ()) + (f"{day.day} {calendar.month_name[day.month]}", str(day.year)))
            for day in days
        ]
    else:
        columns = [(text,) for text in full]
        if weeks and flow:
            spans = (("Fiscal Years Ended" if choice % 2 else "52 Weeks Ended", 0, len(days) - 1),)
    if switches.restated:
        columns = [(*c, "(As restated)") if day != newest else c for c, day in zip(columns, days, strict=True)]
    lines = [company if not switches.upper_titles else company.upper(), title(switches, kind, choice)]
    if subtitle:
        lines.append(subtitle)
    return Heads(
        tuple(lines), unit_note(switches, shares_in_full=switches.form.shares_in_full > 1), spans, tuple(columns)
    )


def _chinese(
    switches: Switches, kind: Kind, years: tuple[int, ...], days: list[date], company: str, choice: int
) -> Heads:  # fmt: skip
    newest = max(days)
    flow = kind != "balance_sheet"
    columns: list[tuple[str, ...]]
    if switches.family == "hk":
        if switches.heads == "numeral_years":
            columns = [(f"{chinese_year(year)}年", column_unit(switches)) for year in years]
        else:
            columns = [(f"{year}年", column_unit(switches)) for year in years]
        day = (
            f"{chinese_year(newest.year)}年十二月三十一日"
            if switches.heads == "numeral_years"
            else f"{newest.year}年12月31日"
        )
        lines = [title(switches, kind, choice), f"截至{day}止年度" if flow else f"於{day}"]
        if switches.restated:
            columns = [(*c, "（經重列）") if y != newest.year else c for c, y in zip(columns, years, strict=True)]
        return Heads((company, *lines), unit_note(switches), (), tuple(columns))
    gap = " " if choice % 2 else ""
    if switches.heads == "dates":
        texts = [f"{y}{gap}年度" if flow else f"{y}{gap}年{gap}12{gap}月{gap}31{gap}日" for y in years]
    else:
        flows = {
            "ending_balance": ("本期发生额", "上期发生额"),
            "ending_number": ("本期金额", "上期金额"),
            "year_end_balance": ("本年金额", "上年金额"),
        }
        stocks = {
            "ending_balance": ("期末余额", "期初余额"),
            "ending_number": ("期末数", "期初数"),
            "year_end_balance": ("年末余额", "年初余额"),
        }
        pair = (flows if flow else stocks)[switches.heads]
        texts = [pair[0] if y == newest.year else pair[1] for y in years]
    columns = [(text,) for text in texts]
    if switches.restated:
        columns = [(*c, "（已重述）") if y != newest.year else c for c, y in zip(columns, years, strict=True)]
    when = f"{newest.year}{gap}年{gap}1—12{gap}月" if flow else f"{newest.year}{gap}年{gap}12{gap}月{gap}31{gap}日"
    return Heads(
        (title(switches, kind, choice), when, f"编制单位：{company}"), unit_note(switches), (), tuple(columns)
    )  # fmt: skip
