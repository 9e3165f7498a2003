"""Texts of the inspection pages by key, both languages at once where a report stands side by side."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from evident_core.evidence import Language

_SYMBOLS: Final = 0x2400
"""Where the pictures of control characters begin (Unicode)."""
FILE: Final = Path(__file__).parent / "data" / "texts.toml"


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text("utf-8"))


def text(key: str, language: Language, **values: object) -> str:
    """The text of a dotted key in one language."""
    table, _, name = key.partition(".")
    return str(_texts()[table][name][language]).format(**values)


def part_name(part_id: str, language: Language) -> str:
    """A part's id as a page shows it: what is blank in words, a line end and its like as their symbols."""
    if not part_id.strip():
        return text("board.blank", language)
    return "".join(chr(_SYMBOLS + ord(each)) if ord(each) < ord(" ") else each for each in part_id)


def in_both(key: str, **values: object) -> dict[str, str]:
    """The text of a dotted key by language."""
    return {"en": text(key, "en", **values), "zh": text(key, "zh", **values)}


def both(key: str, **values: object) -> Markup:
    """The text of a dotted key in English and Chinese, each in an element that names its language."""
    tags: tuple[tuple[Language, str], ...] = (("en", "en"), ("zh", "zh-Hans"))
    spans = ((language, tag, text(key, language, **values)) for language, tag in tags)
    return Markup("").join(Markup('<span class="{}" lang="{}">{}</span>').format(*each) for each in spans)
