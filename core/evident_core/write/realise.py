"""Plans become text: each phrase is filled from the facts of its claims, and notes which characters state which fact.

Filters of a slot: ``label`` the fact's name; ``year``, ``date`` and ``when`` ("in 2018", "at the end of 2018") of its
period, ``then`` the year before; ``text`` and ``quote`` its text, plain or in quotation marks, ``cited`` its subject
so, ``name`` its text or its subject; ``word:TABLE`` and ``about:TABLE`` a word by its text or its subject; ``abs`` its
magnitude, ``number`` only if it is one, ``times``, ``integer``, ``coarse`` and ``exact`` a style of it; ``was`` the
verb that agrees with its label (English).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeGuard

from evident_core.evidence import Fact, Language, Section, Sentence, Span
from evident_core.write.phrasebook import Label, Part, Phrasebook, Slot, Template, slots
from evident_core.write.plan import SectionPlan, SentencePlan
from evident_core.write.quantities import calendar, quantity, year

LONGEST_QUOTE: Mapping[Language, int] = {"en": 240, "zh": 110}
_AND: Mapping[Language, tuple[str, str]] = {"en": (", ", " and "), "zh": ("、", "和")}
_WHEN: Mapping[Language, tuple[str, str]] = {"en": ("in {}", "at the end of {}"), "zh": ("{}", "{}末")}
_WHEN_DATED: Mapping[Language, tuple[str, str]] = {
    "en": ("in the year to {}", "at {}"),
    "zh": ("截至{}的年度", "{}"),
}
_AMBIGUOUS = range(1, 5)
"""Months in which a fiscal year ends that some call by the calendar year before."""
_THEN: Mapping[Language, tuple[str, str]] = {"en": ("a year earlier", "a year earlier"), "zh": ("上年", "上年末")}
_STYLES = ("times", "integer", "coarse", "exact")
_HAN = re.compile(r"[㐀-鿿]")


_Piece = tuple[str, Fact | None]
"""Text, and the fact it states, if any."""


def realise(sections: Sequence[SectionPlan], facts: Mapping[str, Fact], phrasebook: Phrasebook) -> tuple[Section, ...]:
    """The sections as text in both languages."""
    return tuple(
        Section(
            key=section.key,
            title=dict(section.title),
            sentences=tuple(realise_sentence(sentence, facts, phrasebook) for sentence in section.sentences),
        )
        for section in sections
    )


def realise_sentence(plan: SentencePlan, facts: Mapping[str, Fact], phrasebook: Phrasebook) -> Sentence:
    """One sentence in each language of its phrase, with the spans that state facts."""
    texts: dict[Language, str] = {}
    spans: dict[Language, tuple[Span, ...]] = {}
    for language, template in plan.phrase.text.items():
        writer = _Writer(plan, facts, phrasebook, language)
        texts[language], spans[language] = writer.write(template)
    return Sentence(id=plan.id, text=texts, claim_ids=tuple(claim.id for claim in plan.claims), spans=spans)


class _Writer:
    def __init__(
        self, plan: SentencePlan, facts: Mapping[str, Fact], phrasebook: Phrasebook, language: Language
    ) -> None:
        self.phrasebook, self.language = phrasebook, language
        self.claims = [{role: facts[fact_id] for role, fact_id in claim.facts.items()} for claim in plan.claims]
        self.finer = 0

    def write(self, template: Template) -> tuple[str, tuple[Span, ...]]:
        """The text, first letter capital, and its spans; finer numbers where different ones would look alike."""
        for self.finer in range(4):
            pieces = self._fill(template, self.claims[0])
            shown = {(text.lstrip("−"), fact.unit, abs(fact.number)) for text, fact in pieces if _is_number(fact)}
            if len(shown) == len({text for text, _, _ in shown}):
                break
        text, spans = "", []
        for piece, fact in pieces:
            if fact is not None and piece:
                spans.append(Span(start=len(text), end=len(text) + len(piece), fact_id=fact.id))
            text += piece[1:] if piece.startswith(".") and text.endswith(".") else piece  # "Holdings, Inc."
        return text[:1].upper() + text[1:], tuple(spans)

    def _fill(self, template: Template, roles: Mapping[str, Fact]) -> list[_Piece]:
        pieces: list[_Piece] = []
        for part in template:
            if isinstance(part, str):
                pieces.append((part, None))
            elif isinstance(part, Slot):
                pieces.append(self._slot(roles[part.role], part.filters))
            elif part.repeated:
                pieces += self._list(part)
            elif all(_has(roles, slot) for slot in slots(part.parts)):
                pieces += self._fill(part.parts, roles)
        return pieces

    def _list(self, part: Part) -> list[_Piece]:
        comma, last = _AND[self.language]
        entries = [self._fill(part.parts, roles) for roles in self.claims]
        entries = [entry for index, entry in enumerate(entries) if entry not in entries[:index]]
        pieces = entries[0]
        for index, entry in enumerate(entries[1:], 2):
            pieces = [*pieces, (last if index == len(entries) else comma, None), *entry]
        return pieces

    def _slot(self, fact: Fact, filters: Sequence[str]) -> _Piece:
        first, _, table = (filters[0] if filters else "").partition(":")
        match first:
            case "label":
                return self._label(fact).text[self.language], None
            case "was":
                return "were" if self._label(fact).plural else "was", None
            case "year":
                return year(_day(fact), self.language), None
            case "when":
                return self._when(_day(fact), self._label(fact).instant), None
            case "then":
                return _THEN[self.language][self._label(fact).instant], None
            case "date":
                return calendar(_day(fact), self.language), fact
            case "text":
                return str(fact.value), fact
            case "name":
                return (str(fact.value), fact) if isinstance(fact.value, str) else (str(fact.subject), None)
            case "quote":
                return f"“{excerpt(str(fact.value))}”", fact
            case "about":
                return self._subject(fact, table), None
            case "cited":
                return f"“{excerpt(str(fact.subject))}”", fact
            case "word":
                word = self.phrasebook.words[table].get(str(fact.value))
                return (word[self.language] if word else str(fact.value)), fact
        number = abs(fact.number) if "abs" in filters else fact.number
        asked = [each for each in filters if each in _STYLES]
        style = asked[0] if asked else self.phrasebook.styles.get(fact.name)
        finer = 0 if "abs" in filters else self.finer
        return quantity(number, fact.unit or "1", self.language, style=style or "", finer=finer), fact

    def _when(self, day: date, instant: bool) -> str:
        """The year by its name; by its last day where companies differ in what they call it (to January 2019)."""
        if (day.month, day.day) > (1, 7) and day.month in _AMBIGUOUS:
            return _WHEN_DATED[self.language][instant].format(calendar(day, self.language))
        return _WHEN[self.language][instant].format(year(day, self.language))

    def _subject(self, fact: Fact, table: str) -> str:
        subject = str(fact.subject)
        if word := self.phrasebook.words[table].get(subject):
            return word[self.language]
        return f"{subject}年" if self.language == "zh" and re.fullmatch(r"(19|20)\d\d", subject) else subject

    def _label(self, fact: Fact) -> Label:
        return self.phrasebook.label(fact.name)


def _is_number(fact: Fact | None) -> TypeGuard[Fact]:
    return fact is not None and isinstance(fact.value, Decimal)


def _has(roles: Mapping[str, Fact], slot: Slot) -> bool:
    fact = roles.get(slot.role)
    if fact is None or fact.value is None:
        return False
    if any(each.startswith(("about:", "cited")) for each in slot.filters):
        return fact.subject is not None
    return "number" not in slot.filters or _is_number(fact)


def excerpt(text: str) -> str:
    """A passage short enough to quote: whole words, an ellipsis where it goes on, inner quotation marks single."""
    text = re.sub(r" (?=[,.;:])", "", re.sub(r"\s+", " ", text)).strip()
    limit = LONGEST_QUOTE["zh" if len(_HAN.findall(text)) * 3 > len(text) else "en"]
    if len(text) > limit:
        cut = text[:limit]
        space = max(cut.rfind(" "), *(cut.rfind(sign) + 1 for sign in "，。；、："))
        text = cut[: space if space > limit // 2 else limit].rstrip(" ,;:，；、：") + "…"
    else:
        text = text.rstrip(".。;；")
    text = re.sub(r"[“”„\"「」『』«»]", "'", text)
    return re.sub(r"(^|[\s(（])'", r"\1‘", text).replace("'", "’")


def _day(fact: Fact) -> date:
    if fact.period:
        return date.fromisoformat(fact.period)
    return date.fromisoformat(str(fact.value))
