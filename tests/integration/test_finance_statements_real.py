"""The reader of the statements against figures read by hand, and over generated layouts."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from annual_reports import make_variant
from evident_core.evidence import Derived, PageBox, Status
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import read_statements
from evident_finance.risk_report.schema import Facts


@pytest.mark.slow
def test_hand_read_line_items_are_right_in_value_sign_scale_year_and_page(real_filings: Path) -> None:
    gold: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (real_filings / "gold.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        gold[entry["doc"]].append(entry)
    wrong = []
    for file in sorted(real_filings.glob("*.pdf")):
        with ingest(file.read_bytes(), name=file.name) as filing:
            facts = Facts(read_statements(filing)[1])
        wrong += [(file.stem, entry["item"]) for entry in gold[file.stem] if not _right(entry, facts)]
    assert len(wrong) <= 0.015 * sum(map(len, gold.values())), wrong


def _right(entry: dict[str, Any], facts: Facts) -> bool:
    fact = facts.get(entry["item"], entry["fiscal_year_end"])
    if entry["status"] == "not_presented":
        return fact is None or fact.status is not Status.PRESENTED
    if fact is None or fact.value != Decimal(str(entry["value"])) * entry["scale"]:
        return False
    where = fact.sources[0].where
    return isinstance(where, PageBox) and where.page == entry["page_1based"]


@pytest.mark.parametrize("seed", [1, 29, 30, 44, 81, 150, 156])
def test_layouts_that_once_broke_the_reader_are_read_whole(seed: int) -> None:
    data, truth = make_variant(seed)
    with ingest(data, name="variant.pdf") as filing:
        statements, facts = read_statements(filing)
    read = {fact.id: fact for fact in facts}
    assert {statement.kind.value for statement in statements} == {"balance_sheet", "income_statement", "cash_flow"}
    printed = right = 0
    for item, periods in truth.items.items():
        for period, figure in periods.items():
            fact = read.get(f"{item}@{period}")
            if figure.status == "presented":
                printed += 1
                right += fact is not None and fact.value == figure.value
            elif figure.status == "not_presented":
                assert fact is None or fact.status is not Status.PRESENTED, item
    assert right >= 0.97 * printed


def test_facts_say_how_they_are_known() -> None:
    data, _ = make_variant(3)
    with ingest(data, name="variant.pdf") as filing:
        facts = read_statements(filing)[1]
    ids = {fact.id for fact in facts}
    for fact in facts:
        if fact.status is Status.PRESENTED:
            assert all(isinstance(source.where, PageBox) and source.where.quote for source in fact.sources)
        if fact.status is Status.DERIVED:
            (source,) = fact.sources
            assert isinstance(source.where, Derived)
            assert set(source.where.fact_ids) <= ids, fact.id
    checks = [fact for fact in facts if fact.name.startswith("check.")]
    assert checks
    assert all(fact.note == "holds" for fact in checks if fact.value == 0)
