"""What the words of a service's reports mean to the verifier: units, directions, names of things, negations.

A vocabulary is data. The language-wide part is ``data/reading.toml``; a service adds its own tables (labels of its
facts, directions that only it has, words it uses) with ``Vocabulary.load``.
"""

import fnmatch
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.resources import files
from typing import Any, TypeVar

from evident_core.evidence import Language

T = TypeVar("T")
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Unit:
    """A unit: ``of`` is the dimension that values are compared in, ``factor`` the size of one unit in it."""

    code: str
    of: str
    factor: Decimal


@dataclass(frozen=True)
class Pole:
    """One end of an axis: ``sign`` orders the poles; fact ``values`` or ``predicates`` of claims may back it."""

    axis: str
    name: str
    backed_by: str
    sign: int | None
    values: frozenset[str]
    predicates: tuple[str, ...]

    def fits(self, predicate: str) -> bool:
        """Whether a claim of that predicate alone backs the word."""
        return any(fnmatch.fnmatchcase(predicate, pattern) for pattern in self.predicates)


@dataclass(frozen=True)
class Token:
    """What a known phrase is: a label (``key`` a fact name), a pole, a negation, a prior cue, or neutral."""

    kind: str
    key: str = ""
    pole: Pole | None = None


class Phrases:
    """Known phrases of one language, found longest first; English ones on word borders and whatever the case."""

    def __init__(self, language: Language) -> None:
        self._words = language == "en"
        self._by_start: dict[str, list[tuple[str, tuple[Token, ...]]]] = {}

    def add(self, phrase: str, token: Token) -> None:
        """Make a phrase known; one phrase may mean several things (two facts with one label)."""
        phrase = phrase.lower() if self._words else phrase
        bucket = self._by_start.setdefault(phrase[:1], [])
        for index, (known, tokens) in enumerate(bucket):
            if known == phrase:
                said = [each for each in (*tokens, token) if each.kind != "neutral"] or [token]
                bucket[index] = (known, tuple(dict.fromkeys(said)))
                return
        bucket.append((phrase, (token,)))
        bucket.sort(key=lambda entry: -len(entry[0]))

    def find(self, text: str) -> Iterable[tuple[int, int, tuple[Token, ...]]]:
        """All known phrases of a text, left to right, none overlapping."""
        lowered = text.lower() if self._words else text
        at = 0
        while at < len(lowered):
            found = None if self._inside_word(lowered, at) else self._longest(lowered, at)
            if found:
                yield at, at + len(found[0]), found[1]
            at += len(found[0]) if found else 1

    def _longest(self, text: str, at: int) -> tuple[str, tuple[Token, ...]] | None:
        for phrase, tokens in self._by_start.get(text[at], ()):
            if text.startswith(phrase, at) and not self._inside_word(text, at + len(phrase)):
                return phrase, tokens
        return None

    def _inside_word(self, text: str, at: int) -> bool:
        return self._words and 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


