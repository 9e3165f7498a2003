"""Numbers, labels, dates, units and names: what one printed word, label or head line says."""

from datetime import date
from decimal import Decimal

import pytest

from evident_finance.risk_report.perceive.dates import dates_in, month_days_in
from evident_finance.risk_report.perceive.items import catalogue, names_an_item
from evident_finance.risk_report.perceive.labels import key, says_loss_is_minus
from evident_finance.risk_report.perceive.numbers import is_dash, parse_number
from evident_finance.risk_report.perceive.pages import announcement
from evident_finance.risk_report.perceive.units import currency_in, scale_in, share_scale_in
from evident_finance.risk_report.schema import StatementKind


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("1,234", "1234"),
        ("(1,234)", "-1234"),
        ("$(1,234.5)", "-1234.5"),
        ("-12,024,894.14", "-12024894.14"),
        ("−898,154.11", "-898154.11"),
        ("－１，２３４", "-1234"),
        ("１，２３４．５", "1234.5"),
        ("1,234-", "-1234"),
        ("(481", "-481"),
        ("12 345 678", "12345678"),
        ("1.234.567", "1234567"),
        ("US$52.0", "52.0"),
        ("9.09", "9.09"),
        ("3,786(1)", "3786"),
        ("0", "0"),
    ],
)
def test_a_printed_number_is_read_with_its_sign(printed: str, value: str) -> None:
    assert parse_number(printed) == Decimal(value)


@pytest.mark.parametrize("printed", ["", "—", "Note", "七、1", "12%", "(5.2%)", "(a)", "5,", "1,23,4,"])
def test_what_is_no_amount_is_not_read_as_one(printed: str) -> None:
    assert parse_number(printed) is None


@pytest.mark.parametrize("printed", ["—", "-", "–", "－", "$ —", "nil", "不适用"])
def test_dashes_stand_for_nothing(printed: str) -> None:
    assert is_dash(printed)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Net cash provided by (used in) operating activities", "netcashprovidedbyoperatingactivities"),
        ("三、营业利润（亏损以“－”号填列）", "营业利润"),
        ("（一）归属于母公司所有者的净利润", "归属于母公司所有者的净利润"),
        ("一年内到期的非流动负债", "一年内到期的非流动负债"),
        ("減：庫存股", "库存股"),
        ("其中：利息费用", "利息费用"),
        ("Less: Net income attributable to noncontrolling interest", "netincomeattributabletononcontrollinginterest"),
        ("Commitments and contingencies (Note 16)", "commitmentsandcontingencies"),
        ("Property, plant & equipment", "propertyplantandequipment"),
    ],
)
def test_labels_of_one_meaning_have_one_key(label: str, expected: str) -> None:
    assert key(label) == expected


def test_a_label_tells_when_it_prints_losses_as_minus() -> None:
    assert says_loss_is_minus("资产减值损失（损失以“-”号填列）")
    assert not says_loss_is_minus("资产减值损失")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("December 31, 2018", date(2018, 12, 31)),
        ("At 30 June 2021", date(2021, 6, 30)),
        ("2019 年 12 月 31 日", date(2019, 12, 31)),
        ("二零一九年十二月三十一日", date(2019, 12, 31)),
        ("Sept. 28, 2013", date(2013, 9, 28)),
        ("31.12.2020", date(2020, 12, 31)),
    ],
)
def test_dates_are_read_in_every_spelling(text: str, expected: date) -> None:
    assert [when for _, when in dates_in(text)] == [expected]


def test_days_without_a_year_wait_for_it() -> None:
    assert month_days_in("August 29, August 30, September 1,") == [(8, 29), (8, 30), (9, 1)]
    assert month_days_in("December 31, 2018") == []


@pytest.mark.parametrize(
    ("text", "scale", "currency"),
    [
        ("(In millions, except number of shares, which are reflected in thousands)", 1_000_000, None),
        ("$ in millions, except per share and share amounts", 1_000_000, "USD"),
        ("Consolidated Balance Sheets $ in thousands", 1_000, "USD"),
        ("单位：元 币种：人民币", 1, "CNY"),
        ("单位：万元 币种：人民币", 10_000, "CNY"),
        ("（以百萬港元列示）", 1_000_000, "HKD"),
        ("RMB'000", 1_000, "CNY"),
        ("(in thousands of pounds sterling)", 1_000, "GBP"),
        ("人民币亿元", 100_000_000, "CNY"),
        ("Consolidated Statements of Operations", None, None),
    ],
)
def test_heads_give_scale_and_currency(text: str, scale: int | None, currency: str | None) -> None:
    assert (scale_in(text), currency_in(text)) == (scale, currency)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("(In millions, except number of shares, which are reflected in thousands, and per share amounts)", 1_000),
        ("(in millions, except per share amounts)", 1_000_000),
        ("(Dollars in millions, except share and per share data)", 1),
    ],
)
def test_share_counts_may_have_a_scale_of_their_own(text: str, scale: int) -> None:
    assert share_scale_in(text, 1_000_000) == scale


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Consolidated Statement of Incom e", StatementKind.INCOME_STATEMENT),
        ("CASH FLOWS STATEMENTS", StatementKind.CASH_FLOW),
        ("合并资产负债表", StatementKind.BALANCE_SHEET),
        ("綜合財務狀況表", StatementKind.BALANCE_SHEET),
        ("Consolidated Statements of Shareholders’ Equity", None),
    ],
)
def test_titles_announce_their_statement(line: str, kind: StatementKind | None) -> None:
    found = announcement(line)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize(
    "line",
    [
        "See Notes to the consolidated balance sheets.",
        "Changes in assets and liabilities",
        "Our consolidated balance sheets reflect the acquisition that we made in the second quarter.",
        "Cash Flows from Operating Activities",
    ],
)
def test_sentences_and_headings_announce_nothing(line: str) -> None:
    assert announcement(line) is None


def test_parent_and_partial_statements_are_told_apart() -> None:
    parent, condensed = announcement("母公司利润表"), announcement("Condensed Consolidated Balance Sheets")
    assert parent is not None
    assert parent.parent
    assert condensed is not None
    assert condensed.partial


def test_every_item_is_named_by_its_own_chinese_label_or_an_english_synonym() -> None:
    for item in catalogue().values():
        assert item.names, item.name
    assert names_an_item("Cash and cash equivalents")
    assert names_an_item("购建固定资产、无形资产和其他长期资产支付的现金")
    assert not names_an_item("Commitments and contingencies")
