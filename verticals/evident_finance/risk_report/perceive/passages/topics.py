"""The analyst's topics and the words by which they are recognised: ``data/topics.toml``, read once."""

import re
import tomllib
from functools import cache
from importlib.resources import files

from pydantic import Field, field_validator

from evident_core.evidence import Frozen, Language, Polarity, Severity

Pattern = re.Pattern[str]


def _compiled(patterns: object) -> object:
    if isinstance(patterns, list):
        return tuple(re.compile(pattern) if isinstance(pattern, str) else pattern for pattern in patterns)
    return patterns


class Cues(Frozen):
    """Patterns for each language, on folded text."""

    en: tuple[Pattern, ...] = ()
    zh: tuple[Pattern, ...] = ()

    _compile = field_validator("en", "zh", mode="before")(_compiled)

    def of(self, language: Language) -> tuple[Pattern, ...]:
        """The patterns for a language."""
        return self.en if language == "en" else self.zh

    def search(self, text: str, language: Language) -> re.Match[str] | None:
        """The first pattern's match in a folded text, or None."""
        return next((match for pattern in self.of(language) if (match := pattern.search(text))), None)

    def count(self, text: str, language: Language) -> int:
        """How many of the patterns occur."""
        return sum(pattern.search(text) is not None for pattern in self.of(language))


class Cue(Cues):
    """What a sentence says when one of the patterns fits: the finding's polarity, and the typed value if any."""

    polarity: Polarity
    value: str | None = None


class Topic(Frozen):
    """One thing to look for; see the head of the data file."""

    label: dict[Language, str]
    finding: dict[Language, str]
    fact: str | None = None
    limit: int = Field(default=3, ge=1)
    factual: bool = True
    current: bool = False
    anchors: dict[Language, tuple[str, ...]] = Field(default_factory=dict)
    reject: Cues = Cues()
    checkbox: Cues = Cues()
    heading: Cues = Cues()
    cue: tuple[Cue, ...] = ()


class Sign(Cues):
    """A sign of severity: how many points it adds when found in the heading or the body of a risk factor."""

    key: str
    points: int
    where: str = Field(pattern="^(heading|body)$")


class Early(Frozen):
    """The points a factor gains for standing in the first ``share`` of the list."""

    share: float
    points: int


class SeverityScale(Frozen):
    """Signs, and the levels their sum reaches (highest first)."""

    levels: tuple[tuple[int, Severity], ...]
    early: Early
    sign: tuple[Sign, ...]


class Category(Cues):
    """A branch of the risk taxonomy. Categories of general words weigh less."""

    weight: float = 1.0
    label: dict[Language, str]


class RiskSection(Frozen):
    """Headings between which risk factors stand."""

    start: Cues
    stop: Cues


class OpinionKind(Cues):
    """A kind of audit opinion and the words that make it."""

    value: str


class Audit(Frozen):
    """Where an audit report states what."""

    opinion: Cues
    stated: Cues
    signature: Cues
    since: Cues
    matters: Cues
    matters_end: Cues
    not_matters: Cues
    kind: tuple[OpinionKind, ...]


class Folding(Frozen):
    """Characters that the cues write in the simplified way, pair by pair."""

    traditional: str
    simplified: str


class Vocabulary(Frozen):
    """All of the data file."""

    folding: Folding
    topic: dict[str, Topic]
    audit: Audit
    risk_section: RiskSection
    severity: SeverityScale
    category: dict[str, Category]


@cache
def vocabulary() -> Vocabulary:
    """The topics, the taxonomy and the scale of severity."""
    data = files("evident_finance.risk_report").joinpath("data/topics.toml").read_text(encoding="utf-8")
    return Vocabulary.model_validate(tomllib.loads(data))


@cache
def _fold_table() -> dict[int, int]:
    data = vocabulary().folding
    table = {ord(a): ord(b) for a, b in zip(data.traditional, data.simplified, strict=True)}
    table |= {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in "！？；，"}
    table |= {ord("“"): ord('"'), ord("”"): ord('"'), ord("‘"): ord("'"), ord("’"): ord("'"), 0x3000: 0x20, 0xA0: 0x20}
    return table


def folding(text: str) -> str:
    """A text of the same length, folded for matching: lower case, half-width, simplified, straight quotes."""
    folded = text.translate(_fold_table())
    lower = folded.lower()
    return lower if len(lower) == len(folded) else "".join(c.lower() if len(c.lower()) == 1 else c for c in folded)
