"""The reader on the samples: the two whole reports, and a handful of layouts."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from annual_reports import FILES, make_report
from evident_core.progress import silent
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive

SAMPLES = Path(__file__).parents[2] / "sample_data" / "finance"
HEADLINES = ("revenue", "net_income", "total_assets", "total_liabilities", "operating_cash_flow", "capex", "income_tax")


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finance_sweep", SAMPLES / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reader_finds_the_headline_figures_of_the_committed_reports(language: str) -> None:
    _, truth = make_report(language)  # type: ignore[arg-type]
    name = FILES[language]  # type: ignore[index]
    with ingest((SAMPLES / name).read_bytes(), name=name) as filing:
        facts = {fact.id: fact for fact in perceive(filing, silent).facts}
    for item in HEADLINES:
        for period, figure in truth.items[item].items():
            fact = facts[f"{item}@{period}"]
            assert fact.value == figure.value, (item, period)
            pages = {getattr(source.where, "page", None) for source in fact.sources}
            assert pages & {place.page for place in figure.places}, (item, period)


def test_the_sweep_counts_each_figure_once_and_finds_most_of_them_right(sweep: ModuleType) -> None:
    outcomes = [sweep.read_variant(seed) for seed in (3, 7, 9, 20)]
    assert not any(outcome.error for outcome in outcomes)
    result = sweep.summary(outcomes)
    assert result["documents"] == 4
    assert result["figures"] > 400
    assert result["accuracy"] > 0.9
    assert result["silently_wrong"] < 0.05
