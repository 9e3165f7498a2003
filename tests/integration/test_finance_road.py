"""The whole road: from a PDF's bytes to a verified report, and again after a correction."""

from decimal import Decimal

import pytest

from evident_core.errors import InvalidInput, NotFound
from evident_core.evidence import Correction, PageBox, Status
from evident_core.progress import Progress
from evident_finance.risk_report import pipeline
from evident_finance.risk_report.export.compare import compare
from evident_finance.risk_report.export.places import Places
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis, Facts, StatementKind

BY = Correction(by="analyst", at="2026-01-01T00:00:00+00:00", reason="misprint")


def test_every_value_leads_to_a_page(sample_analysis: Analysis) -> None:
    places = Places(sample_analysis)
    read = [fact for fact in sample_analysis.reading.facts if fact.status is Status.PRESENTED]
    assert len(read) > 150
    for fact in read:
        kinds = {source.where.kind for source in fact.sources}
        if "page_box" not in kinds:
            continue
        box = places.boxes(fact.id)[0]
        assert 1 <= box.page <= sample_analysis.page_count
        width, height = sample_analysis.page_sizes[box.page - 1]
        assert -1 <= box.bbox[0] < box.bbox[2] <= width + 1
        assert -1 <= box.bbox[1] < box.bbox[3] <= height + 1


@pytest.mark.parametrize("which", ["sample_analysis", "chinese_analysis"])
def test_the_three_statements_and_both_languages_are_there(which: str, request: pytest.FixtureRequest) -> None:
    analysis: Analysis = request.getfixturevalue(which)
    assert {s.kind for s in analysis.reading.statements} == set(StatementKind)
    for section in analysis.report.sections:
        for sentence in section.sentences:
            assert set(sentence.text) == {"en", "zh"}
            for language, spans in sentence.spans.items():
                assert all(0 <= s.start < s.end <= len(sentence.text[language]) for s in spans)


def test_an_analysis_survives_json(sample_analysis: Analysis) -> None:
    assert Analysis.model_validate_json(sample_analysis.model_dump_json()) == sample_analysis


def test_the_steps_are_told_in_order(sample_pdf_steps: list[Progress]) -> None:
    stages = list(dict.fromkeys(step.stage for step in sample_pdf_steps))
    assert stages == ["ingest", "perceive", "assess", "write"]
    first = next(step for step in sample_pdf_steps if step.partial)
    assert first.stage == "perceive"


@pytest.fixture
def sample_pdf_steps(sample_pdf, monkeypatch: pytest.MonkeyPatch) -> list[Progress]:  # type: ignore[no-untyped-def]
    steps: list[Progress] = []
    pipeline.analyse(sample_pdf.read_bytes(), name="sample", on_progress=steps.append)
    return steps


def test_a_correction_changes_what_follows_and_keeps_what_was_read(sample_analysis: Analysis) -> None:
    facts = Facts(sample_analysis.reading.facts)
    revenue = facts.get("revenue", facts.periods[0])
    assert revenue is not None
    doubled = revenue.number * 2
    revised = pipeline.revise(sample_analysis, {revenue.id: (f"{doubled:,}", BY)})
    after = Facts((*revised.reading.facts, *revised.assessment.facts))
    before = Facts((*sample_analysis.reading.facts, *sample_analysis.assessment.facts))
    period = facts.periods[0]
    assert after.number("revenue", period) == doubled
    margin_now, margin_before = after.number("net_margin", period), before.number("net_margin", period)
    assert margin_now is not None
    assert margin_before is not None
    assert margin_now * 2 == pytest.approx(margin_before)
    corrected = after.get("revenue", period)
    assert corrected is not None
    assert any(isinstance(source.where, PageBox) for source in corrected.sources)
    correction = Places(revised).correction(revenue.id)
    assert correction is not None
    assert Decimal(str(correction.previous)) == revenue.number
    moved = [f for f in revised.reading.facts if f.name.startswith("check.") and before.by_id(f.id) != f]
    assert moved, "doubled revenue leaves a residual that the checks must show"
    text = " ".join(s.text["en"] for section in revised.report.sections for s in section.sentences)
    assert text != " ".join(s.text["en"] for section in sample_analysis.report.sections for s in section.sentences)


def test_a_correction_that_is_no_number_or_no_fact_is_refused(sample_analysis: Analysis) -> None:
    revenue = next(fact for fact in sample_analysis.reading.facts if fact.name == "revenue")
    with pytest.raises(InvalidInput, match="'much' is not a number"):
        pipeline.revise(sample_analysis, {revenue.id: ("much", BY)})
    with pytest.raises(InvalidInput, match="not a number"):
        pipeline.revise(sample_analysis, {revenue.id: ("NaN", BY)})
    with pytest.raises(NotFound, match="nothing@2000"):
        pipeline.revise(sample_analysis, {"nothing@2000": ("1", BY)})


def test_compare_puts_years_in_order_and_warns_of_currencies(
    sample_analysis: Analysis, chinese_analysis: Analysis
) -> None:
    comparison = compare([sample_analysis, chinese_analysis])
    own = [column.period for column in comparison.columns if column.analysis == 0]
    assert own == sorted(own)
    assert any("compare ratios" in note for note in comparison.notes)
    revenue = next(line for line in comparison.lines if line.name == "revenue")
    assert all(fact is not None for fact in revenue.facts)
    with pytest.raises(InvalidInput, match="one to eight"):
        compare([])


def test_the_view_shows_what_was_not_found(sample_analysis: Analysis) -> None:
    view = View(sample_analysis)
    absent = {fact.name for fact in view.absent()}
    assert absent
    for fact in view.absent():
        assert view.facts.get(fact.name, fact.period) is fact
        assert fact.value is None
