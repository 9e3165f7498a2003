"""The assessment of a part as a report: one plan, two languages, and nothing that the verifier refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Claim, Fact, InputRef, Language, Report
from evident_core.write import Outline, Phrasebook, Vocabulary, compose, phrase_lexicon
from evident_core.write.vocabulary import LANGUAGES
from evident_manufacturing.inspection.perceive.descriptions import load_descriptions

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
    return compose(
        TITLE,
        inputs,
        facts,
        claims,
        outlines=outlines(),
        phrasebook=phrasebook(),
        vocabulary=vocabulary(),
        remarks="evidence",
        count="count",
    )


@cache
def outlines() -> tuple[Outline, ...]:
    """The sections of the report, in order."""
    return tuple(
        Outline(key=entry["key"], title=entry["title"], topics=tuple(entry["topics"]))
        for entry in _data("phrases")["section"]
    )


@cache
def phrasebook() -> Phrasebook:
    """All phrases of the service, with the wordings that the aligner may choose."""
    table = _data("phrases")
    wordings = {
        f"{kind}.{trait}": said for kind, of in load_descriptions().kinds.items() for trait, said in of.remarks.items()
    }
    return Phrasebook.load({**table, "words": {**table["words"], "wording": wordings}})


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
    anywhere = _data("vocabulary")["lexicon"]
    return made.with_lexicon(
        {language: phrase_lexicon(book, anywhere[language], language, made) for language in LANGUAGES}
    )


@cache
def _data(table: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / f"{table}.toml").read_text("utf-8"))
