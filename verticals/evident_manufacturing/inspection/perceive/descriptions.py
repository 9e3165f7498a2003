"""What kinds of defects look like, in words: what a crop is named by, and what the aligner is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evident_core.errors import InvalidInput

PATH = Path(__file__).parents[1] / "data" / "descriptions.yaml"
LANGUAGES = ("en", "zh")

Wordings = Mapping[str, tuple[str, ...]]
"""Sentences for each of :data:`LANGUAGES`."""


@dataclass(frozen=True)
class Kind:
    """A kind of defect: its traits, its wordings, and whether training must not see it.

    Attributes:
        remarks: What a report may say of a defect of this kind, in each language, by the trait in which they differ.
    """

    traits: tuple[str, ...]
    wordings: Wordings
    unseen: bool = False
    remarks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Descriptions:
    """Traits with their wordings, and kinds made of traits."""

    traits: Mapping[str, Wordings]
    kinds: Mapping[str, Kind]

    def of_kinds(self, *names: str) -> dict[str, list[str]]:
        """All wordings of kinds (none named: of all), as ``classify_by_description`` takes them."""
        return {
            name: [text for lang in LANGUAGES for text in self.kinds[name].wordings[lang]]
            for name in names or self.kinds
        }


@cache
def load_descriptions(path: Path = PATH) -> Descriptions:
    """Read a file of descriptions.

    Raises:
        InvalidInput: It is not of this form, a kind has a trait that is not described, or a language is missing.
    """
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        traits = {name: _wordings(name, entry) for name, entry in data["traits"].items()}
        kinds = {
            name: Kind(
                tuple(entry["traits"]),
                _wordings(name, entry),
                bool(entry.get("unseen", False)),
                {trait: _remark(name, said) for trait, said in entry.get("remarks", {}).items()},
            )
            for name, entry in data["kinds"].items()
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path.name} is no file of descriptions: {error!r}. It needs traits and kinds.") from error
    for name, kind in kinds.items():
        if unknown := {*kind.traits, *kind.remarks} - traits.keys():
            raise InvalidInput(
                f"{name!r} in {path.name} has traits that are not described: {', '.join(sorted(unknown))}."
            )
    return Descriptions(traits, kinds)


def _wordings(name: str, entry: Any) -> Wordings:
    found = {language: tuple(str(text) for text in entry.get(language) or ()) for language in LANGUAGES}
    if missing := [language for language, texts in found.items() if not texts]:
        raise InvalidInput(f"{name!r} has no wording in {missing[0]!r}; write at least one.")
    return found


def _remark(name: str, entry: Any) -> Mapping[str, str]:
    said = {language: str(entry.get(language) or "") for language in LANGUAGES}
    if missing := [language for language, text in said.items() if not text]:
        raise InvalidInput(f"A remark on {name!r} has no wording in {missing[0]!r}; write it in both languages.")
    return said
