"""Pairs of prompt and answer: phrasing, translation, titles, questions, plain text; extraction has its own file."""

from language_corpus import fields
from language_corpus.asking import mixed, passage
from language_corpus.extraction import extraction
from language_corpus.fields import as_json
from language_corpus.forms import form
from language_corpus.names import CITIES, unheard
from language_corpus.prompts import LANGUAGE_NAMES, NOT_FOUND, Pair, asked_in, list_of, other, prompt_for, system_for
from language_corpus.scenes import ALL, DOMAINS, LANGUAGES, Scene, make_scene, stop
from language_corpus.template import Draw

# What a frame says beyond its slots: an expected figure is told as one only where the facts say so.
MOOD = {"guidance": {"en": "guidance", "zh": "指引"}}
MOOD_KEYS = {"en": ("type", "kind", "nature"), "zh": ("类型", "性质")}


def _facts(scene: Scene, language: str, names: str, draw: Draw) -> dict[str, str | None]:
    """A scene's facts under slot names or names of fields; with its metric's name as a key now and then."""
    out: dict[str, str | None] = {}
    plain = draw.chance() < 0.6
    named = {each.slot: each for each in scene.frame.fields}
    by = next((each.by for each in scene.frame.fields if each.by), None)
    keyed = by in scene.values and draw.chance() < 0.3
    for slot, value in scene.values.items():
        if keyed and slot == by:
            continue
        key = slot.replace("_", " ")
        if slot in named and (not plain or names == "zh" or (keyed and named[slot].by)):
            patterns = [p for p in named[slot].names[names] if ("{" in p) == bool(keyed and named[slot].by)]
            if patterns:
                key = fields.in_words(draw.pick(patterns), scene.values[by].item if keyed else None, names, draw)
        out[key if key not in out else slot] = value.text[language]
    if keyed and not any(said.lower() in key.lower() for key in out for said in scene.values[by].item[2][names]):
        return _facts(scene, language, names, draw)  # no key has its name: a fact would be lost
    if len(out) < len(scene.values) - keyed:
        return _facts(scene, language, names, draw)
    if scene.frame.name in MOOD and not keyed:
        out[draw.pick(MOOD_KEYS[names])] = MOOD[scene.frame.name][language]
    return out


def _show(facts: list[dict[str, str | None]], language: str, draw: Draw) -> str:
    chance = draw.chance()
    if chance < 0.6:
        if draw.chance() < 0.7:
            facts = [{fields.style_key(key, "snake"): text for key, text in each.items()} for each in facts]
        return as_json(facts[0] if len(facts) == 1 else facts)
    none = NOT_FOUND[language]
    if chance < 0.7 and language == "en":
        return ", ".join(f"{key} {text or none}" for each in facts for key, text in each.items())
    between, colon = ("; ", ": ") if language == "en" else ("；", "：")
    if chance < 0.85:
        return between.join(f"{key}{colon}{text or none}" for each in facts for key, text in each.items())
    return "\n" + "\n".join(f"- {key}{colon}{text or none}" for each in facts for key, text in each.items())


def _told(draw: Draw, languages: tuple[str, ...], most: int) -> tuple[list[Scene], dict[str, str]]:
    """Scenes with a text in each of the languages."""
    while True:
        domain = ALL[draw.pick(DOMAINS)]
        count, shared = 1 + int(draw.chance() ** 2 * most), {}
        paired = len(languages) > 1
        scenes = [make_scene(draw.pick(domain.frames), draw, languages[0], paired, shared) for _ in range(count)]
        texts = {}
        for language in languages:
            sentences = [scene.tell(language, draw) for scene in scenes]
            if None in sentences:
                break
            ended = [text if text[-1] in '."。”' else text + stop(language) for text in sentences]
            texts[language] = (" " if language == "en" else "").join(ended)
        else:
            return scenes, texts


def _values(scenes: list[Scene], language: str) -> tuple[str, ...]:
    """What a text of these scenes must hold: every value that is copied."""
    out = [v.text[language] for scene in scenes for s, v in scene.values.items() if v.forms is None or not v.forms]
    return tuple(dict.fromkeys(out))


