"""Texts of the pages in English and Chinese, and which of the two a request is answered in."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, get_args

from flask import current_app, g, has_request_context, request

from evident_core.evidence import Language

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
LANGUAGE_NAMES: Final[Mapping[Language, str]] = {"en": "English", "zh": "中文"}
HTML_LANGUAGE: Final[Mapping[Language, str]] = {"en": "en", "zh": "zh-Hans"}
DEFAULT_LANGUAGE: Final = "EVIDENT_LANGUAGE"
THEMES: Final = ("auto", "light", "dark")
LANGUAGE_COOKIE: Final = "evident_lang"
THEME_COOKIE: Final = "evident_theme"
CORE_TEXTS: Final = Path(__file__).parent / "data" / "texts.toml"


class Texts:
    """Texts by dotted key, each in every language.

    A file is TOML with tables as deep as wanted, and a leaf ``{ en = "…", zh = "…" }``; ``{name}`` in a text is filled
    from the keyword arguments. Later files may replace the texts of earlier ones.
    """

    def __init__(self, *files: Path) -> None:
        self._texts: dict[str, dict[Language, str]] = {}
        for file in files:
            with file.open("rb") as stream:
                self._texts.update(_leaves(tomllib.load(stream), file, ""))

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def get(self, key: str, language: Language, **values: object) -> str:
        """The text of that key in that language.

        Raises:
            KeyError: There is no such text: a mistake in a template, never shown as if it were a text.
        """
        if key not in self._texts:
            near = difflib.get_close_matches(key, self._texts, n=1)
            raise KeyError(f"no text is called {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        text = self._texts[key][language]
        return text.format(**values) if values else text


def _leaves(table: Mapping[str, object], file: Path, prefix: str) -> Iterator[tuple[str, dict[Language, str]]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict):
            raise TypeError(f"{file.name}: {key} is {value!r}; a text is {{ en = …, zh = … }}")
        if "en" in value or "zh" in value:
            if set(value) != set(LANGUAGES):
                raise ValueError(f"{file.name}: {key} must be given in exactly {', '.join(LANGUAGES)}")
            yield key, {language: str(value[language]) for language in LANGUAGES}
        else:
            yield from _leaves(value, file, f"{key}.")


def language() -> Language:
    """The language of this request's answer: ``?lang=``, the cookie, ``Accept-Language``, else the setting."""
    if not has_request_context():
        return "en"
    if "language" not in g:
        asked = request.args.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        g.language = asked if asked in LANGUAGES else _accepted()
    chosen: Language = g.language
    return chosen


def _accepted() -> Language:
    default: Language = current_app.config[DEFAULT_LANGUAGE]
    for tag, _ in request.accept_languages:
        primary = tag.lower().partition("-")[0]
        for each in LANGUAGES:
            if primary == each:
                return each
    return default


def theme() -> str:
    """The theme of this request's page: ``?theme=``, the cookie, else the reader's system decides (``auto``)."""
    asked = request.args.get("theme") or request.cookies.get(THEME_COOKIE)
    return asked if asked in THEMES else "auto"
