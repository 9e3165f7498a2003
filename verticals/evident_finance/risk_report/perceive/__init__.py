"""What a filing says: the three statements as facts, and passages of its text."""

from evident_core.progress import OnProgress, Progress, silent
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.passages import read_passages
from evident_finance.risk_report.perceive.statements import read_statements
from evident_finance.risk_report.schema import Reading

__all__ = ["perceive", "read_passages", "read_statements"]


def perceive(filing: Filing, on_progress: OnProgress = silent) -> Reading:
    """Read the filing: facts of its own, of the primary statements (every printed year), and of its text."""
    statements, facts = read_statements(filing)
    first = {
        fact.id: str(fact.value)
        for fact in facts
        if fact.value is not None and fact.name in ("revenue", "net_income", "total_assets")
    }
    units = {fact.id: fact.unit for fact in facts if fact.id in first}
    on_progress(Progress(stage="perceive", done=1, total=2, partial={"facts": first, "units": units}))
    passages = read_passages(filing)
    on_progress(Progress(stage="perceive", done=2, total=2))
    return Reading(facts=(*filing.facts, *filing.notes, *facts, *passages), statements=statements)
