"""Every ratio and score against values worked out here by plain arithmetic, and what a missing input does."""

import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

import pytest

from evident_core.evidence import Derived, Fact, Status
from evident_finance.risk_report.assess import assess, catalogue
from evident_finance.risk_report.assess.ask import ask
from evident_finance.risk_report.schema import Facts

NOW, BEFORE = "2023-12-31", "2022-12-31"
Make = Callable[..., list[Fact]]

# By hand from the figures of conftest.py, not by the formulas of the data files. Percentages as such.
EBIT, EBITDA, DEBT, LIQUID = 360, 450, 500, 300
ALTMAN = {"x1": 450 / 2000, "x2": 530 / 2000, "x3": 360 / 2000, "x4": 1000 / 1000, "x5": 2000 / 2000}
BENEISH = {
    "dsri": (300 / 2000) / (220 / 1600),
    "gmi": (600 / 1600) / (800 / 2000),
    "aqi": (1 - (900 + 700) / 2000) / (1 - (750 + 680) / 1800),
    "sgi": 2000 / 1600,
    "depi": (85 / (85 + 680)) / (90 / (90 + 700)),
    "sgai": (300 / 2000) / (250 / 1600),
    "lvgi": ((400 + 450) / 2000) / ((430 + 500) / 1800),
    "tata": (240 - 360) / 2000,
}
OHLSON = (
    -1.32
    - 0.407 * math.log(2000 / 669.6)
    + 6.03 * 1000 / 2000
    - 1.43 * 450 / 2000
    + 0.0757 * 450 / 900
    - 1.72 * 0
    - 2.37 * 230 / 2000
    - 1.83 * (230 + 90) / 1000
    + 0.285 * 0
    - 0.521 * (230 - 130) / (230 + 130)
)
EXPECTED: dict[str, float] = {
    "gross_margin_amount": 800,
    "ebit": EBIT,
    "ebitda": EBITDA,
    "sga_total": 300,
    "income_before_extraordinary": 240,
    "total_debt": DEBT,
    "short_term_borrowing": 100,
    "liquid_funds": LIQUID,
    "net_debt": 200,
    "invested_capital": 1500,
    "working_capital": 450,
    "current_ratio": 2.0,
    "quick_ratio": (250 + 50 + 300 + 10) / 450,
    "cash_ratio": 300 / 450,
    "operating_cash_flow_ratio": 0.8,
    "liabilities_to_assets": 50,
    "debt_to_equity": 0.5,
    "debt_to_capital": 100 / 3,
    "equity_to_assets": 50,
    "interest_cover": 9,
    "cash_interest_cover": (360 + 38 + 75) / 38,
    "net_debt_to_ebitda": 200 / 450,
    "cash_flow_to_debt": 72,
    "goodwill_to_equity": 15,
    "gross_margin": 40,
    "operating_margin": 17,
    "net_margin": 11.5,
    "ebitda_margin": 22.5,
    "return_on_assets": 100 * 230 / 1900,
    "return_on_equity": 100 * 230 / 830,
    "return_on_invested_capital": 100 * 360 * 0.75 / ((1500 + 1300) / 2),
    "effective_tax_rate": 25,
    "research_intensity": 5,
    "sga_to_revenue": 15,
    "dupont_return": 23,
    "dupont_turnover": 1.0,
    "dupont_leverage": 2.0,
    "dupont_three_step": 23,
    "dupont_tax_burden": 230 / 320,
    "dupont_interest_burden": 320 / 360,
    "dupont_ebit_margin": 18,
    "dupont_five_step": 23,
    "asset_turnover": 2000 / 1900,
    "fixed_asset_turnover": 2000 / 690,
    "inventory_turnover": 1200 / 205,
    "receivable_turnover": 2000 / 260,
    "receivable_days": 54.75,
    "inventory_days": 200 / 1200 * 365,
    "payable_days": 54.75,
    "cash_conversion_cycle": 200 / 1200 * 365,
    "free_cash_flow": 250,
    "free_cash_flow_margin": 12.5,
    "cash_conversion": 360 / 230,
    "capex_to_revenue": 5.5,
    "capex_to_depreciation": 110 / 90,
    "dividend_cover": 250 / 60,
    "payout_ratio": 100 * 60 / 230,
    "altman_working_capital": ALTMAN["x1"],
    "altman_retained_earnings": ALTMAN["x2"],
    "altman_ebit": ALTMAN["x3"],
    "altman_market_value": 3.0,
    "altman_book_value": ALTMAN["x4"],
    "altman_revenue": ALTMAN["x5"],
    "altman_z": 1.2 * 0.225 + 1.4 * 0.265 + 3.3 * 0.18 + 0.6 * 3.0 + 0.999 * 1.0,
    "altman_z_private": 0.717 * 0.225 + 0.847 * 0.265 + 3.107 * 0.18 + 0.420 * 1.0 + 0.998 * 1.0,
    "altman_z_nonmanufacturer": 6.56 * 0.225 + 3.26 * 0.265 + 6.72 * 0.18 + 1.05 * 1.0,
    "ohlson_size": math.log(2000 / 669.6),
    "ohlson_liabilities_exceed_assets": 0,
    "ohlson_two_losses": 0,
    "ohlson_funds_to_liabilities": 0.32,
    "ohlson_income_change": 100 / 360,
    "ohlson_o": OHLSON,
    "ohlson_probability": 100 / (1 + math.exp(-OHLSON)),
    "beneish_receivables": BENEISH["dsri"],
    "beneish_gross_margin": BENEISH["gmi"],
    "beneish_asset_quality": BENEISH["aqi"],
    "beneish_sales_growth": BENEISH["sgi"],
    "beneish_depreciation": BENEISH["depi"],
    "beneish_expenses": BENEISH["sgai"],
    "beneish_leverage": BENEISH["lvgi"],
    "beneish_accruals": BENEISH["tata"],
    "beneish_m": -4.84
    + 0.920 * BENEISH["dsri"]
    + 0.528 * BENEISH["gmi"]
    + 0.404 * BENEISH["aqi"]
    + 0.892 * BENEISH["sgi"]
    + 0.115 * BENEISH["depi"]
    - 0.172 * BENEISH["sgai"]
    + 4.679 * BENEISH["tata"]
    - 0.327 * BENEISH["lvgi"],
    "piotroski_return": 1,
    "piotroski_cash": 1,
    "piotroski_return_rose": 1,
    "piotroski_accruals": 1,
    "piotroski_leverage_fell": 1,
    "piotroski_liquidity_rose": 1,
    "piotroski_no_new_shares": 1,
    "piotroski_margin_rose": 1,
    "piotroski_turnover_rose": 1,
    "piotroski_f": 9,
    "sloan_accruals": 100
    * (((900 - 750) - (250 - 180)) - ((450 - 500) - (60 - 90) - (40 - 30) - (20 - 15)) - 90)
    / 1900,
    "cash_flow_accruals": 100 * (240 - 360) / 1900,
}
OF_BANKS = {
    "net_interest_margin": 100 * 300 / 9500,
    "cost_to_income": 56,
    "loans_to_deposits": 80,
    "credit_cost": 100 * 50 / 6000,
}
UNUSUAL = {"altman_z", "altman_market_value", "altman_z_private", "altman_z_nonmanufacturer"}


