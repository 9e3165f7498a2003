"""Texts in two languages."""

import string
from itertools import pairwise
from pathlib import Path

import pytest

from evident_core.web.i18n import CORE_TEXTS, LANGUAGES, Texts, language


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "texts.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_text_has_the_same_gaps_in_every_language():
    parse = string.Formatter().parse
    texts = Texts(CORE_TEXTS)
    for key in texts:
        english, chinese = ({name for _, name, _, _ in parse(texts.get(key, each)) if name} for each in LANGUAGES)
        assert english == chinese, key
        assert all(texts.get(key, each).strip() for each in LANGUAGES)


def test_chinese_texts_use_chinese_punctuation():
    texts = Texts(CORE_TEXTS)
    for key in texts:
        text = texts.get(key, "zh")
        for before, mark in pairwise(text):
            assert not (mark in ",;:?!" and "一" <= before <= "鿿"), (key, text)


def test_gaps_are_filled(file):
    texts = Texts(file('[a.b]\nc = { en = "up to {n} MiB", zh = "最大 {n} MiB" }'))
    assert texts.get("a.b.c", "en", n=5) == "up to 5 MiB"
    assert texts.get("a.b.c", "zh", n=5) == "最大 5 MiB"
    assert "a.b.c" in texts


def test_a_later_file_replaces(file):
    assert Texts(CORE_TEXTS, file('[job]\ndone = { en = "Ready", zh = "好了" }')).get("job.done", "en") == "Ready"


def test_a_missing_text_is_an_error_with_the_nearest(file):
    with pytest.raises(KeyError, match=r"job\.done"):
        Texts(CORE_TEXTS).get("job.dome", "en")
    with pytest.raises(KeyError):
        Texts().get("x", "en")


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ('[a]\nb = { en = "only" }', ValueError, "a.b"),
        ('[a]\nb = { en = "x", zh = "y", de = "z" }', ValueError, "a.b"),
        ('[a]\nb = "plain"', TypeError, "a.b"),
    ],
)
def test_a_wrong_file_says_where(file, text, error, match):
    with pytest.raises(error, match=match):
        Texts(file(text))


def test_outside_of_a_request_the_language_is_english():
    assert language() == "en"
