"""Print numbers as a reader of each language expects them: $32.8 billion, 328亿美元, 5.2%, 1.9 times, 45天."""

import tomllib
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Language

_MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
_SIGNIFICANT = 3
_COARSE = {"1": 2, "%": 1, "d": 0}


def quantity(value: Decimal, unit: str, language: Language, *, style: str = "", finer: int = 0) -> str:
    """The number with its unit.

    Args:
        value: In whole units, as facts hold it.
        unit: UCUM or ISO 4217; "1" for a pure number.
        language: Decides scale words (million, 亿), symbols and plurals.
        style: "times" or "integer" for a pure number, where its bare value would read badly; "coarse" for no more
            digits than usual, however small the number; "exact" for all digits of the value, as of a limit or a
            measured size.
        finer: How many digits more than usual, where two numbers must not look alike.
    """
    table = _printing()
    sign = "−" if value < 0 else ""
    size = abs(value)
    if unit in table["currency"]:
        symbol = table["currency"][unit][language]
        number, scale = _scaled(size, language, finer, floor=2)
        return f"{sign}{symbol}{number}{scale}" if language == "en" else f"{sign}{number}{scale}{symbol}"
    if unit in ("1", "") and size >= 100_000:
        return sign + "".join(_scaled(size, language, finer, floor=0))
    if style == "coarse" and unit in _COARSE:
        suffix = table["unit"].get(unit, {language: ("", "")})[language][1]
        return f"{sign}{_fixed(size, _COARSE[unit])}{suffix}"
    printed = max(style == "times", -int(value.as_tuple().exponent))  # a limit of 70 is not 70.0
    usual = {"integer": 0, "exact": printed}.get(style)
    decimals = min(printed, _decimals(size, style or unit) + finer) if usual is None else usual
    number = _fixed(size, decimals)
    suffixes = table["unit"].get("times" if style == "times" else unit)
    if suffixes is None:
        return sign + number if unit in ("1", "") else f"{sign}{number} {unit}"
    singular, plural = suffixes[language]
    return f"{sign}{number}{singular if number == '1' else plural}"


def calendar(day: date, language: Language) -> str:
    """A date in full."""
    if language == "zh":
        return f"{day.year}年{day.month}月{day.day}日"
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


def year(day: date, language: Language) -> str:
    """The year that a period ending that day is called by: a 52/53-week year may end in the first days of January."""
    named = (day - timedelta(days=7)).year
    return f"{named}年" if language == "zh" else str(named)


def _scaled(size: Decimal, language: Language, finer: int, floor: int) -> tuple[str, str]:
    for power, word in _printing()["scale"][language]:
        shown = size / Decimal(power)
        least = 1 if word in (" billion", " trillion") else 0
        digits = max(least, _SIGNIFICANT - max(1, _rounded(shown).adjusted() + 1)) + finer
        if shown.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) >= 1:
            return _fixed(shown, digits), word
    whole = size == size.to_integral_value() and (size >= 1000 or size == 0)
    return _fixed(size, finer if whole or size >= 1000 else floor + finer), ""


def _rounded(size: Decimal) -> Decimal:
    return Context(prec=_SIGNIFICANT, rounding=ROUND_HALF_UP).plus(size)


def _decimals(size: Decimal, unit: str) -> int:
    match unit:
        case "%":
            return 0 if size >= 1000 else 1 if size >= 1 or size == 0 else 2 if size >= Decimal("0.1") else 3
        case "[pp]":
            return 1 if size >= 1 else 2
        case "d" | "mo" | "a":
            return 0 if size >= 10 or size == size.to_integral_value() else 1
        case "mm" | "cm" | "[hnsf'U]":
            return 2
        case "times":
            return 1 if size >= 1 else 2
    return 1 if size >= 100 else 2 if size >= Decimal("0.1") or size == 0 else 3


def _fixed(size: Decimal, decimals: int) -> str:
    return f"{size.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):,f}"


@cache
def _printing() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / "printing.toml").read_text("utf-8"))
