"""What makes a report hard to read, and still not unreadable: layouts, signs and letters, each read as printed."""

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

import hostile_pdfs as make
from annual_reports import Truth, make_variant
from annual_reports.switches import Switches, choose
from evident_core.evidence import Fact
from evident_finance.risk_report import pipeline
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.perceive.lines import GridRow, Printed
from evident_finance.risk_report.perceive.red import signed_by_colour
from evident_finance.risk_report.schema import Analysis

LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "landscape": ("us", {"page": "landscape"}),
    "rotated": ("us", {"page": "rotated"}),
    "two columns": ("zh", {"account_form": True, "company_columns": False, "two_on_page": False}),
    "doubled": ("us", {"doubled": True}),
    "hidden": ("us", {"hidden": True}),
    "mixed units": ("zh", {"mixed_units": True}),
    "parentheses": ("us", {"negative": "parentheses"}),
    "minus": ("us", {"negative": "minus"}),
    "trailing minus": ("us", {"negative": "trailing"}),
    "full width": ("zh", {"full_width": True, "negative": "full_width", "font": "embedded"}),
    "red": ("zh", {"negative": "red", "font": "embedded"}),
    "dash": ("us", {"dash": "—"}),
    "hyphen": ("zh", {"dash": "-"}),
    "traditional": ("hk", {}),
    "oldest first": ("us", {"newest_first": False}),
}


def layout(name: str) -> tuple[bytes, Truth]:
    """A report in that layout, and otherwise a plain one."""
    family, asked = LAYOUTS[name]
    seeds = (seed for seed in range(200) if choose(random.Random(seed)).family == family)
    seed = next(seeds)
    plain = Switches(family=family)  # type: ignore[arg-type]
    drawn = choose(random.Random(seed))
    kept = ("heads", "scale", "decimals", "currency", "currency_sign", "font", "traits", "years", "year_end")
    switches = replace(plain, **{each: getattr(drawn, each) for each in kept}, before=("mdna",), after=("notes",))
    return make_variant(seed, replace(switches, **asked))


def read(data: bytes) -> dict[str, Fact]:
    with ingest(data, name="report.pdf") as filing:
        return {fact.id: fact for fact in perceive(filing).facts}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_printed(name: str) -> None:
    data, truth = layout(name)
    facts = read(data)
    printed = [
        (facts.get(f"{item}@{period}"), figure.value)
        for item, periods in truth.items.items()
        for period, figure in periods.items()
        if figure.value is not None
    ]
    right = sum(fact is not None and fact.value == value for fact, value in printed)
    wrong = [(fact.id, fact.value, value) for fact, value in printed if fact and fact.value not in (None, value)]
    assert len(printed) > 80
    assert not wrong
    assert right >= 0.95 * len(printed)


def test_red_is_said_on_the_fact_and_only_there() -> None:
    facts = read(layout("red")[0])
    red = [fact for fact in facts.values() if "printed in red" in fact.note]
    assert any(fact.number < 0 for fact in red)
    assert not [fact for fact in read(layout("minus")[0]).values() if "printed in red" in fact.note]


def rows(*numbers: tuple[int, bool], label: str = "项目") -> list[GridRow]:
    return [
        GridRow(1, label, (0, 10.0 * n, 9, 10.0 * n + 9), [Printed(f"{abs(v)}", Decimal(v), (0, 0, 9, 9), red)], 0.0)
        for n, (v, red) in enumerate(numbers)
    ]


MOSTLY_BLACK = [(5, False), (7, True), (9, False)]


@pytest.mark.parametrize(
    ("given", "positive", "label", "read_as"),
    [
        (MOSTLY_BLACK, (), "项目", [5, -7, 9]),
        (MOSTLY_BLACK, (1,), "资产总计", [5, 7, 9]),
        ([*MOSTLY_BLACK, (-3, False)], (), "项目", [5, 7, 9, -3]),
        ([(5, True), (7, True), (9, False)], (), "项目", [5, 7, 9]),
        (MOSTLY_BLACK, (), "Total assets", [5, 7, 9]),
    ],
    ids=["a sign", "a total in red", "signs beside it", "mostly red", "English"],
)
def test_red_is_a_sign_only_where_it_can_be_nothing_else(
    given: list[tuple[int, bool]], positive: tuple[int, ...], label: str, read_as: list[int]
) -> None:
    made = [cell for row in signed_by_colour(rows(*given, label=label), positive) for cell in row.cells if cell]
    assert [cell.value for cell in made] == read_as
    assert [cell.red for cell in made].count(True) == sum(a != b for (a, _), b in zip(given, read_as, strict=True))


def test_both_letters_of_ff_are_quoted_where_each_letter_is_drawn_by_itself() -> None:
    sentence = "It is difficult to compete effectively, off and on, with an official offer."

    def singly(canvas: Canvas) -> None:
        left = 60.0
        canvas.setFont("Helvetica-BoldOblique", 9)
        for letter in sentence:
            canvas.drawString(left, 600, letter)
            left += canvas.stringWidth(letter, "Helvetica-BoldOblique", 9)

    with ingest(make.report(singly), name="r.pdf") as filing:
        assert sentence in filing.texts[3]
        assert " ".join(word.text for word in filing.words(4).words) == sentence


@pytest.fixture(scope="module")
def unreadable() -> Analysis:
    """A report whose statements have no columns that could be dated, and that wants to run things."""
    return pipeline.analyse(make.active(), name="r.pdf")


def test_statements_that_were_not_found_are_said_first(unreadable: Analysis) -> None:
    [summary, *_] = unreadable.report.sections
    assert summary.sentences[0].text == {
        "en": "A primary statement was not found in the filing.",
        "zh": "年报中未找到部分主表。",
    }
    said = " ".join(sentence.text["en"] for section in unreadable.report.sections for sentence in section.sentences)
    for name in ("the balance sheet", "the income statement", "the cash-flow statement"):
        assert name in said
    assert "do not present" not in said
    assert "Altman" not in said


def test_what_a_file_carries_is_said_in_both_languages(unreadable: Analysis) -> None:
    quality = next(section for section in unreadable.report.sections if section.key == "data_quality")
    text = {language: quality.sentences[0].text[language] for language in ("en", "zh")}
    assert "JavaScript (ignored)" in text["en"]
    assert "attached files (ignored)" in text["en"]
    assert "附件（已忽略）" in text["zh"]
    assert "外部链接（已忽略）" in text["zh"]
