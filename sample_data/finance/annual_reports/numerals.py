"""How numbers are printed."""

from decimal import Decimal

_FULL_WIDTH = str.maketrans("0123456789,.-()", "０１２３４５６７８９，．－（）")


def numeral(
    value: Decimal, decimals: int, *, negative: str, dash: str, full_width: bool = False, sign: str = ""
) -> str:
    """The printed form of a value; ``sign`` is a currency sign set directly before the digits. Zero is the dash."""
    if value == 0:
        return f"{sign}{dash}" if dash else ""
    digits = f"{sign}{abs(value):,.{decimals}f}"
    if value < 0:
        digits = {
            "parentheses": f"({digits})",
            "minus": f"-{digits}",
            "trailing": f"{digits}-",
            "unicode": f"−{digits}",
            "full_width": f"－{digits}",
            "red": digits,
        }[negative]
    return digits.translate(_FULL_WIDTH) if full_width else digits


_CHINESE = "〇一二三四五六七八九"


def chinese_year(year: int, zero: str = "二零") -> str:
    """2019 as 二零一九 (Hong Kong) or, with another zero, 二〇一九."""
    text = "".join(_CHINESE[int(digit)] for digit in str(year))
    return text.replace("〇", "零") if zero == "二零" else text