def phrasing(draw: Draw) -> Pair:
    """Facts to a sentence or two."""
    language = draw.pick(LANGUAGES)
    across = draw.chance() < 0.2
    given = other(language) if across else language
    scenes, texts = _told(draw, (language, given) if across else (language,), 3)
    asking = asked_in(language, draw)
    facts = [_facts(scene, given, given, draw) for scene in scenes]
    if draw.chance() < 0.15:  # what is not known is not said
        frame = scenes[0].frame
        names = [name.lstrip("~") for each in frame.fields for name in each.names[given] if "{" not in name]
        facts[0].setdefault(draw.pick(names), None if draw.chance() < 0.7 else NOT_FOUND[given])
    shown = _show(facts, given, draw)
    prompt = prompt_for("phrase", asking, draw, language=LANGUAGE_NAMES[asking][language], facts=shown)
    return Pair(
        "phrase", language, prompt, texts[language], shown, system_for(asking, draw), facts=_values(scenes, language)
    )


def translation(draw: Draw) -> Pair:
    """A text in the other language."""
    source = draw.pick(LANGUAGES)
    target = other(source)
    scenes, texts = _told(draw, (source, target), 3)
    asking = asked_in(source, draw)
    prompt = prompt_for("translate", asking, draw, language=LANGUAGE_NAMES[asking][target], text=texts[source])
    said = _values(scenes, target)
    return Pair("translate", target, prompt, texts[target], texts[source], system_for(asking, draw), facts=said)


def title(draw: Draw) -> Pair:
    """One line for a passage or for facts: its first scenes, one title each."""
    source = draw.pick(LANGUAGES)
    language = source if draw.chance() < 0.8 else other(source)
    scenes, texts = _told(draw, (source,) if language == source else (source, language), 3)
    lines = [scene.tell(language, draw, title=True) for scene in scenes[:2]]
    if None in lines:
        return title(draw)
    asking = asked_in(source, draw)
    shown = texts[source]
    if draw.chance() < 0.35:
        shown = _show([_facts(scene, source, source, draw) for scene in scenes], source, draw)
    answer = ("; " if language == "en" else "；").join(lines)
    prompt = prompt_for("title", asking, draw, language=LANGUAGE_NAMES[asking][language], text=shown)
    said = tuple(text for text in _values(scenes, language) if text in answer)
    return Pair("title", language, prompt, answer, shown, system_for(asking, draw), facts=said)


def question(draw: Draw) -> Pair:
    """One fact of a passage in words, or "not found"; or one option of those given."""
    language = draw.pick(LANGUAGES)
    names = language
    if draw.chance() < 0.25:
        text, asked = form(draw, language, names, "words")
    else:
        _, text, asked = mixed(draw, language, names, "words", 4, 2)
    if not asked or (asked[0].enum and "enum" not in asked[0].schema):
        return question(draw)
    each = asked[0]
    none = NOT_FOUND[names]
    if each.enum and "enum" in each.schema:
        options = list_of([*each.enum, none], names, draw) if draw.chance() < 0.5 else "/".join([*each.enum, none])
        prompt = prompt_for("choose", names, draw, fields=each.words, options=options, text=text)
    else:
        prompt = prompt_for("question", names, draw, fields=each.words, text=text)
    answer = none if each.answer is None else each.surface if isinstance(each.surface, str) else as_json(each.answer)
    return Pair("question", language, prompt, answer, text, system_for(names, draw), value={"answer": each.answer})


def talk(draw: Draw) -> Pair:
    """What has no text: a greeting is told what there is to do, a question about the world is not answered."""
    language = draw.pick(LANGUAGES)
    if draw.chance() < 0.5:
        prompt = prompt_for("greeting", language, draw)
        return Pair("talk", language, prompt, prompt_for("talk", language, draw), "", system_for(language, draw))
    thing = unheard(draw)[language == "zh"] if draw.chance() < 0.6 else draw.pick(CITIES)[language == "zh"]
    prompt = prompt_for("unknown", language, draw, thing=thing)
    return Pair("talk", language, prompt, NOT_FOUND[language], "", system_for(language, draw))


def plain(draw: Draw) -> Pair:
    """A passage to be continued: no prompt."""
    language = draw.pick(LANGUAGES)
    _, text = passage(draw, language, 8)
    return Pair("plain", language, "", text, text)


TASKS = (
    (extraction, 0.58),
    (phrasing, 0.12),
    (translation, 0.1),
    (title, 0.04),
    (question, 0.1),
    (talk, 0.02),
    (plain, 0.04),
)


def make_pair(draw: Draw) -> Pair:
    """An example of one of the tasks, in their shares."""
    chance = draw.chance()
    for task, share in TASKS:
        if chance < share:
            return task(draw)
        chance -= share
    return extraction(draw)
