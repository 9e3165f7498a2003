"""The verifier against reports made wrong in thousands of ways: it refuses each, and nothing of an untouched one."""

import random
from collections import Counter
from pathlib import Path

import pytest

from corrupted import corruptions
from evident_core.errors import Unverified
from evident_core.evidence import Fact, Report
from evident_core.write import check, verify, verify_sentence
from evident_finance.risk_report.assess import assess
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.write import vocabulary, write
from written_company import INPUT, company_facts

SAMPLES = Path(__file__).parents[3] / "sample_data" / "finance"


def made_wrong(report: Report, *, with_spans: bool, seed: int = 1) -> tuple[Counter[str], list[tuple[str, str]]]:
    """How many corruptions of each kind were tried, and those that the verifier let pass."""
    rng = random.Random(seed)
    facts = {fact.id: fact for fact in report.facts}
    claims = {claim.id: claim for claim in report.claims}
    sentences = [sentence for section in report.sections for sentence in section.sentences]
    tried: Counter[str] = Counter()
    passed = []
    for sentence in sentences:
        stated = [claims[claim_id] for claim_id in sentence.claim_ids]
        for kind, language, text in corruptions(sentence, sentences, rng):
            update: dict[str, object] = {"text": {**sentence.text, language: text}}
            wrong = sentence.model_copy(update=update if with_spans else update | {"spans": {}})
            tried[kind] += 1
            if not verify_sentence(wrong, stated, facts, vocabulary()):
                passed.append((kind, text))
    return tried, passed


def written(facts: tuple[Fact, ...]) -> Report:
    return write(INPUT, facts, assess(facts))


@pytest.mark.parametrize("with_spans", [True, False], ids=["with spans", "from the text alone"])
@pytest.mark.parametrize("seed", range(2))
def test_each_of_more_than_400_corruptions_is_refused(
    seed: int, with_spans: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    report = written(company_facts(seed))
    assert verify(report, vocabulary()) == []
    tried, passed = made_wrong(report, with_spans=with_spans)
    with capsys.disabled():
        print(f"\nseed {seed}: {tried.total()} corruptions, {len(passed)} passed: {dict(tried)}")  # noqa: T201
    assert tried.total() > 400
    assert {"digit", "sign", "scale", "year", "direction", "name", "language", "polarity", "unit"} <= set(tried)
    assert passed == []


@pytest.mark.parametrize("name", ["larkhaven_2023_10k.pdf", "chengyu_2023_annual_report.pdf"])
def test_each_corruption_of_the_report_of_a_sample_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ingest((SAMPLES / name).read_bytes(), name=name) as filing:
        facts = perceive(filing).facts
    report = written(tuple(facts))
    assert verify(report, vocabulary()) == []
    tried, passed = made_wrong(report, with_spans=False)
    with capsys.disabled():
        print(f"\n{name}: {tried.total()} corruptions, {len(passed)} passed: {dict(tried)}")  # noqa: T201
    assert tried.total() > 400
    assert passed == []


def test_a_report_with_one_wrong_digit_is_not_passed() -> None:
    report = written(company_facts(1))
    first = report.sections[0].sentences[0]
    wrong = first.model_copy(update={"text": {**first.text, "en": first.text["en"].replace("20", "21", 1)}})
    section = report.sections[0].model_copy(update={"sentences": (wrong, *report.sections[0].sentences[1:])})
    corrupted = report.model_copy(update={"sections": (section, *report.sections[1:])})
    with pytest.raises(Unverified, match="the report is not shown") as refusal:
        check(corrupted, vocabulary())
    assert refusal.value.details["violations"]
