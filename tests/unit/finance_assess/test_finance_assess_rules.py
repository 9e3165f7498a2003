"""Every rule on both sides of its limit; movements, silences, the risk matrix and the SWOT."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.evidence import Claim, Correction, Derived, Fact, Polarity, Severity, Source, Status
from evident_finance.risk_report.assess import assess, catalogue
from evident_finance.risk_report.assess.formula import names
from evident_finance.risk_report.schema import Assessment

NOW, BEFORE = "2023-12-31", "2022-12-31"
Make = Callable[..., list[Fact]]
Maker = Callable[..., Fact]

BANK = "total_assets=1000 deposits=500"
INSURER = "total_assets=1000 revenue=100 premiums_earned=50"
# Rule -> facts with which it speaks, and facts just beyond the limit with which it is silent. Measures are given as
# facts (in their unit), so that each side of a limit can be met exactly; "x'" is x of the year before.
TABLE: dict[str, tuple[str, str]] = {
    "company": ("filing.company:Acme", ""),
    "fiscal_year": ("filing.fiscal_year_end:2023-12-31", ""),
    "currency": ("filing.currency:USD", ""),
    "standard": ("filing.standard:IFRS", ""),
    "current_ratio_low": (
        "current_ratio=0.99 operating_cash_flow_ratio=0.39 operating_cash_flow=1",
        "current_ratio=1 operating_cash_flow_ratio=0.39",
    ),
    "current_ratio_low_with_cash_flow": (
        "current_ratio=0.99 operating_cash_flow_ratio=0.4",
        "current_ratio=0.99 operating_cash_flow_ratio=0.39",
    ),
    "current_ratio_strong": ("current_ratio=2", "current_ratio=1.99"),
    "quick_ratio_low": ("quick_ratio=0.99 current_ratio=1", "quick_ratio=1 current_ratio=1"),
    "short_term_debt_uncovered": (
        "short_term_borrowing=101 liquid_funds=60 operating_cash_flow=40",
        "short_term_borrowing=100 liquid_funds=60 operating_cash_flow=40",
    ),
    "short_term_debt_uncovered_with_cash_flow": (
        "short_term_borrowing=100 liquid_funds=99 operating_cash_flow=40",
        "short_term_borrowing=100 liquid_funds=100 operating_cash_flow=40",
    ),
    "short_term_debt_covered": (
        "short_term_borrowing=100 liquid_funds=100 operating_cash_flow=1",
        "short_term_borrowing=100 liquid_funds=99 operating_cash_flow=1",
    ),
    "loans_exceed_deposits": (BANK + " loans_net=501", BANK + " loans_net=500"),
    "negative_equity": ("total_equity=-1", "total_equity=0"),
    "negative_equity_served": (
        "total_equity=-1 operating_cash_flow=1 interest_cover=2.5",
        "total_equity=-1 operating_cash_flow=1 interest_cover=2.4",
    ),
    "leverage_high": ("liabilities_to_assets=70 total_equity=30", "liabilities_to_assets=69.9 total_equity=30"),
    "leverage_low": ("liabilities_to_assets=40", "liabilities_to_assets=40.1"),
    "net_debt_excessive": ("net_debt_to_ebitda=6", "net_debt_to_ebitda=5.99"),
    "net_debt_heavy": ("net_debt_to_ebitda=4", "net_debt_to_ebitda=3.99"),
    "net_cash": ("net_debt=-1 liquid_funds=2 total_debt=1", "net_debt=0 liquid_funds=1 total_debt=1"),
    "interest_not_covered": ("interest_cover=0.99", "interest_cover=1"),
    "interest_cover_thin": ("interest_cover=2.49", "interest_cover=2.5"),
    "interest_cover_strong": ("interest_cover=8.5", "interest_cover=8.49"),
    "goodwill_heavy": ("goodwill_to_equity=50", "goodwill_to_equity=49.9"),
    "capital_thin": (BANK + " equity_to_assets=4.9", BANK + " equity_to_assets=5"),
    "net_loss": ("net_income=-1", "net_income=0"),
    "operating_loss": ("operating_income=-1", "operating_income=0"),
    "revenue_shrank": ("revenue=950 revenue'=1000", "revenue=951 revenue'=1000"),
    "income_fell": ("net_income=80 net_income'=100", "net_income=81 net_income'=100"),
    "income_grew": ("net_income=110 net_income'=100", "net_income=109 net_income'=100"),
    "gross_margin_fell": ("gross_margin=38 gross_margin'=40", "gross_margin=38.1 gross_margin'=40"),
    "return_high": ("return_on_equity=15 dupont_leverage=3.9", "return_on_equity=14.9 dupont_leverage=3.9"),
    "return_from_leverage": ("return_on_equity=15 dupont_leverage=4", "return_on_equity=15 dupont_leverage=3.9"),
    "return_high_financial": (BANK + " return_on_equity=15", BANK + " return_on_equity=14.9"),
    "return_low": ("return_on_equity=4.9", "return_on_equity=5"),
    "operating_margin_high": ("operating_margin=20", "operating_margin=19.9"),
    "operating_margin_thin": ("operating_margin=2.9", "operating_margin=3"),
    "cost_to_income_high": (BANK + " cost_to_income=65", BANK + " cost_to_income=64.9"),
    "underwriting_loss": (INSURER + " claims_incurred=50", INSURER + " claims_incurred=49.9"),
    "receivables_outgrow_revenue": (
        "accounts_receivable=121 accounts_receivable'=110 revenue=1 revenue'=1 total_assets=1000",
        "accounts_receivable=120 accounts_receivable'=110 revenue=1 revenue'=1 total_assets=1000",
    ),
    "inventories_outgrow_revenue": (
        "inventories=121 inventories'=110 revenue=1 revenue'=1 total_assets=1000",
        "inventories=120 inventories'=110 revenue=1 revenue'=1 total_assets=1000",
    ),
    "operating_cash_outflow": ("operating_cash_flow=-1", "operating_cash_flow=0"),
    "profit_backed_by_cash": ("cash_conversion=1", "cash_conversion=0.99"),
    "profit_not_backed_by_cash": ("cash_conversion=0.79", "cash_conversion=0.8"),
    "free_cash_flow_negative": ("free_cash_flow=-1", "free_cash_flow=0"),
    "free_cash_flow_positive": ("free_cash_flow=1", "free_cash_flow=0"),
    "dividends_exceed_free_cash_flow": ("dividends_paid=11 free_cash_flow=10", "dividends_paid=10 free_cash_flow=10"),
    "beneish_flagged": ("beneish_m=-1.77", "beneish_m=-1.78"),
    "beneish_clear": ("beneish_m=-1.78", "beneish_m=-1.77"),
    "accruals_high": ("sloan_accruals=10.1", "sloan_accruals=10"),
    "accruals_moderate": ("sloan_accruals=10", "sloan_accruals=10.1"),
    "piotroski_strong": ("piotroski_f=8", "piotroski_f=7"),
    "piotroski_middling": ("piotroski_f=2", "piotroski_f=1"),
    "piotroski_weak": ("piotroski_f=1", "piotroski_f=2"),
    "altman_z_safe": ("altman_z=3", "altman_z=2.99"),
    "altman_z_grey": ("altman_z=1.81", "altman_z=1.80"),
    "altman_z_distress": ("altman_z=1.80", "altman_z=1.81"),
    "altman_z_private_safe": ("altman_z_private=2.91", "altman_z_private=2.90"),
    "altman_z_private_grey": ("altman_z_private=1.23", "altman_z_private=2.91"),
    "altman_z_private_distress": ("altman_z_private=1.22", "altman_z_private=1.23"),
    "altman_z_nonmanufacturer_safe": ("altman_z_nonmanufacturer=2.61", "altman_z_nonmanufacturer=2.6"),
    "altman_z_nonmanufacturer_grey": ("altman_z_nonmanufacturer=1.1", "altman_z_nonmanufacturer=2.61"),
    "altman_z_nonmanufacturer_distress": ("altman_z_nonmanufacturer=1.09", "altman_z_nonmanufacturer=1.1"),
    "ohlson_high": ("ohlson_probability=50", "ohlson_probability=49.9"),
    "ohlson_elevated": ("ohlson_probability=3.8", "ohlson_probability=50"),
    "ohlson_low": ("ohlson_probability=3.7", "ohlson_probability=3.8"),
    "revenue_grew": ("revenue=105 revenue'=100", "revenue=104 revenue'=100"),
    "advances_from_customers_rose": (
        "contract_liabilities=110 contract_liabilities'=100 total_assets=5500",
        "contract_liabilities=110 contract_liabilities'=100 total_assets=5501",
    ),
    "room_to_invest": ("free_cash_flow=1 net_debt=-1 liquid_funds=2", "free_cash_flow=1 net_debt=0 liquid_funds=2"),
    "research_grew": (
        "research_development=110 research_development'=100 research_intensity=2",
        "research_development=110 research_development'=100 research_intensity=1.9",
    ),
    "gross_margin_rose": ("gross_margin=41 gross_margin'=40", "gross_margin=40.9 gross_margin'=40"),
    "debt_reduced": ("total_debt=90 total_debt'=100", "total_debt=91 total_debt'=100"),
    "cash_flow_grew": (
        "operating_cash_flow=110 operating_cash_flow'=100",
        BANK + " operating_cash_flow=110 operating_cash_flow'=100",
    ),
    "operating_margin_fell": ("operating_margin=8 operating_margin'=10", "operating_margin=8.1 operating_margin'=10"),
    "net_margin_fell": (BANK + " net_margin=8 net_margin'=10", BANK + " net_margin=8.1 net_margin'=10"),
    "net_interest_income_grew": (
        BANK + " net_interest_income=110 net_interest_income'=100",
        BANK + " net_interest_income=109 net_interest_income'=100",
    ),
    "deposits_grew": ("total_assets=1000 deposits=550 deposits'=500", "total_assets=1000 deposits=549 deposits'=500"),
    "provisions_returned": (
        BANK + " credit_loss_provision=1 credit_loss_provision'=0",
        BANK + " credit_loss_provision=1 credit_loss_provision'=1",
    ),
    "debt_grew": ("total_debt=120 total_debt'=100 net_debt=1", "total_debt=119 total_debt'=100 net_debt=1"),
    "provisions_grew": (
        BANK + " credit_loss_provision=120 credit_loss_provision'=100",
        BANK + " credit_loss_provision=119 credit_loss_provision'=100",
    ),
    "auditor": ("auditor.name:Acme_LLP", ""),
    "opinion_unqualified": ("auditor.opinion:unqualified", "auditor.opinion:qualified"),
    "opinion_qualified": ("auditor.opinion:qualified", "auditor.opinion:unqualified"),
    "opinion_adverse": ("auditor.opinion:adverse", "auditor.opinion:unqualified"),
    "opinion_disclaimed": ("auditor.opinion:disclaimer", "auditor.opinion:unqualified"),
    "opinion_not_found": ("", "auditor.opinion:unqualified"),
    "going_concern_stated": ("going_concern.doubt:stated", "going_concern.doubt:alleviated"),
    "going_concern_denied": ("going_concern.doubt:not_stated", "going_concern.doubt:stated"),
    "internal_control_effective": ("internal_control.effective:effective", "internal_control.effective:not_effective"),
    "material_weakness": ("internal_control.effective:not_effective", "internal_control.effective:effective"),
    "key_audit_matter": ("passage.audit_matter:present", ""),
    "litigation": ("passage.litigation:present", "passage.litigation:absent"),
    "no_litigation": ("passage.litigation:absent", "passage.litigation:present"),
    "covenant_breach": ("passage.covenants:present", "passage.covenants:absent"),
    "covenant_compliance": ("passage.covenants:absent", "passage.covenants:present"),
    "customer_concentration": ("concentration.customer_share=10", "concentration.customer_share=9.9"),
    "supplier_concentration": ("concentration.supplier_share=10", "concentration.supplier_share=9.9"),
    "related_parties": ("passage.related_parties:present", "passage.related_parties:absent"),
    "impairment": ("passage.impairment:present", "passage.impairment:absent"),
    "subsequent_event": ("passage.subsequent_events:present", "passage.subsequent_events:absent"),
    "risk_factor": ("passage.risk_factor:present", "passage.risk_factor:absent"),
    "debt_due": ("debt_maturity=5", ""),
    "injected_text": ("passage.injected_text:present", ""),
    "file_noted": ("note.javascript:ignored", "note.pictures:unread"),
    "pictures_unread": ("note.pictures:unread", "note.unreadable:unread"),
    "fonts_unread": ("note.unreadable:unread", "note.pictures:unread"),
    "identity_holds": ("check.balance=0", "check.balance=7"),
    "identity_fails": ("check.balance=7", "check.balance=0"),
}
ALTMAN_NEEDS = {
    "altman_z": "currency=USD market_value_of_equity=1 research_development=1 inventories=100 inventory_days=60",
    "altman_z_private": "research_development=1 inventories=100 inventory_days=60",
}


@pytest.fixture
def facts(fact: Maker) -> Callable[[str], list[Fact]]:
    """Facts from "name=number" and "name:text" words; the total of assets dates them unless it is given."""

    def make(words: str) -> list[Fact]:
        made = []
        dated = [] if "total_assets=" in words else ["total_assets=1000"]
        dated += ["total_assets'=1000"] if "'=" in words and "total_assets'" not in words else []
        for word in [*words.split(), *dated]:
            if ":" in word:
                name, text = word.split(":")
                passage = name.startswith("passage.")
                value, note = (
                    (f"A passage on {name}.", f"{text}: a finding") if passage else (text.replace("_", " "), "")
                )
                made.append(fact(name, value, None, None, note, id=f"{name}#1" if passage else name))
                continue
            name, number = word.split("=")
            period = BEFORE if name.endswith("'") else NOW
            name = name.removesuffix("'")
            measure = catalogue.measures().get(name)
            unit = "%" if name.startswith("concentration.") else "USD"
            unit = measure.unit if measure and measure.unit != "currency" else unit
            residual = ("holds" if number == "0" else "leaves a residual") if name.startswith("check.") else ""
            made.append(fact(name, number, period, unit, residual))
        return made

    return make


def spoken(assessment: Assessment, rule: str) -> list[Claim]:
    """The claims a rule made, in its topic and in the SWOT."""
    bare = [(claim, claim.id.removeprefix("swot.")) for claim in assessment.claims]
    return [claim for claim, name in bare if name.split("@")[0] == rule or name.startswith(f"{rule}.")]


def test_every_rule_is_in_the_table() -> None:
    assert {rule.id for rule in catalogue.rules()} - set(TABLE) == {"form", "altman_model"}


@pytest.mark.parametrize("rule_id", sorted(TABLE))
def test_rule_on_both_sides(rule_id: str, facts: Callable[[str], list[Fact]]) -> None:
    rule = next(rule for rule in catalogue.rules() if rule.id == rule_id)
    model = rule_id.removesuffix("_safe").removesuffix("_grey").removesuffix("_distress")
    context = " ".join(word for word in ALTMAN_NEEDS.get(model, "").split() if not word.startswith("currency"))
    on, off = (assess(facts(f"{words} {context}")) for words in TABLE[rule_id])
    made = spoken(on, rule_id)
    assert made
    assert not spoken(off, rule_id)
    for claim in made:
        assert claim.predicate == rule.predicate
        assert claim.polarity is rule.polarity
        roles = catalogue.predicates()[claim.predicate].roles
        assert {role for role in roles if not role.endswith("?")} <= set(claim.facts)
        assert set(claim.facts) <= {role.removesuffix("?") for role in roles}
    topics = {claim.topic for claim in made}
    assert rule.topic in topics
    if rule.swot and rule.least_for_swot is Severity.NONE:
        assert rule.swot in topics


def test_rules_use_only_known_names() -> None:
    known = set(catalogue.risks())
    for rule in catalogue.rules():
        assert rule.predicate in catalogue.predicates()
        assert rule.topic in catalogue.topics()
        assert {rule.risk, rule.mitigates} - {None} <= known
        assert bool(rule.risk) is (rule.likelihood > 0) is (rule.impact > 0), rule.id
    used = {name for rule in catalogue.rules() for name in rule.roles.values() if name.startswith("threshold.")}
    assert used == {f"threshold.{name}" for name in catalogue.thresholds()}


@pytest.mark.parametrize(
    ("rule_id", "words"),
    [
        ("current_ratio_low", "current_ratio=0.5"),
        ("short_term_debt_uncovered", "short_term_borrowing=2 liquid_funds=1"),
        ("leverage_high", "liabilities_to_assets=71"),
        ("return_high", "return_on_equity=16"),
        ("negative_equity", "total_equity=-1"),
    ],
)
def test_a_missing_reassurance_does_not_silence_a_warning(
    rule_id: str, words: str, facts: Callable[[str], list[Fact]]
) -> None:
    assert spoken(assess(facts(words)), rule_id)


def test_every_expression_of_the_data_files_reads_known_names() -> None:
    known = set(catalogue.items()) | set(catalogue.measures()) | {"each", "gnp_price_index", "market_value_of_equity"}
    known |= {f"threshold.{name}" for name in catalogue.thresholds()} | {f"{name}.change" for name in known}
    known |= {"assessment.form", "altman.model", "auditor.opinion", "auditor.name", "going_concern.doubt"}
    known |= {
        "internal_control.effective",
        *(f"filing.{n}" for n in ("company", "fiscal_year_end", "currency", "standard")),
    }
    expressions = [rule.when for rule in catalogue.rules()]
    expressions += [each for rule in catalogue.rules() for each in rule.severe.values()]
    expressions += [form.when for form in catalogue.forms()] + [model.when for model in catalogue.altman_models()]
    expressions += [each for m in catalogue.measures().values() for each in (m.formula, *m.positive)]
    expressions += [role for rule in catalogue.rules() for role in rule.roles.values() if role != "$"]
    for expression in expressions:
        unknown = names(expression) - known
        assert all(name.startswith("passage.") for name in unknown), (expression, unknown)
    assert {name for trend in catalogue.trends() for name in (trend.name,)} <= known
    assert set(catalogue.headline()) <= set(catalogue.measures())
    assert set(catalogue.expected()) <= set(catalogue.items())


NUMBERS = st.decimals(-(10**12), 10**12, places=2).map(str) | st.sampled_from(["0", "1", "-1"])
READ = st.lists(
    st.tuples(
        st.sampled_from([*catalogue.items(), "check.balance", "concentration.customer_share", "auditor.opinion"]),
        st.sampled_from([NOW, BEFORE]),
        st.one_of(st.none(), NUMBERS),
        st.sampled_from(["USD", "USD", "USD", "EUR", "1", "%", None]),
        st.floats(0, 1),
    ),
    max_size=70,
    unique_by=lambda drawn: drawn[:2],
)


@given(READ)
@settings(max_examples=60, deadline=None)
def test_whatever_was_read_is_assessed(
    fact: Maker, drawn: list[tuple[str, str, str | None, str | None, float]]
) -> None:
    read = [fact(name, value, period, unit, confidence=sure) for name, period, value, unit, sure in drawn]
    done = assess(read)
    known = {each.id for each in (*read, *done.facts)}
    assert {fact_id for claim in done.claims for fact_id in claim.facts.values()} <= known


SEVERE = {
    "current_ratio_low": ("current_ratio=0.69 operating_cash_flow_ratio=0.1 operating_cash_flow=1", "high"),
    "negative_equity": ("total_equity=-1 operating_cash_flow=0", "critical"),
    "leverage_high": ("liabilities_to_assets=90 total_equity=10", "high"),
    "net_loss": ("net_income=-1 net_income'=-1 total_assets'=1", "high"),
    "revenue_shrank": ("revenue=75 revenue'=100", "high"),
    "free_cash_flow_negative": ("free_cash_flow=-9 free_cash_flow'=-9 liquid_funds=8 total_assets'=1", "high"),
    "customer_concentration": ("concentration.customer_share=50", "high"),
    "supplier_concentration": ("concentration.supplier_share=25", "medium"),
}


@pytest.mark.parametrize("rule_id", sorted(SEVERE))
def test_graver_side(rule_id: str, facts: Callable[[str], list[Fact]]) -> None:
    words, severity = SEVERE[rule_id]
    assert {claim.severity for claim in spoken(assess(facts(words)), rule_id)} == {Severity(severity)}
    assert {rule.id for rule in catalogue.rules() if rule.severe} == set(SEVERE)


# Movements ------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "before", "predicate", "severity"),
    [
        ("110", "100", "amount_rose", "none"),
        ("95", "100", "amount_fell", "none"),
        ("90", "100", "amount_fell", "low"),
        ("75", "100", "amount_fell", "medium"),
        ("100.04", "100", "amount_unchanged", "none"),
        ("-5", "100", "amount_turned_negative", "medium"),
        ("5", "-100", "amount_turned_positive", "none"),
        ("-150", "-100", "negative_amount_widened", "medium"),
        ("-50", "-100", "negative_amount_narrowed", "none"),
        ("-100", "-100", "amount_unchanged", "none"),
        ("0", "100", "amount_fell", "medium"),
        ("100", "0", "amount_turned_positive", "none"),
    ],
)
def test_movement_of_an_amount(
    now: str, before: str, predicate: str, severity: str, facts: Callable[[str], list[Fact]]
) -> None:
    words = f"net_income={now} net_income'={before} total_assets'=1"
    claim = next(claim for claim in assess(facts(words)).claims if claim.id == f"trend.net_income@{NOW}")
    assert (claim.predicate, claim.severity) == (predicate, Severity(severity))
    assert ("change" in claim.facts) is (predicate in ("amount_rose", "amount_fell"))


@pytest.mark.parametrize(
    ("now", "before", "predicate", "severity"),
    [
        ("1.5", "1.4", "ratio_rose", "none"),
        ("1.4", "1.5", "ratio_fell", "none"),
        ("1.3", "1.5", "ratio_fell", "low"),
        ("1.401", "1.404", "ratio_unchanged", "none"),
    ],
)
def test_movement_of_a_ratio(
    now: str, before: str, predicate: str, severity: str, facts: Callable[[str], list[Fact]]
) -> None:
    words = f"current_ratio={now} current_ratio'={before} total_assets'=1"
    claim = next(claim for claim in assess(facts(words)).claims if claim.id == f"trend.current_ratio@{NOW}")
    assert (claim.predicate, claim.severity) == (predicate, Severity(severity))


def test_a_single_year_is_stated_without_movement(company: Make) -> None:
    single = [fact for fact in company() if fact.period == NOW]
    claims = {claim.id: claim for claim in assess(single).claims}
    assert claims[f"trend.revenue@{NOW}"].predicate == "stated"
    assert claims[f"cannot_compute.return_on_assets@{NOW}"].facts["input"] == f"prior_year@{NOW}"


# Forms ------------------------------------------------------------

FORMS = {
    "bank": BANK,
    "insurer": INSURER,
    "holding": "total_assets=1000 total_current_assets=90 long_term_investments=500 revenue=99",
    "real_estate": "total_assets=1000 filing.company:Acme_Realty_Trust",
    "utility": "total_assets=1000 total_current_assets=100 ppe_net=500 filing.company:Acme_Electric_Power",
    "unclassified": "total_assets=1000 revenue=500",
    "general": "total_assets=1000 total_current_assets=500 total_current_liabilities=300 revenue=900",
}


@pytest.mark.parametrize("key", sorted(FORMS))
def test_form_is_recognised_and_refuses_its_measures(key: str, facts: Callable[[str], list[Fact]]) -> None:
    done = assess(facts(FORMS[key]))
    known = {fact.id: fact for fact in done.facts}
    form = next(form for form in catalogue.forms() if form.key == key)
    assert known["assessment.form"].value == key
    for name in form.refuses:
        assert known[f"{name}@{NOW}"].note == f"does not apply: {form.reason['en']}", name
    assert bool([claim for claim in done.claims if claim.predicate == "does_not_apply"]) is bool(form.refuses)
    assert set(form.refuses) <= set(catalogue.measures())


@pytest.mark.parametrize(
    "words",
    [
        "total_assets=1000 deposits=99 total_current_assets=300 revenue=900",
        "total_assets=1000 total_current_assets=90 long_term_investments=499 revenue=99",
        "total_assets=1000 total_current_assets=100 ppe_net=499 filing.company:Acme_Electric_Power",
        "total_assets=1000 total_current_assets=100 ppe_net=900 filing.company:Acme_Rail",
        "total_assets=1000 total_current_assets=300 filing.company:Acme_Realty_Trust",
        "total_assets=1000 total_current_assets=300 revenue=100 premiums_earned=90",
    ],
)
def test_others_are_general(words: str, facts: Callable[[str], list[Fact]]) -> None:
    assert {fact.id: fact.value for fact in assess(facts(words)).facts}["assessment.form"] == "general"


def test_a_bank_is_not_told_off_for_its_leverage(bank: list[Fact]) -> None:
    predicates = {claim.predicate for claim in assess(bank).claims}
    assert not predicates & {"leverage_high", "operating_cash_outflow", "current_ratio_low", "return_from_leverage"}


# Matrix and SWOT ------------------------------------------------------------


def rated(assessment: Assessment, risk: str) -> tuple[int, int, int] | None:
    known = {fact.id: fact.value for fact in assessment.facts}
    if f"matrix.{risk}" not in known:
        return None
    return tuple(int(str(known[f"matrix.{risk}.{part}"])) for part in ("likelihood", "impact", "rating"))  # type: ignore[return-value]


def test_risk_takes_the_highest_of_its_rules(facts: Callable[[str], list[Fact]]) -> None:
    assert rated(assess(facts("net_debt_to_ebitda=4")), "solvency") == (3, 4, 12)
    assert rated(assess(facts("net_debt_to_ebitda=4 interest_cover=0.5")), "solvency") == (4, 5, 20)


def test_three_rules_raise_the_likelihood_and_one_mitigation_lowers_it(facts: Callable[[str], list[Fact]]) -> None:
    three = "net_debt_to_ebitda=4 interest_cover=2 liabilities_to_assets=70 total_equity=9"
    assert rated(assess(facts(three)), "solvency") == (4, 4, 16)
    assert rated(assess(facts(f"{three} passage.covenants:absent")), "solvency") == (3, 4, 12)
    assert rated(assess(facts("passage.covenants:absent")), "solvency") is None


def test_a_graver_finding_has_more_impact(facts: Callable[[str], list[Fact]]) -> None:
    assert rated(assess(facts("concentration.customer_share=10")), "concentration") == (3, 3, 9)
    assert rated(assess(facts("concentration.customer_share=50")), "concentration") == (3, 4, 12)


@pytest.mark.parametrize(
    ("severity", "expected", "level"),
    [
        ("low", (2, 2, 4), "low"),
        ("medium", (2, 3, 6), "medium"),
        ("high", (3, 4, 12), "high"),
        ("critical", (3, 4, 12), "high"),
    ],
)
def test_a_risk_that_is_only_named(
    severity: str, expected: tuple[int, int, int], level: str, fact: Maker, company: Make
) -> None:
    passage = fact(
        "passage.risk_factor", "We may fail.", None, None, f"present: a risk; severity {severity} (x)", id="p#1"
    )
    how = Source(where=Derived(rule="risk_factors.severity", fact_ids=("p#1",)))
    summary = Fact(
        id="risk.cyber.severity",
        name="risk.severity",
        value=severity,
        subject="cyber",
        status=Status.DERIVED,
        sources=(how,),
    )
    done = assess([*company(), passage, summary])
    assert rated(done, "cyber") == expected
    claim = next(claim for claim in done.claims if claim.id == "matrix.cyber")
    assert claim.severity is Severity(level)
    assert claim.facts["evidence_1"] == "p#1"


def test_swot_is_bounded_and_gravest_first(facts: Callable[[str], list[Fact]], fact: Maker) -> None:
    risks = [
        fact("passage.risk_factor", f"Risk {n}.", None, None, f"present: a risk; severity {level} (x)", id=f"r#{n}")
        for n, level in enumerate(["medium", "critical", "high", "low", "medium", "medium"])
    ]
    threats = [
        claim for claim in assess([*facts("passage.litigation:present"), *risks]).claims if claim.topic == "threats"
    ]
    assert [claim.severity.value for claim in threats] == ["critical", "high", "medium", "medium", "medium"]
    assert [claim.predicate for claim in threats].count("risk_factor") == 4


def test_claims_are_unique_traceable_and_in_the_order_of_the_report(company: Make, bank: list[Fact]) -> None:
    for read in (company(), bank, []):
        done = assess(read)
        known = {fact.id for fact in (*read, *done.facts)}
        assert len(known) == len(read) + len(done.facts)
        assert len({claim.id for claim in done.claims}) == len(done.claims)
        assert {fact_id for claim in done.claims for fact_id in claim.facts.values()} <= known
        below = {i for f in done.facts for s in f.sources if isinstance(s.where, Derived) for i in s.where.fact_ids}
        assert below <= known
        order = [catalogue.topics().index(claim.topic) for claim in done.claims]
        assert order == sorted(order)


# Quality of the data ------------------------------------------------------------


def test_doubtful_restated_corrected_and_absent_values_are_pointed_out(company: Make, fact: Maker) -> None:
    how = Source(where=Correction(by="an analyst", at="2024-02-01T00:00:00Z", previous="900"))
    changes = {
        f"revenue@{NOW}": {"confidence": 0.69},
        f"inventories@{BEFORE}": {"note": "restated"},
        f"total_current_assets@{NOW}": {"sources": (how,)},
        f"goodwill@{NOW}": {"confidence": 0.7},
    }
    read = [f.model_copy(update=changes.get(f.id, {})) for f in company(without={f"capex@{NOW}"})]
    claims = {claim.id: claim for claim in assess([*read, fact("capex", None)]).claims}
    assert claims[f"value_contested.revenue@{NOW}"].severity is Severity.MEDIUM
    assert f"value_contested.goodwill@{NOW}" not in claims
    assert claims[f"value_restated.inventories@{BEFORE}"].predicate == "value_restated"
    assert claims[f"value_corrected.total_current_assets@{NOW}"].predicate == "value_corrected"
    absent = claims[f"not_presented.capex@{NOW}"]
    assert (absent.predicate, absent.polarity) == ("item_not_presented", Polarity.NOT_ASSESSED)


def test_nothing_is_concluded_from_a_contested_value(company: Make) -> None:
    for confidence, concluded in ((0.69, False), (0.7, True)):
        doubtful = {"confidence": confidence}
        read = [f.model_copy(update=doubtful) if f.id == f"net_income@{NOW}" else f for f in company()]
        resting = {f.id for f in assess(read).facts if f.confidence == confidence and not f.id.startswith("matrix.")}
        assert f"return_on_equity@{NOW}" in resting
        claims = [claim for claim in assess(read).claims if claim.topic != "data_quality"]
        assert bool([c for c in claims if resting & set(c.facts.values())]) is concluded


def test_certainty_is_that_of_the_weakest_fact(company: Make) -> None:
    read = [f.model_copy(update={"confidence": 0.8}) if f.id == f"revenue@{BEFORE}" else f for f in company()]
    claims = {claim.id: claim for claim in assess(read).claims}
    assert claims[f"trend.revenue@{NOW}"].certainty == 0.8
    assert claims[f"trend.current_ratio@{NOW}"].certainty == 1.0


def test_nothing_read_is_nothing_claimed() -> None:
    done = assess([])
    assert {claim.predicate for claim in done.claims} <= {"form_recognised", "opinion_not_found", "altman_model_chosen"}
    assert not [fact for fact in done.facts if isinstance(fact.value, Decimal)]


def test_a_statement_that_was_not_found_is_said_and_its_items_are_not_called_unpresented(fact: Maker) -> None:
    facts = [fact("total_assets", "10", NOW, "USD"), fact("inventories", None, NOW, None)]
    facts += [fact(name, None, NOW, None) for name in ("operating_cash_flow", "capex")]
    claims = assess(facts).claims
    missing = [claim for claim in claims if claim.predicate == "statement_not_found"]
    assert [(claim.facts["statement"], claim.severity) for claim in missing] == [("statement.cash_flow", Severity.HIGH)]
    assert not {"not_presented.operating_cash_flow@" + NOW, "not_presented.capex@" + NOW} & {c.id for c in claims}


def test_where_no_statement_was_found_nothing_is_said_of_the_company(fact: Maker) -> None:
    claims = assess([fact(name, None, None, None, id=name) for name in ("total_assets", "revenue", "capex")]).claims
    assert {claim.predicate for claim in claims} == {"statement_not_found", "opinion_not_found"}
    assert sum(claim.predicate == "statement_not_found" for claim in claims) == 3
