"""Passage to JSON: flat, nested, or with a list of objects; what is not there comes back null."""

from language_corpus import fields
from language_corpus.asking import mixed, options
from language_corpus.fields import Asked, as_json, schema_of, shorten
from language_corpus.forms import form
from language_corpus.prompts import Pair, asked_in, list_of, other, prompt_for, system_for
from language_corpus.scenes import LANGUAGES, Scene
from language_corpus.template import Draw

TYPES = {
    "string": ("text", "文本"),
    "integer": ("integer", "整数"),
    "number": ("number", "数值"),
    "boolean": ("true/false", "是否"),
}


def _type_note(asked: Asked, language: str) -> str:
    if asked.enum and "enum" in asked.schema:
        return "/".join(asked.enum)
    return TYPES[asked.schema["type"][0]][language == "zh"]


def _named(asked: list[Asked], language: str, draw: Draw, mode: float) -> str:
    """The list of fields as a person writes it: words, keys, keys with types or notes, or an empty object."""
    chance = mode
    plain = all(each.schema.get("type", ["string"])[0] in ("string", "integer") for each in asked)
    if any(each.note for each in asked):
        return list_of([f"{each.key} ({each.note or each.words})" for each in asked], language, draw)
    if chance < 0.4 and (plain or draw.chance() < 0.4):
        words = [each.words for each in asked]
        if language == "en" and draw.chance() < 0.12:
            words = ["the " + each if each.isascii() else each for each in words]
        elif draw.chance() < 0.1:
            words = [each.capitalize() if each.islower() else each for each in words]
        return list_of(words, language, draw)
    if chance < 0.65:
        return list_of([each.key for each in asked], language, draw)
    if chance < 0.75:
        return list_of([f'"{each.key}"' for each in asked], language, draw)
    if chance < 0.93:
        same = {_type_note(each, language) for each in asked}
        if len(same) == 1 and len(asked) > 1 and draw.chance() < 0.7:  # said once, for all of them
            listed = list_of([each.key for each in asked], language, draw)
            note = same.pop()
            if asked[0].enum and "enum" in asked[0].schema and draw.chance() < 0.6:
                note = list_of(asked[0].enum, language, draw).replace(" and ", " or ").replace("和", "或")
            return draw.pick(("{} ({})", "{}（{}）", "{}: {}", "{} [{}]")).format(listed, note)
        notes = [(each.key, _type_note(each, language)) for each in asked]
        if draw.chance() < 0.25:
            return "{" + ", ".join(f'"{key}": {note}' for key, note in notes) + "}"
        shape = draw.pick(("{} ({})", "{} ({})", "{}: {}", "{} [{}]", "{}<{}>", "{}（{}）"))
        return list_of([shape.format(key, note) for key, note in notes], language, draw)
    if draw.chance() < 0.3:
        return as_json([each.key for each in asked])
    blank = draw.pick((None, None, "", "…", "?"))
    text = as_json(dict.fromkeys([each.key for each in asked], blank))
    return text.replace(":", ": ").replace(",", ", ") if draw.chance() < 0.3 else text


def _lists(scenes: list[Scene], names: str, style: str, draw: Draw):
    """One list of objects for the scenes of one frame: its name, the objects' fields, and the objects."""
    frame = draw.pick(scenes).frame
    mine = [scene for scene in scenes if scene.frame is frame]
    slots = [each for each in frame.fields if draw.chance() < 0.75] or frame.fields[:1]
    columns: dict[str, dict] = {}
    rows: list[dict] = [{} for _ in mine]
    for each in slots:
        patterns = [pattern for pattern in each.names[names] if "{" not in pattern] or [each.slot]
        words = draw.pick(patterns).lstrip("~")
        if words.isascii() and names == "zh":
            words = each.names[names][0].replace("{", "").split("}")[-1] or each.slot
        key = fields.style_key(words, style)
        values = [(scene.values.get(each.slot), scene.surfaces.get(each.slot)) for scene in mine]
        if key in columns or any(value is not None and surface is None for value, surface in values):
            continue
        if each.enum:
            options = [item[names][0] for _, item in frame.domain.items[frame.slots[each.slot][5:]]]
            columns[key] = {"enum": [*options, None]}
            answers = [value.item[2][names][0] if value else None for value, _ in values]
        else:
            columns[key] = {"type": ["string", "null"]}
            answers = [surface for _, surface in values]
        for row, answer in zip(rows, answers, strict=True):
            row[key] = answer
    item = {"type": "object", "properties": columns, "required": list(columns), "additionalProperties": False}
    words = fields.list_name(frame, names, draw)
    return fields.style_key(words, style), {"type": "array", "items": item}, rows


