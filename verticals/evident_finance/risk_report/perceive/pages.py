"""Which pages may hold a primary statement, told from their plain text alone."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from evident_finance.risk_report.perceive.labels import DATA, squash
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.schema import StatementKind

MOST_PAGES = 26
_AMOUNT = re.compile(
    r"\d{1,3}(?:[,，]\d{3})+|\(\d+(?:\.\d+)?\)|(?<![\d.])\d{1,4}\.\d{1,2}(?![\d.])|(?<!\d)\d{3}(?![\d年])"
    r"|(?<!\d)\d{1,3}(?: \d{3})+(?!\d)"
)
_MONTHS_ETC = re.compile(
    r"(?:19|20)\d\d|january|february|march|april|may|june|july|august|september|october|november|december|years?|fiscal|ended|ending|weeks?|months?|continued|unaudited|"
    r"consolidated|condensed|group|company|corporation|incorporated|inc|ltd|plc|the|and|of|its|as|at|for|in|to|subsidiar(?:y|ies)|millions?|thousands?|dollars?|amounts?|except|"
    r"pershare|share|data|usd|us|rmb|tableofcontents|page|part|item|audited|parent|only|合并|母公司|公司|综合|续|年度|年|月|日|单位|人民币|币种|元|万|千|百|及|和|\d|[^a-z一-鿿]"
)


@dataclass(frozen=True)
class Announcement:
    """A line that names a statement: its kind (None: a statement that is none of the three) and whose it is."""

    kind: StatementKind | None
    consolidated: bool
    parent: bool
    partial: bool
    title: str


@dataclass(frozen=True)
class _Vocabulary:
    titles: tuple[tuple[StatementKind | None, re.Pattern[str]], ...]
    hallmarks: dict[StatementKind, tuple[re.Pattern[str], ...]]
    scope: dict[str, re.Pattern[str]]


@cache
def _vocabulary() -> _Vocabulary:
    with (DATA / "statements.toml").open("rb") as file:
        table = tomllib.load(file)
    titles: list[tuple[StatementKind | None, re.Pattern[str]]] = [(None, re.compile("|".join(table["other"]["title"])))]
    titles += [(kind, re.compile("|".join(table[kind.value]["title"]))) for kind in StatementKind]
    return _Vocabulary(
        tuple(titles),
        {kind: tuple(re.compile(p) for p in table[kind.value]["hallmarks"]) for kind in StatementKind},
        {scope: re.compile("|".join(table["scope"][scope])) for scope in table["scope"]},
    )


def announcement(text: str) -> Announcement | None:
    """What statement a line announces, if it is a title and not a sentence that mentions one."""
    stripped = text.strip()
    if not stripped or len(stripped) > 150 or re.match(r"[a-z]|(?i:see|refer|the accompanying|our |note )", stripped):
        return None
    tight = squash(stripped)
    if re.search(r"[.;；。]$", stripped) and not re.search(r"(?i)\b(?:inc|co|ltd|corp)\.$", stripped):
        return None
    vocabulary = _vocabulary()
    for kind, pattern in vocabulary.titles:
        match = pattern.search(tight)
        if match is None:
            continue
        rest = _MONTHS_ETC.sub("", tight[: match.start()] + tight[match.end() :])
        if len(rest) > (24 if match.end() - match.start() > 8 else 8) or re.search(
            r"note(?:s|\d)|refer|following|footnote", rest
        ):
            continue
        if kind is None and rest and not re.fullmatch(r"[a-z]{0,24}|[一-鿿]{0,8}", rest):
            continue
        scope = vocabulary.scope
        return Announcement(
            kind=kind,
            consolidated=bool(scope["consolidated"].search(tight)),
            parent=bool(scope["parent"].search(tight)),
            partial=bool(scope["partial"].search(tight)),
            title=stripped,
        )
    return None


@dataclass(frozen=True)
class _Seen:
    page: int
    kind: StatementKind
    score: float
    titled: bool


def candidates(texts: Sequence[str]) -> list[int]:
    """The numbers of the pages worth rebuilding: those that read like a statement, and their continuations."""
    seen: list[_Seen] = []
    for number, text in enumerate(texts, start=1):
        seen += _look(number, text)
    chosen: set[int] = set()
    for kind in StatementKind:
        mine = sorted((s for s in seen if s.kind is kind), key=lambda s: (-s.score, s.page))
        best = mine[0].score if mine else 0
        chosen |= {s.page for s in mine[:7] if s.score >= 0.45 * best}
    scores = {s.page: s.score for s in sorted(seen, key=lambda s: s.score)}
    ranked = sorted(chosen, key=lambda p: -scores[p])[:MOST_PAGES]
    after = [page + 1 for page in ranked if page < len(texts) and _has_amounts(texts[page])]
    between = [page + 1 for page in ranked if page + 2 in chosen]
    added = [page for page in dict.fromkeys((*after, *between)) if page not in chosen]
    return sorted({*ranked, *added[: max(0, MOST_PAGES - len(ranked))]})


def _has_amounts(text: str) -> bool:
    return len(_AMOUNT.findall(plain(text))) >= (2 if len(text) < 1500 else 6)


def _look(number: int, text: str) -> list[_Seen]:
    text = plain(text)
    amounts = len(_AMOUNT.findall(text))
    if amounts < 8:
        return []
    lines = text.splitlines()
    pairs = [*lines[:40], *(f"{a} {b}" for a, b in pairwise(lines[:13]))]
    announced = [
        found for line in (pairs if len(lines) < 60 else [*pairs, *lines[40:]]) if (found := announcement(line))
    ]
    tight = squash(text[:9000])
    out = []
    for kind, hallmarks in _vocabulary().hallmarks.items():
        hits = sum(1 for pattern in hallmarks if pattern.search(tight))
        titles = [a for a in announced if a.kind is kind]
        if hits < 4 and not (titles and hits >= 2):
            continue
        bonus = max((4.0 + 2 * a.consolidated - 4 * a.parent - 3 * a.partial for a in titles), default=0.0)
        prose = len(re.findall(r"\b(?:we|our|the|that|which|is|are|was|were)\b", text)) / max(amounts, 1)
        out.append(_Seen(number, kind, hits + bonus - min(4.0, 4 * prose), bool(titles)))
    return out
