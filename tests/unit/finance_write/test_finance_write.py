"""The risk report as text: a phrase for each predicate, the same facts in both languages, refusals said."""

import time
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.evidence import Claim, Fact, Polarity, Report, Sentence
from evident_core.write import verify, verify_sentence
from evident_core.write.phrasebook import literals, slots
from evident_core.write.plan import SentencePlan
from evident_core.write.realise import realise_sentence
from evident_finance.risk_report import write as writer
from evident_finance.risk_report.assess import assess
from evident_finance.risk_report.schema import Assessment
from evident_finance.risk_report.write import outlines, phrasebook, vocabulary, write
from written_company import INPUT, company_facts, number_fact, text_fact

RULES = tomllib.loads((files("evident_finance.risk_report") / "data" / "rules.toml").read_text("utf-8"))
PREDICATES: dict[str, dict[str, Any]] = RULES["predicate"]
DENIABLE = ("going_concern_doubt", "risk_factor", "litigation", "related_parties", "impairment", "subsequent_event")
WORDS = {
    "form": "bank",
    "currency": "EUR",
    "standard": "IFRS",
    "model": "altman_z",
    "company": "Larkhaven, Inc.",
    "auditor": "Quill LLP",
    "opinion": "unqualified",
    "control": "effective",
    "doubt": "stated",
    "fiscal_year_end": "2020-12-31",
    "risk": "liquidity",
    "segment": "Optics",
}
AMOUNTS = ("cash", "debt", "amount", "dividends", "free_cash_flow", "residual")
NEGATIVE = ("loss", "negative", "outflow")


def specimens() -> Iterator[tuple[str, Polarity, dict[str, Fact]]]:
    """Each predicate in each polarity it is made in, with facts in its roles of which it is true."""
    for predicate, entry in PREDICATES.items():
        silent = entry["says"].startswith("NA.")
        yield predicate, Polarity.NOT_ASSESSED if silent else Polarity.PRESENT, roles_of(predicate, entry["roles"])
        if predicate in DENIABLE:
            yield predicate, Polarity.ABSENT, roles_of(predicate, entry["roles"])


def roles_of(predicate: str, roles: list[str]) -> dict[str, Fact]:
    return {role: fact_of(predicate, role) for role in (each.rstrip("?") for each in roles) if role != "category"}


def fact_of(predicate: str, role: str) -> Fact:
    period = "2020-12-31"
    if role in WORDS:
        return text_fact(f"filing.{role}", WORDS[role])
    if role in ("measure", "input", "item"):
        name = {"measure": "gross_margin", "input": "inventories", "item": "goodwill"}[role]
        return Fact(id=f"{name}@{period}", name=name, value=None, period=period, status="not_presented")
    if role == "passage":
        return text_fact("passage.risk_factor#1", "We lost 5% in 2001.", "passage.risk_factor", subject="cyber")
    if role in ("likelihood", "impact", "rating"):
        return number_fact(f"matrix.liquidity.{role}", {"likelihood": 2, "impact": 4, "rating": 8}[role], "1")
    if role == "share":
        return number_fact("concentration.customer_share", "28.02", "%", subject="our top five customers")
    if role == "amount":
        return number_fact("debt_maturity", 5_000_000, "USD", subject="2024")
    if role == "residual":
        return number_fact("check.balance", 7000 if predicate == "identity_fails" else 0, "USD", period)
    if role in AMOUNTS:
        name = {"cash": "liquid_funds", "debt": "total_debt", "dividends": "dividends_paid"}.get(role, role)
        return number_fact(name, 9_000_000 if role in ("cash", "dividends") else 5_000_000, "USD", period)
    if role.endswith("change"):
        name = {"change": "revenue", "receivables_change": "accounts_receivable"}.get(role, role.partition("_")[0])
        fell = predicate.endswith("fell")
        return number_fact(f"{name}.change", {"revenue": -8 if fell else 8}.get(name, 30), "%", period)
    return measured(predicate, role, period)


def measured(predicate: str, role: str, period: str) -> Fact:
    """Values, scores and limits on the side that the predicate's phrase names."""
    said = "".join(literals(phrasebook().phrases[predicate].text["en"]))
    if role in ("threshold", "lower", "upper", "maximum"):
        size = {"threshold": "2", "lower": "1", "upper": "8", "maximum": "9"}[role]
        return number_fact(f"threshold.{role}" if role != "maximum" else "threshold.piotroski_f.maximum", size, "1")
    if role in ("score", "probability"):
        return number_fact("piotroski_f", "1" if "below" in said else "5", "1", period)
    if role == "leverage":
        return number_fact("dupont_leverage", "5.25", "1", period)
    if role == "cause":
        return number_fact("total_equity", -3_000_000, "USD", period)
    if "threshold" in [each.rstrip("?") for each in PREDICATES[predicate]["roles"]]:
        return number_fact("current_ratio", "1.256" if "below" in said else "3.1", "1", period)
    unit, name = ("1", "current_ratio") if predicate.startswith("ratio") else ("USD", "revenue")
    now, before = {
        "rose": ("5400000", "5000000"),
        "fell": ("4600000", "5000000"),
        "turned_negative": ("-1250000", "3000000"),
        "turned_positive": ("1250000", "-3000000"),
        "widened": ("-4000000", "-3000000"),
        "narrowed": ("-2000000", "-3000000"),
    }.get(next((each for each in MOVES if predicate.endswith(each)), ""), ("5000000", "5000000"))
    if any(each in predicate for each in NEGATIVE) and "amount" not in predicate:
        now = "-1250000"
    if predicate.endswith("free_cash_flow_negative"):
        name = "free_cash_flow"
    year = "2020-12-31" if role == "value" else "2019-12-31"
    value = Decimal(now if role == "value" else before)
    return number_fact(name, value if unit == "USD" else value / 1_000_000, unit, year)


