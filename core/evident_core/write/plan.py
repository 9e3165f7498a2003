"""What is said, in which order: claims become sentence plans, section by section."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evident_core.evidence import Claim, Language
from evident_core.write.phrasebook import Phrase, Phrasebook


@dataclass(frozen=True)
class SentencePlan:
    """One sentence to be: its phrase, and the claims it states (several where they share it)."""

    id: str
    phrase: Phrase
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class SectionPlan:
    """One section to be."""

    key: str
    title: Mapping[Language, str]
    sentences: tuple[SentencePlan, ...]


@dataclass(frozen=True)
class Outline:
    """A section of the report: its title and the topics whose claims it states, in that order.

    ``predicates``, where given, admits only claims of these, in this order, and of each no more than ``most``.
    """

    key: str
    title: Mapping[Language, str]
    topics: tuple[str, ...]
    predicates: tuple[str, ...] = ()
    most: int = 1000


def plan(claims: Iterable[Claim], outlines: Sequence[Outline], phrasebook: Phrasebook) -> tuple[SectionPlan, ...]:
    """The sections with their sentences; claims of one predicate whose phrase lists them share a sentence."""
    claims = tuple(claims)
    return tuple(
        SectionPlan(outline.key, outline.title, tuple(_sentences(outline, _admitted(claims, outline), phrasebook)))
        for outline in outlines
    )


def _admitted(claims: Sequence[Claim], outline: Outline) -> list[Claim]:
    if not outline.predicates:
        return [claim for topic in outline.topics for claim in claims if claim.topic == topic]
    ordered: list[Claim] = []
    for pattern in outline.predicates:
        predicate, _, about = pattern.partition(":")
        matching = (
            claim for claim in claims
            if claim.predicate == predicate and claim.topic in outline.topics and (not about or _is_about(claim, about))
        )  # fmt: skip
        ordered += [claim for claim in matching if claim not in ordered][: outline.most]
    return ordered


def _is_about(claim: Claim, about: str) -> bool:
    return any(fact_id.partition("@")[0] == about for fact_id in claim.facts.values())


def _sentences(outline: Outline, claims: Sequence[Claim], phrasebook: Phrasebook) -> Iterable[SentencePlan]:
    groups: dict[object, tuple[Phrase, list[Claim]]] = {}
    for claim in claims:
        phrase = phrasebook.phrase(claim, outline.key)
        if phrase is None:
            raise KeyError(f"no phrase for {claim.predicate} ({claim.polarity})")
        others = tuple(sorted((role, fact_id) for role, fact_id in claim.facts.items() if role != phrase.join))
        key = (claim.predicate, claim.polarity, others) if phrase.join else claim.id
        groups.setdefault(key, (phrase, []))[1].append(claim)
    for phrase, together in groups.values():
        for start in range(0, len(together), phrase.most):
            part = tuple(together[start : start + phrase.most])
            yield SentencePlan(f"{outline.key}.{part[0].id}", phrase, part)
