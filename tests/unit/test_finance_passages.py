"""What single sentences and short texts say: polarity, negation, boilerplate, numbers."""

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from evident_core.evidence import Fact, InputRef, Language, PageBox, Polarity, Severity, Source
from evident_finance.risk_report.perceive.passages import findings, polarity, risk_factors, schedules, severity, shares
from evident_finance.risk_report.perceive.passages.prose import Prose, Span, tidy
from evident_finance.risk_report.perceive.passages.segments import drafts as segment_drafts
from evident_finance.risk_report.perceive.passages.topics import folding, vocabulary

INPUT = InputRef(sha256="0" * 64, name="report.pdf")


def fact(name: str, value: str) -> Fact:
    source = Source(input=INPUT, where=PageBox(page=1, bbox=(0, 0, 1, 1)))
    return Fact(id=name, name=name, value=value, sources=(source,))


FACTS = (fact("filing.fiscal_year_end", "2023-12-31"), fact("filing.currency", "USD"))


def found(topic: str, text: str, language: Language = "en") -> list[tuple[Polarity, str | None]]:
    return [(each.polarity, each.value) for each in findings.find(Prose([text], language), topic, "2023")]


P, A = Polarity.PRESENT, Polarity.ABSENT
SENTENCES = tomllib.loads((Path(__file__).parent / "finance_passages" / "sentences.toml").read_text())["sentence"]


@pytest.mark.parametrize("case", SENTENCES, ids=lambda case: f"{case['topic']}: {case['text'][:40]}")
def test_a_sentence_means_what_it_says(case: dict[str, str]) -> None:
    language: Language = "zh" if case["language"] == "zh" else "en"
    expected = [(Polarity(case["polarity"]), case.get("value"))] if "polarity" in case else []
    assert found(case["topic"], case["text"], language) == expected


def test_an_unticked_box_under_a_heading_denies_it() -> None:
    text = "报告期内部控制存在重大缺陷情况的说明\n□适用 √不适用\n九、内部控制审计报告的相关情况说明\n√适用 □不适用"
    assert found("internal_control", text, "zh") == [(A, "effective")]
    assert found("internal_control", text.replace("□适用 √不适用", "√适用 □不适用"), "zh") == []


def test_the_adverse_statement_decides_the_typed_fact() -> None:
    text = (
        "In our opinion, the Company maintained, in all material respects, effective internal control.\n"
        "We identified a material weakness in our internal control over financial reporting in 2023."
    )
    drafts = findings.drafts(Prose([text], "en"), "internal_control", "2023")
    assert [draft.value for draft in drafts if draft.name == "internal_control.effective"] == ["not effective"]
    assert drafts[0].note.startswith("present")


def dues(text: str) -> dict[str, Decimal]:
    drafts = schedules.debt_maturities(Prose([text], "en"), FACTS)
    return {str(draft.subject): draft.value for draft in drafts if isinstance(draft.value, Decimal)}


HEAD = "Maturities of long-term debt are as follows"
YEARS = ("2024", "2025", "2026", "thereafter")
AMOUNTS = dict(zip(YEARS, map(Decimal, (100_000_000, 1_334_000_000, 0, 20_000_000)), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD} (in millions):\n2024 $ 100\n2025 1,334\n2026 —\nThereafter 20\nTotal $ 1,454",
        f"{HEAD}:\n(In millions)\n2024 2025 2026 Thereafter Total\n$ 100 $ 1,334 $ — $ 20 $ 1,454",
        f"{HEAD} (in millions):\nAfter\n2024 2025 2026 2026 Total\n$\n100 $ 1,334 $ — $ 20 $ 1,454",
        "Aggregate maturities of debt are (in millions): 2024–$100; 2025–$1,334.0; 2026-$0.0; Thereafter–$20.",
    ],
)
def test_debt_maturities_of_every_shape(text: str) -> None:
    assert dues(text) == AMOUNTS


@pytest.mark.parametrize(
    ("year_end", "ids"),
    [
        ("2023-12-31", ["debt_maturity@2024-12-31", "debt_maturity@2025-12-31", "debt_maturity@2026-12-31"]),
        ("2023-02-28", ["debt_maturity@2024-02-29", "debt_maturity@2025-02-28", "debt_maturity@2026-02-28"]),
        ("2023-09-24", ["debt_maturity@2024", "debt_maturity@2025", "debt_maturity@2026"]),
    ],
)
def test_the_end_of_a_later_year_is_given_only_where_it_is_certain(year_end: str, ids: list[str]) -> None:
    text = "Maturities of long-term debt are as follows (in millions):\n2024 $ 100\n2025 200\n2026 300\nTotal $ 600"
    facts = (fact("filing.fiscal_year_end", year_end), fact("filing.currency", "USD"))
    drafts = schedules.debt_maturities(Prose([text], "en"), facts)
    assert [draft.id for draft in drafts if draft.name == "debt_maturity"] == ids


def test_a_schedule_that_does_not_add_up_is_not_read() -> None:
    text = "Maturities of long-term debt (in millions):\n2024 $ 100\n2025 200\n2026 300\nTotal $ 700"
    assert dues(text) == {}


def test_lease_maturities_are_not_debt() -> None:
    text = "Maturities of lease liabilities and debt (in millions):\n2024 $ 100\n2025 200\n2026 300\nTotal $ 600"
    assert dues(text) == {}