MOVES = ("rose", "fell", "turned_negative", "turned_positive", "widened", "narrowed")
CASES = [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in specimens()]


@pytest.mark.parametrize(("predicate", "polarity", "roles"), CASES)
def test_each_predicate_is_phrased_in_both_languages_and_passes_the_verifier(
    predicate: str, polarity: Polarity, roles: dict[str, Fact]
) -> None:
    facts = {fact.id: fact for fact in roles.values()}
    claim = Claim(id="c", predicate=predicate, polarity=polarity, facts={role: fact.id for role, fact in roles.items()})
    phrase = phrasebook().phrase(claim, "anywhere")
    assert phrase is not None
    sentence = realise_sentence(SentencePlan("s", phrase, (claim,)), facts, phrasebook())
    assert all(sentence.text[language] for language in ("en", "zh"))
    found = verify_sentence(sentence, [claim], facts, vocabulary())
    assert [(each.kind, each.text, sentence.text) for each in found] == []


def test_phrases_speak_of_no_role_that_their_predicate_lacks() -> None:
    for key, phrase in phrasebook().phrases.items():
        predicate = key.partition(".")[0]
        if predicate == "sentences_withheld":
            continue
        roles = {role.rstrip("?") for role in PREDICATES[predicate]["roles"]}
        for template in phrase.text.values():
            assert {slot.role for slot in slots(template)} <= roles, key


def test_every_topic_of_the_rules_has_a_section() -> None:
    assert set(RULES["topics"]["order"]) == {topic for outline in outlines() for topic in outline.topics}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(100, 100_000))
def test_both_languages_of_any_report_state_the_same_and_all_of_it_traces_back(seed: int) -> None:
    facts = company_facts(seed)
    report = write(INPUT, facts, assess(facts))
    assert verify(report, vocabulary()) == []
    assert "report.withheld" not in {fact.id for fact in report.facts}


def sentences(report: Report) -> list[Sentence]:
    return [sentence for section in report.sections for sentence in section.sentences]


def test_spans_lead_from_each_number_to_its_fact() -> None:
    facts = company_facts(5)
    report = write(INPUT, facts, assess(facts))
    known = {fact.id: fact for fact in report.facts}
    shown = {span.fact_id for sentence in sentences(report) for span in sentence.spans["zh"]}
    assert len(shown) > 60
    for sentence in sentences(report):
        for language, spans in sentence.spans.items():
            for span in spans:
                text = sentence.text[language][span.start : span.end]
                if isinstance(known[span.fact_id].value, Decimal):
                    assert any(char.isdigit() for char in text) or text.startswith("“")


def test_a_sentence_that_does_not_trace_back_is_held_back_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tuple(
        fact if fact.id != "segment.name#1" else text_fact("segment.name#1", "Optics", "segment.name")
        for fact in company_facts(5)
    )
    assessment = assess(facts)
    broken = number_fact("check.oddity", 12345, "XAU", "2020-12-31")
    claim = Claim(id="odd", predicate="identity_fails", facts={"residual": broken.id}, topic="data_quality")
    odd = Assessment(facts=assessment.facts, claims=(*assessment.claims, claim))
    whole = write(INPUT, (*facts, broken), odd)
    assert not [each for each in sentences(whole) if "odd" in each.claim_ids]
    assert "Sentences held back because they failed verification: 1." in [each.text["en"] for each in sentences(whole)]
    assert verify(whole, vocabulary()) == []


def test_the_title_names_company_and_year_in_both_languages() -> None:
    facts = company_facts(5)
    title = write(INPUT, facts, assess(facts)).title
    company = next(fact.value for fact in facts if fact.id == "filing.company")
    assert title["en"] == f"{company}: risk report for 2020"
    assert title["zh"] == f"{company}：2020年风险分析报告"
    assert writer.write(INPUT, (), Assessment(facts=(), claims=())).title == {"en": "Risk report", "zh": "风险分析报告"}


def test_writing_and_verifying_a_whole_report_takes_a_fraction_of_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    facts = company_facts(5)
    assessment = assess(facts)
    report = write(INPUT, facts, assessment)
    start = time.process_time()
    write(INPUT, facts, assessment)
    with capsys.disabled():
        print(f"\n{len(sentences(report))} sentences written and verified in {time.process_time() - start:.3f} CPU-s")  # noqa: T201


@pytest.mark.parametrize(
    ("period", "english", "chinese"),
    [
        ("2019-02-02", "in the year to February 2, 2019", "截至2019年2月2日的年度"),
        ("2019-01-05", "in 2018", "2018年"),
        ("2019-05-31", "in 2019", "2019年"),
    ],
)
def test_a_year_is_called_by_its_last_day_where_its_name_would_mislead(period: str, english: str, chinese: str) -> None:
    fact = number_fact("revenue", 42_879_000_000, "USD", period)
    claim = Claim(id="c", predicate="stated", facts={"value": fact.id})
    phrase = phrasebook().phrase(claim, "performance")
    assert phrase is not None
    sentence = realise_sentence(SentencePlan("s", phrase, (claim,)), {fact.id: fact}, phrasebook())
    assert sentence.text == {"en": f"Revenue was $42.9 billion {english}.", "zh": f"{chinese}营业收入为429亿美元。"}
    assert not verify_sentence(sentence, [claim], {fact.id: fact}, vocabulary())
    for moved in ("2018-02-02", "2019-03-02", "2019-02-03"):
        if period == "2019-02-02":
            other = fact.model_copy(update={"period": moved})
            assert verify_sentence(sentence, [claim], {fact.id: other}, vocabulary())
