"""Extractions that were written by hand and not drawn from templates."""

import tomllib

from language_corpus.fields import as_json
from language_corpus.prompts import Pair
from language_corpus.value import DATA

TYPES = {"s": "string", "i": "integer", "n": "number"}


def written_pairs() -> list[Pair]:
    """The pairs of ``data/written.toml``; a field without an answer there is null."""
    table = tomllib.loads((DATA / "written.toml").read_text("utf-8"))
    return [_pair(entry["prompt"], entry["fields"], entry["answer"]) for entry in table["pairs"]]


def _pair(prompt: str, fields: dict, answer: dict) -> Pair:
    properties = {
        name: {"enum": [*kind, None]} if isinstance(kind, list) else {"type": [TYPES[kind], "null"]}
        for name, kind in fields.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}
    value = {name: answer.get(name) for name in fields}
    language = "zh" if any("一" <= char <= "鿿" for char in prompt) else "en"
    return Pair("extract", language, prompt, as_json(value), prompt, schema=schema, value=value)