def share(text: str, language: Language = "en") -> list[tuple[str, Decimal, str | None]]:
    drafts = shares.drafts(Prose([text], language), "2023-12-31")
    return [(d.name.split(".")[1], d.value, d.subject) for d in drafts if isinstance(d.value, Decimal)]


def test_shares_name_whose_and_how_much() -> None:
    assert share("Our top five customers accounted for approximately 68% of our net revenue in 2023.") == [
        ("customer_share", Decimal(68), "Our top five customers")
    ]
    assert share("In fiscal 2023, our 20 largest suppliers accounted for 64% of the merchandise we purchased.") == [
        ("supplier_share", Decimal(64), "our 20 largest suppliers")
    ]
    assert share("前五名客户销售额32,932.48万元，占年度销售总额28.02%。", "zh") == [
        ("customer_share", Decimal("28.02"), "前五名客户")
    ]


def test_thresholds_and_parts_are_not_shares_of_the_whole() -> None:
    assert share("Two customers each accounted for more than 10% of our net revenue in 2023.") == []
    assert share("Five customers accounted for 53% of the net revenue of our Computing segment.") == []
    assert share("Three customers accounted for 40% of accounts receivable at year end.") == []


def names(text: str) -> list[object]:
    return [draft.value for draft in segment_drafts(Prose([text], "en"), FACTS) if draft.name == "segment.name"]


def test_segment_names_agree_with_their_stated_count() -> None:
    five = (
        "We operate in five business segments: Industrial; Safety and Graphics; Health Care; Electronics; and Consumer."
    )
    assert names(five) == ["Industrial", "Safety and Graphics", "Health Care", "Electronics", "Consumer"]
    assert names("We have two reportable segments: Domestic and International.") == ["Domestic", "International"]
    assert names("We have three reportable segments: Domestic and International.") == []


def test_chinese_risks_are_titles_with_their_first_sentence() -> None:
    text = (
        "(四) 可能面对的风险\n√适用 □不适用\n1、政策性风险\n国家支持建设，公司不存在政策性风险。\n2、汇率风险\n"
        "公司外销业务结算货币以美元为主，若未来汇率波动加大，将对公司的经营业绩产生一定影\n响。\n"
        "应对措施：锁汇。\n(五) 其他\n□适用 √不适用"
    )
    prose = Prose([text], "zh")
    region = risk_factors.section(prose)
    assert region is not None
    spans = risk_factors._chinese(prose, region)
    assert [prose.print(span) for span in spans] == [
        "1、政策性风险国家支持建设，公司不存在政策性风险。",
        "2、汇率风险公司外销业务结算货币以美元为主，若未来汇率波动加大，将对公司的经营业绩产生一定影响。",
    ]


def test_a_mention_of_risk_factors_is_not_their_section() -> None:
    text = "Item 1A. Risk Factors 12\nSee Item 1A, Risk Factors, of this report.\n" + "Other text follows here. " * 100
    assert risk_factors.section(Prose([text], "en")) is None


def test_running_heads_and_page_numbers_are_not_part_of_sentences() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    prose = Prose([f"Table of Contents\nWe sell {word} and\n{n}" for n, word in enumerate(words, start=1)], "en")
    assert prose.text.strip() == " ".join(f"We sell {word} and" for word in words)


def test_a_sentence_over_two_pages_has_a_part_on_each() -> None:
    prose = Prose(["It rains. The company was in compliance", "with all covenants. It snows."], "en")
    span = prose.sentence(prose.plain.find("compliance"))
    assert prose.parts(span) == [(1, "The company was in compliance"), (2, "with all covenants.")]


def test_abbreviations_do_not_end_sentences() -> None:
    prose = Prose(
        ["A suit, Smith v. Acme Inc. et al., Case No. 12, was filed in the U.S. District Court. It is pending."], "en"
    )
    assert prose.print(prose.sentence(3)).endswith("District Court.")


def test_folding_keeps_every_offset() -> None:
    text = "報告期內“ＡＢＣ”（１２％）İstanbul’s 無保留意見"
    assert len(folding(text)) == len(text)
    assert folding(text).startswith('报告期内"abc"(12%)')


def test_tidy_joins_what_lines_broke() -> None:
    assert tidy("产生一定影 响。\n 共 12 项") == "产生一定影响。共12项"
    assert tidy("non-\ufffe\ncurrent") == "non-current"


def test_every_topic_and_category_speaks_both_languages() -> None:
    data = vocabulary()
    for entry in (*data.topic.values(), *data.category.values()):
        assert entry.label["en"].strip()
        assert entry.label["zh"].strip()
    for key, category in data.category.items():
        assert category.en, key
        assert category.zh, key
    assert len(data.folding.traditional) == len(data.folding.simplified)


def test_notes_are_read_back() -> None:
    note = "present: a risk that the company states; severity high (material)"
    base = fact("passage.risk_factor", "We face competition.")
    assert polarity(base.model_copy(update={"note": note})) is Polarity.PRESENT
    assert severity(base.model_copy(update={"note": note})) is Severity.HIGH
    assert polarity(base) is Polarity.NOT_ASSESSED
    assert severity(base) is Severity.NONE


def test_the_page_of_an_offset() -> None:
    prose = Prose(["first page", "second page"], "en")
    assert prose.page(prose.text.find("second")) == 2
    assert prose.page_span(2) == Span(11, len(prose.text))
