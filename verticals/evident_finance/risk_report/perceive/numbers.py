"""What a printed number says: signs, separators, currency marks, dashes."""

import re
import unicodedata
from decimal import Decimal

CURRENCY = re.compile(r"(?:US\$|HK\$|NT\$|A\$|C\$|S\$|R\$|RMB|USD|EUR|GBP|HKD|CNY|CHF|Rs\.?|[$€£¥₹₩])", re.IGNORECASE)
DASH = re.compile(r"[-‐‑‒–—―−ー─﹣]{1,3}|nil|n/?a|n\.a\.|不适用|無|无|Nil|NIL", re.IGNORECASE)
_MINUS = str.maketrans(dict.fromkeys("‐‑‒–—―−－﹣", "-"))
_FOOTNOTE = re.compile(r"(?<=[\d)])(?:\((?:[a-z]|i{1,3}|iv|\d)\)|[*†‡§]+|\[\d\])+$")
_NUMBER = re.compile(
    r"""(?P<open>\(?)(?P<minus>-?)
    (?P<digits>\d{1,3}(?:,\d{2,3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?
      |\d{1,3}(?:[ \u00a0\u2009']\d{3})+(?:[.,]\d{1,2})?|\d+(?:\.\d+)?|\.\d+)
    (?P<trailing>-?)(?P<close>\)?)(?P<percent>%?\)?)""",
    re.VERBOSE,
)


def plain(text: str) -> str:
    """The text with full-width forms narrowed, ligatures opened and typographic quotes straightened."""
    return unicodedata.normalize("NFKC", text).translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})


def is_dash(text: str) -> bool:
    """Whether the text is a dash or a word for nothing, standing where a number could."""
    return bool(DASH.fullmatch(CURRENCY.sub("", plain(text)).strip(" ()")))


def parse_number(text: str) -> Decimal | None:
    """The number that a cell prints, in the cell's own scale; None where it is not one (or is a dash or a percentage).

    Negative are ``(1,234)``, ``-1,234``, ``1,234-``, ``−1,234`` and ``－１，２３４``.
    """
    bare = CURRENCY.sub("", plain(text).translate(_MINUS)).replace(" ", " ").strip()
    bare = re.sub(r"(?<=\()\s+|\s+(?=\))|(?<=-)\s+", "", _FOOTNOTE.sub("", bare))
    match = _NUMBER.fullmatch(bare)
    if not match or "%" in match["percent"]:
        return None
    digits = match["digits"]
    if re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?", digits):
        digits = digits.replace(".", "").replace(",", ".")
    value = Decimal(re.sub(r"[,\s']", "", digits))
    closed = match["close"] or match["percent"] == ")"
    negative = bool(match["minus"] or match["trailing"] or (match["open"] and closed))
    if bool(match["open"]) is not bool(closed):
        negative = True  # one parenthesis lost to a column's edge is still a credit
    return -value if negative else value
