"""Questions in both languages: names, years, growth, units, and what is refused with the way out."""

import contextlib
import unicodedata
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_core.evidence import Derived, Fact, Status
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.ask import ask, vocabulary
from evident_finance.risk_report.schema import Facts

NOW, BEFORE = "2023-12-31", "2022-12-31"


@pytest.fixture
def facts(company: Callable[..., list[Fact]], fact: Callable[..., Fact]) -> Facts:
    return Facts([*company(), fact("filing.company", "Acme Corp.", None, None)])


@pytest.mark.parametrize(
    ("question", "value", "unit", "period"),
    [
        ("free cash flow 2023", "250", "USD", NOW),
        ("free cash flow", "250", "USD", NOW),
        ("Free Cash Flow 2022", "115", "USD", BEFORE),
        ("free_cash_flow@2022", "115", "USD", BEFORE),
        ("free_cash_flow@2022-12-31", "115", "USD", BEFORE),
        ("自由现金流 2023", "250", "USD", NOW),
        ("2022年自由现金流", "115", "USD", BEFORE),
        ("2022年度的自由现金流是多少？", "115", "USD", BEFORE),
        ("fcf FY2022", "115", "USD", BEFORE),
        ("what is the ROE in 2023?", None, "%", NOW),
        ("净资产收益率", None, "%", NOW),
        ("gross margin 2022", "37.5", "%", BEFORE),
        ("毛利率 2022", "37.5", "%", BEFORE),
        ("revenue 2023 / revenue 2022 - 1", "0.25", "1", NOW),
        ("2023 revenue / 2022 revenue - 1", "0.25", "1", NOW),
        ("revenue / revenue 2022 - 1", "0.25", "1", NOW),
        ("营业收入2023年 ÷ 营业收入2022年 − 1", "0.25", "1", NOW),
        ("revenue growth 2023", "25", "%", NOW),
        ("营业收入增长率", "25", "%", NOW),
        ("net sales growth", "25", "%", NOW),
        ("net debt / ebitda", "0.444444444444", "1", NOW),
        ("net debt / ebitda 2022", "1.047619", "1", BEFORE),
        ("net debt to ebitda", "0.444444444444", "1", NOW),
        ("net sales", "2000", "USD", NOW),
        ("Total net sales 2022", "1600", "USD", BEFORE),
        ("经营活动产生的现金流量净额", "360", "USD", NOW),
        ("total assets divided by equity", "2", "1", NOW),
        ("revenue minus cogs", "800", "USD", NOW),
        ("利润总额 减 所得税费用", "240", "USD", NOW),
        ("(revenue - cost of revenue) / revenue", "0.4", "1", NOW),
        ("（营业收入－营业成本）／营业收入", "0.4", "1", NOW),
        ("average(total assets)", "1900", "USD", NOW),
        ("prior(revenue)", "1600", "USD", BEFORE),
        ("gross margin 2023 - gross margin 2022", "0.025", "1", NOW),
        ("R&D / revenue", "0.05", "1", NOW),
        ("Selling, general and administrative expenses 2022", "250", "USD", BEFORE),
        ("revenue / 2000", "1", "USD", NOW),
        ("diluted eps", "2.30", "USD", NOW),
        ("net income / shares basic", "2.3", "USD", NOW),
    ],
)
def test_answer(question: str, value: str | None, unit: str, period: str, facts: Facts) -> None:
    answer = ask(question, facts)
    if value is not None:
        assert abs(answer.fact.number - Decimal(value)) < Decimal("0.001"), answer
    assert (answer.fact.unit, answer.fact.period) == (unit, period)
    assert answer.question == question


def test_an_item_is_answered_by_what_was_read(facts: Facts) -> None:
    answer = ask("revenue 2022", facts)
    assert answer.fact == facts.get("revenue", BEFORE)
    assert answer.inputs == (answer.fact,)


def test_a_year_is_the_filings_own(fact: Callable[..., Fact]) -> None:
    ends = {"2019-02-02": "20", "2018-02-03": "10"}
    read = [fact("revenue", value, end) for end, value in ends.items()]
    assert ask("revenue 2018", Facts(read)).fact.number == 10
    retailer = Facts([*read, fact("filing.fiscal_year", "2018", None, None)])
    assert ask("revenue 2018", retailer).fact.number == 20
    assert ask("revenue 2017", retailer).fact.number == 10
    assert ask("revenue 2019", retailer).fact.number == 20
    assert ask("revenue growth 2018", retailer).fact.number == 100


def test_a_text_fact_is_answered_as_text(facts: Facts) -> None:
    assert ask("filing.company", facts).fact.value == "Acme Corp."


def test_an_answer_carries_its_formula_and_every_fact_below_it(facts: Facts) -> None:
    answer = ask("free cash flow / revenue", facts)
    how = answer.fact.sources[0].where
    assert isinstance(how, Derived)
    assert how.formula == f"free_cash_flow@{NOW} / revenue@{NOW}"
    assert how.fact_ids == (f"free_cash_flow@{NOW}", f"revenue@{NOW}")
    assert {fact.id for fact in answer.inputs} == {
        *how.fact_ids,
        f"operating_cash_flow@{NOW}",
        f"capex@{NOW}",
    }
    assert answer.fact.status is Status.DERIVED
    assert ask(how.formula, facts).fact.value == answer.fact.value


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("frea cash flow", "did you mean 'free cash flow'"),
        ("自由现金留", "did you mean '自由现金流'"),
        ("happiness", "use the names that it prints"),
        ("revenue 2019", "2019 is not in the filing; its periods are: 2023-12-31, 2022-12-31"),
        ("revenue + 5", "in USD and 5 is a pure number"),
        ("revenue * net income", "product has no meaning"),
        ("pension_liabilities", "cannot be computed: Pension and other postretirement obligations of 2023 missing"),
        ("roe 2022", "the year before 2022-12-31 missing"),
        ("revenue > net income", "is a comparison"),
        ("revenue -", "cannot be read"),
        ("2023", "names no item or ratio"),
        ("", "names no item or ratio"),
        ("1 + 1", "names no item or ratio"),
        ("growth", "stands after the item"),
        ("foo(revenue)", "'foo' is not an item or ratio"),
        ("revenue / 0", "is zero"),
        ("ln(revenue)", "pure number"),
        ("revenue $ 5", "'$"),
        ("x" * 2001, "2001 characters"),
        ("__import__('os').system('true')", "is not an item or ratio"),
        ("9**9**9", "cannot be read"),
        ("revenue 2023 2022", "cannot be read"),
    ],
)
def test_refusal(question: str, words: str, facts: Facts) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(question, facts)
    assert words in caught.value.message


def test_every_label_and_alias_finds_its_item_or_measure() -> None:
    known = vocabulary()
    assert set(known.values()) >= set(catalogue.items()) | set(catalogue.measures())
    for name, label in catalogue.labels().items():
        for each in label.values():
            assert known[unicodedata.normalize("NFKC", each).lower()] == name


def test_labels_are_unique_so_that_a_question_means_one_thing() -> None:
    for language in ("en", "zh"):
        labels = [label[language] for label in catalogue.labels().values()]  # type: ignore[index]
        assert sorted(labels) == sorted(set(labels))


@given(st.text(alphabet="revnu fcapx现金流2023-+*/(),.%@ '\"", max_size=40))
@settings(max_examples=120, deadline=None)
def test_any_question_is_answered_or_refused(question: str) -> None:
    with contextlib.suppress(InvalidInput):
        ask(question, Facts([]))
