"""Read a sentence back: which numbers, dates, names, directions and negations does its text state?

This is the verifier's own parser. It shares neither code nor tables with the realiser, so that a mistake of one is not
the other's blind spot. Whatever is read is masked out of the text; what remains must be plain words.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from evident_core.evidence import Language
from evident_core.write.vocabulary import Token, Unit, Vocabulary

T = TypeVar("T")
HAN_RUN = re.compile(r"[㐀-鿿豈-﫿]+")
LATIN = re.compile(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ'’&-]*")
_FIRST = frozenset(("label", "neutral", "unassessed"))
_THEN = frozenset(("pole", "negation", "prior"))
MASK = "\0"
_DASHES = "-−–"
_FOLD = str.maketrans({"“": "'", "”": "'", '"': "'", "‘": "'", "’": "'", "「": "'", "」": "'", "『": "'", "』": "'"})
_FULL_WIDTH = str.maketrans("０１２３４５６７８９．％＋－", "0123456789.%+-")
_MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
_MONTH = "|".join(f"{month}|{month[:3]}\\.?" for month in _MONTHS) + "|Sept\\.?"
_DATES = {
    "en": (
        re.compile(rf"\b(?P<month>{_MONTH}) (?P<day>\d{{1,2}}), (?P<year>\d{{4}})\b"),
        re.compile(rf"\b(?P<day>\d{{1,2}}) (?P<month>{_MONTH}) (?P<year>\d{{4}})\b"),
        re.compile(rf"\b(?P<month>{_MONTH}) (?P<year>\d{{4}})\b"),
        re.compile(r"\b(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)\b"),
    ),
    "zh": (
        re.compile(r"(?P<year>\d{4}|[〇零一二三四五六七八九]{4})年(?P<month>\d{1,2})月(?P<day>\d{1,2})日"),
        re.compile(r"(?P<year>\d{4}|[〇零一二三四五六七八九]{4})年(?P<month>\d{1,2})月"),
        re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)"),
        re.compile(r"(?P<year>(?<![\d.,])\d{4}|[〇零一二三四五六七八九]{4})(?:财年|年度|年(?!内))"),
    ),
}
_BARE_YEAR = re.compile(r"(?<![\w.,%$€£¥-])(?:19|20)\d\d(?![\d%])(?!,\d)(?!\.\d)")
_QUOTES = re.compile(r"“[^“”]*”|\"[^\"]*\"|「[^「」]*」|『[^『』]*』|«[^«»]*»")
_DIGITS = re.compile(r"(?<![\d.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<!\d)\.\d+")
_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: Decimal(size) for size, word in enumerate(_SMALL)} | {
    word: Decimal(10 * size) for size, word in enumerate(_TENS, 2)
}
_POWERS = {
    "hundred": Decimal(100),
    "thousand": Decimal(1000),
    "million": Decimal(10) ** 6,
    "billion": Decimal(10) ** 9,
    "trillion": Decimal(10) ** 12,
}
_MULTIPLES = {
    "twice": "2",
    "double": "2",
    "doubled": "2",
    "triple": "3",
    "tripled": "3",
    "half": "0.5",
    "halved": "0.5",
    "twofold": "2",
    "threefold": "3",
    "dozen": "12",
}
_FRACTIONS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fifth": 5,
    "fifths": 5,
    "tenth": 10,
    "tenths": 10,
}
_NUMBER_WORD = "|".join(sorted((*_WORDS, *_POWERS), key=len, reverse=True))
_SPELLED = re.compile(rf"\b(?:a )?(?:{_NUMBER_WORD})(?:(?:[ -]|, | and | point )(?:{_NUMBER_WORD}))*\b", re.IGNORECASE)
_FRACTION = re.compile(
    rf"\b(an?|{'|'.join(_SMALL[1:11])})[ -]({'|'.join(_FRACTIONS)})\b(?! of the year)", re.IGNORECASE
)
_MULTIPLE = re.compile(rf"\b({'|'.join(_MULTIPLES)})\b", re.IGNORECASE)
_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "壹": 1,
    "贰": 2,
    "叁": 3,
    "肆": 4,
    "伍": 5,
    "陆": 6,
    "柒": 7,
    "捌": 8,
    "玖": 9,
}
_HAN_POWERS = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
_HAN_GROUPS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN = re.compile(
    f"[{''.join((*_HAN_DIGITS, *_HAN_POWERS))}][{''.join((*_HAN_DIGITS, *_HAN_POWERS, *_HAN_GROUPS))}点]*"
)
_HAN_SINGLE = frozenset((*_HAN_DIGITS, *_HAN_POWERS))
_HAN_FRACTION = re.compile(
    f"([{''.join((*_HAN_DIGITS, *_HAN_POWERS))}]+|百)分之([\\d.]+|[{''.join((*_HAN_DIGITS, *_HAN_POWERS))}点]+)"
)
_HAN_MULTIPLES = {"翻番": "2", "翻倍": "2", "一半": "0.5", "半数": "0.5", "腰斩": "0.5"}
_BOUNDARY = re.compile(r"[;；。!！?？：]|:(?=\s)|\.(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as stated: ``value`` in its dimension's unit, ``quantum`` one step of its last printed digit there."""

    value: Decimal
    quantum: Decimal
    unit: Unit | None
    signed: bool
    scaled: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """A year, a month or a day as stated."""

    year: int
    month: int | None = None
    day: int | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that a text states, and where. ``kind`` is one of quantity, moment, name, quote, or a Token's kind."""

    kind: str
    start: int
    end: int
    text: str
    tokens: tuple[Token, ...] = ()
    quantity: Quantity | None = None
    moment: Moment | None = None


