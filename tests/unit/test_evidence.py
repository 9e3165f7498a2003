"""The contract of the suite: what a fact, a source and a report refuse, and that all survive JSON unchanged."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evident_core.evidence import (
    Claim,
    Correction,
    Derived,
    Element,
    Fact,
    ImageRegion,
    InputRef,
    PageBox,
    Report,
    Section,
    Sentence,
    Source,
    Span,
    Status,
)

INPUT = InputRef(sha256="0" * 64, name="report.pdf")
PAGE = Source(input=INPUT, where=PageBox(page=3, bbox=(1, 2, 3, 4), quote="Revenue 12"))


def fact(**changes: object) -> Fact:
    given_ = {"id": "revenue@2018-12-31", "name": "revenue", "value": "12", "unit": "USD", "sources": (PAGE,)}
    return Fact.model_validate(given_ | changes)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_a_number_survives_json_to_the_last_digit(value: Decimal) -> None:
    made = fact(value=value)
    again = Fact.model_validate_json(made.model_dump_json())
    assert again == made
    assert again.number == value
    assert str(again.number) == str(value)


def test_a_digit_string_without_unit_stays_text() -> None:
    made = fact(value="2018", unit=None)
    assert Fact.model_validate_json(made.model_dump_json()).value == "2018"
    with pytest.raises(TypeError, match="has no number"):
        _ = made.number


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": 1.5}, "float"),
        ({"value": "twelve"}, "'twelve' is not a number"),
        ({"value": "NaN"}, "NaN"),
        ({"value": "Infinity"}, "Infinity"),
        ({"value": Decimal(1), "unit": None}, "a number has a unit"),
        ({"value": None}, "absent exactly when"),
        ({"status": Status.NOT_PRESENTED}, "absent exactly when"),
        ({"sources": ()}, "cannot be pointed at"),
        ({"confidence": 1.5}, "less than or equal to 1"),
        ({"scale": 0}, "greater than or equal to 1"),
        ({"amount": 3}, "Extra inputs"),
    ],
)
def test_a_fact_refuses_what_it_could_not_stand_for(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fact(**changes)


def test_not_found_is_an_answer() -> None:
    made = fact(value=None, unit=None, sources=(), status=Status.NOT_PRESENTED)
    assert made.value is None


def test_a_source_names_an_input_exactly_when_the_value_stands_in_one() -> None:
    derived = Derived(rule="sum", formula="a + b", fact_ids=("a", "b"))
    Source(where=derived)
    Source(where=Correction(by="analyst", at="2026-01-01"))
    Source(input=INPUT, where=ImageRegion(sop_instance_uid="1.2.3", bbox=(0, 0, 5, 5)))
    Source(input=INPUT, where=Element(path="/who/0"))
    with pytest.raises(ValidationError, match="names none"):
        Source(input=INPUT, where=derived)
    with pytest.raises(ValidationError, match="names that input"):
        Source(where=PageBox(page=1, bbox=(0, 0, 1, 1)))
    with pytest.raises(ValidationError, match="sha256"):
        InputRef(sha256="abc", name="x")


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        fact().value = Decimal(1)  # type: ignore[misc]


def report(**changes: object) -> Report:
    claim = Claim(id="c1", predicate="stated", facts={"value": "revenue@2018-12-31"})
    sentence = Sentence(
        id="s1",
        text={"en": "Revenue was $12.", "zh": "收入为12美元。"},
        claim_ids=("c1",),
        spans={"en": (Span(start=12, end=15, fact_id="revenue@2018-12-31"),)},
    )
    section = Section(key="summary", title={"en": "Summary", "zh": "摘要"}, sentences=(sentence,))
    parts = {
        "title": {"en": "R", "zh": "报告"},
        "inputs": (INPUT,),
        "facts": (fact(),),
        "claims": (claim,),
        "sections": (section,),
    }
    return Report.model_validate(parts | changes)


def test_a_report_finds_its_facts_and_claims_and_survives_json() -> None:
    made = report()
    assert made.fact("revenue@2018-12-31").number == 12
    assert made.claim("c1").predicate == "stated"
    assert Report.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(KeyError):
        made.fact("nothing")


def test_a_report_in_which_something_dangles_is_refused() -> None:
    with pytest.raises(ValidationError, match="claim c1 rests on facts that are not in the report"):
        report(facts=())
    with pytest.raises(ValidationError, match="sentence s1 states claims that are not there"):
        report(claims=())
    with pytest.raises(ValidationError, match="given twice"):
        report(facts=(fact(), fact()))
