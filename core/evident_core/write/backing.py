"""What the claims of one sentence back: the verifier's side of the scale on which a text is weighed."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property

from evident_core.evidence import Claim, Element, Fact, PageBox, Polarity
from evident_core.write.reading import Mention, Moment, Reading, fold
from evident_core.write.vocabulary import Pole, Vocabulary

_AFTER_MOMENT = {
    "en": re.compile(r" ?\(?(?:, )?(?:in|at|for|as of|on|at the end of|for the year ended)? ?(?:fiscal )?"),
    "zh": re.compile(r"(?:末|底)?(?:的|为)?"),
}
_AFTER_LABEL = {"en": re.compile(r" (?:(?:of|at|by|is|are|was|were|moved by) )?"), "zh": re.compile(r"(?:增幅)?为?")}
_YEAR = re.compile(r"(19|20)\d\d")
_SAME_PERIOD = timedelta(days=7)
"""A 52/53-week year named 2015 may end in the first days of January 2016."""


class Evidence:
    """The facts and polarities of some claims, asked by the verifier whether they back what a text states."""

    def __init__(self, claims: Sequence[Claim], facts: Mapping[str, Fact], vocabulary: Vocabulary) -> None:
        self.claims = claims
        self.vocabulary = vocabulary
        self.facts = {
            fact_id: facts[fact_id]
            for claim in claims
            for role, fact_id in claim.facts.items()
            if not any(fnmatchcase(role, each) for each in vocabulary.background)
        }
        self._changes, self._limits = self._of(vocabulary.changes), self._of(vocabulary.thresholds)
        self._numeric = [fact for fact in self.facts.values() if isinstance(fact.value, Decimal)]
        self._stated: dict[tuple[int, int, str], list[Fact]] = {}

    def _of(self, patterns: Iterable[str]) -> frozenset[str]:
        roles = [(role, fact_id) for claim in self.claims for role, fact_id in claim.facts.items()]
        return frozenset(
            fact_id
            for role, fact_id in roles
            if fact_id in self.facts
            and any(fnmatchcase(role, each) or fnmatchcase(self.facts[fact_id].name, each) for each in patterns)
        )

    @cached_property
    def names(self) -> frozenset[str]:
        """Text values and subjects, which may stand in a text verbatim; not dates, and not words of an axis."""
        words = {value for pole in self.vocabulary.poles for value in pole.values}
        values = {fact.value for fact in self.facts.values() if isinstance(fact.value, str)}
        values |= {fact.subject for fact in self.facts.values() if fact.subject}
        return frozenset(
            value
            for value in values
            if value.strip() and value not in words and _day(value) is None and not _YEAR.fullmatch(value)
        )

    @cached_property
    def predicates(self) -> frozenset[str]:
        """The predicates of the claims."""
        return frozenset(claim.predicate for claim in self.claims)

    @cached_property
    def quotable(self) -> tuple[str, ...]:
        """All passages that may be quoted, folded."""
        texts = {fact.value for fact in self.facts.values() if isinstance(fact.value, str)}
        for fact in self.facts.values():
            texts |= {source.where.quote for source in fact.sources if isinstance(source.where, PageBox | Element)}
        texts |= {fact.subject for fact in self.facts.values() if fact.subject}
        return tuple(fold(text) for text in texts if text)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The label keys of the facts."""
        return frozenset(key for fact in self.facts.values() if (key := self._label(fact)))

    def _label(self, fact: Fact) -> str | None:
        name = fact.name
        while name:
            if name in self.vocabulary.labels:
                return self.vocabulary.labels[name]
            name = name.rpartition(".")[0]
        return None

    @cached_property
    def polarities(self) -> frozenset[Polarity]:
        """How the claims stand to their findings."""
        return frozenset(claim.polarity for claim in self.claims)

    @cached_property
    def negations(self) -> int:
        """How many negations a text of these claims holds; claims of one kind share theirs."""
        given, usual = self.vocabulary.negations, {Polarity.PRESENT: 0, Polarity.ABSENT: 1, Polarity.NOT_ASSESSED: 1}
        kinds = {(claim.predicate, claim.polarity) for claim in self.claims}
        return sum(
            given.get(
                f"{predicate}.{polarity}",
                given.get(predicate, usual[polarity]) if polarity == "present" else usual[polarity],
            )
            for predicate, polarity in kinds
        )

    def dated(self, moment: Moment) -> bool:
        """Whether a fact has that date or year."""
        return any(_agrees(moment, fact) for fact in self.facts.values())

    def stating(self, mention: Mention) -> list[Fact]:
        """The facts whose magnitude a number states, in its unit and to its printed precision."""
        key = (mention.start, mention.end, mention.text)
        if key not in self._stated:
            self._stated[key] = [fact for fact in self._numeric if self._states(mention, fact)]
        return self._stated[key]

    def _states(self, mention: Mention, fact: Fact) -> bool:
        quantity = mention.quantity
        if quantity is None or fact.unit is None:
            return False
        if self.vocabulary.unit(fact.unit).of != (quantity.unit.of if quantity.unit else "1"):
            return False
        value, stated = abs(self._size(fact)), abs(quantity.value)
        if stated == 0 and value and (quantity.scaled or quantity.quantum == 1):
            return False
        return abs(value - stated) * 2 <= quantity.quantum

    def _size(self, fact: Fact) -> Decimal:
        """The number of a fact in its dimension's unit, in which quantities are read."""
        return fact.number * self.vocabulary.unit(fact.unit or "1").factor

    def placed(self, mention: Mention, reading: Reading) -> list[Fact]:
        """Of the facts that a number states, those that the text's names and years around it allow."""
        facts = self.stating(mention)
        if moment := _moment_of(mention, reading):
            facts = [fact for fact in facts if _agrees(moment, fact) or not self._dated(fact)]
        if self._after_prior_cue(mention, reading):
            facts = [fact for fact in facts if not self._latest(fact)]
        elif not moment:
            around = [each.moment for each in reading.of("moment") if reading.same_clause(each.start, mention.start)]
            named = [each for each in around if each]
            facts = [f for f in facts if not (f.period and named) or any(_agrees(each, f) for each in named)]
        before = [each for each in reading.of("label") if each.start < mention.start]
        if not before or not reading.same_clause(before[-1].start, mention.start):
            return facts
        keys = {token.key for token in before[-1].tokens}
        bound = _AFTER_LABEL[reading.language].fullmatch(reading.text[before[-1].end : mention.start])
        return [fact for fact in facts if ((label := self._label(fact)) is None and not bound) or label in keys]

    def _dated(self, fact: Fact) -> bool:
        """Whether a fact, or another of its name, is of a period: then it cannot stand for one that is not its own."""
        return any(each.name == fact.name and _has_date(each) for each in self._numeric)

    def _after_prior_cue(self, mention: Mention, reading: Reading) -> bool:
        return any(0 <= mention.start - cue.end <= 1 for cue in reading.of("prior"))

    def _latest(self, fact: Fact) -> bool:
        periods = [other.period for other in self._numeric if other.name == fact.name and other.period]
        return len(set(periods)) > 1 and fact.period == max(periods)

    def signed(self, mention: Mention, facts: Sequence[Fact], reading: Reading) -> bool:
        """Whether a number's sign, by a minus or by a word around it, is that of one of these facts."""
        around = [token.pole for each in self._around(mention, reading) for token in each.tokens if token.pole]
        for fact in facts:
            axis = "change" if fact.id in self._changes else "sign"
            said = any(pole.sign == -1 and pole.backed_by == axis for pole in around)
            minus = mention.quantity is not None and mention.quantity.signed
            if minus != said if fact.number < 0 else not minus:
                return True
        return False

    def _around(self, mention: Mention, reading: Reading) -> list[Mention]:
        numbers = reading.of("quantity")
        at = numbers.index(mention)
        low = numbers[at - 1].end if at else 0
        high = numbers[at + 1].start if at + 1 < len(numbers) else len(reading.text)
        return [
            pole for pole in reading.of("pole")
            if low <= pole.start < high and reading.same_clause(pole.start, mention.start)
        ]  # fmt: skip

    def backs(self, pole: Pole, mention: Mention, reading: Reading) -> bool:
        """Whether a direction, or another word of an axis, follows from the claims."""
        compared = self._compared(mention, reading) if pole.backed_by == "threshold" else None
        if compared is not None:
            return compared == pole.sign
        if any(pole.fits(claim.predicate) for claim in self.claims):
            return True
        match pole.backed_by:
            case "change":
                return self._moved(pole, mention, reading)
            case "sign":
                return self._sign_of(pole, mention, reading)
            case "threshold":
                return self._beyond(pole)
            case "range":
                return self._between(mention, reading)
            case "severity":
                return any(claim.severity in pole.values for claim in self.claims)
        return any(fact.value in pole.values or fact.subject in pole.values for fact in self.facts.values())

    def _moved(self, pole: Pole, mention: Mention, reading: Reading) -> bool:
        number = self._bound(mention, reading, lambda fact: fact.id in self._changes)
        if number and number.quantity:
            facts = [fact for fact in self.placed(number, reading) if fact.id in self._changes]
            return any(_direction(self._size(fact), number.quantity.quantum) == pole.sign for fact in facts)
        moves = {
            _direction(self.facts[each].number, Decimal("0.1"))
            for each in self._changes
            if self.facts[each].value is not None
        }
        if pole.sign == 0 and self._level(mention, reading):
            return True
        labelled = [each for each in reading.of("label") if each.start < mention.start]
        keys = {token.key for token in labelled[-1].tokens} if labelled else set()
        named = [
            fact for fact in self._numeric if fact.period and (not keys & self.labels or self._label(fact) in keys)
        ]
        pairs = ((one, other) for one in named for other in named if one.name == other.name)
        moves |= {
            _direction(other.number - one.number, Decimal(0))
            for one, other in pairs
            if (one.period or "") < (other.period or "")
        }
        return pole.sign in moves

    def _level(self, mention: Mention, reading: Reading) -> bool:
        """Whether the number before a word like "unchanged" reads the same in another period."""
        numbers = [each for each in reading.of("quantity") if each.quantity and each.end <= mention.start]
        if not numbers or not numbers[-1].quantity:
            return False
        quantum = numbers[-1].quantity.quantum
        others = [(one, other) for one in self.placed(numbers[-1], reading) for other in self._numeric if one != other]
        return any(
            one.name == other.name and abs(self._size(one) - self._size(other)) <= quantum for one, other in others
        )

    def _bound(self, mention: Mention, reading: Reading, wanted: Callable[[Fact], bool]) -> Mention | None:
        """The number a direction word goes with: the next one of the wanted kind in its clause, or the one before."""
        rivals = [each for each in reading.of("pole") if each is not mention and _axes(each) & _axes(mention)]
        numbers = [
            each for each in reading.of("quantity")
            if reading.same_clause(each.start, mention.start) and any(wanted(fact) for fact in self.stating(each))
        ]  # fmt: skip
        for each in [each for each in numbers if each.start > mention.start]:
            if not any(mention.start < rival.start < each.start for rival in rivals):
                return each
        for each in reversed([each for each in numbers if each.start < mention.start]):
            if not any(each.start < rival.start < mention.start for rival in rivals):
                return each
        return None

    def _sign_of(self, pole: Pole, mention: Mention, reading: Reading) -> bool:
        number = self._bound(mention, reading, lambda fact: fact.id not in self._changes | self._limits)
        facts = self.placed(number, reading) if number else self._numeric
        return any(_direction(fact.number, Decimal(0)) == pole.sign for fact in facts if fact.id not in self._limits)

    def _compared(self, mention: Mention, reading: Reading) -> int | None:
        """How the numbers on both sides of a comparing word stand to each other, where one of them is a limit."""
        numbers = [each for each in reading.of("quantity") if reading.same_clause(each.start, mention.start)]
        left = [each for each in numbers if each.end <= mention.start][-1:]
        right = [each for each in numbers if each.start >= mention.end][:1]
        one, other = (each[0].quantity if each else None for each in (left, right))
        limited = any(fact.id in self._limits for each in (*left, *right) for fact in self.stating(each))
        return _direction(one.value - other.value, Decimal(0)) or None if one and other and limited else None

    def _between(self, mention: Mention, reading: Reading) -> bool:
        """Whether the number before the word lies between the two after it, which are limits."""
        numbers = [each for each in reading.of("quantity") if each.quantity]
        before = [each for each in numbers if each.end <= mention.start][-1:]
        after = [each for each in numbers if each.start >= mention.end][:2]
        values = [each.quantity.value for each in (*after[:1], *before, *after[1:]) if each.quantity]
        limited = all(any(fact.id in self._limits for fact in self.stating(each)) for each in after)
        return len(values) == 3 and limited and values == sorted(values)

    def _beyond(self, pole: Pole) -> bool:
        for claim in self.claims:
            held = [fact for each in claim.facts.values() if (fact := self.facts.get(each)) in self._numeric]
            limits = [fact for fact in held if fact.id in self._limits]
            values = [fact for fact in held if fact.id not in self._limits | self._changes]
            differences = (
                value.number - limit.number for limit in limits for value in values if value.unit == limit.unit
            )
            if any(_direction(difference, Decimal(0)) == pole.sign for difference in differences):
                return True
        return False

    def shows(self, mention: Mention, fact_id: str) -> bool:
        """Whether the mention states that very fact."""
        fact = self.facts.get(fact_id)
        if fact is None:
            return False
        match mention.kind:
            case "quantity":
                return fact in self.stating(mention)
            case "moment":
                return mention.moment is not None and _agrees(mention.moment, fact)
            case "name":
                return mention.text in (fact.value, fact.subject)
            case "label":
                return self._label(fact) in {token.key for token in mention.tokens}
        return isinstance(fact.value, str) or fact.subject is not None


