"""The verifier on sentences of other services than finance: sides and millimetres, figures, quotations, limits."""

from decimal import Decimal

import pytest

from evident_core.evidence import (
    Claim,
    Element,
    Fact,
    InputRef,
    Language,
    Polarity,
    Report,
    Section,
    Sentence,
    Source,
    Span,
)
from evident_core.write import Vocabulary, verify, verify_sentence

INPUT = InputRef(sha256="cd" * 32, name="study")
HERE = (Source(input=INPUT, where=Element(path="/x", quote="")),)
VOCABULARY = Vocabulary.load(
    {
        "labels": {
            "nodule.diameter": {"en": ["nodule"], "zh": ["结节"]},
            "effusion": {"en": ["pleural effusion"], "zh": ["胸腔积液"]},
            "visitors": {"en": ["visitors"], "zh": ["参观者"]},
            "scratch.length": {"en": ["scratch"], "zh": ["划痕"]},
        }
    }
)


def fact(name: str, value: str, unit: str | None = None, **more: object) -> Fact:
    return Fact.model_validate({"id": name, "name": name, "value": value, "unit": unit, "sources": HERE, **more})


NODULE = (
    [fact("nodule.diameter", "12.4", "mm"), fact("nodule.side", "left")],
    Claim(id="n", predicate="nodule", facts={"size": "nodule.diameter", "side": "nodule.side"}),
)
NO_EFFUSION = (
    [fact("effusion", "none")],
    Claim(id="e", predicate="effusion", facts={"finding": "effusion"}, polarity=Polarity.ABSENT),
)
VISITORS = (
    [
        fact("visitors", "31250", "1", id="visitors@2025-05-01", period="2025-05-01"),
        fact("visitors", "25000", "1", id="visitors@2024-05-01", period="2024-05-01"),
        fact("visitors.change", "25", "%"),
        fact("mayor", "Ana Ruiz"),
        fact("said", "We did not expect “so many” people"),
    ],
    Claim(
        id="v",
        predicate="visitors",
        facts={
            "now": "visitors@2025-05-01",
            "before": "visitors@2024-05-01",
            "change": "visitors.change",
            "who": "mayor",
            "said": "said",
        },
    ),
)
SCRATCH = (
    [fact("scratch.length", "1.5", "mm"), fact("scratch.threshold", "1.0", "mm")],
    Claim(id="s", predicate="scratch", facts={"value": "scratch.length", "threshold": "scratch.threshold"}),
)
UNREAD = (
    [fact("effusion", "none")],
    Claim(id="u", predicate="effusion", facts={"finding": "effusion"}, polarity=Polarity.NOT_ASSESSED),
)


def kinds(case: tuple[list[Fact], Claim], en: str, zh: str, **spans: object) -> set[str]:
    facts, claim = case
    sentence = Sentence.model_validate({"id": "s", "text": {"en": en, "zh": zh}, "claim_ids": (claim.id,), **spans})
    return {each.kind for each in verify_sentence(sentence, [claim], {f.id: f for f in facts}, VOCABULARY)}


@pytest.mark.parametrize(
    ("case", "en", "zh"),
    [
        (NODULE, "There is a 12.4 mm nodule on the left.", "左侧见12.4毫米结节。"),
        (NODULE, "There is a 1.24 cm nodule on the left.", "左侧见一枚结节，约12毫米。"),
        (NO_EFFUSION, "There is no pleural effusion.", "未见胸腔积液。"),
        (UNREAD, "A pleural effusion could not be assessed.", "胸腔积液无法评估。"),
        (SCRATCH, "The scratch is 1.5 mm long, above 1.0 mm.", "划痕长1.5毫米，高于1.0毫米。"),
        (
            VISITORS,
            "The visitors rose 25% to 31,250 in 2025, from 25,000, said Ana Ruiz: “We did not expect ‘so many’…”.",
            "Ana Ruiz说：“We did not expect ‘so many’…”。2025年参观者由25,000增长25%至31,250人。",
        ),
        (
            VISITORS,
            "Some thirty-one thousand visitors came in 2025.",
            "2025年约有三万一千名参观者。",
        ),
    ],
)
def test_what_the_claims_state_passes(case: tuple[list[Fact], Claim], en: str, zh: str) -> None:
    assert kinds(case, en, zh) == set()


