"""Scenes: one event of a field, drawn as values for the slots of a frame, and told in English or Chinese."""

import re
import tomllib

from language_corpus.names import coined, draw_phrase, draw_role, draw_words, unheard
from language_corpus.template import Draw, Template, divide
from language_corpus.value import COMMON, DATA, HAN, Value
from language_corpus.values import like, make_value

DOMAINS = ("finance", "radiology", "news", "manufacturing", "general")
LANGUAGES = ("en", "zh")
UNKNOWN = (
    "The {0} was near the {1}",
    "Nothing is known of the {0}",
    "The {0} and the {1} are described elsewhere",
    "{0} will be discussed with the {1} and the {2}",
    "There were questions about the {0}",
    "See the {0} for the {1}",
    "The {0} {1} was {2} again",
    "No {0} could {1} the {2}",
    "{0}, {1} and {2} remain",
)
UNKNOWN_ZH = (
    "{0}与{1}仍在{2}",
    "关于{0}的{1}另行通知",
    "{0}未能{1}",
    "此外，{0}{1}如常",
    "{0}旁边是{1}",
    "{0}见{1}一节",
    "对{0}有疑问",
)
ARTICLE = re.compile(r"(^[Aa]|(?<=[\s;:])a) (?=[aeioAEIO]|8|1[18]\b)")
GENERIC = set(COMMON["generic"]["en"]) | set(COMMON["generic"]["zh"])
SHARED = {"company", "organisation", "person", "city", "patient_id", "serial", "station", "line", "lot"}


class Field:
    """A question that a frame answers: a slot, its names, the item that they name (``by``), whether it is an option."""

    def __init__(self, frame: "Frame", entry: dict) -> None:
        self.frame, self.slot, self.enum = frame, entry["slot"], entry.get("enum", False)
        # A name that many frames share is safe only where the passage has one value of that kind, or none: "~".
        # Some names of a field that has many are for evaluation.
        self.names: dict[str, list[str]] = {}
        self.unseen: dict[str, list[str]] = {}
        for language in LANGUAGES:
            names = ["~" + name if name in GENERIC else name for name in entry[language]]
            self.names[language], self.unseen[language] = divide(names, str)
        placed = [name.partition("{")[2].partition("}")[0] for name in entry["en"] if "{" in name]
        self.by = placed[0] if placed else entry.get("by")


class Frame:
    """What can be said of one kind of event."""

    def __init__(self, name: str, domain: "Domain", table: dict) -> None:
        self.name, self.domain, self.slots = name, domain, table["slots"]
        self.fields = [Field(self, entry) for entry in table["fields"]]
        self.told = {language: divide([Template(text) for text in table[language]]) for language in LANGUAGES}
        self.titles = {
            language: divide([Template(text) for text in table[f"title_{language}"]]) for language in LANGUAGES
        }
        self._fitting: dict = {}

    def fitting(self, language: str, have: frozenset[str], title: bool = False):
        """The templates, known and held out, that say exactly these slots; of titles, those that say no others."""
        key = language, have, title
        if key not in self._fitting:
            groups = self.titles[language] if title else self.told[language]
            fits = (lambda template: template.required <= have) if title else (lambda template: template.fits(have))
            self._fitting[key] = tuple([template for template in group if fits(template)] for group in groups)
        return self._fitting[key]


class Domain:
    """One field of the suite: its items, its frames and sentences that state none of the facts asked for."""

    def __init__(self, name: str) -> None:
        table = tomllib.loads((DATA / f"{name}.toml").read_text("utf-8"))
        self.name = name
        self.items = {kind: list(items.items()) for kind, items in table["items"].items()}
        self.forms = {}
        for kind, items in table["items"].items():
            for code, item in items.items():
                self.forms[kind, code] = {
                    form: {language: Template(text) for language, text in value.items()}
                    for form, value in item.items()
                    if isinstance(value, dict)
                }
        self.frames = [Frame(frame, self, entry) for frame, entry in table["frames"].items()]
        self.closed = {frame.slots[each.slot][5:] for frame in self.frames for each in frame.fields if each.enum} | {
            kind for kind, _ in self.forms if self.forms[kind, _]
        }
        self.filler = {language: [Template(text) for text in table["filler"][language]] for language in LANGUAGES}

    def item(self, kind: str, draw: Draw, paired: bool) -> Value:
        """An item of that kind, under one of its names in each language (the first in each when ``paired``).

        Where the kind is no closed list, one in three is a thing that nobody has listed: what a passage calls
        something is copied from it and not looked up.
        """
        code, item = draw.pick(self.items[kind])
        if kind not in self.closed and draw.chance() < (0.15 if paired else 0.35):
            if kind == "role":
                en, zh = draw_role(draw, paired).text.values()
            elif kind == "quote":
                en, zh = draw_phrase(draw, paired or draw.across).text.values()
            else:
                en, zh = draw_words(draw) if paired or draw.across else unheard(draw)
            item = item | {"en": [en], "zh": [zh]}
            return Value(f"item:{kind}", en, zh, item=(kind, en, item), forms={})
        en, zh = (item["en"][0], item["zh"][0]) if paired else (draw.pick(item["en"]), draw.pick(item["zh"]))
        return Value(f"item:{kind}", en, zh, item=(kind, code, item), forms=self.forms[kind, code])


