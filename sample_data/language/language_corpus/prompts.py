"""What one example is, and how a task is put into words."""

import tomllib
from dataclasses import dataclass, field

from language_corpus.scenes import LANGUAGES
from language_corpus.template import Draw, Template, divide
from language_corpus.value import DATA

_TABLE = tomllib.loads((DATA / "prompts.toml").read_text("utf-8"))
PROMPTS = {
    task: {lang: divide([Template(text) for text in texts[lang]]) for lang in LANGUAGES}
    for task, texts in _TABLE.items()
}
LANGUAGE_NAMES = {"en": {"en": "English", "zh": "Chinese"}, "zh": {"en": "英文", "zh": "中文"}}
NOT_FOUND = {"en": "not found", "zh": "未找到"}


@dataclass(frozen=True)
class Pair:
    """One example.

    ``facts`` are texts that a right answer holds; ``schema`` and ``value`` are those of an extraction.
    """

    task: str
    language: str
    prompt: str
    answer: str
    source: str
    system: str = ""
    schema: dict | None = None
    value: dict | None = None
    facts: tuple[str, ...] = field(default=())


def other(language: str) -> str:
    return "zh" if language == "en" else "en"


def asked_in(language: str, draw: Draw) -> str:
    return language if draw.chance() < 0.78 else other(language)


def prompt_for(task: str, asking: str, draw: Draw, **parts: str) -> str:
    return draw.phrase(*PROMPTS[task][asking]).render(parts, asking, draw)


def system_for(language: str, draw: Draw) -> str:
    return prompt_for("system", language, draw) if draw.chance() < 0.08 else ""


def list_of(words: list[str], language: str, draw: Draw) -> str:
    """A list as a person writes it: with commas and a last "and", or as lines."""
    chance = draw.chance()
    if chance < 0.08 and len(words) > 1:
        mark = draw.pick(("- ", "* ", "", "• "))
        return "\n" + "\n".join(mark + word for word in words)
    if chance < 0.12:
        return draw.pick((" / ", ",", "; ", " | ", " + ", "，", "；")).join(words)
    if language == "zh":
        if len(words) > 1 and draw.chance() < 0.7:
            return "、".join(words[:-1]) + draw.pick(("和", "、", "与", "以及", "及", "和")) + words[-1]
        return draw.pick(("、", "、", "，")).join(words)
    if len(words) > 1 and draw.chance() < 0.7:
        return ", ".join(words[:-1]) + draw.pick((" and ", " and ", ", and ", " & ", " plus ")) + words[-1]
    return ", ".join(words)
