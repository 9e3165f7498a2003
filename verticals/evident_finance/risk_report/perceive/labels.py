"""Labels as keys: one spelling for what statements print in many (case, spaces, quotes, script, numbering)."""

import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path

from evident_finance.risk_report.perceive.numbers import plain

DATA = Path(__file__).parent.parent / "data"
_ZH_LEAD = re.compile(
    r"^(?:[(（][一二三四五六七八九十]{1,3}[)）]|[一二三四五六七八九十]{1,3}[、.,．:：]|[(（]\d{1,2}[)）]|\d{1,2}[、.．](?!\d)|[①-⑩])(?=.{2})"
)
_ZH_QUALIFIER = re.compile(r"^(?:其中|加|减|包括|其它)[:：]?(?=.{2})")
_CONVENTION = re.compile(r"[(（][^()（）]*(?:号填列|号列示|表示|填列)[^()（）]*[)）]?")
_NOTE = re.compile(r"\((?:see)?notes?\d*[^)]*\)|\b(?:see )?notes? \d+(?:(?:,| and) ?\d+)*", re.IGNORECASE)


@cache
def _simplify() -> dict[int, int]:
    with (DATA / "traditional.toml").open("rb") as file:
        table = tomllib.load(file)
    return str.maketrans(table["traditional"], table["simplified"])


def simplified(text: str) -> str:
    """The text with the traditional characters of accounting simplified."""
    return text.translate(_simplify())


@lru_cache(maxsize=200_000)
def squash(text: str) -> str:
    """The text for searching: narrowed, simplified, in lower case, without any space."""
    return re.sub(r"\s+", "", simplified(plain(text)).lower())


@lru_cache(maxsize=50_000)
def key(label: str) -> str:
    """The label for matching against names: letters and CJK only, without parentheses, numbering, notes and amounts.

    ``"Net cash provided by (used in) operating activities"`` -> ``netcashprovidedbyoperatingactivities``;
    ``"三、营业利润（亏损以“－”号填列）"`` -> ``营业利润``.
    """
    text = simplified(plain(label)).lower().replace("&", " and ")
    text = _CONVENTION.sub("", text)
    text = _NOTE.sub("", text)
    chinese = bool(re.search(r"[一-鿿]", text))
    if chinese:
        text = re.sub(r"\s+", "", text)
        for _ in range(3):
            text = _ZH_QUALIFIER.sub("", _ZH_LEAD.sub("", text)).lstrip(":：、.")
    text = re.sub(r"[(（][^()（）]*(?:[)）]|$)", "", re.sub(r"\(s\)", "s", text))
    if not chinese:
        text = re.sub(r"^(?:less|add|plus|deduct|of which)\b:? *-?", "", text.strip())
        text = re.sub(r"^(?:\(?[ivx]+\)|\(?[a-z]\)|\d+\.)\s+", "", text)
    return re.sub(r"[^a-z一-鿿]", "", text)


def says_loss_is_minus(label: str) -> bool:
    """Whether the label says that a loss or decrease is printed as a negative (损失以“－”号填列)."""
    return bool(re.search(r"(?:损失|减少|支出)以?.{0,4}号?(?:填列|列示)", squash(label)))
