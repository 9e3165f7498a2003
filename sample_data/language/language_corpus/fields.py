"""Which fields a prompt asks for, under which names, with which types; the answers, and those that are not there."""

import json
import re

from language_corpus.scenes import ALL, Field, Frame, Scene
from language_corpus.template import Draw
from language_corpus.value import COMMON

MANY = COMMON["many"]
YEARLY = re.compile("year|年度")
COUNTS = ("count", "count_small", "slice", "age")
KEEP = frozenset("abcdefghijklmnopqrstuvwxyz0123456789 ")


class Asked:
    """One field as it is asked: words for people, key for JSON, schema, and the answer (None: not found)."""

    __slots__ = ("answer", "count", "enum", "key", "note", "schema", "surface", "words")

    def __init__(self, words: str, key: str, schema: dict, answer: object, enum: list[str] | None = None) -> None:
        self.words, self.key, self.schema, self.answer, self.enum = words, key, schema, answer, enum
        self.note: str | None = None
        self.surface = answer  # as the passage has it, where the answer is a number
        self.count: int | None = None  # the number, where it is what one expects

    def settle(self, draw: Draw) -> None:
        """What a field is whose type the prompt does not say: counts are numbers, amounts with units are texts."""
        if draw.chance() > 0.9:
            return
        if self.schema.get("type") == ["number", "null"] and isinstance(self.surface, str):
            self.schema, self.answer = {"type": ["string", "null"]}, self.surface
        elif self.count is not None:
            self.schema, self.answer = {"type": ["integer", "null"]}, self.count


def style_key(words: str, style: str) -> str:
    """The key for some words: snake_case, camelCase, and so on; Chinese words stay."""
    if not words.isascii():
        return words
    parts = "".join(c for c in words.lower().replace("-", " ").replace("&", "") if c in KEEP).split()
    if style == "camel":
        return parts[0] + "".join(part.capitalize() for part in parts[1:])
    if style == "pascal":
        return "".join(part.capitalize() for part in parts)
    if style == "kebab":
        return "-".join(parts)
    if style == "words":
        return " ".join(parts)
    if style == "title":
        return " ".join(part.capitalize() for part in parts)
    return "_".join(parts).upper() if style == "upper" else "_".join(parts)


SHORT = {
    "number": "no", "quantity": "qty", "amount": "amt", "percent": "pct", "percentage": "pct", "temperature": "temp",
    "maximum": "max", "minimum": "min", "average": "avg", "company": "co", "organisation": "org", "location": "loc",
    "department": "dept", "description": "desc", "address": "addr", "account": "acct", "reference": "ref",
    "previous": "prev", "current": "cur", "total": "tot", "value": "val", "category": "cat", "position": "pos",
    "direction": "dir", "diameter": "diam", "weight": "wt", "length": "len", "height": "ht", "volume": "vol",
    "inspection": "insp", "defect": "def", "serial": "sn", "product": "prod", "employees": "emp", "revenue": "rev",
    "manager": "mgr", "second": "2nd", "first": "1st", "period": "per", "patient": "pt", "measured": "meas",
}  # fmt: skip


def shorten(key: str) -> str:
    """A key with its words cut short, as tables of databases have them."""
    return "_".join(SHORT.get(part, part) for part in key.split("_"))


STYLES = ("snake",) * 10 + ("camel",) * 3 + ("words",) * 3 + ("kebab", "pascal", "title", "upper")


def in_words(pattern: str, item, language: str, draw: Draw) -> str:
    name = pattern.lstrip("~")
    if "{" not in name:
        return name
    before, _, rest = name.partition("{")
    return before + draw.pick(item[2][language]) + rest.partition("}")[2]


class Present:
    """What a passage answers: for each name, the one answer it can have."""

    def __init__(self, scenes: list[Scene], language: str, others: list[tuple[str, str, str]] | None = None) -> None:
        self.kinds: dict[str, set[str]] = {}
        self.concepts: set[tuple] = set()
        self.names: dict[str, set[str]] = {}
        for name, kind, surface in others or ():
            self.names.setdefault(name.lower(), set()).add(surface)
            self.kinds.setdefault(kind_of(kind), set()).add(surface)
        for scene in scenes:
            for slot, value in scene.values.items():
                self.kinds.setdefault(kind_of(value.kind), set()).add(scene.surfaces.get(slot, ""))
            for field in scene.frame.fields:
                value = scene.values.get(field.slot)
                if value is None:
                    continue
                item = _item(scene, field)
                surface = scene.surfaces.get(field.slot, "")
                self.concepts.add((scene.frame.name, field.slot, item[1] if item else None))
                for pattern in (*field.names[language], *field.unseen[language]):
                    for name in _every(pattern, item, language):
                        self.names.setdefault(name, set()).add(surface)

    def answers(self, words: str, generic: bool, kind: str) -> bool:
        """Whether the name has exactly one answer here; a generic name must be the only one of its kind too."""
        if len(self.names.get(words.lower(), ())) != 1:
            return False
        return not generic or len(self.kinds.get(kind_of(kind), ())) == 1


def _every(pattern: str, item, language: str):
    name = pattern.lstrip("~").lower()
    if "{" not in name:
        return [name]
    if item is None:
        return []
    before, _, rest = name.partition("{")
    return [before + word.lower() + rest.partition("}")[2] for word in item[2][language]]


