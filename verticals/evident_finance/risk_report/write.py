"""The assessment as a report: one plan, two languages, and nothing that the verifier refuses."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Claim, Derived, Fact, InputRef, Language, Report, Severity, Source
from evident_core.write import Outline, Phrasebook, Vocabulary, check, plan, realise, verify
from evident_core.write.phrasebook import Label, literals
from evident_core.write.quantities import year
from evident_core.write.reading import lexicon
from evident_core.write.vocabulary import LANGUAGES
from evident_finance.risk_report.schema import Assessment

_TABLES = ("items", "ratios", "scores")


def write(input_: InputRef, facts: Iterable[Fact], assessment: Assessment) -> Report:
    """The report in English and Chinese; each of its sentences has passed the verifier.

    A sentence that does not pass is held back, and the report says how many were.

    Raises:
        Unverified: The report as a whole does not trace back; that is a defect of this service.
    """
    known = {fact.id: fact for fact in (*facts, *assessment.facts)}
    report = _report(input_, known, assessment.claims, frozenset())
    refused = frozenset(violation.sentence_id for violation in verify(report, vocabulary()))
    if refused:
        count, claim = _withheld(len(refused))
        report = _report(input_, {**known, count.id: count}, (*assessment.claims, claim), refused)
        check(report, vocabulary())
    return report


def _report(input_: InputRef, facts: Mapping[str, Fact], claims: Sequence[Claim], refused: frozenset[str]) -> Report:
    """The report without the refused sentences, and without sections that have none."""
    sections = realise(plan(claims, outlines(), phrasebook()), facts, phrasebook())
    kept = (
        section.model_copy(update={"sentences": tuple(each for each in section.sentences if each.id not in refused)})
        for section in sections
    )
    return Report(
        title=_title(facts),
        inputs=(input_,),
        facts=tuple(facts.values()),
        claims=tuple(claims),
        sections=tuple(section for section in kept if section.sentences),
    )


def _withheld(number: int) -> tuple[Fact, Claim]:
    """A fact and a claim that say how many sentences the verifier refused."""
    fact = Fact(
        id="report.withheld",
        name="report.withheld",
        value=Decimal(number),
        unit="1",
        sources=(Source(where=Derived(rule="verifier", formula="sentences refused by the verifier")),),
    )
    claim = Claim(
        id="report.withheld",
        predicate="sentences_withheld",
        facts={"count": fact.id},
        severity=Severity.LOW,
        topic="data_quality",
    )
    return fact, claim


def _title(facts: Mapping[str, Fact]) -> dict[Language, str]:
    company, ended = facts.get("filing.company"), facts.get("filing.fiscal_year_end")
    title: dict[Language, str] = {"en": "Risk report", "zh": "风险分析报告"}
    if ended and ended.value:
        day = date.fromisoformat(str(ended.value))
        title = {"en": f"{title['en']} for {year(day, 'en')}", "zh": f"{year(day, 'zh')}{title['zh']}"}
    if company and company.value:
        title = {"en": f"{company.value}: {title['en'].lower()}", "zh": f"{company.value}：{title['zh']}"}
    return title


@cache
def outlines() -> tuple[Outline, ...]:
    """The sections of the report, in order."""
    return tuple(
        Outline(
            key=entry["key"],
            title=entry["title"],
            topics=tuple(entry["topics"]),
            predicates=tuple(entry.get("predicates", ())),
            most=entry.get("most", 1000),
        )
        for entry in _data("phrases")["section"]
    )


@cache
def phrasebook() -> Phrasebook:
    """All phrases of the service, with the labels of items, ratios and scores."""
    table = _data("phrases")
    categories, risks = _labels(_data("topics")["category"]), _labels(_data("rules")["risk"])
    words = table["words"] | {
        "category": {key: {"en": f"On {_within(of['en'])}", "zh": f"{of['zh']}风险"} for key, of in categories.items()},
        "risk": {key: {"en": f"{of['en']} risk", "zh": f"{of['zh']}风险"} for key, of in (categories | risks).items()},
    }
    return Phrasebook.load({**table, "words": words, "label": _default_labels() | table["label"]})


@cache
def vocabulary() -> Vocabulary:
    """What the verifier knows of this service: the labels of its facts, the words for their values, its judgements."""
    book = phrasebook()
    axes: dict[str, Any] = {
        f"word_{table}": {"backed_by": "value"}
        | {value: {"values": [value], "en": [word["en"]], "zh": [word["zh"]]} for value, word in words.items()}
        for table, words in book.words.items()
    }
    labels: dict[str, dict[str, Any]] = {
        name: {language: _spellings(label, language) for language in LANGUAGES} for name, label in book.labels.items()
    }
    for risk in book.words["risk"]:
        labels |= {
            f"matrix.{risk}.{part}": {"same": part, **words} for part, words in _data("vocabulary")["matrix"].items()
        }
    made = Vocabulary.load(_data("vocabulary"), {"axes": axes, "labels": labels})
    return made.with_lexicon({language: _lexicon(book, language, made) for language in LANGUAGES})


def _lexicon(book: Phrasebook, language: Language, known: Vocabulary) -> dict[str, frozenset[str]]:
    """The plain words of each predicate's phrases, and those that may stand in any sentence."""
    texts: dict[str, list[str]] = {"": _data("vocabulary")["lexicon"][language]}
    for key, phrase in book.phrases.items():
        texts.setdefault(key.partition(".")[0], []).extend(literals(phrase.text[language]))
    return {predicate: lexicon(each, language, known) for predicate, each in texts.items()}


def _spellings(label: Label, language: Language) -> list[str]:
    text = label.text[language]
    return [text, text.removeprefix("the ")] if language == "en" else [text]


def _default_labels() -> dict[str, dict[str, Any]]:
    """Labels of the tables as they stand within a sentence: "Revenue" is "revenue", "EBITDA" stays."""
    labels: dict[str, dict[str, Any]] = {}
    for table in _TABLES:
        for name, entry in _data(table).items():
            if isinstance(entry, dict) and "label" in entry:
                english = entry["label"]["en"]
                labels[name] = {
                    "en": _within(english),
                    "zh": entry["label"]["zh"],
                    "plural": table == "items" and english.partition(",")[0].endswith("s"),
                    "instant": entry.get("statement") == "balance_sheet",
                }
    return labels


def _within(label: str) -> str:
    """A label as it stands within an English sentence."""
    first = label.partition(" ")[0]
    return label if not first[1:].islower() or first in _PROPER else label[0].lower() + label[1:]


_PROPER = ("Altman", "Beneish", "Ohlson", "Piotroski", "Sloan", "DuPont")


def _labels(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry["label"] for key, entry in table.items()}


@cache
def _data(table: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / f"{table}.toml").read_text("utf-8"))