@pytest.mark.parametrize(
    ("case", "en", "zh", "kind"),
    [
        (NODULE, "There is a 12.4 mm nodule on the right.", "右侧见12.4毫米结节。", "direction"),
        (NODULE, "There is a 12.4 cm nodule on the left.", "左侧见12.4厘米结节。", "number"),
        (NODULE, "There is a 12.6 mm nodule on the left.", "左侧见12.6毫米结节。", "number"),
        (NODULE, "There is a 12.4 mm nodule on the left.", "右侧见12.4毫米结节。", "parity"),
        (NODULE, "There is a 12.4 mm nodule on the left.", "左侧见结节。", "parity"),
        (NODULE, "There is no 12.4 mm nodule on the left.", "左侧未见12.4毫米结节。", "polarity"),
        (NODULE, "There is a 12.4 mm nodule on the left.", "There is a 12.4 mm nodule on the left.", "language"),
        (NODULE, "There is a 12.4 mm 结节 on the left.", "左侧见12.4毫米结节。", "language"),
        (NODULE, "There is a 12.4 mm nodule on the left.", "", "language"),
        (NODULE, "Dr Smith sees a 12.4 mm nodule on the left.", "左侧见12.4毫米结节。", "name"),
        (NODULE, "There is a 12.4 mm nodule on the left.", "仁济医院：左侧见12.4毫米结节。", "name"),
        (NODULE, "There is a pleural effusion of 12.4 mm on the left.", "左侧见胸腔积液12.4毫米。", "name"),
        (NODULE, "In 2019 there was a 12.4 mm nodule on the left.", "2019年左侧见12.4毫米结节。", "date"),
        (NO_EFFUSION, "There is a pleural effusion.", "见胸腔积液。", "polarity"),
        (UNREAD, "There is no pleural effusion.", "未见胸腔积液。", "polarity"),
        (SCRATCH, "The scratch is 1.5 mm long, below 1.0 mm.", "划痕长1.5毫米，低于1.0毫米。", "direction"),
        (SCRATCH, "The scratch is 1.0 mm long, above 1.5 mm.", "划痕长1.0毫米，高于1.5毫米。", "direction"),
        (VISITORS, "The visitors fell 25% to 31,250.", "参观者下降25%至31,250人。", "direction"),
        (VISITORS, "The visitors rose −25% to 31,250.", "参观者增长−25%至31,250人。", "sign"),
        (VISITORS, "There were 31,250 visitors in 2024.", "2024年参观者31,250人。", "number"),
        (VISITORS, "The visitors rose to 25,000, from 31,250.", "参观者由31,250增长至25,000人。", "number"),
        (VISITORS, "There were $31,250 visitors.", "参观者31,250元。", "number"),
        (VISITORS, "There were some three million visitors.", "约有三百万名参观者。", "number"),
        (
            VISITORS,
            "Ana Ruiz said: “We expected so many people”.",
            "Ana Ruiz说：“We expected so many people”。",
            "quote",
        ),
        (VISITORS, "There were = 31,250 visitors.", "参观者31,250人。", "number"),
    ],
)
def test_what_they_do_not_state_is_refused(case: tuple[list[Fact], Claim], en: str, zh: str, kind: str) -> None:
    assert kind in kinds(case, en, zh)


def test_a_span_must_cover_the_number_it_points_from() -> None:
    en, zh = "There is a 12.4 mm nodule on the left.", "左侧见12.4毫米结节。"
    right = {"en": (Span(start=11, end=18, fact_id="nodule.diameter"),)}
    assert kinds(NODULE, en, zh, spans=right) == set()
    assert "span" in kinds(NODULE, en, zh, spans={"en": (Span(start=19, end=25, fact_id="nodule.side"),)})
    assert "span" in kinds(NODULE, en, zh, spans={"en": (Span(start=11, end=18, fact_id="nodule.side"),)})
    assert "span" in kinds(NODULE, en, zh, spans={"en": ()})


def test_a_closed_lexicon_refuses_other_words() -> None:
    words: dict[Language, dict[str, frozenset[str]]] = {
        "en": {"": frozenset(("There", "is", "a")), "nodule": frozenset(("on", "the"))},
        "zh": {"nodule": frozenset(("见",))},
    }
    closed = VOCABULARY.with_lexicon(words)
    facts, claim = NODULE
    known = {each.id: each for each in facts}

    def said(en: str, zh: str) -> list[str]:
        sentence = Sentence(id="s", text={"en": en, "zh": zh}, claim_ids=("n",))
        return [each.text for each in verify_sentence(sentence, [claim], known, closed)]

    assert said("There is a 12.4 mm nodule on the left.", "左侧见12.4毫米结节。") == []
    assert said("There is a nasty 12.4 mm nodule on the left.", "左侧见可疑12.4毫米结节。") == ["nasty", "见可疑"]


@pytest.mark.parametrize(
    ("en", "zh", "right"),
    [
        ("Chest CT", "胸部CT", True),
        ("Chest CT of 1999", "1999年胸部CT", False),
        ("Chest CT", "Chest CT", False),
        ("胸部CT", "胸部CT", False),
    ],
)
def test_titles_are_read_too(en: str, zh: str, right: bool) -> None:
    facts, claim = NODULE
    section = Section(key="findings", title={"en": "Findings", "zh": "所见"})
    title: dict[Language, str] = {"en": en, "zh": zh}
    report = Report(title=title, inputs=(INPUT,), facts=tuple(facts), claims=(claim,), sections=(section,))
    assert (verify(report, VOCABULARY) == []) is right


def test_decimal_facts_of_an_unlisted_unit_compare_with_themselves_alone() -> None:
    facts = [fact("dose", "3", "mSv")]
    claim = Claim(id="d", predicate="dose", facts={"value": "dose"})
    sentence = Sentence(id="s", text={"en": "The dose was 3.", "zh": "剂量为3。"}, claim_ids=("d",))
    found = verify_sentence(sentence, [claim], {"dose": facts[0]}, VOCABULARY)
    assert {each.kind for each in found} == {"number", "parity"}
    assert facts[0].number == Decimal(3)
