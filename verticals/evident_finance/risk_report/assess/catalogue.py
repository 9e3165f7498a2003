"""The data files of the assessment, read once: measures, forms, thresholds, rules."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from evident_core.evidence import Frozen, Language, Polarity, Severity

DATA = Path(__file__).parent.parent / "data"
Label = dict[Language, str]


class Measure(Frozen):
    """A ratio or score: its formula and what is known about it (the fields are explained in ratios.toml)."""

    name: str
    label: Label
    group: str
    formula: str
    unit: Literal["currency", "1", "%", "d"]
    positive: tuple[str, ...] = ()
    better: Literal["higher", "lower", ""] = ""
    paper: str = ""
    trend: bool = False
    component: bool = False
    only_for: tuple[str, ...] = ()


class Form(Frozen):
    """A form of business, the expression that recognises it, and the measures that do not apply to it."""

    key: str
    label: Label
    when: str
    reason: Label
    refuses: frozenset[str]


class AltmanModel(Frozen):
    """Which of Altman's models is computed when the expression is true, and why."""

    model: str
    when: str
    reason: Label


class Threshold(Frozen):
    """A limit and where it is from."""

    name: str
    value: str
    unit: str
    paper: str


class Predicate(Frozen):
    """A kind of claim: the roles of its facts (ending in "?": may be absent) and what it says."""

    name: str
    roles: tuple[str, ...]
    says: str


class Rule(Frozen):
    """When an expression is true, a claim.

    Attributes:
        each: The facts it is tried on one by one (``check.*``: whose names begin so), called ``each`` in ``when``.
        but: Names of facts of ``each`` that other rules speak of.
        newest: Only facts of the newest period.
        noted: Only facts whose note begins so.
        stated: Only facts whose passage states (true) or denies (false) its topic's finding.
        roles: Role to the expression that names its fact; ``$`` is the fact of ``each``.
        severe: A higher severity where its expression is true too; the last true one counts.
        severity_of_passage: The severity that the passage's reader gave it.
        swot: Repeats the claim in a quadrant, from the severity ``least_for_swot`` on.
        risk: The row of the risk matrix that it weighs on, by ``likelihood`` and ``impact`` (1 to 5).
        mitigates: The row whose likelihood it lowers by one.
        most: How many claims the rule makes at most, gravest first.
    """

    id: str
    predicate: str
    when: str = "1 == 1"
    each: str | None = None
    but: tuple[str, ...] = ()
    roles: dict[str, str]
    topic: str
    severity: Severity = Severity.NONE
    severe: dict[Severity, str] = Field(default_factory=dict)
    polarity: Polarity = Polarity.PRESENT
    swot: Literal["strengths", "weaknesses", "opportunities", "threats"] | None = None
    risk: str | None = None
    likelihood: int = Field(default=0, ge=0, le=5)
    impact: int = Field(default=0, ge=0, le=5)
    mitigates: str | None = None
    newest: bool = False
    noted: str = ""
    stated: bool | None = None
    severity_of_passage: bool = False
    least_for_swot: Severity = Severity.NONE
    most: int = 12


class Trend(Frozen):
    """An item or measure whose movement from the year before is stated."""

    name: str
    topic: str
    better: Literal["higher", "lower", ""] = ""
    only_for: tuple[str, ...] = ()


class Risk(Frozen):
    """A row of the risk matrix."""

    key: str
    label: Label


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


@cache
def measures() -> dict[str, Measure]:
    """All measures by name, in the order of their files."""
    tables = {**_read("ratios.toml"), **_read("scores.toml")}
    return {name: Measure(name=name, **table) for name, table in tables.items() if "formula" in table}


@cache
def price_level() -> dict[str, str]:
    """The U.S. price level by year, 1968 = 100."""
    return dict(_read("scores.toml")["gnp_price_index"]["years"])


@cache
def items() -> dict[str, dict[str, Any]]:
    """The canonical items of the statements by name."""
    return _read("items.toml")


@cache
def labels() -> dict[str, Label]:
    """The label of each item, measure and parameter."""
    tables = {**items(), **_read("ratios.toml"), **_read("scores.toml")}
    return {name: table["label"] for name, table in tables.items() if "label" in table}


@cache
def forms() -> tuple[Form, ...]:
    """The forms of business, in the order in which they are tried."""
    return tuple(Form(**table) for table in _read("forms.toml")["form"])


@cache
def altman_models() -> tuple[AltmanModel, ...]:
    """The choice among Altman's models, in the order in which they are tried."""
    return tuple(AltmanModel(**table) for table in _read("forms.toml")["altman"])


@cache
def thresholds() -> dict[str, Threshold]:
    """The limits by name."""
    return {name: Threshold(name=name, **table) for name, table in _read("rules.toml")["threshold"].items()}


@cache
def predicates() -> dict[str, Predicate]:
    """The kinds of claim by name."""
    return {name: Predicate(name=name, **table) for name, table in _read("rules.toml")["predicate"].items()}


@cache
def rules() -> tuple[Rule, ...]:
    """The rules in the order of their file."""
    return tuple(Rule(**table) for table in _read("rules.toml")["rule"])


@cache
def trends() -> tuple[Trend, ...]:
    """What is compared with the year before: the listed items, then every measure that says so."""
    listed = tuple(Trend(**table) for table in _read("rules.toml")["trend"])
    return listed + tuple(Trend(name=m.name, topic=m.group, better=m.better) for m in measures().values() if m.trend)


@cache
def risks() -> dict[str, Risk]:
    """The rows of the risk matrix by key: those of the figures, then the categories of the risks a filing names."""
    tables = {**_read("rules.toml")["risk"]}
    for key, table in _read("topics.toml")["category"].items():
        tables.setdefault(key, {"label": table["label"]})
    return {key: Risk(key=key, label=table["label"]) for key, table in tables.items()}


@cache
def headline() -> tuple[str, ...]:
    """The measures a report always speaks of: by value, or by saying why there is none."""
    return tuple(_read("rules.toml")["headline"]["measures"])


@cache
def expected() -> tuple[str, ...]:
    """The items whose absence a report mentions."""
    return tuple(_read("rules.toml")["headline"]["items"])


@cache
def topics() -> tuple[str, ...]:
    """The sections of the report, in order."""
    return tuple(_read("rules.toml")["topics"]["order"])
