"""Refuse what does not trace back: re-read each sentence and hold all that it states against the claims it cites.

The verifier knows nothing of how a sentence was made. A sentence passes when each number, date, name, quotation,
direction and negation in each of its languages is backed by a fact or a property of its claims, and when its languages
state the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evident_core.errors import Unverified
from evident_core.evidence import Claim, Fact, Language, Polarity, Report, Sentence
from evident_core.write.backing import Evidence
from evident_core.write.bilingual import differences
from evident_core.write.reading import HAN_RUN, LATIN, Mention, Reading, fold, read
from evident_core.write.vocabulary import LANGUAGES, Vocabulary

_HAN = re.compile(r"[㐀-鿿豈-﫿]")
_CJK_SIGNS = re.compile(r"[，。；：、！？（）【】《》]")
_ORGANISATION = re.compile(r"(?<![㐀-鿿])[㐀-鿿]{2,}?(?:公司|集团|银行|事务所|大学|医院)")


Problems = Iterable[tuple[str, str, str]]
"""(kind, what stands there, why not)."""


@dataclass(frozen=True)
class Violation:
    """One thing in a sentence that its claims do not back: ``text`` is what stands there, ``message`` says why not."""

    sentence_id: str
    language: Language | None
    kind: str
    text: str
    message: str


def verify(report: Report, vocabulary: Vocabulary) -> list[Violation]:
    """All that the report states without backing; an empty list is a report that may be shown."""
    facts = {fact.id: fact for fact in report.facts}
    claims = {claim.id: claim for claim in report.claims}
    found = list(_titles(report, vocabulary))
    for section in report.sections:
        for sentence in section.sentences:
            found += verify_sentence(sentence, [claims[each] for each in sentence.claim_ids], facts, vocabulary)
    return found


def check(report: Report, vocabulary: Vocabulary) -> None:
    """Pass a report that traces back whole.

    Raises:
        Unverified: It does not; the message names the first violation and their number.
    """
    if found := verify(report, vocabulary):
        first = found[0]
        raise Unverified(
            f"Sentence {first.sentence_id} states “{first.text}”: {first.message} "
            f"({len(found)} such findings; the report is not shown until its sentences trace to their claims).",
            violations=[vars(each) for each in found],
        )


def verify_sentence(
    sentence: Sentence, claims: Sequence[Claim], facts: dict[str, Fact], vocabulary: Vocabulary
) -> list[Violation]:
    """All that one sentence states beyond its claims, in each language, and where its languages differ."""
    evidence = Evidence(claims, facts, vocabulary)
    found: list[Violation] = []
    readings: dict[Language, Reading] = {}
    for language in LANGUAGES:
        text = sentence.text.get(language, "")
        if not text.strip():
            found.append(Violation(sentence.id, language, "language", "", "the sentence is missing in this language."))
            continue
        reading = readings[language] = read(text, language, vocabulary, evidence.names)
        problems = [
            *_quotes(reading, evidence), *_moments(reading, evidence), *_labels(reading, evidence),
            *_quantities(reading, evidence), *_directions(reading, evidence), *_negations(reading, evidence),
            *_words(reading, vocabulary.words(language, evidence.predicates)), *_spans(sentence, reading, evidence),
        ]  # fmt: skip
        found += [Violation(sentence.id, language, *problem) for problem in problems]
    if len(readings) == len(LANGUAGES):
        pair = differences(readings["en"], readings["zh"], evidence)
        found += [Violation(sentence.id, None, "parity", text, message) for text, message in pair]
    return found


def _quotes(reading: Reading, evidence: Evidence) -> Problems:
    for mention in reading.of("quote"):
        parts = [fold(part) for part in re.split(r"…+|\.\.\.", mention.text[1:-1])]
        if not any(parts) or not any(_in_order([part for part in parts if part], text) for text in evidence.quotable):
            yield "quote", mention.text, "no passage of its claims reads so."


def _in_order(parts: Sequence[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _moments(reading: Reading, evidence: Evidence) -> Problems:
    for mention in reading.of("moment"):
        if mention.moment and not evidence.dated(mention.moment):
            yield "date", mention.text, "no fact of its claims has that date."


def _labels(reading: Reading, evidence: Evidence) -> Problems:
    for mention in reading.of("label"):
        if not evidence.labels & {token.key for token in mention.tokens}:
            yield "name", mention.text, "its claims hold no fact of that name."


def _quantities(reading: Reading, evidence: Evidence) -> Problems:
    for mention in reading.of("quantity"):
        stated = evidence.stating(mention)
        if not stated:
            yield "number", mention.text, "no fact of its claims has that value in that unit and precision."
        elif not (placed := evidence.placed(mention, reading)):
            yield "number", mention.text, "that value belongs to another name or period of the sentence."
        elif not evidence.signed(mention, placed, reading):
            yield "sign", mention.text, "the sign of the fact is the other one."


def _directions(reading: Reading, evidence: Evidence) -> Problems:
    for mention in reading.of("pole"):
        if not any(token.pole and evidence.backs(token.pole, mention, reading) for token in mention.tokens):
            yield "direction", mention.text, "its claims say otherwise, or nothing, of that."


def _negations(reading: Reading, evidence: Evidence) -> Problems:
    unassessed, count = reading.of("unassessed"), len(reading.of("negation")) + len(reading.of("unassessed"))
    if count != evidence.negations:
        seen = ", ".join(mention.text for mention in (*reading.of("negation"), *unassessed)) or "nothing"
        yield "polarity", seen, f"its claims call for {evidence.negations} negation(s), and the text has {count}."
    if Polarity.NOT_ASSESSED in evidence.polarities and not unassessed:
        yield "polarity", reading.text, "its claim was not assessed, and the text does not say so."


def _words(reading: Reading, lexicon: frozenset[str] | None) -> Problems:
    rest = reading.rest
    for digits in re.finditer(r"\d[\d.,]*", rest):
        yield "number", digits[0], "a number that could not be read."
    for stray in re.finditer(r"[−%‰$€£¥₩₹+±=<>≥≤≈~]", rest):
        yield "number", stray[0], "a sign or unit that belongs to no number."
    if reading.language == "en":
        if foreign := _HAN.search(rest) or _CJK_SIGNS.search(rest):
            yield "language", foreign[0], "Chinese in an English sentence that no fact of its claims contains."
        yield from _latin(reading, lexicon)
        return
    if not _HAN.search(reading.text):
        yield "language", reading.text, "a Chinese sentence without a Chinese word."
    for word in LATIN.finditer(rest):
        if len(word[0]) > 1 and (lexicon is None or word[0] not in lexicon):
            yield "language", word[0], "a foreign word in a Chinese sentence that no fact of its claims contains."
    for run in HAN_RUN.finditer(rest):
        if lexicon is not None and not _made_of(run[0], lexicon):
            yield "word", run[0], "not a word that this service uses of its claims; a name must be one of their facts."
        elif lexicon is None and (name := _ORGANISATION.search(run[0])):
            yield "name", name[0], "no fact of its claims has that name."


def _latin(reading: Reading, lexicon: frozenset[str] | None) -> Problems:
    first = True
    for word in LATIN.finditer(reading.rest):
        opening = first or re.search(r"[.!?:]\s*$", reading.rest[: word.start()]) is not None
        first = False
        if lexicon is None:
            if word[0][0].isupper() and not opening:
                yield "name", word[0], "no fact of its claims has that name."
        elif word[0] not in lexicon and not (opening and word[0][0].lower() + word[0][1:] in lexicon):
            yield "word", word[0], "not a word that this service uses of its claims; a name must be one of their facts."


def _made_of(run: str, lexicon: frozenset[str]) -> bool:
    reached = [True] + [False] * len(run)
    for end in range(1, len(run) + 1):
        reached[end] = any(reached[start] and run[start:end] in lexicon for start in range(max(0, end - 40), end))
    return reached[-1]


def _spans(sentence: Sentence, reading: Reading, evidence: Evidence) -> Problems:
    spans = sentence.spans.get(reading.language)
    if spans is None:
        return
    covered: list[Mention] = []
    for span in spans:
        shown = reading.text[span.start : span.end]
        inside = [each for each in reading.mentions if each.start < span.end and each.end > span.start]
        covered += inside
        if span.end > len(reading.text) or not shown or not any(evidence.shows(each, span.fact_id) for each in inside):
            yield "span", shown, f"these characters do not state the fact {span.fact_id}."
    for mention in reading.of("quantity"):
        if mention not in covered:
            yield "span", mention.text, "a number that leads to no fact."


def _titles(report: Report, vocabulary: Vocabulary) -> Iterable[Violation]:
    whole = Claim(id="report", predicate="report", facts={fact.id: fact.id for fact in report.facts})
    evidence = Evidence([whole], {fact.id: fact for fact in report.facts}, vocabulary)
    titles = [("title", report.title), *((section.key, section.title) for section in report.sections)]
    for key, title in titles:
        for language in LANGUAGES:
            reading = read(title.get(language, ""), language, vocabulary, evidence.names)
            problems = [*_moments(reading, evidence), *_quantities(reading, evidence)]
            foreign = _HAN.search(reading.rest) if language == "en" else None
            if not reading.text.strip() or foreign or (language == "zh" and not _HAN.search(reading.text)):
                problems.append(("language", reading.text, "the title is not in this language."))
            for problem in problems:
                yield Violation(key, language, *problem)
