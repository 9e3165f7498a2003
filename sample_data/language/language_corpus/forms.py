"""Attributes of anything, under names that need not be known before: ``the spare tank: 12 kg``."""

import tomllib

from language_corpus.fields import COUNTS, Asked, style_key
from language_corpus.names import ABSTRACT, ADJECTIVES, NOUNS, coined, unheard
from language_corpus.scenes import stop
from language_corpus.template import Draw, Template, divide, held_out
from language_corpus.value import DATA, HAN, Value
from language_corpus.values import make_value

_TABLE = tomllib.loads((DATA / "forms.toml").read_text("utf-8"))
ATTRIBUTES = [((name, entry["zh"]), entry["kind"]) for name, entry in _TABLE["attributes"].items()]
TOLD = {kind: divide([Template(text) for text in texts]) for kind, texts in _TABLE["told"].items()}
WORDS = list(zip(_TABLE["words"]["en"], _TABLE["words"]["zh"], strict=True))
KINDS = tuple(sorted({kind for _, kind in ATTRIBUTES}))
# What an attribute's last word lets expect; the value is of another kind now and then, for a name decides and no habit.
USUAL = {
    "price": "amount", "cost": "amount", "fee": "amount", "income": "amount", "rate": "percent", "share": "percent",
    "growth": "percent", "date": "date", "deadline": "date", "length": "length_mm", "width": "length_mm",
    "weight": "weight", "speed": "speed", "temperature": "temperature", "owner": "person", "author": "person",
    "leader": "person", "count": "count", "number": "lot", "code": "serial", "place": "city", "name": "thing",
    "title": "phrase", "status": "word", "colour": "word", "duration": "minutes", "age": "age", "period": "period",
}  # fmt: skip
BETWEEN = (": ", ": ", ": ", " = ", " - ", " | ", "\t", ":", " ... ", "=")
BETWEEN_ZH = ("：", "：", "：", ":", "=", " ", " | ", "\t", "——", " - ")


def _name(draw: Draw) -> tuple[tuple[str, str], str]:
    """A name in both languages and the kind of its value. One name in twelve is kept for evaluation."""
    while True:
        chance = draw.chance()
        if chance < 0.3:
            name, kind = draw.pick(ATTRIBUTES)
        else:
            last = draw.pick(ABSTRACT)
            kind = USUAL.get(last[0], "") if draw.chance() < 0.75 else ""
            if chance < 0.5:
                before = draw.pick(ADJECTIVES)
                name = f"{before[0]} {last[0]}", before[1] + last[1]
            elif chance < 0.72:
                before = draw.pick(NOUNS)
                name = f"{before[0]} {last[0]}", before[1] + last[1]
            elif chance < 0.78:
                before = draw.pick(NOUNS)
                name, kind = (f"number of {before[0]}s", before[1] + "数量"), "count"
            elif draw.across or chance < 0.88:
                name, kind = draw.pick(NOUNS), ""
            else:
                kind = ""
                name = coined(draw), "".join(draw.pick(HAN) for _ in range(2 + int(draw.chance() * 3)))
                if draw.chance() < 0.4:
                    name = f"{name[0]} {last[0]}", name[1] + last[1]
            kind = kind or draw.pick(KINDS)
        if held_out(name[0], 12) == (draw.split == "held"):
            draw.unseen += draw.split == "held"
            return name, kind


def _value(kind: str, draw: Draw) -> Value:
    if kind == "word":
        return Value("word", *(unheard(draw) if draw.chance() < 0.3 else draw.pick(WORDS)))
    return make_value(kind, draw)


def ask(name: str, value: Value | None, surface: str | None, style: str, draw: Draw) -> Asked:
    """A field of that name: a number where its text is one, else the text; None where it is not told."""
    if value is None or surface is None:
        kind = "integer" if draw.chance() < 0.15 else "string"
        return Asked(name, style_key(name, style), {"type": [kind, "null"]}, None)
    number = value.number
    if number is not None and draw.chance() < (0.85 if value.kind in COUNTS or value.kind == "year" else 0.15):
        whole = "." not in number
        schema = {"type": ["integer" if whole else "number", "null"]}
        asked = Asked(name, style_key(name, style), schema, int(number) if whole else float(number))
        asked.surface = surface
        return asked
    asked = Asked(name, style_key(name, style), {"type": ["string", "null"]}, surface)
    if value.kind in COUNTS and number is not None and "." not in number:
        asked.count = int(number)
    return asked


