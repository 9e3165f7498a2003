"""A company made up for the tests of the assessment: two years of round, unlike figures, all items present."""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

import pytest

from evident_core.evidence import Element, Fact, InputRef, Source, Status

NOW, BEFORE = "2023-12-31", "2022-12-31"
INPUT = InputRef(sha256="0" * 64, name="made-up.pdf")

FIGURES: dict[str, tuple[str, str]] = {
    "revenue": ("2000", "1600"),
    "cost_of_revenue": ("1200", "1000"),
    "gross_profit": ("800", "600"),
    "research_development": ("100", "80"),
    "selling_general_administrative": ("300", "250"),
    "operating_income": ("340", "220"),
    "interest_expense": ("40", "50"),
    "income_before_tax": ("320", "180"),
    "income_tax": ("80", "45"),
    "income_continuing_operations": ("240", "135"),
    "net_income": ("230", "130"),
    "eps_diluted": ("2.30", "1.25"),
    "shares_basic": ("100", "104"),
    "cash_and_equivalents": ("250", "180"),
    "short_term_investments": ("50", "40"),
    "notes_receivable": ("10", "12"),
    "accounts_receivable": ("300", "220"),
    "inventories": ("200", "210"),
    "total_current_assets": ("900", "750"),
    "ppe_net": ("700", "680"),
    "goodwill": ("150", "160"),
    "total_assets": ("2000", "1800"),
    "short_term_debt": ("60", "90"),
    "current_portion_long_term_debt": ("40", "30"),
    "accounts_payable": ("180", "170"),
    "income_taxes_payable": ("20", "15"),
    "contract_liabilities": ("70", "50"),
    "total_current_liabilities": ("450", "500"),
    "long_term_debt": ("400", "430"),
    "total_liabilities": ("1000", "1050"),
    "retained_earnings": ("500", "350"),
    "surplus_reserve": ("30", "25"),
    "equity_parent": ("950", "710"),
    "total_equity": ("1000", "750"),
    "common_stock": ("100", "104"),
    "depreciation_amortization": ("90", "85"),
    "operating_cash_flow": ("360", "210"),
    "capex": ("110", "95"),
    "dividends_paid": ("60", "50"),
    "interest_paid": ("38", "49"),
    "income_taxes_paid": ("75", "40"),
}
BANK: dict[str, tuple[str, str]] = {
    "revenue": ("500", "450"),
    "net_interest_income": ("300", "260"),
    "noninterest_income": ("200", "190"),
    "noninterest_expense": ("280", "270"),
    "credit_loss_provision": ("50", "30"),
    "income_before_tax": ("170", "150"),
    "income_tax": ("40", "35"),
    "net_income": ("130", "115"),
    "cash_and_equivalents": ("900", "800"),
    "loans_net": ("6000", "5500"),
    "total_assets": ("10000", "9000"),
    "deposits": ("7500", "7000"),
    "total_liabilities": ("9200", "8300"),
    "total_equity": ("800", "700"),
    "operating_cash_flow": ("-50", "150"),
}


def make_fact(
    name: str, value: str | None, period: str | None = NOW, unit: str | None = "USD", note: str = "", **more: Any
) -> Fact:
    """A fact as read, or NOT_PRESENTED where the value is None."""
    fact_id = str(more.pop("id", f"{name}@{period}" if period else name))
    return Fact(
        id=fact_id,
        name=name,
        value=Decimal(value) if value is not None and unit else value,
        unit=unit if value is not None else None,
        period=period,
        status=Status.NOT_PRESENTED if value is None else Status.PRESENTED,
        sources=() if value is None else (Source(input=INPUT, where=Element(path=f"/{fact_id}")),),
        note=note,
        **more,
    )


def make_company(
    figures: Mapping[str, tuple[str, str]] = FIGURES,
    *,
    without: Collection[str] = (),
    unit: str = "USD",
    now: Mapping[str, str | None] | None = None,
) -> list[Fact]:
    """The facts of both years, less the names or ids in ``without``; ``now`` sets values of the newest year."""
    facts = []
    values = {f"{name}@{NOW}": new for name, (new, _) in figures.items()}
    values |= {f"{name}@{BEFORE}": old for name, (_, old) in figures.items()}
    values |= {f"{name}@{NOW}": new for name, new in (now or {}).items()}
    for fact_id, value in values.items():
        name, period = fact_id.split("@")
        if name not in without and fact_id not in without:
            facts.append(make_fact(name, value, period, "1" if name.startswith("shares") else unit))
    return facts


@pytest.fixture(name="fact", scope="session")
def fact_maker() -> Callable[..., Fact]:
    return make_fact


@pytest.fixture(scope="session")
def company() -> Callable[..., list[Fact]]:
    return make_company


@pytest.fixture
def bank() -> list[Fact]:
    return make_company(BANK)
