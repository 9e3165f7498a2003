"""Depreciation of mainland reports comes from a note, and only where the note proves itself."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from evident_core.evidence import Derived, Fact, PageBox, Status
from evident_finance.risk_report.ingest import Filing, ingest
from evident_finance.risk_report.perceive.statements import read_statements
from evident_finance.risk_report.perceive.supplement import ITEM, with_supplement
from evident_finance.risk_report.schema import Facts

SAMPLE = Path(__file__).parents[2] / "sample_data" / "finance" / "chengyu_2023_annual_report.pdf"


@pytest.fixture(scope="module")
def filing() -> Iterator[Filing]:
    with ingest(SAMPLE.read_bytes(), name=SAMPLE.name) as opened:
        yield opened


@pytest.fixture(scope="module")
def facts(filing: Filing) -> tuple[Fact, ...]:
    return read_statements(filing)[1]


def test_both_years_are_derived_from_lines_that_can_be_opened(filing: Filing, facts: tuple[Fact, ...]) -> None:
    known = Facts(facts)
    for period, value in (("2023-12-31", "72475814.58"), ("2022-12-31", "76347139.02")):
        fact = known.get(ITEM, period)
        assert fact is not None
        assert (fact.value, fact.status) == (Decimal(value), Status.DERIVED)
        where = fact.sources[0].where
        assert isinstance(where, Derived)
        parts = [known.by_id(each) for each in where.fact_ids]
        assert sum((part.number for part in parts if part), Decimal(0)) == fact.number
        for part in parts:
            assert part is not None
            box = part.sources[0].where
            assert isinstance(box, PageBox)
            inside = [word.text for word in filing.words(box.page).words if word.bbox == box.bbox]
            assert [text.replace(",", "") for text in inside] == [f"{part.number:f}"]


def without_item(facts: tuple[Fact, ...]) -> list[Fact]:
    return [fact for fact in facts if ITEM not in fact.name]


def test_a_note_whose_profit_is_another_proves_nothing(filing: Filing, facts: tuple[Fact, ...]) -> None:
    changed = tuple(
        fact.model_copy(update={"value": fact.number + 1})
        if fact.name in ("profit_loss", "net_income") and fact.value is not None
        else fact
        for fact in without_item(facts)
    )
    assert with_supplement(filing, changed) == changed


def test_what_the_statements_print_is_not_replaced(filing: Filing, facts: tuple[Fact, ...]) -> None:
    printed = next(fact for fact in facts if fact.name == "revenue" and fact.value is not None)
    own = printed.model_copy(update={"id": f"{ITEM}@{printed.period}", "name": ITEM})
    given = (*without_item(facts), own)
    assert with_supplement(filing, given) == given