@dataclass
class Reading:
    """All that a text states, in the order it stands there; ``rest`` is the text with all of that masked out."""

    text: str
    language: Language
    rest: str
    mentions: list[Mention] = field(default_factory=list)

    def of(self, kind: str) -> list[Mention]:
        """The mentions of one kind."""
        return [mention for mention in self.mentions if mention.kind == kind]

    def same_clause(self, one: int, other: int) -> bool:
        """Whether no full stop or semicolon stands between two places."""
        return not _BOUNDARY.search(self.text, min(one, other), max(one, other))

    def take(self, kind: str, start: int, end: int, **parts: object) -> None:
        """Note a mention and mask it."""
        self.mentions.append(Mention(kind, start, end, self.text[start:end], **parts))  # type: ignore[arg-type]
        self.rest = self.rest[:start] + MASK * (end - start) + self.rest[end:]


def read(text: str, language: Language, vocabulary: Vocabulary, names: Iterable[str] = ()) -> Reading:
    """What the text states. ``names`` are proper names and values that may stand in it verbatim."""
    reading = Reading(text, language, text.translate(_FULL_WIDTH))
    for quote in _QUOTES.finditer(reading.rest):
        reading.take("quote", *quote.span())
    for name in sorted(set(names), key=len, reverse=True):
        for start, end in _occurrences(name, reading.rest):
            reading.take("name", start, end)
    # Labels before numbers ("debt due within one year"), numbers with their units before words ("5 US dollars").
    if language == "zh":
        _take_fractions(reading)
    _take_known(reading, vocabulary, _FIRST)
    _take_moments(reading)
    _take_quantities(reading, vocabulary)
    _take_known(reading, vocabulary, _THEN)
    reading.mentions.sort(key=lambda mention: mention.start)
    return reading


def _take_known(reading: Reading, vocabulary: Vocabulary, kinds: frozenset[str]) -> None:
    for start, end, tokens in vocabulary.phrases[reading.language].find(reading.rest):
        if tokens[0].kind in kinds:
            reading.take(tokens[0].kind, start, end, tokens=tokens)


