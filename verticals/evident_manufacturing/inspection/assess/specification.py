"""What a product allows: a versioned YAML document of limits by defect kind and zone.

::

    product: demo-board
    version: 3
    score: 0.5                  # defects below this probability are shown and not judged
    decision_rule: prove_conformity
    unmeasured: rework          # a limit in mm where no calibration holds
    default: reject             # a defect of a kind that is not listed
    lot: {size: 500, level: II, aql: 1.0}
    zones:
      fingers: {unit: mm, origin: [0, 0], rectangle: [1.0, 0.5, 9.0, 2.0]}
    classes:
      mousebite:
        rework: {length_max: 0.15 mm}
        reject: {length_max: 0.30 mm, count_max: 3}
        zones:
          fingers:
            reject: {count_max: 0}

A limit is a quantity (length, width, area, gap, count) and a side (max, min). What is under ``zones`` of a class takes
the place of the class's own limits for the defects that touch that zone; ``any`` is a class of all defects together.
Kinds of the product's own are declared under ``kinds`` (:mod:`.described`), how lots are sampled under ``lot``
(:mod:`.lot_rule`).

``decision_rule`` says what happens when a size lies closer to a limit than its expanded uncertainty U (k = 2), after
ISO 14253-1: ``prove_conformity`` (the default, the maker's side) counts the limit as passed unless value and U
together keep it, so that nothing is delivered whose conformity is not proven; ``prove_nonconformity`` (the buyer's
side) counts it as passed only when value less U does; ``simple`` compares the value alone. The standard's 2017 edition
allows the narrower guard band of 1.65 u; U is kept here, on the safe side of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from evident_core.errors import InvalidInput
from evident_core.evidence import Element, Frozen, InputRef, Source
from evident_manufacturing.inspection.assess.amounts import read_amount
from evident_manufacturing.inspection.assess.described import ANY, Described, own_kinds
from evident_manufacturing.inspection.assess.document import Node
from evident_manufacturing.inspection.assess.lot_rule import LotRule, read_lot
from evident_manufacturing.inspection.assess.zones import Misplaced, Zone, misplaced, read_zones
from evident_manufacturing.inspection.schema import KINDS, Decision

QUANTITIES = {"length": "mm", "width": "mm", "area": "mm2", "gap": "mm", "count": "1"}
SIDES = ("max", "min")
_LIMITS = (*(f"{each}_{side}" for each in ("length", "width", "area", "gap") for side in SIDES), "count_max")
_FIELDS = (
    "product", "version", "score", "decision_rule", "unmeasured", "default", "lot", "kinds", "zones", "classes",
)  # fmt: skip
_GRAVITY = {Decision.ACCEPT: 0, Decision.REWORK: 1, Decision.REJECT: 2}


class DecisionRule(StrEnum):
    """What a size within its uncertainty of a limit counts as (ISO 14253-1)."""

    PROVE_CONFORMITY = "prove_conformity"
    PROVE_NONCONFORMITY = "prove_nonconformity"
    SIMPLE = "simple"


class Limit(Frozen):
    """One limit of a class in a zone, and what passing it leads to.

    Attributes:
        value: In ``unit``.
        text: As the document writes it.
        line: Where it stands in the document.
    """

    kind: str
    zone: str | None
    decision: Decision
    quantity: Literal["length", "width", "area", "gap", "count"]
    side: Literal["max", "min"]
    value: Decimal
    unit: str
    text: str
    line: int

    @property
    def key(self) -> str:
        """Its name in verdicts: ``mousebite@fingers.reject.length_max``."""
        place = f"@{self.zone}" if self.zone else ""
        return f"{self.kind}{place}.{self.decision}.{self.quantity}_{self.side}"

    @property
    def path(self) -> str:
        """Where it stands in the document, as a JSON pointer."""
        place = f"/zones/{self.zone}" if self.zone else ""
        return f"/classes/{self.kind}{place}/{self.decision}/{self.quantity}_{self.side}"


class Specification(Frozen):
    """The limits of a product, as :meth:`load` reads them."""

    input: InputRef
    product: str
    version: str
    score: Decimal = Decimal("0.5")
    decision_rule: DecisionRule = DecisionRule.PROVE_CONFORMITY
    unmeasured: Decision = Decision.REWORK
    default: Decision = Decision.REJECT
    lot: LotRule | None = None
    """How lots are sampled; None: they get no verdict."""
    kinds: tuple[str, ...] = KINDS
    described: tuple[Described, ...] = ()
    """Kinds that the detector does not know, to be named from their descriptions."""
    zones: tuple[Zone, ...] = ()
    classes: tuple[str, ...] = ()
    zoned: tuple[tuple[str, str], ...] = ()
    """(class, zone) of which the document has limits of their own."""
    limits: tuple[Limit, ...] = ()

    @property
    def name(self) -> str:
        """``product@version``, as verdicts cite it."""
        return f"{self.product}@{self.version}"

    @property
    def descriptions(self) -> dict[str, tuple[str, ...]]:
        """The wordings of the described kinds by name."""
        return {each.name: each.wordings for each in self.described}

    @classmethod
    def load(cls, text: str | bytes, name: str = "specification.yaml") -> Specification:
        """Read a specification.

        Raises:
            InvalidInput: It contradicts itself, names a class or zone that there is not, has a limit without its unit
                or in a wrong one, or is not the YAML of :mod:`.reading`. The message names the line.
            TooLarge: It is larger than a specification can be.
        """
        from evident_manufacturing.inspection.assess.reading import read  # YAML takes 10 ms of a start

        root = read(text, name)
        fields = root.fields(*_FIELDS)
        for needed in ("product", "version"):
            if needed not in fields:
                root.refuse(
                    f"a specification needs {needed}, such as {needed}: {'demo-board' if needed[0] == 'p' else 3}.",
                    reason="needed",
                    key=needed,
                )
        own, described = own_kinds(fields["kinds"]) if "kinds" in fields else ((), ())
        kinds = tuple(dict.fromkeys((*KINDS, *own)))
        zones = read_zones(fields["zones"]) if "zones" in fields else ()
        limits: list[Limit] = []
        classes: list[str] = []
        zoned: list[tuple[str, str]] = []
        if "classes" in fields:
            for kind, node in fields["classes"].fields(*kinds, ANY).items():
                classes.append(kind)
                entries = node.fields(Decision.REWORK, Decision.REJECT, "zones") if node.value != "" else {}
                limits += _limits(kind, None, entries)
                places = entries["zones"].fields(*(zone.name for zone in zones)) if "zones" in entries else {}
                if places and not zones:
                    entries["zones"].refuse("a class has limits in zones, and the document draws none under zones:.")
                for zone, place in places.items():
                    zoned.append((kind, zone))
                    limits += _limits(kind, zone, place.fields(Decision.REWORK, Decision.REJECT) if place.value else {})
        _refuse_contradictions(name, limits)
        raw = text if isinstance(text, bytes) else text.encode()
        return cls(
            input=InputRef(sha256=hashlib.sha256(raw).hexdigest(), name=name),
            product=_printable(fields["product"], 128),
            version=_printable(fields["version"], 32),
            kinds=kinds,
            described=described,
            zones=zones,
            classes=tuple(classes),
            zoned=tuple(zoned),
            limits=tuple(limits),
            **_settings(fields),
        )

    def limits_of(self, kind: str, zone: str | None) -> tuple[Limit, ...]:
        """The limits of a class in a zone, or outside of all zones."""
        return tuple(limit for limit in self.limits if (limit.kind, limit.zone) == (kind, zone))

    def misplaced(self, width: int, height: int, mm_per_pixel: tuple[float, float] | None) -> tuple[Misplaced, ...]:
        """The zones with limits that do not lie wholly on a board of that size in pixels.

        Args:
            width: Of the template, or of a tested image where there is none.
            height: The same.
            mm_per_pixel: None: zones in mm cannot be located, and none of them is named.
        """
        used = {zone for _, zone in self.zoned}
        return misplaced([zone for zone in self.zones if zone.name in used], width, height, mm_per_pixel)

    def refuse_misplaced(self, width: int, height: int, mm_per_pixel: tuple[float, float] | None) -> None:
        """See that each zone with limits lies on the board, at least in part: else its limits would never apply.

        Raises:
            InvalidInput: One does not; the message has its name, its numbers and the board's size.
        """
        for each in self.misplaced(width, height, mm_per_pixel):
            if each.outside:
                raise InvalidInput(
                    f"{self.name}: {each.message}",
                    zone=each.zone,
                    where=each.where,
                    board=each.board,
                    reason="zone_outside",
                )

    def described_at(self, kind: str) -> tuple[Source, ...]:
        """Where a kind is described; none where it is not."""
        return tuple(self.source(each.path, "; ".join(each.wordings)) for each in self.described if each.name == kind)

    def source(self, path: str, quote: str = "") -> Source:
        """The place of a setting in the document."""
        return Source(input=self.input, where=Element(path=path, quote=quote))


def graver(decisions: Iterable[Decision]) -> Decision:
    """The gravest of some decisions; accept where there are none."""
    return max(decisions, key=_GRAVITY.__getitem__, default=Decision.ACCEPT)


def _settings(fields: dict[str, Node]) -> dict[str, object]:
    found: dict[str, object] = {}
    if "score" in fields:
        node = fields["score"]
        number = node.number()
        if number > 1:
            node.refuse(f"score is a probability from 0 to 1, and {node.text} is not.")
        found["score"] = number
    choices: dict[str, type[StrEnum]] = {"decision_rule": DecisionRule, "unmeasured": Decision, "default": Decision}
    for key, kind in choices.items():
        if key in fields:
            known = [str(each) for each in kind]
            if fields[key].text not in known:
                value, among = fields[key].text, ", ".join(known)
                told = f"{key} is one of {among}, and {value!r} is not."
                fields[key].refuse(told, reason="choice", key=key, known=among, value=value)
            found[key] = kind(fields[key].text)
    if "lot" in fields:
        found["lot"] = read_lot(fields["lot"])
    return found


def _limits(kind: str, zone: str | None, entries: dict[str, Node]) -> Iterator[Limit]:
    for decision in (Decision.REWORK, Decision.REJECT):
        if decision not in entries:
            continue
        for key, node in entries[decision].fields(*_LIMITS).items():
            quantity, _, side = key.rpartition("_")
            yield Limit.model_validate(
                {"kind": kind, "zone": zone, "decision": decision, "quantity": quantity, "side": side}
                | {"value": read_amount(node, key, QUANTITIES[quantity]), "unit": QUANTITIES[quantity]}
                | {"text": node.text, "line": node.line}
            )


def _refuse_contradictions(name: str, limits: list[Limit]) -> None:
    """A part that may still be reworked must not be rejected first, and some part must be able to pass."""
    known = {(limit.kind, limit.zone, limit.decision, limit.quantity, limit.side): limit for limit in limits}
    for limit in limits:
        at = Node(name, limit.line, limit.path, "")
        rework = known.get((limit.kind, limit.zone, Decision.REWORK, limit.quantity, limit.side))
        if limit.decision is Decision.REJECT and rework:
            below = limit.value < rework.value if limit.side == "max" else limit.value > rework.value
            if below:
                at.refuse(
                    f"{limit.kind} is rejected at a {limit.quantity} {limit.side} of {limit.text}, before it is "
                    f"reworked at {rework.text} (line {rework.line}); exchange them."
                )
        for decision in (Decision.REWORK, Decision.REJECT):
            least = known.get((limit.kind, limit.zone, decision, limit.quantity, "min"))
            if limit.side == "max" and least and least.value > limit.value:
                at.refuse(
                    f"no {limit.quantity} can be at most {limit.text} and at least {least.text} (line {least.line})."
                )


def _printable(node: Node, longest: int) -> str:
    text = node.text.strip()
    if not text or len(text) > longest or not text.isprintable():
        node.refuse(f"{node.path[1:]} is 1 to {longest} printable characters.")
    return text
