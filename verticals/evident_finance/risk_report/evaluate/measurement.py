"""One document through the whole road in a process of its own: what was read, where, and what it cost."""

import re
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from evident_core.evidence import Fact, Frozen, PageBox, Report
from evident_core.write import verify
from evident_core.write.vocabulary import LANGUAGES
from evident_finance.risk_report.ingest import Filing, ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.pipeline import conclude
from evident_finance.risk_report.schema import Statement
from evident_finance.risk_report.write import vocabulary

_DATING = frozenset({"total_assets", "revenue", "net_income"})
"""Items that tell which years a filing reports, kept whether asked for or not."""


class Measured(Frozen):
    """What a document gave and what it cost.

    ``printed`` holds, for each fact with a place, the words whose middle lies in its box on its page. ``seconds`` is
    wall-clock and ``cpu_seconds`` processor time from the bytes to the verified report; ``peak_mib`` is the most memory
    that the process held resident, with interpreter and libraries.
    """

    facts: tuple[Fact, ...]
    statements: tuple[Statement, ...]
    printed: dict[str, str]
    pages: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    sentences: int
    sentences_verified: int
    sentences_equal: int


def measure(path: Path, names: frozenset[str]) -> Measured:
    """Read the file and write its report; keep the facts of these names. To be run in a process of its own."""
    wall, cpu = time.monotonic(), time.process_time()
    with ingest(path.read_bytes(), name=path.name) as filing:
        reading = perceive(filing)
        sizes = tuple(filing.page_size(page) for page in range(1, filing.page_count + 1))
        report = conclude(filing.input, sizes, filing.language, reading).report
        seconds, cpu_seconds = time.monotonic() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts = tuple(fact for fact in reading.facts if fact.name in names | _DATING or fact.name.startswith("check."))
        sentences, verified, equal = _sentences(report)
        return Measured(
            facts=facts,
            statements=reading.statements,
            printed=_printed(filing, facts),
            pages=filing.page_count,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_mib=peak,
            sentences=sentences,
            sentences_verified=verified,
            sentences_equal=equal,
        )


def place_of(fact: Fact) -> PageBox | None:
    """Where on a page the fact stands first; None where it is derived."""
    return next((source.where for source in fact.sources if isinstance(source.where, PageBox)), None)


def _printed(filing: Filing, facts: Sequence[Fact]) -> dict[str, str]:
    printed = {}
    for fact in facts:
        if where := place_of(fact):
            x0, top, x1, bottom = where.bbox
            inside = [
                word.text
                for word in filing.words(where.page).words
                if x0 <= (word.bbox[0] + word.bbox[2]) / 2 <= x1 and top <= (word.bbox[1] + word.bbox[3]) / 2 <= bottom
            ]
            printed[fact.id] = re.sub(r"\s+", " ", " ".join(inside))
    return printed


def _sentences(report: Report) -> tuple[int, int, int]:
    """How many sentences were made, passed the verifier, and point to the same facts in each language."""
    withheld = sum(int(fact.number) for fact in report.facts if fact.id == "report.withheld")
    refused = {violation.sentence_id for violation in verify(report, vocabulary())}
    sentences = [sentence for section in report.sections for sentence in section.sentences]
    equal = [
        all(sentence.text.get(language, "").strip() for language in LANGUAGES)
        and len({frozenset(span.fact_id for span in sentence.spans.get(each, ())) for each in LANGUAGES}) == 1
        for sentence in sentences
    ]
    return len(sentences) + withheld, len(sentences) - len({s.id for s in sentences} & refused), sum(equal)
