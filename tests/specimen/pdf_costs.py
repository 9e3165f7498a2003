"""What a piece of work on a PDF costs, measured in a process of its own."""

import resource
import time
from pathlib import Path
from typing import NamedTuple

import pdfplumber

from evident_core.evidence import Fact
from evident_core.progress import Progress, silent
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.perceive.statements import read_statements
from evident_finance.risk_report.pipeline import analyse


class Cost(NamedTuple):
    """Wall-clock and processor seconds, the process's peak MiB, and the units of work they were spent on."""

    seconds: float
    cpu: float
    peak: float
    units: float


def report_cost(path: Path) -> Cost:
    """The whole road, bytes to the verified bilingual report; a unit is a page."""
    start = _now()
    pages = analyse(path.read_bytes(), name=path.name).page_count
    return _cost(start, pages)


def first_facts_cost(path: Path) -> Cost:
    """Until the first facts are told; a unit is a fact."""
    start, told = _now(), list[Cost]()

    def listen(step: Progress) -> None:
        if step.partial and not told:
            told.append(_cost(start, len(step.partial["facts"])))

    with ingest(path.read_bytes(), name=path.name) as filing:
        perceive(filing, listen)
    return told[0]


def statements_cost(path: Path) -> Cost:
    """Finding, rebuilding and checking the statements of an open filing; a unit is a page of a statement."""
    with ingest(path.read_bytes(), name=path.name) as filing:
        start = _now()
        statements, _ = read_statements(filing)
        return _cost(start, len({page for statement in statements for page in statement.pages}))


def plumbed_text_cost(path: Path) -> Cost:
    """pdfplumber's text of every page, each closed after it to keep memory low; a unit is a character."""
    start, characters = _now(), 0
    with pdfplumber.open(path) as document:
        for page in document.pages:
            characters += len(page.extract_text() or "")
            page.close()
    return _cost(start, characters)


def facts_of(path: Path) -> tuple[Fact, ...]:
    """All facts of a filing."""
    with ingest(path.read_bytes(), name=path.name) as filing:
        return perceive(filing, silent).facts


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _cost(start: tuple[float, float], units: float) -> Cost:
    wall, cpu = time.monotonic() - start[0], time.process_time() - start[1]
    return Cost(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, units)