def by_id(facts: Iterable[Fact]) -> dict[str, Fact]:
    return {fact.id: fact for fact in facts}


def close(fact: Fact, expected: float) -> bool:
    return math.isclose(float(fact.number), expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.fixture(scope="module")
def whole(company: Make) -> dict[str, Fact]:
    return by_id(assess(company()).facts)


def test_every_measure_has_an_expected_value() -> None:
    assert set(EXPECTED) | set(OF_BANKS) | {"loss_ratio"} == set(catalogue.measures())


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - UNUSUAL))
def test_measure(name: str, whole: dict[str, Fact]) -> None:
    measured = whole[f"{name}@{NOW}"]
    assert close(measured, EXPECTED[name]), measured
    unit = catalogue.measures()[name].unit
    assert measured.unit == ("USD" if unit == "currency" else unit)
    assert measured.status is Status.DERIVED


@pytest.mark.parametrize("name", sorted(OF_BANKS))
def test_measure_of_banks(name: str, bank: list[Fact], company: Make) -> None:
    assert close(by_id(assess(bank).facts)[f"{name}@{NOW}"], OF_BANKS[name])
    assert f"{name}@{NOW}" not in by_id(assess(company()).facts)


def test_measure_of_insurers(company: Make) -> None:
    figures = {"revenue": ("900", "800"), "premiums_earned": ("800", "700"), "claims_incurred": ("600", "490")}
    figures |= {"total_assets": ("5000", "4600"), "total_equity": ("700", "650"), "net_income": ("60", "50")}
    measured = by_id(assess(company(figures)).facts)
    assert close(measured[f"loss_ratio@{NOW}"], 75)
    assert close(measured[f"loss_ratio@{BEFORE}"], 70)


