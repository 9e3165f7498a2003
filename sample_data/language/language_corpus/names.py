"""Names of everything that has one: companies, people, cities, things, identifiers; words that nobody has seen."""

import tomllib

from language_corpus.value import COMMON, DATA, HAN, LETTERS, Value

NAMES = COMMON["names"]
SYLLABLES, ENDINGS, FIRST = NAMES["syllables"], NAMES["endings"], NAMES["first"]
CHARACTERS, SURNAMES = list(NAMES["characters"].items()), list(NAMES["surnames"].items())
CITIES = list(COMMON["cities"].items())
_WORDS = {
    kind: [tuple(pair.replace("_", " ").split("=")) for pair in text.split()]
    for kind, text in tomllib.loads((DATA / "words.toml").read_text("utf-8")).items()
}
NOUNS, ABSTRACT, ADJECTIVES, ROLES, VERBS = (
    _WORDS[kind] for kind in ("nouns", "abstract", "adjectives", "roles", "verbs")
)

GOODS = (
    ("t", "吨"),
    ("kg", "公斤"),
    ("boxes", "箱"),
    ("tonnes", "吨"),
    ("pieces", "件"),
    ("litres", "升"),
    ("bags", "袋"),
)


def coined(draw) -> str:
    """A word that nobody has seen, in lower case."""
    return draw_word(draw).lower()


def draw_word(draw) -> str:
    count = 1 if draw.chance() < 0.6 else 2
    name = "".join(draw.pick(SYLLABLES) for _ in range(count)) + draw.pick(ENDINGS)
    if draw.chance() < 0.08:
        name = "".join(
            draw.pick("bcdfghjklmnprstvwz" if i % 2 else "aeiouy") for i in range(4 + int(draw.chance() * 5))
        )
    return name.capitalize()


def draw_latin(draw) -> str:
    chance = draw.chance()
    if chance < 0.7:
        return draw_word(draw)
    if chance < 0.85:
        return f"{draw_word(draw)} {draw_word(draw)}"
    return "".join(draw.pick(LETTERS) for _ in range(2 + int(draw.chance() * 3)))


def draw_chinese(draw, count: int) -> tuple[str, str]:
    pairs = [draw.pick(CHARACTERS) for _ in range(count)]
    return "".join(han for han, _ in pairs), "".join(sound for _, sound in pairs).capitalize()


def names_of(kind: str):
    ends_en, ends_zh = NAMES[kind]["en"], NAMES[kind]["zh"]

    def make(draw, paired: bool) -> Value:
        index = int(draw.chance() * len(ends_en))
        chance = draw.chance()
        if chance < 0.35:  # a Latin name, kept in Chinese
            name = draw_latin(draw)
            bare = kind == "company" and draw.chance() < 0.4
            return Value(kind, name if bare else f"{name} {ends_en[index]}", name if bare else name + ends_zh[index])
        han, sound = draw_chinese(draw, 2 if chance < 0.8 else 3)
        if not paired:
            if draw.chance() < 0.5:
                han = "".join(draw.pick(HAN) for _ in range(2 + int(draw.chance() * 3)))
            sound = draw_latin(draw)
        if kind in ("organisation", "venue") and draw.chance() < 0.3:
            sound, han = draw.pick(CITIES)
        return Value(kind, f"{sound} {ends_en[index]}", han + ends_zh[index])

    return make


def draw_person(draw, paired: bool) -> Value:
    if draw.chance() < 0.4:
        name = f"{draw.pick(FIRST)} {draw_word(draw)}"
        return Value("person", name, name)
    family, sound = draw.pick(SURNAMES)
    han, given = draw_chinese(draw, 1 if draw.chance() < 0.3 else 2)
    if not paired and draw.chance() < 0.5:
        han = "".join(draw.pick(HAN) for _ in range(1 + int(draw.chance() * 2)))
    return Value("person", f"{sound} {given}", family + han)


def draw_city(draw, paired: bool) -> Value:
    if draw.chance() < 0.6:
        return Value("city", *draw.pick(CITIES))
    if paired:
        name = draw_word(draw)
        return Value("city", name, name)
    return Value("city", draw_word(draw), draw_chinese(draw, 2)[0] + draw.pick("市县镇"))


def draw_words(draw) -> tuple[str, str]:
    """A thing in both languages: a noun, or one with a word that describes it."""
    en, zh = draw.pick(NOUNS)
    if draw.chance() < 0.45:
        before = draw.pick(ADJECTIVES)
        return f"{before[0]} {en}", before[1] + zh
    if draw.chance() < 0.2:
        before = draw.pick(NOUNS)
        return f"{before[0]} {en}", before[1] + zh
    return en, zh


def unheard(draw) -> tuple[str, str]:
    """A name for a thing that need not be known: everyday words, coined ones, any characters; no translation."""
    (en, _), (_, zh) = draw_words(draw), draw_words(draw)
    chance = draw.chance()
    if chance < 0.3:
        en = draw_word(draw).lower()
    elif chance < 0.42:
        en = f"{draw_word(draw).lower()} {draw.pick(NOUNS)[0]}"
    if draw.chance() < 0.45:
        zh = "".join(draw.pick(HAN) for _ in range(2 + int(draw.chance() * 3)))
    return en, zh


def draw_thing(draw, paired: bool) -> Value:
    """A thing, known or not."""
    return Value("thing", *(draw_words(draw) if paired else unheard(draw)))


def draw_label(draw, paired: bool) -> Value:
    """What a thing is called: ``Belhaven``."""
    name = draw_word(draw)
    if paired:
        han, name = draw_chinese(draw, 2)
        return Value("label", name, han)
    return Value(
        "label", name, "".join(draw.pick(HAN) for _ in range(1 + int(draw.chance() * 3))) + draw.pick("号园楼轩")
    )


def draw_role(draw, _: bool) -> Value:
    """What somebody does for a living."""
    en, zh = draw.pick(ROLES)
    if draw.chance() < 0.2:
        before = draw.pick(ADJECTIVES)
        en, zh = f"{before[0]} {en}", before[1] + zh
    return Value("role", en, zh)


def draw_verb(draw, _: bool) -> Value:
    """What somebody did to a thing."""
    return Value("deed", *draw.pick(VERBS))


def draw_goods(draw, paired: bool) -> Value:
    """So much of something: ``900 t of barley``."""
    (en, zh), (unit, measure) = draw.pick(NOUNS), draw.pick(GOODS)
    number = str(1 + int(draw.chance() ** 2 * 3000))
    if not paired:
        en, zh = unheard(draw)
    return Value("goods", f"{number} {unit} of {en}", f"{number}{measure}{zh}")


def draw_phrase(draw, paired: bool) -> Value:
    """A title or remark of several words."""
    parts = [draw_words(draw) if paired else unheard(draw) for _ in range(2 + int(draw.chance() * 2))]
    if draw.chance() < 0.3:
        (verb, deed), parts = draw.pick(VERBS), parts[:2]
        return Value("phrase", f"{parts[0][0]} {verb} {parts[1][0]}", f"{parts[0][1]}{deed}{parts[1][1]}")
    between = draw.pick(((" and ", "与"), (" for ", "之"), (" ", "")))
    return Value("phrase", between[0].join(p[0] for p in parts), between[1].join(p[1] for p in parts))


def identifiers_of(kind: str, shapes: tuple[str, ...]):
    def make(draw, _: bool) -> Value:
        text = "".join(
            draw.pick(LETTERS) if c == "A" else draw.pick("0123456789") if c == "9" else c for c in draw.pick(shapes)
        )
        return Value(kind, text, text)

    return make