def _occurrences(name: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if not (_joined(text, at) or _joined(text, end)):
            yield at, end
        at = text.find(name, end)


def _joined(text: str, at: int) -> bool:
    """Whether a place lies inside a Latin word or a number."""
    return 0 < at < len(text) and all(char.isalnum() and char.isascii() for char in text[at - 1 : at + 1])


def _take_fractions(reading: Reading) -> None:
    """百分之五点二, 三分之一: before the words that they contain."""
    for match in _HAN_FRACTION.finditer(reading.rest):
        whole, part = Decimal(100) if match[1] == "百" else _han(match[1]), match[2]
        digits = part[0].isascii()
        quantum = (_quantum(part) if digits else _han_quantum(part)) / whole
        value = (Decimal(part) if digits else _han(part)) / whole
        quantity = Quantity(value, min(quantum, Decimal("0.01")), None, signed=False, scaled=False)
        reading.take("quantity", *match.span(), quantity=quantity)


def _take_moments(reading: Reading) -> None:
    for pattern in _DATES[reading.language]:
        for match in pattern.finditer(reading.rest):
            parts = match.groupdict()
            moment = Moment(_number(parts["year"]), *(_part(parts.get(part)) for part in ("month", "day")))
            reading.take("moment", *match.span(), moment=moment)
    for match in _BARE_YEAR.finditer(reading.rest):
        reading.take("moment", *match.span(), moment=Moment(int(match[0])))


def _number(text: str) -> int:
    if text[0] in _HAN_DIGITS:
        return int("".join(str(_HAN_DIGITS[char]) for char in text))
    return int(text)


def _part(text: str | None) -> int | None:
    """A month or a day, in digits or by name."""
    if text is None or text.isdigit():
        return None if text is None else int(text)
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(text[:3]))


def _take_quantities(reading: Reading, vocabulary: Vocabulary) -> None:
    for start, end, value, quantum in _numerals(reading):
        if MASK in reading.rest[start:end]:
            continue
        unit, scale, begin, finish = _dress(reading, vocabulary, start, end)
        if end - start == 1 and (begin, finish) == (start, end) and reading.rest[start] in _HAN_SINGLE:
            continue
        negative, begin, finish = _sign(reading.rest, start, begin, finish)
        factor = scale * (unit.factor if unit else 1)
        quantity = Quantity(
            -value * factor if negative else value * factor, quantum * factor, unit, signed=negative, scaled=scale != 1
        )
        reading.take("quantity", begin, finish, quantity=quantity)


def _numerals(reading: Reading) -> Iterator[tuple[int, int, Decimal, Decimal]]:
    """(start, end, value, quantum) of each bare number, in digits or in words."""
    text = reading.rest
    if reading.language == "zh":
        for word, multiple in _HAN_MULTIPLES.items():
            for start, end in _occurrences(word, text):
                yield start, end, Decimal(multiple), Decimal("0.1")
    for match in _DIGITS.finditer(text):
        yield *match.span(), Decimal(match[0].replace(",", "")), _quantum(match[0])
    if reading.language == "zh":
        for match in _HAN.finditer(text):
            yield *match.span(), _han(match[0]), _han_quantum(match[0])
        return
    for match in _FRACTION.finditer(text):
        count = _WORDS.get(match[1].lower(), Decimal(1))
        yield *match.span(), count / _FRACTIONS[match[2].lower()], Decimal("0.01")
    for match in _SPELLED.finditer(text):
        value, quantum = _spelled(match[0])
        yield *match.span(), value, quantum
    for match in _MULTIPLE.finditer(text):
        yield *match.span(), Decimal(_MULTIPLES[match[1].lower()]), Decimal("0.1")


def _dress(reading: Reading, vocabulary: Vocabulary, start: int, end: int) -> tuple[Unit | None, Decimal, int, int]:
    """The unit and scale around a bare number, and how far they reach."""
    text, language, scale = reading.rest, reading.language, Decimal(1)
    if match := vocabulary.scale_words[language].match(text, end):
        scale, end = _look_up(vocabulary.scales[language], match[1]), match.end()
    if match := vocabulary.after_number[language].match(text, end):
        return _look_up(vocabulary.after[language], match[1]), scale, start, match.end()
    signed = start - 1 if start and text[start - 1] in _DASHES else start
    begin = signed - 1 if signed and text[signed - 1] in " \u00a0" else signed
    for symbol, unit in vocabulary.before.items():
        if text.endswith(symbol, 0, begin) and not _joined(text, begin - len(symbol)):
            return unit, scale, begin - len(symbol), end
    for counter in vocabulary.counters[language]:
        if text.startswith(counter, end):
            return None, scale, start, end + len(counter)
    return None, scale, start, end