def extraction(draw: Draw) -> Pair:
    """Passage to JSON: flat, nested or with a list of objects; some fields are not there and come back null."""
    language = draw.pick(LANGUAGES)
    names = language if draw.chance() < 0.85 else other(language)
    draw.across = names != language
    mode = draw.chance()  # below 0.4 the fields are named in words, from which a key follows only if the style is one
    style = "snake" if mode < 0.4 and draw.chance() < 0.9 else draw.pick(fields.STYLES)
    scenes: list[Scene] = []
    kind = draw.chance()
    if kind < 0.04:
        text, asked = options(draw, language, names, style)
        mode = 0.75 + 0.18 * draw.chance() if draw.chance() < 0.6 else mode
    elif kind < 0.29:
        text, asked = form(draw, language, names, style)
    else:
        scenes, text, asked = mixed(draw, language, names, style, 5, 5)
    if not asked or (not text and mode < 0.4):
        return extraction(draw)
    if draw.chance() < 0.07:
        for each in asked:
            each.key = shorten(each.key)
        if len({each.key for each in asked}) < len(asked):
            return extraction(draw)
        mode = max(mode, 0.45)
    chance, asking = draw.chance(), names if draw.chance() < 0.85 else asked_in(language, draw)
    if draw.chance() < 0.06:  # keys that say nothing, each with a note that does
        for index, each in enumerate(asked):
            each.note, each.key = each.words, draw.pick(("f{}", "x{}", "field_{}", "k{}")).format(index + 1)
        if len({each.key for each in asked}) < len(asked):
            return extraction(draw)
        chance = 1.0
    whole = chance < 0.97 and draw.chance() < 0.22  # the schema itself is shown
    if not whole and not 0.75 <= mode < 0.93:
        for each in asked:
            each.settle(draw)
    schema, value = schema_of(asked), {each.key: each.answer for each in asked}
    listed = _named(asked, asking, draw, mode)
    if chance < 0.2 and scenes:
        key, array, rows = _lists(scenes, names, style, draw)
        if key not in value and array["items"]["properties"]:
            keys = list(array["items"]["properties"])
            flat = asked if draw.chance() < 0.4 else []
            schema, value = schema_of(flat), {each.key: each.answer for each in flat} | {key: rows}
            schema["properties"][key] = array
            schema["required"].append(key)
            inner = list_of(keys, asking, draw)
            how = f"{key} (a list of {inner})" if asking == "en" else f"{key}（列表，每项含{inner}）"
            if draw.chance() < 0.25:
                how = as_json({key: [dict.fromkeys(keys)]})
            listed = (
                how if not flat else _named(flat, asking, draw, mode) + (", and " if asking == "en" else "，以及") + how
            )
    elif chance < 0.3:
        key = draw.pick(
            ("report", "data", "facts", "record", "result") if names == "en" else ("报告", "数据", "事实", "记录")
        )
        schema = {"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": False}
        value = {key: value}
        listed = f"{key} (with {listed})" if asking == "en" else f"{key}（含{listed}）"
        if draw.chance() < 0.4:
            listed = as_json({key: dict.fromkeys(each.key for each in asked)})
    if whole:
        shown = schema if draw.chance() < 0.6 else {"properties": schema["properties"]}
        prompt = prompt_for("schema", asking, draw, schema=as_json(shown), text=text)
    else:
        prompt = prompt_for("extract", asking, draw, fields=listed, text=text)
    return Pair("extract", language, prompt, as_json(value), text, system_for(asking, draw), schema, value)