def _axes(mention: Mention) -> set[str]:
    return {token.pole.axis for token in mention.tokens if token.pole}


def _direction(difference: Decimal, quantum: Decimal) -> int:
    if abs(difference) * 2 <= quantum:
        return 0
    return 1 if difference > 0 else -1


def _has_date(fact: Fact) -> bool:
    return bool(fact.period or _YEAR.fullmatch(fact.subject or ""))


def _day(text: str | None) -> date | None:
    if text is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return None
    return date.fromisoformat(text)


def _agrees(moment: Moment, fact: Fact) -> bool:
    for text in (fact.period, fact.subject, fact.value if isinstance(fact.value, str) else None):
        day = _day(text)
        if day is None:
            if text and _YEAR.fullmatch(text) and moment == Moment(int(text)):
                return True
        elif moment.month is None:
            if moment.year in (day.year, (day - _SAME_PERIOD).year):
                return True
        elif (moment.year, moment.month) == (day.year, day.month) and moment.day in (None, day.day):
            return True
    return False


def _moment_of(mention: Mention, reading: Reading) -> Moment | None:
    """The year or date that stands with a number: after it in English (“in 2018”), before it in Chinese (2018年的…)."""
    for other in reading.of("moment"):
        first, second = (mention, other) if reading.language == "en" else (other, mention)
        between = reading.text[first.end : second.start]
        if first.end <= second.start and _AFTER_MOMENT[reading.language].fullmatch(between):
            return other.moment
    return None
