"""The verifier's parser: numbers with sign, scale and unit, dates, names, in both languages and in words."""

from decimal import Decimal

import pytest

from evident_core.evidence import Language
from evident_core.write.reading import Moment, fold, read
from evident_core.write.vocabulary import Vocabulary

BASE = Vocabulary.load()


@pytest.mark.parametrize(
    ("language", "text", "value", "quantum", "dimension"),
    [
        ("en", "sales of $32.8 billion", "32.8e9", "0.1e9", "USD"),
        ("en", "sales of US$1,234.5 million", "1234.5e6", "0.1e6", "USD"),
        ("en", "a loss of −$3.2 billion", "-3.2e9", "0.1e9", "USD"),
        ("en", "a loss of $-3.2 billion", "-3.2e9", "0.1e9", "USD"),
        ("en", "a loss of ($3.2 billion)", "-3.2e9", "0.1e9", "USD"),
        ("en", "RMB 905 million", "905e6", "1e6", "CNY"),
        ("en", "€0.42 a share", "0.42", "0.01", "EUR"),
        ("en", "five million euros", "5e6", "1e6", "EUR"),
        ("en", "thirty-two point eight billion dollars", "32.8e9", "0.1e9", "USD"),
        ("en", "two hundred and five people", "205", "1", None),
        ("en", "up 5.2 percent", "0.052", "0.001", "1"),
        ("en", "margin grew 1.5 percentage points", "1.5", "0.1", "[pp]"),
        ("en", "50 basis points", "0.5", "0.01", "[pp]"),
        ("en", "covered 1.9 times", "1.9", "0.1", "1"),
        ("en", "a third of sales", "0.333333", "0.01", None),
        ("en", "sales doubled", "2", "0.1", None),
        ("en", "a 12 mm nodule", "12", "1", "mm"),
        ("en", "a 1.2 cm nodule", "12", "1", "mm"),
        ("en", "a 12-mm nodule", "12", "1", "mm"),
        ("en", "density of −650 HU", "-650", "1", "[hnsf'U]"),
        ("zh", "收入328亿美元", "328e8", "1e8", "USD"),
        ("zh", "收入３２８亿美元", "328e8", "1e8", "USD"),
        ("zh", "收入1.18万亿元", "1.18e12", "0.01e12", "CNY"),
        ("zh", "人民币2,293万元", "2293e4", "1e4", "CNY"),
        ("zh", "亏损−4.12亿港元", "-4.12e8", "0.01e8", "HKD"),
        ("zh", "利润为负3亿元", "-3e8", "1e8", "CNY"),
        ("zh", "约三亿元", "3e8", "1e8", "CNY"),
        ("zh", "三百二十八亿美元", "328e8", "1e8", "USD"),
        ("zh", "二点五万元", "2.5e4", "0.1e4", "CNY"),
        ("zh", "增长百分之五点二", "0.052", "0.001", None),
        ("zh", "三分之一", "0.333333", "0.01", None),
        ("zh", "下降三成", "0.3", "0.1", "1"),
        ("zh", "覆盖1.9倍", "1.9", "0.1", "1"),
        ("zh", "上升1.5个百分点", "1.5", "0.1", "[pp]"),
        ("zh", "周转45天", "45", "1", "d"),
        ("zh", "结节12毫米", "12", "1", "mm"),
        ("zh", "共七家公司", "7", "1", None),
    ],
)
def test_a_number_is_read_with_its_sign_scale_and_unit(
    language: Language, text: str, value: str, quantum: str, dimension: str | None
) -> None:
    (mention,) = read(text, language, BASE).of("quantity")
    quantity = mention.quantity
    assert quantity is not None
    assert round(quantity.value, 6) == Decimal(value)
    assert round(quantity.quantum, 6) == Decimal(quantum)
    assert (quantity.unit and quantity.unit.of) == dimension


@pytest.mark.parametrize(
    ("language", "text", "moment"),
    [
        ("en", "on December 31, 2018", Moment(2018, 12, 31)),
        ("en", "on 31 December 2018", Moment(2018, 12, 31)),
        ("en", "in Sept. 2018", Moment(2018, 9)),
        ("en", "as of 2018-12-31", Moment(2018, 12, 31)),
        ("en", "in 2018", Moment(2018)),
        ("zh", "截至2018年12月31日", Moment(2018, 12, 31)),
        ("zh", "2018年9月", Moment(2018, 9)),
        ("zh", "２０１８年度", Moment(2018)),
        ("zh", "二〇一八年", Moment(2018)),
        ("zh", "于2018财年", Moment(2018)),
    ],
)
def test_a_date_is_read_and_is_no_number(language: Language, text: str, moment: Moment) -> None:
    reading = read(text, language, BASE)
    assert [each.moment for each in reading.of("moment")] == [moment]
    assert reading.of("quantity") == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "debt due within one of the years"),
        ("zh", "一年内到期"),
        ("zh", "口径一致，进一步核查"),
        ("zh", "无形资产与未分配利润"),
    ],
)
def test_words_that_only_look_like_numbers_or_negations_are_neither(language: Language, text: str) -> None:
    reading = read(text, language, BASE)
    assert reading.of("quantity") == []
    assert reading.of("negation") == []


def test_what_a_name_or_a_quotation_contains_is_no_statement() -> None:
    reading = read("Target 3000 plc fell short: “sales rose 5% in 2012”", "en", BASE, ["Target 3000 plc"])
    assert [mention.kind for mention in reading.mentions] == ["name", "pole", "quote"]


def test_folding_leaves_the_words_of_a_quotation() -> None:
    assert fold("the “big”  deal\nof 'x'") == fold("the ‘big’ deal of ’x’")
