"""The five steps in order, and the last three again when an analyst corrects a number."""

from collections.abc import Mapping

import evident_core
from evident_core.errors import InvalidInput, NotFound
from evident_core.evidence import Correction, Fact, InputRef, Language, Source, Status
from evident_core.progress import OnProgress, Progress, silent
from evident_finance.risk_report.assess import assess
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.perceive.rederive import rederive
from evident_finance.risk_report.schema import Analysis, Reading
from evident_finance.risk_report.write import write

VERSION = f"finance {evident_core.__version__}"
"""Part of the key under which results are cached: a result of another version is never shown as this one's."""


def analyse(data: bytes, *, name: str, password: str | None = None, on_progress: OnProgress = silent) -> Analysis:
    """The risk report of one annual report, with everything it rests on.

    Args:
        data: The PDF's bytes.
        name: What its sender calls it; shown, never opened as a path.
        password: For an encrypted file.
        on_progress: Told after each step; after ``perceive`` its ``partial`` carries the first facts.

    Raises:
        EvidentError: The file cannot be read as an annual report; the message says why and what to do.
    """
    on_progress(Progress(stage="ingest"))
    with ingest(data, name=name, password=password) as filing:
        on_progress(Progress(stage="ingest", done=1))
        reading = perceive(filing, on_progress)
        input_, language = filing.input, filing.language
        page_sizes = tuple(filing.page_size(page) for page in range(1, filing.page_count + 1))
    return conclude(input_, page_sizes, language, reading, on_progress)


def conclude(
    input_: InputRef,
    page_sizes: tuple[tuple[float, float], ...],
    language: Language,
    reading: Reading,
    on_progress: OnProgress = silent,
) -> Analysis:
    """Assess and write from what was read; also what runs again when a fact is corrected."""
    on_progress(Progress(stage="assess"))
    assessment = assess(reading.facts)
    on_progress(Progress(stage="write"))
    report = write(input_, reading.facts, assessment)
    on_progress(Progress(stage="write", done=1))
    return Analysis(
        input=input_,
        page_sizes=page_sizes,
        language=language,
        reading=reading,
        assessment=assessment,
        report=report,
        version=VERSION,
    )


def revise(
    analysis: Analysis, corrections: Mapping[str, tuple[str, Correction]], units: Mapping[str, str] | None = None
) -> Analysis:
    """The analysis with some facts set by a person: fact id -> (value, who and why).

    Derived facts, checks, ratios, claims and sentences all follow. The value that was read stays in the fact's sources.
    ``units`` gives the unit of a fact that the filing does not present, which therefore has none.

    Raises:
        NotFound: A fact of that id was not read in this filing.
        InvalidInput: The value is not a number where the fact is one.
    """
    known = {fact.id: fact for fact in analysis.reading.facts}
    for fact_id, (value, correction) in corrections.items():
        if fact_id not in known:
            raise NotFound(f"There is no fact {fact_id!r} in this filing that could be corrected.", fact=fact_id)
        known[fact_id] = _corrected(known[fact_id], value, correction, (units or {}).get(fact_id))
    reading = analysis.reading.model_copy(update={"facts": rederive(tuple(known.values()))})
    return conclude(analysis.input, analysis.page_sizes, analysis.language, reading)


def _corrected(fact: Fact, value: str, correction: Correction, unit: str | None) -> Fact:
    previous = None if fact.value is None else str(fact.value)
    source = Source(where=correction.model_copy(update={"previous": previous}))
    changed = fact.model_dump(mode="json") | {
        "value": value.strip().replace(",", ""),
        "unit": fact.unit or unit,
        "status": Status.PRESENTED.value,
        "confidence": 1.0,
        "sources": [*fact.model_dump(mode="json")["sources"], source.model_dump(mode="json")],
        "note": "corrected",
    }
    try:
        return Fact.model_validate(changed)
    except ValueError as error:
        raise InvalidInput(
            f"{value!r} is not a number; give {fact.name} in whole {fact.unit or unit} such as 1250000000.",
            fact=fact.id,
            value=value,
        ) from error
