"""The corpus of the small language model: the same each time, and no answer states what its source does not."""

import itertools
from collections import Counter

import jsonschema
import numpy as np
import pytest

from language_corpus import tokens
from language_corpus.asking import options as choices
from language_corpus.extraction import extraction
from language_corpus.forms import form
from language_corpus.pairs import make_pair, phrasing, question, talk, title, translation
from language_corpus.prompts import NOT_FOUND, Pair
from language_corpus.scenes import ALL, LANGUAGES
from language_corpus.score import leaves, numbers, occurs, options, rates, score
from language_corpus.template import Draw, Template, divide
from language_corpus.values import KINDS, make_value
from language_corpus.written import written_pairs

SPLITS = ("train", "fresh", "held")


def _draws(name: str, count: int, split: str = "train") -> list[Draw]:
    return [Draw(f"test/{name}/{i}", split) for i in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_pair(split: str) -> None:
    once = [make_pair(draw) for draw in _draws("same", 100, split)]
    again = [make_pair(draw) for draw in _draws("same", 100, split)]
    assert once == again
    assert len({pair.prompt + pair.answer for pair in once}) > 95


@pytest.mark.parametrize("split", SPLITS)
def test_every_extracted_value_stands_in_its_source_or_is_an_option(split: str) -> None:
    nulls = values = 0
    for draw in _draws("extract", 300, split):
        pair = extraction(draw)
        allowed = options(pair.schema)
        for path, value in leaves(pair.value):
            if value is None:
                nulls += 1
            elif not isinstance(value, bool):
                values += 1
                assert value in allowed or occurs(value, pair.source), (path, value, pair.source)
        assert pair.source in pair.prompt
    assert nulls > 150
    assert values > 400


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_valid_under_their_schema_and_in_its_order(split: str) -> None:
    for draw in _draws("schema", 80, split):
        pair = extraction(draw)
        jsonschema.Draft202012Validator.check_schema(pair.schema)
        jsonschema.validate(pair.value, pair.schema)
        assert list(pair.value) == list(pair.schema["properties"]) == pair.schema["required"]


@pytest.mark.parametrize("split", SPLITS)
def test_texts_state_every_fact_and_no_other_number(split: str) -> None:
    for task, count in ((phrasing, 100), (translation, 100), (title, 60)):
        for draw in _draws(task.__name__, count, split):
            pair = task(draw)
            assert score(pair, pair.answer)["right"] == 1, pair
            if pair.task != "translate":
                told = numbers(pair.answer) - numbers(pair.prompt)
                assert not told or _dated(pair.answer), pair


def _dated(text: str) -> bool:
    """A date in the other language has its month as another word or number, a quarter likewise."""
    return any(word in text for word in ("月", "季度", "半年", "20", "19"))


def test_questions_are_answered_from_the_text_or_not_found() -> None:
    found = Counter()
    for draw in _draws("question", 400):
        pair = question(draw)
        none = pair.answer == NOT_FOUND[pair.language]
        found[none] += 1
        assert none or pair.answer in pair.prompt or pair.answer.lower() in pair.prompt.lower()
    assert min(found[True], found[False]) > 60


def test_what_has_no_text_is_never_answered_with_a_value() -> None:
    for draw in _draws("talk", 100):
        pair = talk(draw)
        assert pair.answer == NOT_FOUND[pair.language] or not numbers(pair.answer)
    empty = [pair for pair in map(extraction, _draws("empty", 1500)) if not pair.source]
    assert empty
    assert all(value is None for pair in empty for _, value in leaves(pair.value))


@pytest.mark.parametrize("language", LANGUAGES)
def test_options_are_the_same_for_all_that_they_are_asked_of(language: str) -> None:
    given = Counter()
    for draw in _draws("options", 60):
        _, asked = choices(draw, language, language, "snake")
        assert len({tuple(each.schema["enum"]) for each in asked}) <= 1
        given.update(each.answer is not None for each in asked)
        assert all(each.answer in each.schema["enum"] for each in asked)
    assert min(given[True], given[False]) > 20


@pytest.mark.parametrize(("language", "names"), list(itertools.product(LANGUAGES, LANGUAGES)))
def test_attributes_are_copied_from_where_they_stand(language: str, names: str) -> None:
    for draw in _draws("form", 60):
        draw.across = language != names
        text, asked = form(draw, language, names, "snake")
        for each in asked:
            assert each.answer is None or occurs(each.answer, text), (each.words, each.answer, text)


def test_a_held_wording_is_counted_and_never_drawn_in_training() -> None:
    known, held = divide(["{a} one", *(f"{{a}} {i}" for i in range(60))], str)
    assert known[0] == "{a} one"
    assert held
    assert not set(known) & set(held)
    training, evaluation = Draw("x"), Draw("x", "held")
    assert {training.phrase(known, held) for _ in range(100)} <= set(known)
    assert {evaluation.phrase(known, held) for _ in range(100)} <= set(held)
    assert (training.unseen, evaluation.unseen) == (0, 100)


def test_both_languages_and_all_tasks_are_there_in_their_shares() -> None:
    made = [make_pair(draw) for draw in _draws("shares", 1200)]
    languages = Counter(pair.language for pair in made)
    assert abs(languages["en"] - languages["zh"]) < 200
    tasks = Counter(pair.task for pair in made)
    assert set(tasks) == {"extract", "phrase", "translate", "title", "question", "talk", "plain"}
    assert tasks["extract"] > 500
    chinese = [pair.answer for pair in made if pair.task == "translate" and pair.language == "zh"]
    assert all(any("一" <= char <= "鿿" for char in text) for text in chinese)


def test_templates_of_both_languages_say_every_slot_somewhere() -> None:
    for domain in ALL.values():
        for frame in domain.frames:
            for language in LANGUAGES:
                known, held = frame.told[language]
                told = set().union(*(template.slots for template in (*known, *held)))
                assert told == set(frame.slots), (frame.name, language)
            assert {field.slot for field in frame.fields} <= set(frame.slots)


def test_training_never_sees_what_is_held_out() -> None:
    for domain in ALL.values():
        for frame in domain.frames:
            for known, held in frame.told.values():
                assert not {each.text for each in known} & {each.text for each in held}
    names = {
        split: {make_value("company", draw).text["en"] for draw in _draws("names", 3000, split)}
        for split in ("train", "held")
    }
    assert not {name for name in names["train"] & names["held"] if len(name) > 3}  # initials are too few to share out


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_number_of_a_value_stands_in_its_text(kind: str) -> None:
    for draw in _draws(kind, 40):
        for paired in (False, True):
            value = make_value(kind, draw, paired)
            for text in value.text.values():
                assert text.strip()
                assert value.number is None or value.number in text.replace(",", "")


@pytest.mark.parametrize(
    "text", ["{a", "(one|two", "[there", "(with {a}|without)", "one)", "two]"], ids=lambda text: text
)
def test_a_template_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"template|substring"):
        Template(text)


