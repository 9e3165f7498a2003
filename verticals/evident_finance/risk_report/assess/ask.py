"""Questions in formulas: "free cash flow 2018", "自由现金流 2018", "revenue 2018 / revenue 2017 - 1".

A question is read by the same evaluator as the data files' formulas, after names in either language became the names of
items and measures. No model guesses what was meant: a name that is not known is refused with the nearest ones.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from evident_core.errors import InvalidInput
from evident_core.evidence import Derived, Fact, Frozen, Source, Status
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.formula import FUNCTIONS, PURE, CannotCompute, evaluate
from evident_finance.risk_report.assess.ledger import Ledger
from evident_finance.risk_report.perceive.labels import key
from evident_finance.risk_report.schema import Facts

_LONGEST = 2000
_WORDS = (
    (r"\b(?:divided by|over|per)\b|除以", "/"),
    (r"\b(?:times|multiplied by)\b|乘以", "*"),
    (r"\bplus\b|(?<=\s)加上?(?=\s)", "+"),
    (r"\bminus\b|(?<=\s)减去?(?=\s)", "-"),
)
_SIGNS = str.maketrans({"÷": "/", "×": "*", "−": "-", "–": "-", "—": "-", "’": "'"})
_YEAR = r"(?:FY ?)?(?P<year>(?:19|20)\d\d(?:-\d\d-\d\d)?)(?![\d.])(?: ?年度?)?"
_FILLER = re.compile(
    r"(?:\b(?:what|is|was|the|of|in|for|at|during|fiscal|year|company's)\b|的|是|多少|公司|[?;。])+", re.IGNORECASE
)
_GROWTH = re.compile(r"^(?:growth(?: rate)?|change|同比增长率|同比增长|同比|增长率|增速|增长|变动率)$", re.IGNORECASE)


class Answer(Frozen):
    """The answer and what it rests on.

    ``expression`` is the question in the names of items and measures; ``fact`` is a fact of the filing or Derived, with
    the formula as it was evaluated; ``inputs`` are the facts that went in, down to those read from pages.
    """

    question: str
    expression: str
    fact: Fact
    inputs: tuple[Fact, ...] = ()


def ask(question: str, facts: Facts) -> Answer:
    """Answer a formula over the facts of a filing.

    Args:
        question: Names of items and ratios in English or Chinese or as identifiers, years, numbers, ``+ - * / ( )``
            and the functions of formulas. A year stands beside its name; the only year of a question counts for all.
        facts: What was read.

    Raises:
        InvalidInput: A name is unknown (the message names the nearest), a year is not in the filing, units do not
            fit, or the formula has no value here; the message says which.
    """
    if len(question) > _LONGEST:
        raise InvalidInput(f"The question has {len(question)} characters; at most {_LONGEST} are read.")
    ledger = Ledger(facts)
    asked = question.strip()
    expression, year = _translate(asked)
    if not expression:
        raise InvalidInput(f"{asked!r} names no item or ratio; ask for one, as in 'free cash flow 2018'.")
    period = ledger.resolve(year) if year else ledger.newest
    try:
        result = evaluate(expression, ledger, period)
    except CannotCompute as obstacle:
        raise type(obstacle)(f"{asked!r} cannot be computed: {obstacle.message}.", obstacle.cause) from obstacle
    if isinstance(result.value, bool):
        raise InvalidInput(f"{asked!r} is a comparison; ask for a value.", expression=expression)
    inputs = tuple(_roots(result.facts, ledger))
    if len(result.facts) == 1 and result.text == result.facts[0].id:
        return Answer(question=question, expression=result.text, fact=result.facts[0], inputs=inputs)
    if not result.facts:
        raise InvalidInput(f"{asked!r} names no item or ratio of the report.", expression=expression)
    how = Derived(rule="ask", formula=result.text, fact_ids=tuple(fact.id for fact in result.facts))
    periods = {fact.period for fact in result.facts}
    fact = Fact(
        id="answer",
        name="answer",
        value=result.value,
        unit=result.unit if not isinstance(result.value, str) else None,
        scale=next((f.scale for f in result.facts if f.unit == result.unit != PURE), 1),
        period=periods.pop() if len(periods) == 1 else period,
        status=Status.DERIVED,
        confidence=min(fact.confidence for fact in result.facts),
        sources=(Source(where=how),),
        note="; ".join(result.notes),
    )
    return Answer(question=question, expression=expression, fact=fact, inputs=inputs)


def vocabulary() -> dict[str, str]:
    """Every name a question may use, as typed, and the item or measure it stands for."""
    return dict(_names())


# From a question to a formula -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: str | None = None


def _translate(question: str) -> tuple[str, str | None]:
    """The question as a formula, and the year that it is asked for if it names one for all its names."""
    tokens = _with_years(list(_tokens(_plain(question))))
    dated = {token.at for token in tokens if token.kind == "name" and token.at}
    loose = [token.text for token in tokens if token.kind == "year"]
    undated = [token.text for token in tokens if token.kind == "name" and not token.at]
    for_all = None
    if len(dated | set(loose)) == 1 and len(undated) == len(set(undated)):
        for_all = (loose or sorted(dated))[0]
        twice = {token.text for token in tokens if token.at} & set(undated)
        if loose or not twice:
            tokens = [token for token in tokens if token.kind != "year"]
        else:
            for_all = None
    parts = [f"{token.text}@{token.at}" if token.at else token.text for token in tokens]
    return " ".join(parts), for_all


def _plain(question: str) -> str:
    text = unicodedata.normalize("NFKC", question).translate(_SIGNS)
    for words, sign in _WORDS:
        text = re.sub(words, f" {sign} ", text, flags=re.IGNORECASE)
    return text.strip()


def _tokens(text: str) -> Iterator[_Token]:
    while text:
        text = text.lstrip()
        if not text:
            return
        if match := re.match(r"[a-z_]+(?:\.[a-z_]+)+", text):
            yield _Token("name", match.group())
            text = text[match.end() :]
        elif match := _any_name().match(text):
            name, text = match.group(), text[match.end() :]
            yield _Token("name", _names()[_fold(name)])
        elif match := re.match(r"(?P<f>[a-z_]+)\s*\(", text):
            function, text = match["f"], text[match.end() - 1 :]
            yield _Token("function", function) if function in FUNCTIONS else _Token("name", _name(function))
        elif match := re.match(r"@\s*(\d{4}(?:-\d\d-\d\d)?)", text):
            yield _Token("at", match[1])
            text = text[match.end() :]
        elif match := re.match(_YEAR, text, re.IGNORECASE):
            yield _Token("year", match["year"])
            text = text[match.end() :]
        elif match := re.match(r"\d+(?:\.\d+)?%?", text):
            yield _Token("number", match.group())
            text = text[match.end() :]
        elif match := re.match(r"<=|>=|==|!=|[-+*/(),<>]", text):
            yield _Token("sign", match.group())
            text = text[match.end() :]
        elif match := _FILLER.match(text):
            text = text[match.end() :]
        else:
            words = re.match(r"[^-+*/()<>=!@\d,]+", text)
            if words is None:
                raise InvalidInput(f"{text[0]!r} has no meaning in a formula.", at=text[:20])
            text = text[words.end() :]
            yield from _unknown(words.group())


def _unknown(words: str) -> Iterator[_Token]:
    """Words that are no listed name: the mark of growth, a name as statements print it, or an error."""
    cleaned = _FILLER.sub(" ", words).strip()
    if _GROWTH.match(cleaned):
        yield _Token("growth", cleaned)
    elif cleaned:
        yield _Token("name", _name(cleaned))


def _name(words: str) -> str:
    printed = key(words)
    found = next((name for name, pattern in _printed_names() if pattern.fullmatch(printed)), None)
    if found:
        return found
    near = get_close_matches(_fold(words), _names(), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(each) for each in near)}?" if near else "use the names that it prints."
    raise InvalidInput(f"{words!r} is not an item or ratio of the report; {hint}", name=words, nearest=near)


def _with_years(tokens: list[_Token]) -> list[_Token]:
    """Years joined to the name beside them: after it first, else before it; growth to the name before it."""
    joined: list[_Token] = []
    for n, token in enumerate(tokens):
        last = joined[-1] if joined else None
        following = tokens[n + 1].kind if n + 1 < len(tokens) else ""
        if token.kind == "year" and last and last.text in "+-*/" and following != "name":
            joined.append(_Token("number", token.text))  # revenue / 2000
        elif token.kind in ("year", "at") and last and last.kind == "name" and last.at is None:
            joined[-1] = _Token("name", last.text, token.text)
        elif token.kind == "name" and last and last.kind == "year" and following not in ("year", "at"):
            joined[-1] = _Token("name", token.text, last.text)
        elif token.kind == "growth" and last and last.kind == "name":
            joined[-1] = _Token("name", f"{last.text}.change", last.at)
        elif token.kind == "growth":
            raise InvalidInput(f"{token.text!r} stands after the item it is asked of, as in 'revenue growth 2018'.")
        else:
            joined.append(token)
    return joined


def _fold(name: str) -> str:
    return re.sub(r"\s+", " ", name.lower().replace("_", " ")).strip()


@cache
def _names() -> dict[str, str]:
    """Folded name -> item or measure. Labels win over other names."""
    aliases: dict[str, list[str]] = tomllib.loads((catalogue.DATA / "aliases.toml").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for name, label in catalogue.labels().items():
        for each in (name, label["en"], label["zh"], *aliases.get(name, ())):
            found.setdefault(_fold(unicodedata.normalize("NFKC", each)), name)
    return found


@cache
def _printed_names() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Each item with a pattern of the labels under which statements print it, those under a heading left out."""
    return tuple(
        (
            name,
            re.compile(
                "|".join(f"(?:{each})" for patterns in item["names"].values() for each in patterns if ">" not in each)
            ),
        )
        for name, item in catalogue.items().items()
        if item.get("names")
    )


@cache
def _any_name() -> re.Pattern[str]:
    """A pattern of every name, longest first."""
    spelled = sorted(_names(), key=len, reverse=True)
    each = (re.escape(name).replace(r"\ ", r"[\s_]+") + _whole_word(name) for name in spelled)
    return re.compile("|".join(each), re.IGNORECASE)


def _whole_word(name: str) -> str:
    return r"(?![a-z0-9_])" if name[-1].isascii() else ""


def _roots(facts: tuple[Fact, ...], ledger: Ledger) -> Iterator[Fact]:
    """The facts that went in and, below the computed ones, what those rest on, each once."""
    seen: set[str] = set()
    waiting = list(facts)
    while waiting:
        fact = waiting.pop(0)
        if fact.id in seen:
            continue
        seen.add(fact.id)
        yield fact
        below = [i for source in fact.sources if isinstance(source.where, Derived) for i in source.where.fact_ids]
        waiting.extend(found for i in below if (found := ledger.computed.get(i) or ledger.facts.by_id(i)))
