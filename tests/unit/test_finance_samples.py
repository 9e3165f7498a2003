"""The generator of sample reports: its figures balance, its truth stands where it says, and its bytes do not change."""

import io
import random
import tomllib
from dataclasses import fields
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pdfplumber
import pypdfium2
import pytest
from fontTools.ttLib import TTFont

from annual_reports import FILES, Truth, make_report, make_variant
from annual_reports.books import Books, Traits, keep_books
from annual_reports.exhibits import Exhibits
from annual_reports.heads import year_end
from annual_reports.lines import items
from annual_reports.numerals import chinese_year, numeral
from annual_reports.page import Pen
from annual_reports.switches import LOOKALIKES, Switches, choose
from annual_reports.variant import WRITERS

SAMPLES = Path(__file__).parents[2] / "sample_data" / "finance"
SECTORS = ("industrial", "bank", "insurer", "utility")


def books_of(seed: int) -> tuple[Books, Traits]:
    rng = random.Random(seed)
    flags = {f.name: rng.random() < 0.5 for f in fields(Traits) if f.name != "sector"}
    traits = Traits(sector=rng.choice(SECTORS), **flags)
    return keep_books(rng, 2020, 3, rng.choice((5_000, 10**6, 10**10)), traits), traits


def value(truth: Truth, item: str, period: str) -> Decimal:
    figure = truth.items[item][period]
    assert figure.value is not None
    return figure.value


@pytest.mark.parametrize("seed", range(60))
def test_books_balance_and_cash_rolls_forward(seed: int) -> None:
    books, _ = books_of(seed)
    for year, amounts in books.items():
        assert amounts["total_assets"] == amounts["total_liabilities_and_equity"]
        if year - 1 in books:
            before = books[year - 1]
            flows = ("operating_cash_flow", "investing_cash_flow", "financing_cash_flow", "fx_effect_on_cash")
            held = before["cash_and_equivalents"] + before["restricted_cash"]
            assert held + sum(amounts[flow] for flow in flows) == amounts["cash_end"]
            assert amounts["cash_end"] == amounts["cash_and_equivalents"] + amounts["restricted_cash"]
            parent = amounts["profit_loss"] - amounts["net_income_noncontrolling"]
            assert amounts["net_income"] == parent


@pytest.mark.parametrize("seed", range(24))
def test_truth_of_a_variant_satisfies_the_identities_of_its_statements(seed: int) -> None:
    _, truth = make_variant(seed)
    periods = [day.isoformat() for day in truth.periods]
    for period in periods[:2]:
        if "total_assets" in truth.items and "total_liabilities_and_equity" in truth.items:
            assert value(truth, "total_assets", period) == value(truth, "total_liabilities_and_equity", period)
    for period in periods:
        change = value(truth, "cash_end", period) - value(truth, "cash_beginning", period)
        assert change == value(truth, "net_change_in_cash", period)
        flows = ("operating_cash_flow", "investing_cash_flow", "financing_cash_flow", "fx_effect_on_cash")
        assert change == sum(value(truth, flow, period) for flow in flows)
        pretax, tax = value(truth, "income_before_tax", period), value(truth, "income_tax", period)
        whole = "profit_loss" if "profit_loss" in truth.items else "net_income"
        gone = truth.items.get("income_discontinued_operations", {}).get(period)
        assert value(truth, whole, period) == pretax - tax + ((gone.value if gone else None) or 0)


@pytest.mark.parametrize("seed", range(16))
def test_each_number_of_the_truth_is_printed_where_it_says(seed: int) -> None:
    data, truth = make_variant(seed)
    if truth.switches["doubled"]:
        pytest.skip("a doubled text layer gives every character twice")
    by_page: dict[int, list[tuple[str, tuple[float, float, float, float]]]] = {}
    for item, periods in truth.items.items():
        assert item in items()
        for figure in periods.values():
            assert (figure.status == "not_presented") is (not figure.places)
            for place in figure.places:
                by_page.setdefault(place.page, []).append((place.text, place.bbox))
    with pdfplumber.open(io.BytesIO(data)) as pdf:
        for page, places in by_page.items():
            words = pdf.pages[page - 1].extract_words()
            pdf.pages[page - 1].close()
            for text, (x0, top, x1, bottom) in places:
                inside = [
                    word["text"]
                    for word in words
                    if min(word["x1"], x1) - max(word["x0"], x0) > (x1 - x0) / 2
                    and min(word["bottom"], bottom) - max(word["top"], top) > (bottom - top) / 2
                ]
                assert any(text in word for word in inside), (page, text, inside)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    assert make_variant(5)[0] == make_variant(5)[0]
    assert make_variant(5)[0] != make_variant(6)[0]


def test_the_seeds_reach_every_value_of_every_switch() -> None:
    drawn = [choose(random.Random(seed)) for seed in range(1500)]
    for name, wanted in {
        "family": {"us", "ifrs", "zh", "hk"},
        "sector": set(SECTORS),
        "negative": {"parentheses", "minus", "trailing", "unicode", "full_width"},
        "currency_sign": {"none", "own_column", "glued", "first_row"},
        "scale": {1, 1_000, 10_000, 1_000_000, 100_000_000},
        "scale_place": {"title", "head", "page_top", "section"},
        "page": {"portrait", "landscape", "rotated"},
        "years": {2, 3},
    }.items():
        assert {getattr(switches, name) for switches in drawn} == wanted
    for name in (
        "newest_first",
        "deep",
        "account_form",
        "company_columns",
        "restated",
        "doubled",
        "hidden",
        "full_width",
    ):
        assert {getattr(switches, name) for switches in drawn} == {True, False}, name
    assert {kind for switches in drawn for kind in switches.before} == set(LOOKALIKES)


