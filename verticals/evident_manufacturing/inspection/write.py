"""The assessment of a part as a report: one plan, two languages, and nothing that the verifier refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Claim, Derived, Fact, InputRef, Language, Report, Severity, Source
from evident_core.write import Outline, Phrasebook, Vocabulary, check, plan, realise, verify
from evident_core.write.phrasebook import literals
from evident_core.write.reading import lexicon
from evident_core.write.vocabulary import LANGUAGES

TITLE: Mapping[Language, str] = {"en": "Inspection report", "zh": "检测报告"}


def write(inputs: Sequence[InputRef], facts: Sequence[Fact], claims: Sequence[Claim]) -> Report:
    """The report in English and Chinese; each of its sentences has passed the verifier.

    A sentence that does not pass (a part's name may hold anything) is held back, and the report says how many were.

    Args:
        inputs: The tested image first, then the template and the specification where there were any.
        facts: Of :func:`~evident_manufacturing.inspection.assess.assess`.
        claims: Of the same.

    Raises:
        Unverified: The report as a whole does not trace back; that is a defect of this service.
    """
    report = _report(inputs, facts, claims, frozenset())
    refused = frozenset(violation.sentence_id for violation in verify(report, vocabulary()))
    if refused:
        count, claim = _withheld(len(refused))
        report = _report(inputs, (*facts, count), (*claims, claim), refused)
        check(report, vocabulary())
    return report


def _report(
    inputs: Sequence[InputRef], facts: Sequence[Fact], claims: Sequence[Claim], refused: frozenset[str]
) -> Report:
    """The report without the refused sentences, and without sections that have none."""
    known = {fact.id: fact for fact in facts}
    sections = realise(plan(claims, outlines(), phrasebook()), known, phrasebook())
    kept = (
        section.model_copy(update={"sentences": tuple(each for each in section.sentences if each.id not in refused)})
        for section in sections
    )
    return Report(
        title=dict(TITLE),
        inputs=tuple(inputs),
        facts=tuple(facts),
        claims=tuple(claims),
        sections=tuple(section for section in kept if section.sentences),
    )


def _withheld(number: int) -> tuple[Fact, Claim]:
    """A fact and a claim that say how many sentences the verifier refused."""
    fact = Fact(
        id="report.withheld",
        name="count",
        value=Decimal(number),
        unit="1",
        sources=(Source(where=Derived(rule="verifier", formula="sentences refused by the verifier")),),
    )
    claim = Claim(
        id="report.withheld",
        predicate="sentences_withheld",
        facts={"count": fact.id},
        severity=Severity.LOW,
        topic="evidence",
    )
    return fact, claim


@cache
def outlines() -> tuple[Outline, ...]:
    """The sections of the report, in order."""
    return tuple(
        Outline(key=entry["key"], title=entry["title"], topics=tuple(entry["topics"]))
        for entry in _data("phrases")["section"]
    )


@cache
def phrasebook() -> Phrasebook:
    """All phrases of the service."""
    return Phrasebook.load(_data("phrases"))


@cache
def vocabulary() -> Vocabulary:
    """What the verifier knows of this service: the labels of its facts, the words for their values, its judgements."""
    book = phrasebook()
    axes: dict[str, Any] = {
        f"word_{table}": {"backed_by": "value"}
        | {value: {"values": [value], "en": [word["en"]], "zh": [word["zh"]]} for value, word in words.items()}
        for table, words in book.words.items()
    }
    labels = {name: {language: [label.text[language]] for language in LANGUAGES} for name, label in book.labels.items()}
    made = Vocabulary.load(_data("vocabulary"), {"axes": axes, "labels": labels})
    return made.with_lexicon({language: _lexicon(book, language, made) for language in LANGUAGES})


def _lexicon(book: Phrasebook, language: Language, known: Vocabulary) -> dict[str, frozenset[str]]:
    """The plain words of each predicate's phrases, and those that may stand in any sentence."""
    texts: dict[str, list[str]] = {"": _data("vocabulary")["lexicon"][language]}
    for key, phrase in book.phrases.items():
        texts.setdefault(key.partition(".")[0], []).extend(literals(phrase.text[language]))
    return {predicate: lexicon(each, language, known) for predicate, each in texts.items()}


@cache
def _data(table: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / f"{table}.toml").read_text("utf-8"))