class Scene:
    """One event: its frame and a value for each slot that is told."""

    __slots__ = ("frame", "surfaces", "values")

    def __init__(self, frame: Frame, values: dict[str, Value]) -> None:
        self.frame, self.values = frame, values
        self.surfaces: dict[str, str] = {}

    @property
    def have(self) -> frozenset[str]:
        """The slots that are told."""
        return frozenset(self.values)

    def tell(self, language: str, draw: Draw, title: bool = False) -> str | None:
        """A sentence (without its stop) or title; None where no template says these slots in that language."""
        known, held = self.frame.fitting(language, self.have, title)
        if not known and not held:
            return None
        template = draw.phrase(known or held, held)
        surfaces: dict[str, str] = {}
        text = template.render(self.values, language, draw, surfaces)
        if language == "en":
            text = ARTICLE.sub(r"\1n ", text)
        head = text[0]
        if head.islower() and language == "en":
            text = head.upper() + text[1:]
            for slot, surface in surfaces.items():
                if surface and text[1:].startswith(surface[1:]) and surface[0] == head:
                    surfaces[slot] = text[: len(surface)]
        if not title:
            self.surfaces = surfaces
        return text


ALL = {name: Domain(name) for name in DOMAINS}


def make_scene(frame: Frame, draw: Draw, language: str, paired: bool = False, shared: dict | None = None) -> Scene:
    """A scene that can be told in that language.

    Args:
        frame: What kind of event.
        draw: Where choices come from.
        language: In which language there is a template for it.
        paired: One form a value, so that the scene reads the same in both languages.
        shared: Values of earlier scenes by kind; names of places, people and things may come back.
    """
    template = draw.phrase(*frame.told[language])
    have = set(template.required)
    for group in template.groups:
        if draw.chance() < 0.45:
            have |= group
    values: dict[str, Value] = {}
    for slot in frame.slots:
        if slot not in have:
            continue
        kind = frame.slots[slot]
        if kind.startswith("item:"):
            values[slot] = frame.domain.item(kind[5:], draw, paired)
        elif kind == "reading":
            kind = values["sensor"].item[2]["kind"]
            before = next((value for value in values.values() if value.kind == kind), None)
            values[slot] = (like(before, draw) if before else None) or make_value(kind, draw, paired)
        elif shared and kind in shared and draw.chance() < 0.6 and shared[kind] not in values.values():
            values[slot] = shared[kind]
        else:
            before = next((value for value in values.values() if value.kind == kind), None)
            alike = like(before, draw) if before and draw.chance() < 0.85 else None
            values[slot] = alike or make_value(kind, draw, paired)
            if shared is not None and kind in SHARED:
                shared[kind] = values[slot]
    # Two values of one kind in a scene must differ, or which is which could not be told.
    texts = [value.text["en"] for value in values.values()]
    return Scene(frame, values) if len(set(texts)) == len(texts) else make_scene(frame, draw, language, paired, shared)


def stop(language: str) -> str:
    """How a sentence ends."""
    return "." if language == "en" else "。"


def noise(domain: Domain, language: str, draw: Draw) -> str:
    """A sentence that answers nothing; half of them of words in any order or of words that mean nothing."""
    chance = draw.chance()
    if chance < 0.5:
        return draw.pick(domain.filler[language]).render({}, language, draw)
    words = [unheard(draw)[language == "zh"] for _ in range(3)]
    if chance < 0.65:
        words = [coined(draw) if language == "en" else "".join(draw.pick(HAN) for _ in range(2)) for _ in range(3)]
    return draw.pick(UNKNOWN if language == "en" else UNKNOWN_ZH).format(*words)


def tell(
    scenes: list[Scene], language: str, draw: Draw, extra: list[str] | None = None, filler: float = 0.25
) -> str | None:
    """A passage: the scenes' and other sentences, with some in between that state nothing; prose, lines or bullets."""
    sentences: list[str] = []
    for scene in scenes:
        text = scene.tell(language, draw)
        if text is None:
            return None
        sentences.append(text)
        if draw.chance() < filler:
            sentences.insert(
                int(draw.chance() * (len(sentences) + 1)),
                noise(scene.frame.domain, language, draw),
            )
    for sentence in extra or ():
        sentences.insert(int(draw.chance() * (len(sentences) + 1)), sentence)
    end, chance = stop(language), draw.chance()
    if len(sentences) == 1 and chance < 0.15:
        return sentences[0]
    if chance > 0.92:
        return "\n".join("- " + sentence for sentence in sentences)
    if chance > 0.86:
        return "\n".join(sentence + end for sentence in sentences)
    if language == "zh":
        text = "".join(sentence + end for sentence in sentences)
        return text.replace("，", ",").replace("。", ".") if chance > 0.84 else text
    return " ".join(sentence if sentence[-1] in '."' else sentence + end for sentence in sentences)
