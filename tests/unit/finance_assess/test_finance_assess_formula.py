"""The evaluator: arithmetic, units, years, what is absent, and everything that must be refused."""

import contextlib
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_core.evidence import Fact
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.formula import Missing, MixedUnits, Refused, evaluate, names, parse
from evident_finance.risk_report.assess.ledger import Ledger
from evident_finance.risk_report.schema import Facts

NOW, BEFORE = "2023-12-31", "2022-12-31"
Make = Callable[..., list[Fact]]


@pytest.fixture
def ledger(company: Make, fact: Callable[..., Fact]) -> Ledger:
    extra = [fact("filing.company", "Acme 银行", None, None), fact("concentration.customer_share", "25", None, "%")]
    return Ledger(Facts([*company(), *extra, fact("loans_net", "7", NOW, "EUR"), fact("deposits", None)]))


@pytest.mark.parametrize(
    ("expression", "value", "unit"),
    [
        ("1 + 2 * 3", "7", "1"),
        ("(1 + 2) * 3", "9", "1"),
        ("8 / 4 / 2", "1", "1"),
        ("8 - 4 - 2", "2", "1"),
        ("-2 * -3", "6", "1"),
        ("25%", "0.25", "1"),
        ("revenue", "2000", "USD"),
        ("revenue@2022", "1600", "USD"),
        ("revenue@2022-12-31", "1600", "USD"),
        ("revenue - cost_of_revenue", "800", "USD"),
        ("revenue * 2", "4000", "USD"),
        ("2 * revenue", "4000", "USD"),
        ("revenue / 4", "500", "USD"),
        ("revenue / total_assets", "1", "1"),
        ("prior(revenue)", "1600", "USD"),
        ("prior(revenue / total_assets)", str(Decimal(1600) / 1800), "1"),
        ("average(total_assets)", "1900", "USD"),
        ("average(revenue / 2)", "900", "USD"),
        ("change(revenue)", "0.25", "1"),
        ("revenue.change", "0.25", "1"),
        ("total(short_term_debt, long_term_debt, pension_liabilities)", "460", "USD"),
        ("optional(pension_liabilities)", "0", "1"),
        ("revenue + optional(pension_liabilities)", "2000", "USD"),
        ("first_of(pension_liabilities, revenue)", "2000", "USD"),
        ("indicator(revenue > prior(revenue))", "1", "1"),
        ("indicator(revenue < prior(revenue))", "0", "1"),
        ("abs(cost_of_revenue - revenue)", "800", "USD"),
        ("ln(exp(2))", "2", "1"),
        ("gross_margin", "0.4", "1"),
        ("concentration.customer_share", "0.25", "1"),
        ("shares_basic", "100", "1"),
        ("threshold.current_ratio.low", "1", "1"),
        ("total_current_assets - 0", "900", "USD"),
    ],
)
def test_value(expression: str, value: str, unit: str, ledger: Ledger) -> None:
    result = evaluate(expression, ledger, NOW)
    assert abs(result.number - Decimal(value)) < Decimal("1e-20")
    assert result.unit == unit


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        ("1 < 2 and not 2 < 1", True),
        ("1 > 2 or 2 >= 2", True),
        ("1 == 1 and 1 != 2 and 1 <= 1", True),
        ("revenue > 0", True),
        ("0 < revenue", True),
        ("net_income < 0 and pension_liabilities > 0", False),  # the second is not looked at
        ("revenue > 0 or pension_liabilities > 0", True),
        ("present(revenue)", True),
        ("present(deposits)", False),
        ("not present(pension_liabilities)", True),
        ('matches(filing.company, "BANK|银行")', True),
        ('matches(filing.company, "insurer")', False),
        ('filing.company == "Acme 银行"', True),
        ('currency(revenue) == "USD"', True),
        ("not (1 == 2)", True),
    ],
)
def test_truth(expression: str, truth: bool, ledger: Ledger) -> None:
    assert evaluate(expression, ledger, NOW).truth is truth


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("revenue - (cost_of_revenue - inventories)", f"revenue@{NOW} - (cost_of_revenue@{NOW} - inventories@{NOW})"),
        ("revenue - cost_of_revenue + inventories", f"revenue@{NOW} - cost_of_revenue@{NOW} + inventories@{NOW}"),
        ("revenue / (total_assets / 2)", f"revenue@{NOW} / (total_assets@{NOW} / 2)"),
        ("average(revenue) / 2", f"(revenue@{NOW} + revenue@{BEFORE}) / 2 / 2"),
        ("change(revenue)", f"revenue@{NOW} / revenue@{BEFORE} - 1"),
        ("-(revenue + inventories)", f"-(revenue@{NOW} + inventories@{NOW})"),
        ("inventories - -inventories", f"inventories@{NOW} - -inventories@{NOW}"),
        ("not (1 < 2 or 2 < 1) or 1 < 2", "not 1 < 2 or 1 < 2"),
    ],
)
def test_text_is_the_formula_as_evaluated(expression: str, text: str, ledger: Ledger) -> None:
    result = evaluate(expression, ledger, NOW)
    assert result.text == text
    assert evaluate(text, ledger, NOW).value == result.value


