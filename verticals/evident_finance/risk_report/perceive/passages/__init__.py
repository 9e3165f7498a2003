"""What the text of an annual report says, each finding with its passage.

One public function, ``read_passages``. The vocabulary of its facts (topics, cues and taxonomy: ``data/topics.toml``):

========================================  ==============================================================================
``passage.<topic>#<n>``                   A sentence as printed, on a topic of the data file: ``going_concern``,
                                          ``internal_control``, ``litigation``, ``covenants``, ``concentration``,
                                          ``related_parties``, ``impairment``, ``subsequent_events``,
                                          ``auditor_opinion``, ``audit_matter`` (the title of a critical or key audit
                                          matter), ``risk_factor`` (its heading), ``segments``, ``debt_maturities``,
                                          ``injected_text``.
``going_concern.doubt``                   "stated", "not stated" (denied in so many words), "alleviated".
``internal_control.effective``            "effective", "not effective".
``auditor.opinion``                       "unqualified", "unqualified with emphasis", "qualified", "adverse",
                                          "disclaimer".
``auditor.name``, ``auditor.since``       The firm as it signs; the year since when.
``concentration.customer_share#<n>``      Percent (unit "%") of revenue with the customers that ``subject`` names;
                                          ``concentration.supplier_share#<n>``: of purchases.
``debt_maturity@<year end>``              What falls due in that fiscal year (``@<year>`` and no period where its last
                                          day is not certain); ``debt_maturity.thereafter``: later.
``segment.name#<n>``                      A reportable segment's name; ``segment.revenue#<n>``: its revenue in the
                                          fiscal year, where a table states it (``subject`` is the name).
``risk.<category>.factors``               Derived: how many factors state a risk of that category (unit "1").
``risk.<category>.severity``              Derived: the worst of their severities ("low" to "critical").
========================================  ==============================================================================

Polarity: the note of each ``passage.*`` fact begins with "present: " or "absent: ", followed by the topic's finding,
which is always the adverse one: "absent: a breach of a debt covenant" is a statement of compliance. ``polarity(fact)``
and ``severity(fact)`` read it back. A risk factor's ``subject`` is its category. Where a report says nothing on a topic
with a typed fact, that fact is NOT_PRESENTED.

Text is only data here: a sentence that addresses a machine is itself a finding (``passage.injected_text``) and nothing
more.
"""

import re

from evident_core.evidence import Fact, Polarity, Severity, Status
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.passages import audit, findings, risk_factors, schedules, segments, shares
from evident_finance.risk_report.perceive.passages.cite import cite
from evident_finance.risk_report.perceive.passages.prose import Prose
from evident_finance.risk_report.perceive.passages.topics import folding, vocabulary

__all__ = ["polarity", "read_passages", "severity"]

_SENTENCES = (
    "going_concern",
    "internal_control",
    "litigation",
    "covenants",
    "concentration",
    "related_parties",
    "impairment",
    "subsequent_events",
    "injected_text",
)
_TYPED = ("going_concern.doubt", "internal_control.effective", "auditor.opinion", "auditor.name")


def read_passages(filing: Filing) -> tuple[Fact, ...]:
    """All that the text of a filing says on the topics of ``data/topics.toml``, as facts with page and box."""
    prose = Prose(filing.texts, filing.language)
    year_end = next(
        (str(fact.value) for fact in filing.facts if fact.name == "filing.fiscal_year_end" and fact.value), None
    )
    year = year_end[:4] if year_end else None
    drafts = [
        *risk_factors.drafts(risk_factors.risk_factors(filing, prose)),
        *audit.drafts(filing, prose),
        *(draft for key in _SENTENCES for draft in findings.drafts(prose, key, year)),
        *shares.drafts(prose, year_end),
        *schedules.debt_maturities(prose, filing.facts),
        *segments.drafts(prose, filing.facts),
    ]
    facts = cite(filing, prose, drafts)
    facts += _hidden(filing, sum(fact.name == "passage.injected_text" for fact in facts))
    known = {fact.id for fact in facts}
    silent = tuple(_not_found(name) for name in _TYPED if name not in known)
    return facts + silent + risk_factors.summary(facts)


def polarity(fact: Fact) -> Polarity:
    """Whether a passage states its topic's (adverse) finding or denies it."""
    head = fact.note.split(":", 1)[0]
    return Polarity(head) if head in set(Polarity) else Polarity.NOT_ASSESSED


def severity(fact: Fact) -> Severity:
    """The severity of a ``passage.risk_factor``; NONE for every other fact."""
    match = re.search(r"; severity (\w+)", fact.note)
    return Severity(match[1]) if match else Severity.NONE


def _hidden(filing: Filing, seen: int) -> tuple[Fact, ...]:
    """Text that a page hides and that addresses a machine; the filing's notes have found what is hidden."""
    topic = vocabulary().topic["injected_text"]
    texts = [note for note in filing.notes if note.name == "note.hidden_text"]
    addressed = [
        note for note in texts if any(cue.search(folding(str(note.value)), filing.language) for cue in topic.cue)
    ]
    return tuple(
        Fact(
            id=f"passage.injected_text#{n}",
            name="passage.injected_text",
            value=note.value,
            sources=note.sources,
            note=f"{Polarity.PRESENT}: {topic.finding['en']}, hidden from view",
        )
        for n, note in enumerate(addressed, start=seen + 1)
    )


def _not_found(name: str) -> Fact:
    return Fact(
        id=name, name=name, value=None, status=Status.NOT_PRESENTED, note="the report has no sentence that states it"
    )
