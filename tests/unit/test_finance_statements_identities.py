"""Identities: what holds, what leaves a residual, and what is derived from what is printed."""

from decimal import Decimal

from evident_finance.risk_report.perceive.identities import check, derive, identities
from evident_finance.risk_report.perceive.items import catalogue

BY_NAME = {identity.name: identity for identity in identities()}
D = Decimal


def test_identities_speak_of_items_only() -> None:
    for identity in identities():
        assert {identity.left, *(name for _, name in identity.terms), *identity.derives} <= set(catalogue())


def test_assets_equal_liabilities_redeemable_interests_and_equity() -> None:
    values = {"total_assets": D(100), "total_liabilities": D(60), "redeemable_interests": D(5), "total_equity": D(35)}
    tried = check(BY_NAME["balance_parts"], values, D(1))
    assert tried is not None
    assert tried.holds
    assert tried.used == ("total_assets", "total_liabilities", "redeemable_interests", "total_equity")


def test_a_residual_beyond_rounding_is_shown() -> None:
    tried = check(
        BY_NAME["cash_roll_forward"], {"cash_end": D(50), "cash_beginning": D(30), "net_change_in_cash": D(10)}, D(1)
    )
    assert tried is not None
    assert not tried.holds
    assert tried.residual == 10


def test_rounding_of_each_term_is_no_residual() -> None:
    values = {"gross_profit": D("10.1"), "revenue": D("30.0"), "cost_of_revenue": D("20.0")}
    tried = check(BY_NAME["gross_profit"], values, D("0.1"))
    assert tried is not None
    assert tried.holds


def test_an_identity_without_its_terms_is_not_tried() -> None:
    assert check(BY_NAME["gross_profit"], {"gross_profit": D(1), "revenue": D(2)}, D(1)) is None


def test_liabilities_that_are_not_printed_follow_from_the_rest() -> None:
    made = derive(BY_NAME["balance_parts"], "total_liabilities", {"total_assets": D(100), "total_equity": D(-20)})
    assert made is not None
    value, formula, used = made
    assert value == 120
    assert formula == "total_liabilities = total_assets − total_equity"
    assert used == ("total_assets", "total_equity")


def test_nothing_is_derived_from_half_of_an_identity() -> None:
    assert derive(BY_NAME["balance_parts"], "total_liabilities", {"total_assets": D(100)}) is None
