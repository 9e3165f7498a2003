"""What an answer is worth: facts kept, nulls honoured, nothing invented."""

import json
import re
from collections import Counter

from language_corpus.prompts import NOT_FOUND, Pair

NUMBER = re.compile(r"\d+(?:[,.]\d+)*")
_ABSENT = object()


def leaves(value: object, path: tuple = ()):
    """Every value of a JSON tree that is no object or list, with its path."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path, value


def options(schema: object) -> set[str]:
    """Every option that a schema offers."""
    if isinstance(schema, dict):
        own = (
            {each for each in schema.get("enum", ()) if isinstance(each, str)}
            if isinstance(schema.get("enum"), list)
            else set()
        )
        return own.union(*(options(each) for each in schema.values()))
    return set().union(*(options(each) for each in schema)) if isinstance(schema, list) else set()


def occurs(value: object, source: str) -> bool:
    """Whether a value stands in its source: a text as it is, a number by its digits."""
    if isinstance(value, str):
        return value in source
    digits = repr(value)
    return re.search(rf"(?<![\d.]){re.escape(digits)}(?!\d|\.\d)", source.replace(",", "")) is not None


def numbers(text: str) -> set[str]:
    """The numbers of a text, thousands' commas left out."""
    return {number.replace(",", "") for number in NUMBER.findall(text)}


def score(pair: Pair, answer: str) -> Counter:
    """Counts for one answer; rates are made of sums of them, see :func:`rates`."""
    counts: Counter = Counter(pairs=1)
    if pair.task == "extract":
        return counts + _extraction(pair, answer)
    if pair.task == "question":
        asked = pair.value["answer"] if pair.value else None
        wanted, none = pair.answer, NOT_FOUND[pair.language]
        counts["null" if asked is None else "given"] += 1
        counts["null_right" if asked is None else "given_right"] += answer == wanted
        invented = answer not in pair.source and answer not in pair.prompt and answer != none
        counts["invented"] += invented
        counts["values"] += answer != none
        return counts
    # Facts in the other language have other numbers (months): those of the right answer are no invention.
    allowed = numbers(pair.prompt) | numbers(pair.answer)
    complete = all(fact.lower() in answer.lower() for fact in pair.facts)  # a sentence begins with a capital
    counts["complete"] += complete
    counts["invented"] += not numbers(answer) <= allowed
    counts["values"] += 1
    counts["right"] += complete and numbers(answer) <= allowed
    counts["texts"] += 1
    return counts


def _extraction(pair: Pair, answer: str) -> Counter:
    counts: Counter = Counter(answers=1)
    try:
        given = json.loads(answer)
    except ValueError:
        given = None
    counts["parsed"] += isinstance(given, dict)
    got = dict(leaves(given)) if isinstance(given, dict) else {}
    wanted = dict(leaves(pair.value))
    allowed = options(pair.schema)
    for path, value in wanted.items():
        kind = "null" if value is None else "given"
        counts[kind] += 1
        there = got.get(path, _ABSENT)
        counts[f"{kind}_right"] += type(there) is type(value) and there == value
        counts["given_as_null"] += value is not None and there is None
    for value in got.values():
        if value is None or isinstance(value, bool):
            continue
        counts["values"] += 1
        counts["invented"] += value not in allowed and not occurs(value, pair.source)
    counts["exact"] += got == wanted
    return counts


RATES = {
    "parsed": ("parsed", "answers"),
    "exact": ("exact", "answers"),
    "field_exact": ("given_right", "given"),
    "null_honoured": ("null_right", "null"),
    "missed": ("given_as_null", "given"),
    "invented": ("invented", "values"),
    "all_facts": ("complete", "texts"),
    "all_facts_and_nothing_invented": ("right", "texts"),
}


def rates(counts: Counter) -> dict[str, float]:
    """The shares that can be told from summed counts, with how many pairs there were."""
    shares = {name: round(counts[part] / counts[whole], 4) for name, (part, whole) in RATES.items() if counts[whole]}
    return {"pairs": counts["pairs"]} | shares