def _look_up(table: Mapping[str, T], word: str) -> T:
    """The entry of a word as it stands, else whatever its case."""
    return table[word] if word in table else next(of for each, of in table.items() if each.lower() == word.lower())


def _sign(text: str, numeral: int, start: int, end: int) -> tuple[bool, int, int]:
    """Whether a number is written as negative, and how far the sign reaches (it may stand before a currency)."""
    if numeral > start and text[numeral - 1] in _DASHES:
        return True, start, end
    if text[start - 1 : start] == "(" and text[end : end + 1] == ")":
        return True, start - 1, end + 1
    dash, left = text[start - 1 : start], text[start - 2 : start - 1]
    hyphen = dash != "−" and (left == MASK or (left.isascii() and left.isalnum()))
    if dash and dash in _DASHES and not hyphen:
        return True, start - 1, end
    for word in ("minus ", "负"):
        if text[:start].lower().endswith(word):
            return True, start - len(word), end
    return False, start, end


def _quantum(digits: str) -> Decimal:
    return Decimal(1).scaleb(-len(digits.partition(".")[2]))


def _spelled(text: str) -> tuple[Decimal, Decimal]:
    whole, _, decimals = text.lower().partition(" point ")
    total = group = Decimal(0)
    quantum = Decimal(1)
    for word in re.findall(r"[a-z]+", whole):
        if word in _WORDS:
            group, quantum = group + _WORDS[word], Decimal(1)
        elif word == "hundred":
            group, quantum = (group or Decimal(1)) * 100, Decimal(1)
        elif word in _POWERS:
            total, group, quantum = total + (group or Decimal(1)) * _POWERS[word], Decimal(0), _POWERS[word]
    value = total + group
    words = re.findall(r"[a-z]+", decimals)
    digits = [word for word in words if word in _WORDS]
    if not digits:
        return value, quantum
    value += Decimal("0." + "".join(str(_WORDS[word]) for word in digits))
    power = next((_POWERS[word] for word in words if word in _POWERS), Decimal(1))
    return value * power, Decimal(1).scaleb(-len(digits)) * power


def _han(text: str) -> Decimal:
    whole, _, decimals = text.partition("点")
    total = section = digit = 0
    for char in whole:
        if char in _HAN_DIGITS:
            digit = _HAN_DIGITS[char]
        elif char in _HAN_POWERS:
            section, digit = section + (digit or 1) * _HAN_POWERS[char], 0
        else:
            total, section, digit = (total + section + digit) * _HAN_GROUPS[char], 0, 0
    value = Decimal(total + section + digit)
    tail = "".join(str(_HAN_DIGITS[char]) for char in decimals if char in _HAN_DIGITS)
    power = next((_HAN_GROUPS[char] for char in decimals if char in _HAN_GROUPS), 1)
    return (value + Decimal(f"0.{tail or 0}")) * power


def _han_quantum(text: str) -> Decimal:
    power = Decimal(1)
    for char in reversed(text):
        if char in _HAN_GROUPS or char in _HAN_POWERS:
            power *= _HAN_GROUPS.get(char) or _HAN_POWERS[char]
        else:
            break
    decimals = [char for char in text.partition("点")[2] if char in _HAN_DIGITS]
    return power.scaleb(-len(decimals))


def fold(text: str) -> str:
    """A quotation without what printing adds: white space and the shapes of quotation marks."""
    return re.sub(r"\s+", "", text.translate(_FOLD))


def lexicon(texts: Iterable[str], language: Language, vocabulary: Vocabulary) -> frozenset[str]:
    """The plain words of given texts, as ``Vocabulary.with_lexicon`` takes them: Latin ones, and runs of Chinese."""
    rests = [read(text, language, vocabulary).rest for text in texts]
    runs = [run for rest in rests for run in HAN_RUN.findall(rest)] if language == "zh" else []
    return frozenset((*runs, *(word for rest in rests for word in LATIN.findall(rest))))