def test_altman_z_of_a_listed_manufacturer(company: Make, fact: Callable[..., Fact]) -> None:
    # A maker: research, inventories of 10 % of assets that stay 61 days, and an analyst gave the market value.
    measured = by_id(assess([*company(), fact("market_value_of_equity", "3000")]).facts)
    assert close(measured[f"altman_z@{NOW}"], EXPECTED["altman_z"])
    assert close(measured[f"altman_market_value@{NOW}"], 3.0)
    assert measured["altman.model"].value == "altman_z"
    assert "computed instead" in measured[f"altman_z_private@{NOW}"].note


def test_altman_z_without_a_market_value_takes_book_values_and_says_so(company: Make) -> None:
    measured = by_id(assess(company()).facts)
    assert close(measured[f"altman_z_private@{NOW}"], EXPECTED["altman_z_private"])
    assert measured["altman.model"].value == "altman_z_private"
    assert "market value of its equity is not in the filing" in measured["altman.model"].note
    assert measured[f"altman_z@{NOW}"].value is None


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({"inventories": "99"}, "USD"),
        ({"research_development": None}, "USD"),
        ({"cost_of_revenue": "1300"}, "USD"),
        ({}, "CNY"),
    ],
    ids=["few inventories", "no research", "goods that leave within two months", "emerging market"],
)
def test_altman_z_of_others(
    changes: dict[str, str | None], unit: str, company: Make, fact: Callable[..., Fact]
) -> None:
    facts = [*company(unit=unit, now=changes), fact("filing.currency", unit, None, None)]
    measured = by_id(assess(facts).facts)
    assert measured["altman.model"].value == "altman_z_nonmanufacturer"
    assert close(measured[f"altman_z_nonmanufacturer@{NOW}"], EXPECTED["altman_z_nonmanufacturer"])


def test_ohlson_is_refused_in_another_currency(company: Make) -> None:
    measured = by_id(assess(company(unit="CNY")).facts)
    assert measured[f"ohlson_probability@{NOW}"].value is None
    assert "USD" in measured[f"ohlson_probability@{NOW}"].note


def test_ohlson_needs_the_price_level_of_its_year(company: Make) -> None:
    late = [
        fact.model_copy(update={"id": fact.id.replace("202", "203"), "period": "203" + str(fact.period)[3:]})
        for fact in company()
    ]
    measured = by_id(assess(late).facts)
    assert "price level of 2033 missing" in measured["ohlson_size@2033-12-31"].note


def test_ohlson_counts_losses_and_negative_equity(company: Make) -> None:
    losing = company(now={"net_income": "-10", "total_liabilities": "2100", "total_equity": "-100"})
    losing = [fact for fact in losing if fact.id != f"net_income@{BEFORE}"] + [
        fact.model_copy(update={"value": Decimal(-30)}) for fact in losing if fact.id == f"net_income@{BEFORE}"
    ]
    measured = by_id(assess(losing).facts)
    assert measured[f"ohlson_two_losses@{NOW}"].number == 1
    assert measured[f"ohlson_liabilities_exceed_assets@{NOW}"].number == 1
    assert close(measured[f"ohlson_income_change@{NOW}"], 20 / 40)


PIOTROSKI_OFF = {
    "piotroski_return": {"income_continuing_operations": "0"},
    "piotroski_cash": {"operating_cash_flow": "0"},
    "piotroski_return_rose": {"income_continuing_operations": "150"},  # 150 / 2000 = 135 / 1800: no rise
    "piotroski_accruals": {"operating_cash_flow": "240"},
    "piotroski_leverage_fell": {"long_term_debt": "478"},
    "piotroski_liquidity_rose": {"total_current_assets": "675"},
    "piotroski_no_new_shares": {"shares_basic": "105"},
    "piotroski_margin_rose": {"gross_profit": "750"},
    "piotroski_turnover_rose": {"total_assets": "2250"},
}