@dataclass(frozen=True)
class Vocabulary:
    """All that the verifier knows of language and of one service.

    ``changes`` and ``thresholds`` name, as patterns over roles and fact names, the facts that state a change and a
    limit; ``background`` the roles of facts that a claim rests on and no sentence states. ``negations`` is how many
    negations a claim's sentence holds, by ``predicate`` or ``predicate.polarity``, where that is not 0 for present and
    1 for the others. ``lexicon``, where given, is every other word that a sentence may use: those under "" anywhere,
    those under a predicate only with a claim of it.
    """

    units: Mapping[str, Unit]
    before: Mapping[str, Unit]
    after: Mapping[Language, Mapping[str, Unit]]
    scales: Mapping[Language, Mapping[str, Decimal]]
    counters: Mapping[Language, tuple[str, ...]]
    after_number: Mapping[Language, re.Pattern[str]]
    scale_words: Mapping[Language, re.Pattern[str]]
    phrases: Mapping[Language, Phrases]
    poles: tuple[Pole, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ("change", "*.change")
    thresholds: tuple[str, ...] = ("threshold", "*.threshold")
    background: tuple[str, ...] = ()
    negations: Mapping[str, int] = field(default_factory=dict)
    lexicon: Mapping[Language, Mapping[str, frozenset[str]]] = field(default_factory=dict)

    @classmethod
    def load(cls, *tables: Mapping[str, Any]) -> "Vocabulary":
        """The language-wide vocabulary with a service's tables on top, in the form of ``data/reading.toml``."""
        base = tomllib.loads((files(__package__) / "data" / "reading.toml").read_text("utf-8"))
        merged: dict[str, Any] = {}
        for table in (base, *tables):
            _merge(merged, table)
        phrases: dict[Language, Phrases] = {language: Phrases(language) for language in LANGUAGES}
        for kind in ("negation", "unassessed", "prior", "neutral"):
            for language in LANGUAGES:
                for phrase in merged.get(kind, {}).get(language, ()):
                    phrases[language].add(phrase, Token(kind))
        poles = tuple(_poles(merged["axes"], phrases))
        labels: dict[str, str] = {}
        for name, label in merged.get("labels", {}).items():
            labels[name] = label.get("same", name)
            for language in LANGUAGES:
                given = label.get(language, ())
                for phrase in (given,) if isinstance(given, str) else given:
                    phrases[language].add(phrase, Token("label", labels[name]))
        written = merged["units"]
        units = {code: Unit(code, of.get("of", code), Decimal(of.get("factor", "1"))) for code, of in written.items()}
        after: dict[Language, Mapping[str, Unit]] = {
            language: _longest_first(
                {
                    symbol: units[code]
                    for code, of in written.items()
                    for symbol in of.get("after", {}).get(language, ())
                }
            )
            for language in LANGUAGES
        }
        scales = {
            language: _longest_first({word: Decimal(size) for word, size in merged["scales"][language].items()})
            for language in LANGUAGES
        }
        return cls(
            units=units,
            after_number={language: _one_of(after[language], " \u00a0-") for language in LANGUAGES},
            scale_words={language: _one_of(scales[language], " \u00a0") for language in LANGUAGES},
            before=_longest_first(
                {symbol: units[code] for code, of in written.items() for symbol in of.get("before", ())}
            ),
            after=after,
            scales=scales,
            counters={language: tuple(merged["counters"][language]) for language in LANGUAGES},
            phrases=phrases,
            poles=poles,
            labels=labels,
            changes=tuple(merged.get("changes", ("change", "*.change"))),
            thresholds=tuple(merged.get("thresholds", ("threshold", "*.threshold"))),
            background=tuple(merged.get("background", ())),
            negations=merged.get("negations", {}),
        )

    def with_lexicon(self, lexicon: Mapping[Language, Mapping[str, frozenset[str]]]) -> "Vocabulary":
        """The same vocabulary, closed: a word outside of it and of the lexicon is refused."""
        return replace(self, lexicon=lexicon)

    def words(self, language: Language, predicates: Iterable[str]) -> frozenset[str] | None:
        """The plain words that a sentence of these predicates may use; None where any may stand."""
        if language not in self.lexicon:
            return None
        table = self.lexicon[language]
        return frozenset().union(*(table.get(predicate, frozenset()) for predicate in ("", *predicates)))

    def unit(self, code: str) -> Unit:
        """The unit of that code; one that no table lists compares with itself alone."""
        return self.units.get(code) or Unit(code, code, Decimal(1))


def _one_of(words: Iterable[str], gaps: str) -> re.Pattern[str]:
    """A pattern of one of the words, a gap before it allowed, and no Latin word or number running on after it."""
    ends = (
        re.escape(word) + ("(?![A-Za-z0-9])" if word[-1].isascii() and word[-1].isalnum() else "") for word in words
    )
    return re.compile(f"[{gaps}]?({'|'.join(ends)})", re.IGNORECASE)


def _longest_first(table: Mapping[str, T]) -> Mapping[str, T]:
    return dict(sorted(table.items(), key=lambda entry: -len(entry[0])))


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and isinstance(into.get(key), list):
            into[key] = [*into[key], *value]
        elif isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _poles(axes: Mapping[str, Any], phrases: Mapping[Language, Phrases]) -> Iterable[Pole]:
    for axis, table in axes.items():
        for name, pole in table.items():
            if not isinstance(pole, Mapping):
                continue
            values = frozenset((name, *pole.get("values", ())))
            made = Pole(axis, name, table["backed_by"], pole.get("sign"), values, tuple(pole.get("predicates", ())))
            for language in LANGUAGES:
                for phrase in pole.get(language, ()):
                    phrases[language].add(phrase, Token("pole", f"{axis}.{name}", made))
            yield made
