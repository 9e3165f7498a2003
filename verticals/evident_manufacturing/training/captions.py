"""Captions of defects for training: statements that are true of a picture, in wordings of two languages.

A statement names a kind, or some traits, or both. It is true of every picture of that kind with those traits, so which
captions belong to which pictures follows from the statements and is not only "the one it was written for".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evident_manufacturing.inspection.perceive.descriptions import LANGUAGES, Descriptions, Wordings

_JOINT = {"en": ", ", "zh": "，"}
_SMALL_MM, _LARGE_MM = 0.1, 0.4
_LONG = 2.0
# Most captions speak of traits alone: those are what a kind that was never seen is described by.
_KIND_ALONE, _KIND_AND_TRAITS, _REMARK = 0.25, 0.1, 0.1
_AS_REMARK = 0.7


@dataclass(frozen=True)
class Shown:
    """What is seen in a picture: its kind, and all traits that are true of it."""

    kind: str
    traits: frozenset[str]


@dataclass(frozen=True)
class Statement:
    """What a caption says: a kind (None: no word of it) and traits."""

    kind: str | None
    traits: frozenset[str]


def shown(descriptions: Descriptions, kind: str, length_mm: float, width_mm: float) -> Shown:
    """The traits of a defect: those of its kind, and what follows from its size."""
    traits = set(descriptions.kinds[kind].traits)
    traits.add("line" if length_mm > _LONG * width_mm else "round")
    if length_mm < _SMALL_MM:
        traits.add("small")
    if length_mm > _LARGE_MM:
        traits.add("large")
    return Shown(kind, frozenset(traits))


def state(seen: Shown, rng: random.Random) -> Statement:
    """Something true of a picture: its kind, or some of its traits, or both; now and then what a remark says."""
    some = frozenset(rng.sample(sorted(seen.traits), rng.randint(1, len(seen.traits))))
    choice = rng.random()
    if choice < _KIND_ALONE:
        return Statement(seen.kind, frozenset())
    if choice > 1 - _REMARK:
        return Statement(seen.kind, seen.traits & {"line", "round"})
    return Statement(seen.kind if choice < _KIND_ALONE + _KIND_AND_TRAITS else None, some)


def word(descriptions: Descriptions, statement: Statement, rng: random.Random, *, held_back: int = 1) -> str:
    """A statement in the words of one language, in any order.

    Args:
        descriptions: The wordings.
        statement: What to say.
        rng: Source of every choice.
        held_back: How many of the last wordings of a kind are never used, so that they can be tried afterwards.
    """
    language = rng.choice(LANGUAGES)
    remarks = descriptions.kinds[statement.kind].remarks if statement.kind else {}
    if len(statement.traits) == 1 and remarks.keys() >= statement.traits and rng.random() < _AS_REMARK:
        return remarks[next(iter(statement.traits))][language]
    parts = [rng.choice(descriptions.traits[trait][language]) for trait in sorted(statement.traits)]
    if statement.kind is not None:
        parts.append(rng.choice(known(descriptions.kinds[statement.kind].wordings, language, held_back)))
    rng.shuffle(parts)
    return _JOINT[language].join(parts)


def known(wordings: Wordings, language: str, held_back: int) -> tuple[str, ...]:
    """The wordings that training may use: all but the last ``held_back``, and at least one."""
    return wordings[language][: max(1, len(wordings[language]) - held_back)]


def by_traits(descriptions: Descriptions, kind: str) -> list[str]:
    """A kind described by the wordings of its traits and by no word of its own, in each language."""
    traits = [descriptions.traits[trait] for trait in descriptions.kinds[kind].traits]
    longest = max(len(wordings[language]) for wordings in traits for language in LANGUAGES)
    return [
        _JOINT[language].join(wordings[language][i % len(wordings[language])] for wordings in traits)
        for language in LANGUAGES
        for i in range(longest)
    ]


def truths(pictures: Sequence[Shown], statements: Sequence[Statement]) -> Tensor:
    """Which statements are true of which pictures: bool [pictures, statements]."""
    names = sorted(frozenset().union(*(p.traits for p in pictures), *(s.traits for s in statements)))
    has, says = _table([each.traits for each in pictures], names), _table([each.traits for each in statements], names)
    # A statement is true where none of the traits that it says is lacking.
    lacking = (1 - has) @ says.T
    kinds = {kind: i for i, kind in enumerate(sorted({each.kind for each in pictures}))}
    of = torch.tensor([kinds[each.kind] for each in pictures])
    said = torch.tensor([-1 if each.kind is None else kinds.get(each.kind, -2) for each in statements])
    return (lacking == 0) & ((said == -1) | (of[:, None] == said))


def alike(sides: Sequence[Shown] | Sequence[Statement]) -> Tensor:
    """Which pictures show, or which statements say, the same: bool [N, N]."""
    number: dict[Shown | Statement, int] = {}
    of = torch.tensor([number.setdefault(each, len(number)) for each in sides])
    return of[:, None] == of


def _table(sets: Sequence[frozenset[str]], names: Sequence[str]) -> Tensor:
    return torch.tensor([[float(name in each) for name in names] for each in sets])