@pytest.mark.parametrize(
    ("expression", "error", "words"),
    [
        ("revenue + 5", MixedUnits, "in USD and 5 is a pure number"),
        ("revenue - loans_net", MixedUnits, "in EUR"),
        ("revenue / loans_net", MixedUnits, "in EUR"),
        ("revenue * revenue", MixedUnits, "product has no meaning"),
        ("5 / revenue", MixedUnits, "turn them round"),
        ("revenue > 5", MixedUnits, "pure number"),
        ("ln(revenue)", MixedUnits, "pure number"),
        ("revenue / 0", Refused, "is zero"),
        ("1 / (1 - 1)", Refused, "is zero"),
        ("ln(0 - 1)", Refused, "no logarithm"),
        ("exp(99999999)", Refused, "range of numbers"),
        ("change(net_income - net_income)", Refused, "not positive"),
        ("pension_liabilities", Missing, "Pension and other postretirement obligations of 2023 missing"),
        ("deposits", Missing, "Customer deposits of 2023 not presented"),
        ("prior(prior(revenue))", Missing, "year before 2022-12-31"),
        ("total(pension_liabilities, deposits)", Missing, "Pension"),
        ("first_of(pension_liabilities, deposits)", Missing, "Pension"),
        ("revenue@2019", InvalidInput, "2019 is not in the filing; its periods are: 2023-12-31, 2022-12-31"),
        ("revenue@2023-06-30", InvalidInput, "2023-06-30 is not in the filing"),
        ("filing.company + 1", InvalidInput, "not a number"),
        ("filing.company < 1", InvalidInput, "cannot be compared"),
        ('filing.company < "x"', InvalidInput, "cannot be compared"),
        ("revenue and 1 < 2", InvalidInput, "neither true nor false"),
        ("sqrt(4)", InvalidInput, "There is no function 'sqrt'"),
        ("prior(revenue, 2)", InvalidInput, "takes 1 argument"),
        ("revenue +", InvalidInput, "character 9"),
        ("(revenue", InvalidInput, "cannot be read"),
        ("revenue; import os", InvalidInput, "cannot be read at ';'"),
        ("revenue ** 2", InvalidInput, "cannot be read"),
        ("revenue.__class__", Missing, "__class__"),
        ("1 < 2 < 3", InvalidInput, "cannot be read"),
        ("", InvalidInput, "its end"),
        ("1" + "+1" * 1200, InvalidInput, "2401 characters"),
        ("-" * 1500 + "1", InvalidInput, "nested too deeply"),
    ],
)
def test_refusal(expression: str, error: type[InvalidInput], words: str, ledger: Ledger) -> None:
    with pytest.raises(error) as caught:
        evaluate(expression, ledger, NOW)
    assert type(caught.value) is error
    assert words in caught.value.message


def test_cause_names_the_item_and_period(ledger: Ledger) -> None:
    with pytest.raises(Missing) as caught:
        evaluate("revenue / prior(pension_liabilities)", ledger, NOW)
    assert caught.value.cause == ("pension_liabilities", BEFORE)


def test_names_of_an_expression() -> None:
    assert names("average(a + b.c@2020) / first_of(d, 1)") == {"a", "b.c", "d"}


def test_a_measure_defined_by_itself_is_refused(company: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known = catalogue.measures()
    loop = {**known, "ebit": known["ebit"].model_copy(update={"formula": "ebitda - depreciation_amortization"})}
    monkeypatch.setattr(catalogue, "measures", lambda: loop)
    with pytest.raises(Refused, match="defined by itself"):
        Ledger(Facts(company())).find("ebitda", NOW)


@pytest.mark.parametrize(
    ("ends", "before"),
    [
        (("2023-12-31", "2022-12-31"), "2022-12-31"),
        (("2023-02-03", "2022-01-28"), "2022-01-28"),  # 53 weeks
        (("2022-09-24", "2021-09-25"), "2021-09-25"),
        (("2023-12-31", "2021-12-31"), None),
        (("2023-12-31", "2023-06-30"), None),
    ],
)
def test_the_year_before(ends: tuple[str, str], before: str | None, fact: Callable[..., Fact]) -> None:
    ledger = Ledger(Facts([fact("revenue", "1", end) for end in ends]))
    if before:
        assert ledger.before(ends[0]) == before
    else:
        with pytest.raises(Missing):
            ledger.before(ends[0])


sums = st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


@given(sums)
@settings(max_examples=60, deadline=None)
def test_arithmetic_is_that_of_python(expression: str) -> None:
    assert evaluate(expression, Ledger(Facts([])), None).number == eval(expression)


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        parse(text)