@pytest.mark.parametrize("name", sorted(PIOTROSKI_OFF))
def test_piotroski_signal_is_off(name: str, company: Make) -> None:
    measured = by_id(assess(company(now=PIOTROSKI_OFF[name])).facts)
    assert measured[f"{name}@{NOW}"].number == 0
    others = sum(measured[f"{other}@{NOW}"].number for other in PIOTROSKI_OFF)
    assert measured[f"piotroski_f@{NOW}"].number == others <= 8


def test_published_means_of_beneish(company: Make, fact: Callable[..., Fact]) -> None:
    # Beneish (1999), table 2: means of manipulators and of the others fall on either side of the cut-off.
    manipulators = (1.465, 1.193, 1.254, 1.607, 1.077, 1.041, 0.031, 1.111)
    others = (1.031, 1.014, 1.039, 1.134, 1.001, 1.054, 0.018, 1.037)
    order = [
        "receivables",
        "gross_margin",
        "asset_quality",
        "sales_growth",
        "depreciation",
        "expenses",
        "accruals",
        "leverage",
    ]
    for means, predicate, score in ((manipulators, "beneish_flagged", -1.196), (others, "beneish_clear", -2.246)):
        given = [fact(f"beneish_{name}", str(mean), NOW, "1") for name, mean in zip(order, means, strict=True)]
        done = assess([*company(), *given])
        assert math.isclose(float(by_id(done.facts)[f"beneish_m@{NOW}"].number), score, abs_tol=0.01)
        assert predicate in {claim.predicate for claim in done.claims}


def test_published_means_of_altman(company: Make, fact: Callable[..., Fact]) -> None:
    # Altman (1968), table 1: mean ratios of the bankrupt and the other firms; he reports group means of -0.29 and 5.02.
    order = ["working_capital", "retained_earnings", "ebit", "market_value", "revenue"]
    for means, predicate, reported in (
        ((-0.061, -0.626, -0.318, 0.401, 1.500), "altman_distress", -0.29),
        ((0.414, 0.355, 0.153, 2.477, 1.900), "altman_safe", 5.02),
    ):
        given = [fact(f"altman_{name}", str(mean), NOW, "1") for name, mean in zip(order, means, strict=True)]
        done = assess([*company(), fact("market_value_of_equity", "3000"), *given])
        assert math.isclose(float(by_id(done.facts)[f"altman_z@{NOW}"].number), reported, abs_tol=0.2)
        assert predicate in {claim.predicate for claim in done.claims}


def test_last_year_has_what_two_balance_sheets_allow(company: Make) -> None:
    measured = by_id(assess(company()).facts)
    assert close(measured[f"current_ratio@{BEFORE}"], 1.5)
    assert close(measured[f"free_cash_flow@{BEFORE}"], 115)
    assert f"return_on_equity@{BEFORE}" not in measured  # needs the balance sheet of 2021


# Missing inputs, impossible denominators -----------------------------------------------------------------------


def inputs_of(fact: Fact, known: dict[str, Fact]) -> Iterator[str]:
    for source in fact.sources:
        for fact_id in source.where.fact_ids if isinstance(source.where, Derived) else ():
            yield fact_id
            yield from inputs_of(known[fact_id], known)


