"""The canonical items: what each is called, on which statement it stands, and how it is measured."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from evident_core.evidence import Language
from evident_finance.risk_report.schema import StatementKind


class Items:
    """The tables of items and measures, read once."""

    def __init__(
        self, items: dict[str, Any], measures: dict[str, Any], risks: dict[str, Any], others: dict[str, Any]
    ) -> None:
        self._items = items
        self._measures = {name: entry for name, entry in measures.items() if "group" in entry}
        self._labels = {name: entry["label"] for name, entry in (items | measures | others).items() if "label" in entry}
        self._risks = {name: entry["label"] for name, entry in risks.items()}
        self.groups: tuple[str, ...] = tuple(dict.fromkeys(entry["group"] for entry in self._measures.values()))

    @staticmethod
    def load() -> "Items":
        """The tables that the package carries."""
        return _load()

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the canonical items, in the order of the statements."""
        return tuple(self._items)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the ratios and scores, in the order of their tables."""
        return tuple(self._measures)

    def group(self, measure: str) -> str:
        """The section of the report to which a ratio or score belongs."""
        return str(self._measures[measure]["group"])

    def formula(self, measure: str) -> str:
        """How a ratio or score is computed, in the names of items."""
        return str(self._measures[measure].get("formula", ""))

    def label(self, name: str, language: Language) -> str:
        """What an item or measure is called; its id with spaces where the tables do not name it."""
        return str(self._labels.get(name, {}).get(language) or name.replace("_", " "))

    def risk(self, name: str, language: Language) -> str:
        """What a risk of the matrix is called."""
        return str(self._risks[name][language])

    def statement(self, name: str) -> str:
        """The primary statement on which an item stands."""
        return str(self._items[name]["statement"])

    def is_count(self, name: str) -> bool:
        """Whether the item counts shares, and is not an amount of money."""
        return bool(self._items.get(name, {}).get("measure") == "shares")

    def is_instant(self, name: str) -> bool:
        """Whether the item is measured at a day (balance sheet) and not over a year."""
        entry = self._items.get(name)
        return entry is not None and entry["statement"] == StatementKind.BALANCE_SHEET


@cache
def _load() -> Items:
    data = files(__package__) / "data"
    tables = ("items", "ratios", "scores", "rules", "topics", "identities")
    items, ratios, scores, rules, topics, identities = (
        tomllib.loads((data / f"{table}.toml").read_text("utf-8")) for table in tables
    )
    read = {"passage": topics["topic"], "check": identities}
    others = {f"{kind}.{name}": entry for kind, entries in read.items() for name, entry in entries.items()}
    return Items(items, ratios | scores, topics["category"] | rules["risk"], others)
