"""From claims to a report that has passed the verifier: plan, realise, verify, and hold back what does not pass."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from evident_core.evidence import Claim, Derived, Fact, InputRef, Language, Report, Severity, Source
from evident_core.write.phrasebook import Phrasebook, literals
from evident_core.write.plan import Outline, plan
from evident_core.write.reading import lexicon
from evident_core.write.realise import realise
from evident_core.write.verify import check, verify
from evident_core.write.vocabulary import Vocabulary

WITHHELD = "report.withheld"
"""Id of the fact and of the claim that say how many sentences were held back."""


def compose(
    title: Mapping[Language, str],
    inputs: Sequence[InputRef],
    facts: Iterable[Fact],
    claims: Sequence[Claim],
    *,
    outlines: Sequence[Outline],
    phrasebook: Phrasebook,
    vocabulary: Vocabulary,
    remarks: str,
    count: str = WITHHELD,
) -> Report:
    """The report of some claims in each language; each of its sentences has passed the verifier.

    A sentence that does not pass is held back, and the report says how many were.

    Args:
        title: Of the report.
        inputs: All that its facts were read from.
        facts: That its claims rest on; of several with one id the last counts.
        claims: What is to be said.
        outlines: The sections in order.
        phrasebook: With a phrase for each claim, and one for ``sentences_withheld``.
        vocabulary: What the verifier knows of the service.
        remarks: Topic under which held back sentences are counted.
        count: Term of the service's vocabulary for their number.

    Raises:
        Unverified: The report as a whole does not trace back; that is a defect of the service.
    """
    known = {fact.id: fact for fact in facts}

    def made(more: Sequence[Claim], refused: frozenset[str]) -> Report:
        sections = realise(plan(more, outlines, phrasebook), known, phrasebook)
        kept = (
            each.model_copy(update={"sentences": tuple(one for one in each.sentences if one.id not in refused)})
            for each in sections
        )
        return Report(
            title=dict(title),
            inputs=tuple(inputs),
            facts=tuple(known.values()),
            claims=tuple(more),
            sections=tuple(section for section in kept if section.sentences),
        )

    report = made(claims, frozenset())
    refused = frozenset(violation.sentence_id for violation in verify(report, vocabulary))
    if refused:
        known[WITHHELD] = Fact(
            id=WITHHELD,
            name=count,
            value=Decimal(len(refused)),
            unit="1",
            sources=(Source(where=Derived(rule="verifier", formula="sentences refused by the verifier")),),
        )
        counted = Claim(
            id=WITHHELD,
            predicate="sentences_withheld",
            facts={"count": WITHHELD},
            severity=Severity.LOW,
            topic=remarks,
        )
        report = made((*claims, counted), refused)
        check(report, vocabulary)
    return report


def phrase_lexicon(
    book: Phrasebook, anywhere: Sequence[str], language: Language, known: Vocabulary
) -> dict[str, frozenset[str]]:
    """The plain words of each predicate's phrases, and under "" those that may stand in any sentence."""
    texts: dict[str, list[str]] = {"": list(anywhere)}
    for key, phrase in book.phrases.items():
        texts.setdefault(key.partition(".")[0], []).extend(literals(phrase.text[language]))
    return {predicate: lexicon(each, language, known) for predicate, each in texts.items()}
