"""The realiser: numbers as each language prints them, phrases with optional and repeated parts, plans in order."""

from datetime import date
from decimal import Decimal

import pytest

from evident_core.errors import InvalidInput
from evident_core.evidence import Claim, Element, Fact, InputRef, Language, Source
from evident_core.write import Outline, Phrasebook, plan, realise
from evident_core.write.phrasebook import parse
from evident_core.write.quantities import calendar, quantity, year
from evident_core.write.realise import excerpt

HERE = (Source(input=InputRef(sha256="ef" * 32, name="x"), where=Element(path="/x")),)


@pytest.mark.parametrize(
    ("value", "unit", "style", "en", "zh"),
    [
        ("32765000000", "USD", "", "$32.8 billion", "328亿美元"),
        ("101127000000", "USD", "", "$101.1 billion", "1,011亿美元"),
        ("1175301034.32", "CNY", "", "RMB 1.18 billion", "11.8亿元"),
        ("999960000", "USD", "", "$1.00 billion", "10.0亿美元"),
        ("22930000", "CNY", "", "RMB 22.9 million", "2,293万元"),
        ("-412000000", "USD", "", "−$412 million", "−4.12亿美元"),
        ("-1560000000000", "JPY", "", "−JPY 1.56 trillion", "−1.56万亿日元"),
        ("845320", "EUR", "", "€845,320", "84.5万欧元"),
        ("17.85", "USD", "", "$17.85", "17.85美元"),
        ("0.6", "CNY", "", "RMB 0.60", "0.60元"),
        ("7.62", "%", "", "7.6%", "7.6%"),
        ("70", "%", "", "70%", "70%"),
        ("0.0412", "%", "", "0.041%", "0.041%"),
        ("1509.3", "%", "", "1,509%", "1,509%"),
        ("1.94", "1", "times", "1.9 times", "1.9倍"),
        ("1", "1", "times", "1.0 times", "1.0倍"),
        ("45.4", "d", "", "45 days", "45天"),
        ("1", "d", "", "1 day", "1天"),
        ("1.073", "1", "", "1.07", "1.07"),
        ("0.0521", "1", "coarse", "0.05", "0.05"),
        ("0.48", "%", "coarse", "0.5%", "0.5%"),
        ("2.60", "1", "", "2.60", "2.60"),
        ("7", "1", "integer", "7", "7"),
        ("589000000", "1", "", "589 million", "5.89亿"),
        ("12.4", "mm", "", "12.4 mm", "12.4 mm"),
        ("0.125", "mm", "exact", "0.125 mm", "0.125 mm"),
        ("1.70", "mm2", "exact", "1.70 mm²", "1.70 mm²"),
        ("-650", "[hnsf'U]", "", "−650 HU", "−650 HU"),
        ("1.5", "[pp]", "", "1.5 percentage points", "1.5个百分点"),
    ],
)
def test_a_quantity_as_each_language_prints_it(value: str, unit: str, style: str, en: str, zh: str) -> None:
    assert quantity(Decimal(value), unit, "en", style=style) == en
    assert quantity(Decimal(value), unit, "zh", style=style) == zh


def test_dates_and_the_name_of_a_year_that_ends_in_january() -> None:
    assert (calendar(date(2018, 12, 31), "en"), calendar(date(2018, 12, 31), "zh")) == (
        "December 31, 2018",
        "2018年12月31日",
    )
    assert (year(date(2016, 1, 2), "en"), year(date(2019, 2, 2), "zh")) == ("2015", "2019年")


def book() -> Phrasebook:
    return Phrasebook.load(
        {
            "phrase": {
                "grew": {
                    "en": "{now|label} {now|was} {now} {now|when}[, as {who|text} said][ ({note|quote})].",
                    "zh": "{now|when}{now|label}为{now}[，{who|text}称][（{note|quote}）]。",
                    "brief": {"en": "{now|label}: {now}.", "zh": "{now|label}：{now}。"},
                    "absent": {"en": "No {now|label}.", "zh": "无{now|label}。"},
                },
                "missing": {"join": "item", "most": 3, "en": "Missing: <{item|label}>.", "zh": "缺：<{item|label}>。"},
            },
            "label": {
                "sales": {"en": "sales", "zh": "销售", "plural": True},
                "cash": {"en": "cash", "zh": "现金", "instant": True},
                "debt": {"en": "debt", "zh": "负债"},
                "tax": {"en": "tax", "zh": "税"},
            },
        }
    )