def attributes(draw: Draw, language: str, names: str, style: str, least: int, most: int):
    """Sentences that give attributes; the fields that ask for them; fields that nothing here answers.

    Returns:
        Sentences without their stops, told fields with kind and text, other fields.
    """
    drawn: dict[str, tuple[tuple[str, str], str]] = {}
    for _ in range(least + int(draw.chance() * (most - least + 1))):
        name, kind = _name(draw)
        drawn[name[0] + name[1]] = name, kind
    items = list(drawn.values())
    count = max(1, int(len(items) * (0.4 + 0.6 * draw.chance())))
    uniform = draw.phrase(*TOLD[language]) if draw.chance() < 0.25 else None
    sentences, told = [], []
    here, asking = language == "zh", names == "zh"
    for name, kind in items[:count]:
        value = _value(kind, draw)
        surfaces: dict[str, str] = {}
        template = uniform or draw.phrase(*TOLD[language])
        sentence = template.render({"name": name[here], "value": value}, language, draw, surfaces)
        surface = surfaces["value"]
        if language == "en" and sentence[0].islower() and draw.chance() < 0.85:
            sentence = sentence[0].upper() + sentence[1:]
            if not sentence[1:].startswith(name[here][1:]) and sentence[1:].startswith(surface[1:]):
                surface = sentence[: len(surface)]
        sentences.append(sentence)
        told.append((ask(name[asking], value, surface, style, draw), value.kind, surface))
    return sentences, told, [ask(name[asking], None, None, style, draw) for name, _ in items[count:]]


def _sheet(draw: Draw, language: str, names: str, style: str):
    """Names and values as a form, a table or a line of a table has them."""
    drawn: dict[str, tuple[tuple[str, str], str]] = {}
    for _ in range(2 + int(draw.chance() * 7)):
        name, kind = _name(draw)
        drawn[name[0] + name[1]] = name, kind
    items = list(drawn.values())
    here, asking = language == "zh", names == "zh"
    count = max(1, int(len(items) * (0.5 + 0.5 * draw.chance())))
    cells, asked = [], []
    capital = draw.pick((str, str, str.capitalize, str.title, str.upper)) if language == "en" else str
    empty = draw.chance() < 0.2
    for name, kind in items[:count]:
        value = _value(kind, draw)
        text = value.text[language]
        if empty and draw.chance() < 0.3:  # a line of a form that nobody filled in
            cells.append(
                (capital(name[here]), draw.pick(("", "-", "n/a", "—")) if language == "en" else draw.pick("-—无/"))
            )
            asked.append(ask(name[asking], None, None, style, draw))
            continue
        cells.append((capital(name[here]), text))
        asked.append(ask(name[asking], value, text, style, draw))
    asked += [ask(name[asking], None, None, style, draw) for name, _ in items[count:]]
    chance = draw.chance()
    if chance < 0.12:
        rows = [[name for name, _ in cells], [text for _, text in cells]]
        if draw.chance() < 0.5:
            lines = ["| " + " | ".join(row) + " |" for row in rows]
            return "\n".join((lines[0], "|" + "---|" * len(cells), lines[1])), asked
        return "\n".join(draw.pick(("\t", ";", " | ")).join(row) for row in rows), asked
    between = draw.pick(BETWEEN if language == "en" else BETWEEN_ZH)
    start = draw.pick(("", "", "", "- ", "* ", "• "))
    joint = draw.pick(
        ("\n", "\n", "\n", "; " if language == "en" else "；", ", " if language == "en" else "，", "\n\n")
    )
    if start and "\n" not in joint:
        start = ""
    return joint.join(start + name + between + text for name, text in cells), asked


def _owned(draw: Draw, language: str, style: str):
    """Two or three things with the same attributes: whose it is decides."""
    here = language == "zh"
    owners = list(dict.fromkeys(unheard(draw)[here] for _ in range(3)))[: 2 + int(draw.chance() * 2)]
    chosen = list({name: (name, kind) for name, kind in (_name(draw) for _ in range(2))}.values())
    sentences, asked = [], []
    for owner in owners:
        for name, kind in chosen:
            if draw.chance() < 0.35:
                value = surface = None
            else:
                value, surfaces = _value(kind, draw), {}
                template = draw.phrase(*TOLD[f"owner_{language}"])
                parts = {"name": name[here], "owner": owner, "value": value}
                text = template.render(parts, language, draw, surfaces)
                surface = surfaces["value"]
                sentences.append(text)
            words = f"{name[here]} of {owner}" if language == "en" else f"{owner}的{name[here]}"
            if language == "en" and draw.chance() < 0.4:
                words = f"{owner} {name[here]}"
            asked.append(ask(words, value, surface, style, draw))
    draw.random.shuffle(sentences)
    return sentences or [owners[0]], asked


def form(draw: Draw, language: str, names: str, style: str) -> tuple[str, list[Asked]]:
    """A passage that gives some attributes, and what is asked of it: some of them, and others that it does not give."""
    chance = draw.chance()
    if chance < 0.35:
        text, asked = _sheet(draw, language, names, style)
        sentences = None
    elif chance < 0.55 and names == language:
        sentences, asked = _owned(draw, language, style)
    else:
        sentences, told, others = attributes(draw, language, names, style, 2, 8)
        asked = [each for each, _, _ in told] + others
    draw.random.shuffle(asked)
    asked = asked[: 1 + int(draw.chance() * 6)]
    if len({each.key for each in asked}) < len(asked):
        return form(draw, language, names, style)
    if sentences is not None:
        chance, end = draw.chance(), stop(language)
        if chance < 0.25:
            text = "\n".join(sentences)
        elif chance < 0.4:
            text = (", " if language == "en" else "，").join(sentences) + end
        elif chance < 0.45:
            text = ("; " if language == "en" else "；").join(sentences)
        else:
            text = ((end + " ") if language == "en" else end).join(sentences) + end
    return text, asked
