"""Sentences made wrong: one thing changed in one language, each change a lie or a slip that a verifier must see."""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from evident_core.evidence import Language, Sentence

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_QUOTE = re.compile(r"“[^”]*”")
_SCALES = {"en": ((" million", " billion"), (" billion", " million")), "zh": (("亿", "万"), ("万", "亿"))}
_UNITS = {
    "en": (("%", " times"), (" times", "%"), (" days", " years")),
    "zh": (("%", "倍"), ("倍", "%"), ("亿美元", "亿元"), ("亿元", "亿美元"), ("万元", "万美元"), ("天", "年")),
}
_OPPOSITES = {
    "en": (
        ("rose", "fell"), ("above", "below"), ("exceeds", "is below"), ("unchanged", "higher"), ("high", "low"),
        ("safe zone", "distress zone"), ("grey zone", "safe zone"), ("unqualified", "qualified"),
        ("thin", "comfortable"),
        ("healthy", "frail"), ("middling", "healthy"), ("loss", "profit"), ("worsened", "rose"), ("between", "above"),
        ("effective", "ineffective"), ("enough to cover", "too little to cover"),
    ),
    "zh": (
        ("增长", "下降"), ("升至", "降至"), ("高于", "低于"), ("持平", "增长"), ("偏高", "较低"), ("安全区", "困境区"),
        ("灰色区", "安全区"), ("无保留意见", "保留意见"), ("有效", "无效"), ("充裕", "偏薄"), ("稳健", "脆弱"),
        ("居中", "稳健"), ("亏损", "盈利"), ("恶化", "增长"), ("介于", "高于"),
    ),
}  # fmt: skip
_NAMES = {
    "en": (("revenue", "goodwill"), ("net income", "total assets"), ("total equity", "inventories")),
    "zh": (("营业收入", "商誉"), ("归母净利润", "资产总计"), ("所有者权益合计", "存货")),
}
_DENIALS = {
    "en": (
        (" was ", " was not "),
        (" is ", " is not "),
        (" were ", " were not "),
        (" no ", " "),
        (" states ", " denies "),
    ),
    "zh": (
        ("为", "不为"),
        ("较", "未较"),
        ("存在", "不存在"),
        ("由", "未由"),
        ("未", ""),
        ("无", ""),
        ("提示", "未提示"),
    ),
}
_INTRUDERS = {
    "en": (
        ("words", ", some three billion."), ("name", " at Globex Corporation."), ("language", "，营业收入。"),
        ("date", " on March 3, 1999."), ("quote", ", “as everybody knows”."),
    ),
    "zh": (
        ("words", "，约三亿元。"), ("name", "（环球实业集团）。"), ("language", " and revenue rose。"),
        ("date", "，截至一九九九年三月三日。"), ("quote", "，“众所周知”。"),
    ),
}  # fmt: skip


def corruptions(
    sentence: Sentence, others: Sequence[Sentence], rng: random.Random
) -> Iterator[tuple[str, Language, str]]:
    """(kind, language, the text made wrong), for every number, word and sentence where a kind applies."""
    languages: tuple[Language, Language] = ("en", "zh")
    for language in languages:
        text = sentence.text[language]
        changed = [*_numbers(text, language, rng), *_words(text, language)]
        changed += [(kind, text[:-1] + tail) for kind, tail in _INTRUDERS[language]]
        changed += [("language", sentence.text[languages[language == "en"]])]
        other = rng.choice(others)
        if set(other.claim_ids) != set(sentence.claim_ids):
            changed.append(("swapped sentences", other.text[language]))
        yield from ((kind, language, new) for kind, new in changed if new != text)


def _numbers(text: str, language: Language, rng: random.Random) -> Iterator[tuple[str, str]]:
    plain = _masked(text)
    numbers = list(_NUMBER.finditer(plain))
    for number in numbers:
        at = rng.choice([place for place in range(*number.span()) if text[place].isdigit()])
        digit = (int(text[at]) + rng.randrange(1, 10)) % 10
        yield "digit", f"{text[:at]}{digit}{text[at + 1 :]}"
        head, tail = text[: number.start()], text[number.end() :]
        if _is_year(number[0], tail):
            yield "year", f"{head}{int(number[0]) + rng.choice((-3, 1, 4))}{tail}"
            continue
        symbol = re.search(r"(−?)((?:[A-Z]{3} |[A-Z]{0,2}\$|€|£)?)$", head)
        assert symbol is not None
        sign = "" if symbol[1] else "−"
        yield "sign", head[: symbol.start()] + sign + symbol[2] + text[number.start() :]
        for kind, table in (("scale", _SCALES), ("unit", _UNITS)):
            for old, new in table[language]:
                if tail.startswith(old):
                    yield kind, head + number[0] + new + tail[len(old) :]
        if language == "en" and symbol[2]:
            yield (
                "currency",
                head[: symbol.start()] + symbol[1] + ("€" if symbol[2] != "€" else "$") + text[number.start() :],
            )
    values = [each for each in numbers if not _is_year(each[0], text[each.end() :])]
    for one, two in pairwise(values):
        first, second = (float(each[0].replace(",", "")) for each in (one, two))
        if abs(first - second) > 0.1 * max(first, second):
            between = text[one.end() : two.start()]
            yield "swapped numbers", text[: one.start()] + two[0] + between + one[0] + text[two.end() :]


def _words(text: str, language: Language) -> Iterator[tuple[str, str]]:
    both = [("direction", old, new) for pair in _OPPOSITES[language] for old, new in (pair, pair[::-1])]
    both += [("name", old, new) for old, new in _NAMES[language]]
    both += [("polarity", old, new) for old, new in _DENIALS[language]]
    plain = _masked(text)
    for kind, old, new in both:
        pattern = rf"(?<!\w){re.escape(old)}(?!\w)" if language == "en" and old.strip() == old else re.escape(old)
        if match := re.search(pattern, plain):
            yield kind, text[: match.start()] + new + text[match.end() :]


def _is_year(number: str, tail: str) -> bool:
    return bool(re.fullmatch(r"(19|20)\d\d", number)) and not tail.startswith((" million", " billion", "亿", "万", "%"))


def _masked(text: str) -> str:
    return _QUOTE.sub(lambda quote: "\0" * len(quote[0]), text)
