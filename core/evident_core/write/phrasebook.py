"""The phrases of a service: a small grammar of sentences, one for each kind of claim in each language.

A phrase is text with slots and optional parts::

    {value|label} rose {change|abs} to {value} in {value|year}[, from {before} in {before|year}].

``{role}`` prints the fact in that role, ``|`` applies filters (see ``realise``); a part in ``[...]`` is left out when a
role in it has no value; a part in ``<...>`` is repeated, as a list, for each of the claims that share the sentence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evident_core.errors import InvalidInput
from evident_core.evidence import Claim, Language

_PIECE = re.compile(r"\{(?P<slot>[^{}]+)\}|(?P<open>[\[<])|(?P<close>[\]>])|(?P<text>[^{}\[\]<>]+)")


@dataclass(frozen=True)
class Slot:
    """A role and what is to be printed of it."""

    role: str
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part in brackets: one that is left out when a role in it has no value, or is repeated for each claim."""

    parts: "Template"
    repeated: bool = False


Template = tuple["str | Slot | Part", ...]


def parse(phrase: str) -> Template:
    """A phrase as its parts.

    Raises:
        InvalidInput: A bracket is left open, or closed twice.
    """
    stack: list[tuple[str, list[str | Slot | Part]]] = [("", [])]
    for piece in _PIECE.finditer(phrase):
        if piece["slot"]:
            role, *filters = piece["slot"].split("|")
            stack[-1][1].append(Slot(role, tuple(filters)))
        elif piece["open"]:
            stack.append((piece["open"], []))
        elif piece["close"] and stack[-1][0] + piece["close"] in ("[]", "<>"):
            opened, parts = stack.pop()
            stack[-1][1].append(Part(tuple(parts), repeated=opened == "<"))
        elif piece["close"]:
            raise InvalidInput(f"The phrase {phrase!r} closes a bracket that was not opened.", phrase=phrase)
        else:
            stack[-1][1].append(piece["text"])
    if len(stack) > 1:
        raise InvalidInput(f"The phrase {phrase!r} leaves a bracket open.", phrase=phrase)
    return tuple(stack[0][1])


def literals(template: Template) -> Iterable[str]:
    """The plain text of a template, piece by piece."""
    for part in template:
        if isinstance(part, Part):
            yield from literals(part.parts)
        elif isinstance(part, str):
            yield part


def slots(template: Template) -> Iterable[Slot]:
    """The slots of a template, those in brackets too."""
    for part in template:
        if isinstance(part, Part):
            yield from slots(part.parts)
        elif isinstance(part, Slot):
            yield part


@dataclass(frozen=True)
class Phrase:
    """A sentence in every language. ``join`` names the role in which claims that share it may differ."""

    text: Mapping[Language, Template]
    join: str | None = None
    most: int = 8


@dataclass(frozen=True)
class Label:
    """What a fact is called within a sentence, whether English says "were" of it, and whether it is of a day."""

    text: Mapping[Language, str]
    plural: bool = False
    instant: bool = False


@dataclass(frozen=True)
class Phrasebook:
    """All phrases of a service by predicate, with the words that slots choose from.

    ``words`` are tables of words by text value (``opinion.unqualified``), ``labels`` names of facts, ``styles`` how the
    bare number of a fact is best printed.
    """

    phrases: Mapping[str, Phrase]
    words: Mapping[str, Mapping[str, Mapping[Language, str]]] = field(default_factory=dict)
    labels: Mapping[str, Label] = field(default_factory=dict)
    styles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, table: Mapping[str, Any]) -> "Phrasebook":
        """The phrase book of ``[phrase.…]``, ``[words.…]``, ``[label.…]`` and ``[style]`` tables."""
        phrases: dict[str, Phrase] = {}
        for predicate, entry in table["phrase"].items():
            for key, variant in ((predicate, entry), *((f"{predicate}.{k}", v) for k, v in entry.items() if _is(v))):
                if "en" in variant:
                    text: dict[Language, Template] = {"en": parse(variant["en"]), "zh": parse(variant["zh"])}
                    phrases[key] = Phrase(text, variant.get("join"), variant.get("most", 8))
        labels = {
            name: Label({"en": entry["en"], "zh": entry["zh"]}, entry.get("plural", False), entry.get("instant", False))
            for name, entry in table.get("label", {}).items()
        }
        return cls(phrases, table.get("words", {}), labels, table.get("style", {}))

    def phrase(self, claim: Claim, topic: str) -> Phrase | None:
        """The phrase of a claim in a section on ``topic``: the most particular one that there is."""
        keys = (f"{claim.predicate}.{topic}", f"{claim.predicate}.{claim.polarity}", claim.predicate)
        return next((self.phrases[key] for key in keys if key in self.phrases), None)

    def label(self, name: str) -> Label:
        """What facts of that name are called; a part of a name (``revenue.change``) is called as the whole."""
        while name and name not in self.labels:
            name = name.rpartition(".")[0]
        if not name:
            raise KeyError(name)
        return self.labels[name]


def _is(value: object) -> bool:
    return isinstance(value, Mapping)
