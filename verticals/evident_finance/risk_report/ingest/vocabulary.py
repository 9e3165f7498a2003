"""How reports say what they are: the patterns of ``data/filing.toml``, compiled once."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Term(NamedTuple):
    """A value, and the pattern of the wordings that mean it."""

    value: str
    pattern: re.Pattern[str]


class Vocabulary(NamedTuple):
    """All terms, each list in the order in which they are tried."""

    forms: tuple[Term, ...]
    standards: tuple[Term, ...]
    scales: tuple[Term, ...]
    currencies: tuple[Term, ...]
    others: tuple[Term, ...]
    titles: re.Pattern[str]


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary of the packaged file."""
    table = tomllib.loads((files("evident_finance.risk_report") / "data" / "filing.toml").read_text("utf-8"))

    def terms(name: str, value: str = "value") -> tuple[Term, ...]:
        flags = re.IGNORECASE | re.MULTILINE
        return tuple(Term(str(each[value]), re.compile(each["pattern"], flags)) for each in table[name])

    return Vocabulary(
        forms=terms("form"),
        standards=terms("standard"),
        scales=terms("scale"),
        currencies=terms("currency"),
        others=terms("other", "kind"),
        titles=re.compile(table["statements"]["titles"], re.IGNORECASE | re.MULTILINE),
    )