def test_a_layout_can_be_asked_for_and_changes_no_figure() -> None:
    plain = Switches()
    turned = Switches(newest_first=False, negative="trailing", page="rotated", two_on_page=True)
    first, second = make_variant(3, plain)[1], make_variant(3, turned)[1]
    assert {k: {p: f.value for p, f in v.items()} for k, v in first.items.items()} == {
        k: {p: f.value for p, f in v.items()} for k, v in second.items.items()
    }
    assert first.items["revenue"] != second.items["revenue"]


def test_every_statement_names_only_items_of_its_own_or_of_another_statement() -> None:
    for seed in range(12):
        _, truth = make_variant(seed)
        assert set(truth.statements) == set(WRITERS)
        assert all(pages for pages in truth.statements.values())


@pytest.mark.parametrize(
    ("style", "printed"),
    [
        ("parentheses", "(1,234)"),
        ("minus", "-1,234"),
        ("trailing", "1,234-"),
        ("unicode", "−1,234"),
        ("full_width", "－1,234"),
    ],
)
def test_negatives_are_printed_in_each_style(style: str, printed: str) -> None:
    assert numeral(Decimal(-1234), 0, negative=style, dash="—") == printed


def test_zero_is_the_dash_and_digits_may_be_full_width() -> None:
    assert numeral(Decimal(0), 2, negative="minus", dash="—") == "—"
    assert numeral(Decimal(0), 2, negative="minus", dash="", sign="$") == ""
    assert numeral(Decimal("1234.5"), 2, negative="minus", dash="", full_width=True) == "１，２３４．５０"
    assert chinese_year(2020) == "二零二零"


def test_fiscal_years_of_52_weeks_end_on_a_saturday() -> None:
    for kind in ("52w-09", "52w-12", "52w-01"):
        for year in range(2010, 2025):
            end = year_end(Switches(year_end=kind), year)
            assert end.weekday() == 5
            assert end.month == int(kind[4:])
    assert year_end(Switches(year_end="01-31"), 2018) == date(2019, 1, 31)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_committed_reports_are_made_anew_byte_for_byte(language: str) -> None:
    data, truth = make_report(language)  # type: ignore[arg-type]
    committed = SAMPLES / FILES[language]  # type: ignore[index]
    assert committed.read_bytes() == data
    assert len(data) <= 400 * 1024
    assert truth.language == language


@pytest.mark.parametrize(
    ("language", "pages", "phrases"),
    [
        (
            "en",
            (25, 40),
            ("FORM 10-K", "Item 1A. Risk Factors", "Critical Audit Matters", "Subsequent Events", "SIGNATURES"),
        ),
        ("zh", (20, 40), ("重要提示", "关键审计事项", "合并资产负债表", "母公司资产负债表", "资产负债表日后事项")),
    ],
)
def test_the_reports_read_as_unicode_and_have_their_parts(
    language: str, pages: tuple[int, int], phrases: tuple[str, ...]
) -> None:
    document = pypdfium2.PdfDocument((SAMPLES / FILES[language]).read_bytes())  # type: ignore[index]
    texts = []
    for page in document:
        layer = page.get_textpage()
        texts.append(layer.get_text_range())
        layer.close()
        page.close()
    document.close()
    assert pages[0] <= len(texts) <= pages[1]
    whole = "\n".join(texts)
    for phrase in phrases:
        assert phrase in whole
    assert "{" not in whole
    assert "�" not in whole


def test_the_tables_of_the_report_add_up() -> None:
    books, _ = books_of(4)
    tables = Exhibits(books, 2020, 0, chinese=False)
    for name in ("inventories", "plant", "debt", "maturities", "taxes", "goodwill"):
        lines = tables.make(name).lines
        for column in range(len(lines[-1].printed)):
            parts = [line.printed[column] or 0 for line in lines if line.role == "line"]
            assert sum(parts) == lines[-1].printed[column], name


def test_the_font_has_every_character_that_the_samples_print() -> None:
    has = set(TTFont(SAMPLES / "fonts" / "EvidentSampleSans.ttf").getBestCmap())
    folder = SAMPLES / "annual_reports" / "data"
    printed = (folder / "report_zh.txt").read_text("utf-8")
    labels = tomllib.loads((folder / "labels.toml").read_text("utf-8"))
    printed += "".join(name for family in ("zh", "hk") for names in labels[family].values() for name in names)
    assert {c for c in printed if c > " " and ord(c) not in has} == set()


def test_a_line_does_not_begin_with_a_closing_mark() -> None:
    pen = Pen("embedded", chinese=True)
    text = "公司长期专注精密传动领域，截至报告期末拥有有效专利，其中发明专利；建有省级企业技术中心。" * 3
    for width in range(60, 200, 7):
        for line in islice(pen.wrap(text, width, 10), 1, None):
            assert line[0] not in "，。；"
