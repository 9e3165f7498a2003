"""Texts of the inspection pages by key, both languages at once where a report stands side by side."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from evident_core.evidence import Language

FILE: Final = Path(__file__).parent / "data" / "texts.toml"


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text("utf-8"))


def text(key: str, language: Language, **values: object) -> str:
    """The text of a dotted key in one language."""
    table, _, name = key.partition(".")
    return str(_texts()[table][name][language]).format(**values)


def both(key: str, **values: object) -> Markup:
    """The text of a dotted key in English and Chinese, each in an element that names its language."""
    tags: tuple[tuple[Language, str], ...] = (("en", "en"), ("zh", "zh-Hans"))
    spans = ((language, tag, text(key, language, **values)) for language, tag in tags)
    return Markup("").join(Markup('<span class="{}" lang="{}">{}</span>').format(*each) for each in spans)