def fact(name: str, value: str | None, unit: str | None = None) -> Fact:
    status = "presented" if value is not None else "not_presented"
    period = "2020-12-31" if unit else None
    sources = HERE if value is not None else ()
    return Fact.model_validate(
        {"id": name, "name": name, "value": value, "unit": unit, "period": period, "status": status, "sources": sources}
    )


FACTS = {
    each.id: each
    for each in (
        fact("sales", "5200000", "USD"),
        fact("cash", "9", "USD"),
        fact("who", "Ana"),
        fact("note", 'all "is" well.'),
        fact("debt", None),
        fact("tax", None),
    )
}


def texts(claims: list[Claim], *outlines: Outline) -> list[tuple[str, str]]:
    sections = realise(plan(claims, outlines, book()), FACTS, book())
    return [(each.text["en"], each.text["zh"]) for section in sections for each in section.sentences]


def outline(key: str = "all", **more: object) -> Outline:
    title: dict[Language, str] = {"en": "All", "zh": "全部"}
    return Outline(key=key, title=title, topics=("t",), **more)  # type: ignore[arg-type]


def claim(claim_id: str, predicate: str, polarity: str = "present", **facts: str) -> Claim:
    return Claim.model_validate(
        {"id": claim_id, "predicate": predicate, "facts": facts, "polarity": polarity, "topic": "t"}
    )


def test_optional_parts_stand_only_with_their_facts_and_verbs_agree() -> None:
    bare, full = claim("a", "grew", now="cash"), claim("b", "grew", now="sales", who="who", note="note")
    assert texts([bare, full], outline()) == [
        ("Cash was $9.00 at the end of 2020.", "2020年末现金为9.00美元。"),
        (
            "Sales were $5.20 million in 2020, as Ana said (“all ‘is’ well”).",
            "2020年销售为520万美元，Ana称（“all ‘is’ well”）。",
        ),
    ]


def test_the_most_particular_phrase_is_taken() -> None:
    denied = claim("a", "grew", polarity="absent", now="cash")
    assert texts([denied], outline()) == [("No cash.", "无现金。")]
    assert texts([denied], outline("brief")) == [("Cash: $9.00.", "现金：9.00美元。")]


def test_claims_that_share_a_phrase_make_one_list() -> None:
    claims = [claim(f"m{n}", "missing", item=item) for n, item in enumerate(("debt", "tax", "debt", "cash"))]
    assert texts(claims[:2], outline()) == [("Missing: debt and tax.", "缺：负债和税。")]
    assert texts(claims, outline()) == [("Missing: debt and tax.", "缺：负债和税。"), ("Missing: cash.", "缺：现金。")]


def test_an_outline_may_pick_and_order_predicates() -> None:
    claims = [claim("a", "grew", now="cash"), claim("b", "grew", now="sales"), claim("c", "missing", item="tax")]
    picked = texts(claims, outline(predicates=("missing", "grew:sales"), most=1))
    assert [en for en, _ in picked] == ["Missing: tax.", "Sales were $5.20 million in 2020."]


def test_spans_cover_the_characters_that_state_a_fact() -> None:
    (section,) = realise(plan([claim("a", "grew", now="sales", who="who")], [outline()], book()), FACTS, book())
    (sentence,) = section.sentences
    shown = {span.fact_id: sentence.text["en"][span.start : span.end] for span in sentence.spans["en"]}
    assert shown == {"sales": "$5.20 million", "who": "Ana"}


@pytest.mark.parametrize("phrase", ["a [b", "a ]b", "a <b]", "a > b"])
def test_a_phrase_with_odd_brackets_is_refused(phrase: str) -> None:
    with pytest.raises(InvalidInput, match="bracket"):
        parse(phrase)


def test_a_claim_without_a_phrase_is_a_defect_of_the_book() -> None:
    with pytest.raises(KeyError, match="no phrase for unheard"):
        plan([claim("a", "unheard")], [outline()], book())


def test_a_long_passage_is_cut_at_a_word() -> None:
    short = excerpt("word " * 100)
    assert len(short) <= 241
    assert short.endswith("word…")
    assert excerpt("一句话，" * 60).endswith("一句话…")