def test_optional_parts_are_told_when_their_slots_are_there() -> None:
    template = Template("{a}[, {b}][ and {c}]")
    draw = Draw("optional")
    assert template.render({"a": "x", "c": "z"}, "en", draw) == "x and z"
    assert template.fits(frozenset("ac"))
    assert not template.fits(frozenset("bc"))


def test_scores_tell_a_null_from_an_invention() -> None:
    schema = {
        "type": "object",
        "properties": {"year": {"type": ["integer", "null"]}, "city": {"type": ["string", "null"]}},
    }
    pair = Pair("extract", "en", "", "", "Sales rose in 2023.", "", schema, {"year": 2023, "city": None})
    right = rates(score(pair, '{"year":2023,"city":null}'))
    assert (right["exact"], right["null_honoured"], right["invented"]) == (1, 1, 0)
    wrong = rates(score(pair, '{"year":202,"city":"Oslo"}'))
    assert (wrong["field_exact"], wrong["null_honoured"], wrong["invented"]) == (0, 0, 1)
    assert rates(score(pair, "no JSON"))["parsed"] == 0


def test_copies_have_the_same_tokens_wherever_they_stand() -> None:
    words = tokens.train_tokenizer("test", 300)
    assert words.get_vocab_size() > 1000
    for draw in _draws("tokens", 60):
        pair = make_pair(draw)
        text = pair.prompt + pair.answer
        assert words.decode(words.encode(text).ids) == text
        for value in ("USD 12.4 million", "Larkhaven", "营业收入"):
            joined = words.encode(f'{{"x":"{value}"}} {value}.').ids
            alone = words.encode(value).ids
            places = [i for i in range(len(joined)) if joined[i : i + len(alone)] == alone]
            assert len(places) == 2
    block = next(tokens.blocks("test", words, 2048))
    assert block.dtype == np.uint16
    plain = block & 0x7FFF
    assert (plain < tokens.VOCABULARY).all()
    assert ((block & tokens.ANSWER) > 0).any(axis=1).all()
    again = next(tokens.blocks("test", words, 2048))
    np.testing.assert_array_equal(block, again)
    assert all(len(each) <= tokens.CONTEXT for each in itertools.islice(tokens.documents("test", words), 200))


def test_pairs_written_by_hand_hold_their_own_values() -> None:
    made = written_pairs()
    assert {pair.language for pair in made} == {"en", "zh"}
    for pair in made:
        jsonschema.validate(pair.value, pair.schema)
        for path, value in leaves(pair.value):
            assert value is None or value in options(pair.schema) or occurs(value, pair.source), (path, value)
        assert rates(score(pair, pair.answer))["exact"] == 1
