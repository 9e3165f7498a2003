"""The finance service's figures: printed, each beside the target it was given. Run with ``pytest -m benchmark -s``.

Times are of this machine at this moment; what compares is the ratio of two measured in one run. Real reports are used
where they are at hand.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pikepdf
import pytest

from annual_reports import make_variant
from corrupted import corruptions
from evident_core import sandbox
from evident_core.evidence import InputRef
from evident_core.settings import SandboxSettings
from evident_core.write import verify, verify_sentence
from evident_finance import vertical
from evident_finance.risk_report.assess import assess
from evident_finance.risk_report.evaluate import Measured, evaluate
from evident_finance.risk_report.evaluate.gold import match_files, read_gold
from evident_finance.risk_report.evaluate.tally import Tally
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.write import vocabulary, write
from naive_reader import read_naively
from pdf_costs import Cost, facts_of, first_facts_cost, plumbed_text_cost, report_cost, statements_cost

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]
ROOMY = SandboxSettings(memory_mib=16_384, cpu_seconds=3_000, wall_seconds=3_600)
VARIANTS = 30

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print past pytest's capture."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")  # noqa: T201

    return line


@pytest.fixture(scope="module", autouse=True)
def _as_a_worker_begins() -> None:
    """Modules and tables are loaded once, before the first file, as a worker has them."""
    sandbox.preload(("pdf_costs", *vertical.preload))


def cost(function: Callable[[Path], Cost], path: Path) -> Cost:
    return sandbox.run(function, path, limits=ROOMY)


def test_line_items_beside_a_naive_reader(real_filings: Path, say: Say) -> None:
    found = evaluate(real_filings, limits=ROOMY)
    for name, target in (
        ("accuracy", "≥ 98.5 %"), ("silently_wrong", "≤ 0.5 %"), ("not_presented_honoured", "100 %"),
        ("page_right", "≥ 99 %"), ("box_right", "≥ 99 %"), ("documents_right", "≥ 85 %"), ("lines_clean", "≥ 97 %"),
        ("identities_hold", "shown"), ("sentences_verified", "100 %"), ("zh_en_parity", "100 %"),
    ):  # fmt: skip
        say(f"{name:24} {getattr(found, name):8.2%}  ({target})")
    say(f"{found.documents} reports, {found.items} items, {found.pages} pages: {found.cpu_seconds} CPU-s whole road")
    say(f"peak of one report       {found.peak_mib:.0f} MiB  (≤ 300 MB)")
    gold = read_gold(real_filings / "gold.jsonl")
    files, _ = match_files(real_filings, gold)
    naive = Tally()
    for doc, file in files.items():
        end = date.fromisoformat(str(gold[doc][0].fiscal_year_end))
        facts = read_naively(file, {entry.item for entry in gold[doc]}, end)
        costs = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mib": 0.0}
        counts = dict.fromkeys(("pages", "sentences", "sentences_verified", "sentences_equal"), 0)
        naive.document(doc, gold[doc], Measured(facts=facts, statements=(), printed={}, **costs, **counts))
    say(f"naive reader: accuracy {naive.right / naive.items:.2%}, silently wrong {naive.silent / naive.items:.2%}")
    assert found.accuracy > naive.right / naive.items


def test_line_items_of_made_layouts(say: Say) -> None:
    counts: Counter[str] = Counter()
    for seed in range(1000, 1000 + VARIANTS):
        data, truth = make_variant(seed)
        with ingest(data, name=f"{seed}.pdf") as filing:
            reading = perceive(filing)
        facts = {fact.id: fact for fact in reading.facts}
        cells = {
            (cell.page, cell.text.strip("$€£¥()（） "), row.label)
            for statement in reading.statements
            for row in statement.rows
            for cell in row.cells
            if cell is not None
        }
        for item, periods in truth.items.items():
            for period, figure in periods.items():
                if figure.status != "presented" or figure.value is None:
                    continue
                fact = facts.get(f"{item}@{period}")
                value = fact.value if fact else None
                counts["items"] += 1
                counts["right"] += value == figure.value
                counts["silent"] += bool(
                    fact and value not in (None, figure.value) and fact.status == "presented" and fact.confidence >= 0.5
                )
                place = figure.places[0]
                counts["cells"] += 1
                counts["clean"] += any(
                    page == place.page and text == place.text.strip("$€£¥()（） ") and _same_label(label, place.label)
                    for page, text, label in cells
                )
    items, cells_ = counts["items"], counts["cells"]
    say(f"{VARIANTS} layouts, {items} items")
    say(f"right {counts['right'] / items:.2%}, silently wrong {counts['silent'] / items:.2%}")
    say(f"cells with their label and nothing else: {counts['clean'] / cells_:.2%}  (≥ 97 %)")
    assert items


def _same_label(label: str, printed: str) -> bool:
    one, other = ("".join(char for char in text if char.isalnum()) for text in (label, printed))
    return one.startswith(other) or other.startswith(one)


def test_cost_of_a_report_of_about_150_pages(real_filings: Path, say: Say) -> None:
    for file in _reports_of(real_filings, 150, 165):
        whole, first = cost(report_cost, file), cost(first_facts_cost, file)
        say(
            f"{file.stem}: {whole.units:.0f} pages, whole bilingual report {whole.seconds:.1f} s wall, "
            f"{whole.cpu:.1f} CPU-s  (≤ 20 s); first facts {first.seconds:.1f} s, {first.cpu:.1f} CPU-s  (≤ 5 s); "
            f"peak {whole.peak:.0f} MiB  (≤ 300 MB)"
        )


def test_cost_of_392_pages_beside_pdfplumber(real_filings: Path, tmp_path: Path, say: Say) -> None:
    path = _joined(real_filings, tmp_path / "joined.pdf", 392)
    runs = [(cost(report_cost, path), cost(plumbed_text_cost, path)) for _ in range(2)]
    # Of two turns the one less disturbed by whatever else runs on the machine, for each of the two.
    whole, text = (min(each, key=lambda one: one.cpu) for each in zip(*runs, strict=True))
    say(f"392 pages: whole report {whole.seconds:.1f} s wall, {whole.cpu:.1f} CPU-s, peak {whole.peak:.0f} MiB")
    say(f"pdfplumber, text of all pages: {text.seconds:.1f} s wall, {text.cpu:.1f} CPU-s, peak {text.peak:.0f} MiB")
    say(f"ratio 1/{text.cpu / whole.cpu:.1f} of CPU, 1/{text.seconds / whole.seconds:.1f} of wall  (≤ 1/8)")


def test_cost_of_a_statement_page(real_filings: Path, say: Say) -> None:
    files, _ = match_files(real_filings, read_gold(real_filings / "gold.jsonl"))
    costs = [cost(statements_cost, file) for file in files.values()]
    pages = sum(each.units for each in costs)
    say(f"{pages:.0f} statement pages: {sum(each.cpu for each in costs) / pages:.2f} CPU-s a page  (≤ 0.4)")
    say(f"most of one report: {max(each.cpu / each.units for each in costs):.2f} CPU-s a page")


def test_corruptions_of_real_reports(real_filings: Path, say: Say) -> None:
    tried: Counter[str] = Counter()
    passed: list[str] = []
    clean = sentences = 0
    for file in _reports_of(real_filings, 70, 110):
        facts = sandbox.run(facts_of, file, limits=ROOMY)
        report = write(InputRef(sha256="0" * 64, name=file.name), facts, assess(facts))
        known, claims = {fact.id: fact for fact in report.facts}, {claim.id: claim for claim in report.claims}
        all_ = [sentence for section in report.sections for sentence in section.sentences]
        sentences += len(all_)
        clean += not verify(report, vocabulary())
        for sentence in all_:
            stated = [claims[each] for each in sentence.claim_ids]
            for kind, language, text in corruptions(sentence, all_, random.Random(1)):
                wrong = sentence.model_copy(update={"text": {**sentence.text, language: text}, "spans": {}})
                tried[kind] += 1
                if not verify_sentence(wrong, stated, known, vocabulary()):
                    passed.append(f"{kind}: {text}")
    say(f"{sentences} sentences of real reports pass; {tried.total()} corruptions, {len(passed)} passed: {dict(tried)}")
    for each in passed[:10]:
        say(each)
    assert clean
    assert tried.total() > 400


def _reports_of(folder: Path, fewest: int, most: int) -> list[Path]:
    """The folder's reports of about that many pages."""
    found = []
    for file in sorted(folder.glob("*.pdf")):
        with pikepdf.open(file) as document:
            if fewest <= len(document.pages) <= most:
                found.append(file)
    return found


def _joined(folder: Path, path: Path, pages: int) -> Path:
    """The longest report, and after it the first pages of others, until there are that many."""
    lengths = {}
    for file in sorted(folder.glob("*.pdf")):
        with pikepdf.open(file) as document:
            lengths[file] = len(document.pages)
    longest, *others = sorted(lengths, key=lambda file: -lengths[file])
    with pikepdf.open(longest) as joined:
        for file in others:
            with pikepdf.open(file) as document:
                joined.add_pages_from(document, range(min(44, len(document.pages), pages - len(joined.pages))))
            if len(joined.pages) >= pages:
                break
        joined.save(path)
    return path