def test_each_missing_input_is_named_or_left_out(company: Make) -> None:
    known = by_id([*company(), *assess(company()).facts])
    names = sorted(set(EXPECTED) - UNUSUAL)
    needed = {
        name: {i for i in inputs_of(known[f"{name}@{NOW}"], known) if known[i].sources[0].input} for name in names
    }
    assert all(needed.values())
    for missing in sorted(set().union(*needed.values())):
        facts = company(without={missing})
        rest = by_id([*facts, *assess(facts).facts])
        item, period = missing.split("@")
        reason = f"cannot compute: {catalogue.labels()[item]['en']} of {period[:4]} missing"
        for name in (name for name in names if missing in needed[name]):
            measured = rest[f"{name}@{NOW}"]
            # Optional parts and second choices: the value rests on other facts, and never on the missing one.
            assert measured.note == reason if measured.value is None else missing not in set(inputs_of(measured, rest))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        (
            "return_on_equity",
            {"equity_parent": "-5"},
            "Equity attributable to the company's shareholders of 2023 is negative",
        ),
        ("dupont_return", {"total_equity": "-5"}, "Total equity of 2023 is negative"),
        ("debt_to_equity", {"total_equity": "0"}, "Total equity of 2023 is zero"),
        ("net_debt_to_ebitda", {"income_before_tax": "-500"}, "EBITDA of 2023 is negative"),
        ("interest_cover", {"interest_expense": "0"}, "Interest expense of 2023 is zero"),
        ("cash_conversion", {"net_income": "-1"}, "is negative"),
        ("effective_tax_rate", {"income_before_tax": "-1"}, "Income before income taxes of 2023 is negative"),
        ("gross_margin", {"revenue": "0"}, "Revenue of 2023 is zero"),
        ("current_ratio", {"total_current_liabilities": "0"}, "Total current liabilities of 2023 is zero"),
        ("payout_ratio", {"net_income": "-1"}, "is negative"),
        ("beneish_gross_margin", {"gross_profit": "-1"}, "is negative"),
    ],
)
def test_meaningless_denominators_are_refused(name: str, changes: dict[str, str], reason: str, company: Make) -> None:
    done = assess(company(now=changes))
    measured = by_id(done.facts)[f"{name}@{NOW}"]
    assert measured.value is None
    assert measured.note.startswith("no meaning: ")
    assert reason in measured.note


def test_refused_headline_measure_is_a_claim_with_its_cause(company: Make) -> None:
    claims = {claim.id: claim for claim in assess(company(now={"equity_parent": "-5"})).claims}
    claim = claims[f"no_meaning.return_on_equity@{NOW}"]
    assert claim.facts == {"measure": f"return_on_equity@{NOW}", "cause": f"equity_parent@{NOW}"}


def test_missing_headline_input_is_a_claim_with_its_input(company: Make) -> None:
    done = assess(company(without={"interest_expense"}))
    claim = {claim.id: claim for claim in done.claims}[f"cannot_compute.interest_cover@{NOW}"]
    assert claim.facts["input"] == f"interest_expense@{NOW}"
    assert by_id(done.facts)[f"interest_expense@{NOW}"].status is Status.NOT_PRESENTED


def test_optional_inputs_are_said_to_be_counted_as_none(company: Make) -> None:
    measured = by_id(assess(company(without={"short_term_investments"})).facts)
    assert measured[f"liquid_funds@{NOW}"].number == 250
    assert "Short-term investments: not presented, counted as none" in measured[f"liquid_funds@{NOW}"].note


# Formulas ------------------------------------------------------------------------------------------------------


def test_every_formula_as_evaluated_is_a_question_with_the_same_answer(company: Make) -> None:
    facts = Facts(company())
    for measured in assess(facts.all).facts:
        how = measured.sources[0].where if measured.sources else None
        if measured.value is None or measured.unit is None or not isinstance(how, Derived) or "@" not in how.formula:
            continue
        answer = ask(how.formula, facts).fact
        worth = 100 if measured.unit == "%" and answer.unit != "%" else 1
        assert math.isclose(float(answer.number * worth), float(measured.number), rel_tol=1e-9, abs_tol=1e-15), (
            measured.id
        )


def test_confidence_is_that_of_the_weakest_input(company: Make) -> None:
    facts = [
        f.model_copy(update={"confidence": 0.4}) if f.id == f"total_current_assets@{NOW}" else f for f in company()
    ]
    measured = by_id(assess(facts).facts)
    assert measured[f"current_ratio@{NOW}"].confidence == 0.4
    assert measured[f"current_ratio@{BEFORE}"].confidence == 1.0


def test_a_corrected_fact_changes_all_that_rests_on_it(company: Make) -> None:
    before, after = by_id(assess(company()).facts), by_id(assess(company(now={"revenue": "2500"})).facts)
    changed = {i for i in before if i in after and before[i].value != after[i].value}
    assert {f"gross_margin@{NOW}", f"beneish_m@{NOW}", f"revenue.change@{NOW}"} <= changed
    assert f"current_ratio@{NOW}" not in changed