def _item(scene: Scene, field: Field):
    return scene.values[field.by].item if field.by and field.by in scene.values else None


GROUPS = {
    "year": "period",
    "length_small": "length",
    "length_mm": "length",
    "per_share": "amount",
    "count_small": "count",
}


def kind_of(kind: str) -> str:
    """The kind that values are told apart by: all lengths are one."""
    return GROUPS.get(kind, kind)


def found(scene: Scene, field: Field, present: Present, language: str, style: str, draw: Draw) -> Asked | None:
    """The field as asked of a passage that answers it; None where no name of it is unambiguous there."""
    value = scene.values.get(field.slot)
    if value is None or field.slot not in scene.surfaces:
        return None
    item = _item(scene, field)
    for _ in range(3):
        pattern = draw.phrase(field.names[language], field.unseen[language])
        if "{" in pattern and item is None:
            continue
        words = in_words(pattern, item, language, draw)
        if value.kind == "period" and YEARLY.search(words):
            continue
        if present.answers(words, pattern[0] == "~", value.kind):
            asked = _typed(words, field, value, scene.surfaces[field.slot], language, style, draw)
            if not asked.enum:
                asked.surface = scene.surfaces[field.slot]
                if value.kind in COUNTS and value.number is not None and "." not in value.number:
                    asked.count = int(value.number)
            return asked
    return None


def _typed(words: str, field: Field, value, surface: str, language: str, style: str, draw: Draw) -> Asked:
    key = style_key(words, style)
    chance = draw.chance()
    if field.enum:
        kind, code, _ = value.item
        options = [item[language][0] for _, item in field.frame.domain.items[kind]]
        if kind == "polarity" and chance < 0.35:
            answer = {"present": True, "absent": False}.get(code)
            return Asked(words, key, {"type": ["boolean", "null"]}, answer, ["true", "false"])
        if draw.chance() < 0.3:
            options = options[::-1]
        answer = value.item[2][language][0]
        return Asked(words, key, {"enum": [*options, None]}, answer, options)
    number = value.number
    whole = number is not None and "." not in number
    if number is not None and value.kind in ("year", "count", "count_small", "slice", "age"):
        if chance < (0.85 if value.kind != "year" or YEARLY.search(words) else 0.2):
            return Asked(words, key, {"type": ["integer", "null"]}, int(number))
    elif number is not None and chance < 0.22:
        unit = {"percent": (" percent", "（%）"), "length_mm": (" mm", "（毫米）")}.get(value.kind)
        if unit and draw.chance() < 0.5:
            words += unit[0] if words.isascii() else unit[1]
            key = style_key(words, style)
        if number is not None:
            return Asked(words, key, {"type": ["number", "null"]}, int(number) if whole else float(number))
    return Asked(words, key, {"type": ["string", "null"]}, surface)


def missing(
    frames: list[Frame], present: Present, language: str, style: str, draw: Draw, only: Field | None = None
) -> Asked | None:
    """A field that the passage does not answer: other facts of the same frames above all, for they are the traps.

    ``only`` asks for that field of another thing.
    """
    for _ in range(4):
        frame = draw.pick(frames) if draw.chance() < 0.65 else draw.pick(draw.pick(list(ALL.values())).frames)
        field = only or draw.pick(frame.fields)
        frame = field.frame
        kind = frame.slots[field.slot]
        item = None
        if field.by:
            item = frame.domain.item(frame.slots[field.by][5:], draw, paired=False).item
        if (frame.name, field.slot, item[1] if item else None) in present.concepts:
            continue
        pattern = draw.phrase(field.names[language], field.unseen[language])
        words = in_words(pattern, item, language, draw)
        if words.lower() in present.names or (pattern[0] == "~" and present.kinds.get(kind_of(kind))):
            continue
        if field.by and "{" not in pattern and any(c[:2] == (frame.name, field.slot) for c in present.concepts):
            continue
        if kind == "reading":
            kind = item[2]["kind"] if item else "percent"
        return _absent(words, field, kind, language, style, draw)
    return None


def _absent(words: str, field: Field, kind: str, language: str, style: str, draw: Draw) -> Asked:
    key = style_key(words, style)
    if field.enum:
        options = [item[language][0] for _, item in field.frame.domain.items[kind[5:]]]
        if kind == "item:polarity" and draw.chance() < 0.35:
            return Asked(words, key, {"type": ["boolean", "null"]}, None, ["true", "false"])
        return Asked(words, key, {"enum": [*options, None]}, None, options)
    if kind in ("year", "count", "count_small", "slice", "age"):
        return Asked(words, key, {"type": ["integer" if draw.chance() < 0.8 else "string", "null"]}, None)
    if not kind.startswith("item:") and draw.chance() < 0.2 and kind in ("amount", "percent", "length", "temperature"):
        return Asked(words, key, {"type": ["number", "null"]}, None)
    return Asked(words, key, {"type": ["string", "null"]}, None)


def list_name(frame: Frame, language: str, draw: Draw) -> str:
    """What a list of this frame's facts is called."""
    return draw.pick(MANY[frame.name][language])


def as_json(value: object) -> str:
    """Compact JSON, Chinese left readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def schema_of(asked: list[Asked]) -> dict:
    """The JSON schema of an object with these fields, all required, nothing else allowed."""
    return {
        "type": "object",
        "properties": {each.key: each.schema for each in asked},
        "required": [each.key for each in asked],
        "additionalProperties": False,
    }
