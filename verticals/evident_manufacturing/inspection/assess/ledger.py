"""The facts of one inspection, each with the region, the setting or the facts that it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from evident_core.evidence import Derived, Element, Fact, ImageRegion, InputRef, Source, Status
from evident_manufacturing.inspection.assess.specification import Limit, Specification
from evident_manufacturing.inspection.assess.zones import Misplaced
from evident_manufacturing.inspection.schema import Alignment, Calibration, Defect, Naming, Part, Quantity, Wording

SIZES = ("length", "width", "area", "gap")


class Ledger:
    """Facts by id, made on the way; the same id twice is the same fact.

    Args:
        image: The tested image.
        width: Of it, pixels.
        height: Of it, pixels.
        mm_per_pixel: Of a calibration that holds.
    """

    def __init__(self, image: InputRef, width: int, height: int, mm_per_pixel: tuple[float, float] | None) -> None:
        self.image, self.mm_per_pixel = image, mm_per_pixel
        self.whole = Source(input=image, where=ImageRegion(bbox=(0.0, 0.0, float(width), float(height))))
        self.facts: dict[str, Fact] = {}

    def text(self, fact_id: str, value: str, *sources: Source, name: str = "") -> str:
        """Note a text, and return its id."""
        return self._note(Fact(id=fact_id, name=name or fact_id, value=value, sources=sources, status=_status(sources)))

    def number(
        self, fact_id: str, value: Decimal, unit: str, *sources: Source, name: str, confidence: float = 1
    ) -> str:
        """Note a number, and return its id."""
        return self._note(
            Fact(
                id=fact_id,
                name=name,
                value=value,
                unit=unit,
                sources=sources,
                status=_status(sources),
                confidence=confidence,
            )
        )

    def _note(self, fact: Fact) -> str:
        self.facts.setdefault(fact.id, fact)
        return fact.id

    def part(self, part: Part) -> dict[str, str]:
        """Which part it is, as the line says it."""
        given = {"part": part.part_id, "product": part.product, "lot": part.lot, "camera": part.camera}
        field = {"part": "part_id"}
        return {
            role: self.text(
                f"board.{role}",
                value,
                Source(input=self.image, where=Element(path=f"/part/{field.get(role, role)}", quote=value)),
            )
            for role, value in given.items()
            if value
        }

    def defect(self, defect: Defect, specification: Specification | None = None) -> dict[str, str]:
        """What and where a defect is, and how large: ids by role."""
        at, unit = f"defect.{defect.number}", self._region(defect)
        sure = {"confidence": defect.score}
        x, y = ((defect.bbox[side] + defect.bbox[side + 2]) / 2 for side in (0, 1))
        roles = {
            "number": self.number(f"{at}.number", Decimal(defect.number), "1", unit, name="number"),
            "kind": self._note(self._kind(defect, unit, specification)),
            "seen": self.text(f"{at}.seen", defect.seen, unit, name="seen"),
            "score": self.number(f"{at}.score", decimal(defect.score, 3), "1", unit, name="score"),
            "x": self.number(f"{at}.x", decimal(x, 1), "px", unit, name="x"),
            "y": self.number(f"{at}.y", decimal(y, 1), "px", unit, name="y"),
        }
        for name in SIZES:
            size: Quantity | None = getattr(defect.size, name) if defect.size else None
            if size is None:
                continue
            roles[name] = self.number(f"{at}.{name}", size.value, size.unit, unit, name=name, **sure)
            rests_on = [roles[name], *(["board.calibration.residual"] if "mm" in size.unit else [])]
            roles[f"{name}_uncertainty"] = self.number(
                f"{at}.{name}.uncertainty",
                size.uncertainty,
                size.unit,
                derived("uncertainty", "expanded, k = 2", rests_on),
                name=f"uncertainty.{name}",
            )
        return roles

    def _kind(self, defect: Defect, unit: Source, specification: Specification | None) -> Fact:
        """What it is: as the detector has it, or as the specification describes it."""
        fact_id = f"defect.{defect.number}.kind"
        if defect.naming is None:
            return Fact(id=fact_id, name="kind", value=defect.kind, sources=(unit,), confidence=defect.score)
        at = specification.described_at(defect.kind) if specification else ()
        return Fact(
            id=fact_id,
            name="kind",
            value=defect.kind,
            sources=(unit, *at),
            confidence=defect.naming.share,
            note="Named from its description in the specification.",
        )

    def naming(self, defect: Defect, naming: Naming) -> dict[str, str]:
        """How a kind was named from a description: ids by role."""
        at, unit = f"defect.{defect.number}.naming", self._region(defect)
        return {
            "instead": self.text(f"{at}.instead_of", naming.instead_of, unit, name="kind"),
            "confidence": self.number(f"{at}.confidence", decimal(naming.share, 3), "1", unit, name="confidence"),
            "likeness": self.number(f"{at}.likeness", decimal(naming.likeness, 3), "1", unit, name="likeness"),
            "ordinary": self.number(f"{at}.ordinary", decimal(naming.ordinary, 3), "1", unit, name="likeness.ordinary"),
        }

    def wording(self, defect: Defect, wording: Wording, chosen_by: str) -> dict[str, str]:
        """What the aligner says of a defect, that it was the aligner, and how sure that is: ids by role."""
        at, unit = f"defect.{defect.number}.wording", self._region(defect)
        chosen = derived(
            "wording", f"chosen by {chosen_by} among the wordings of the kind", [f"defect.{defect.number}.kind"]
        )
        return {
            "wording": self._note(
                Fact(
                    id=at,
                    name="wording",
                    value=wording.key,
                    sources=(unit, chosen),
                    confidence=wording.share,
                    note=f"Chosen by {chosen_by} from the picture.",
                )
            ),
            "confidence": self.number(
                f"{at}.confidence", decimal(wording.share, 3), "1", unit, chosen, name="confidence"
            ),
        }

    def _region(self, defect: Defect) -> Source:
        region = ImageRegion(bbox=defect.bbox, mask_rle=defect.mask_rle, mm_per_pixel=self.mm_per_pixel)
        return Source(input=self.image, where=region)

    def calibration(self, calibration: Calibration, on: date) -> dict[str, str]:
        """The certificate that sizes rest on, or would."""
        certificate = derived("calibration", f"certificate {calibration.id}, {calibration.method}")
        at = "board.calibration"
        return {
            "certificate": self.text(at, calibration.id, certificate),
            "made": self.text(f"{at}.made", calibration.made.isoformat(), certificate),
            "until": self.text(f"{at}.valid_until", calibration.valid_until.isoformat(), certificate),
            "day": self.text("board.day", on.isoformat(), derived("inspection_day")),
            "residual": self.number(
                f"{at}.residual", decimal(calibration.residual_mm, 4), "mm", certificate, name="residual"
            ),
        }

    def alignment(self, alignment: Alignment) -> dict[str, str]:
        """Where the template was found under the image."""
        given = {"dx": "px", "dy": "px", "angle": "deg", "residual": "px", "confidence": "1"}
        return {
            role: self.number(
                f"board.alignment.{role}",
                decimal(getattr(alignment, role), 3),
                unit,
                self.whole,
                name={"residual": "residual", "confidence": "confidence"}.get(role, f"alignment.{role}"),
            )
            for role, unit in given.items()
        }

    def limit(self, limit: Limit, specification: Specification) -> dict[str, str]:
        """A limit of the specification, and what it leads to."""
        at = specification.source(limit.path, limit.text)
        roles = {
            "threshold": self.number(f"rule.{limit.key}", limit.value, limit.unit, at, name=f"{limit.quantity}.limit"),
            "decision": self.text(f"rule.{limit.key}.decision", limit.decision, at, name="decision"),
        }
        if limit.zone:
            place = specification.source(f"/zones/{limit.zone}", limit.zone)
            roles["zone"] = self.text(f"zone.{limit.zone}", limit.zone, place, name="zone")
        return roles

    def zone(self, zone: Misplaced, specification: Specification) -> dict[str, str]:
        """Where a zone lies, in pixels."""
        at = specification.source(f"/zones/{zone.zone}", zone.where)
        edges = dict(zip(("x0", "y0", "x1", "y1"), zone.bbox, strict=True))
        return {"zone": self.text(f"zone.{zone.zone}", zone.zone, at, name="zone")} | {
            edge: self.number(f"zone.{zone.zone}.{edge}", decimal(value, 1), "px", at, name=edge[0])
            for edge, value in edges.items()
        }

    def board_size(self, width: int, height: int) -> dict[str, str]:
        """How large the image is."""
        sides = {"across": width, "down": height}
        return {
            side: self.number(f"board.{side}", Decimal(value), "px", self.whole, name=f"board.{side}")
            for side, value in sides.items()
        }

    def kind(self, kind: str, of: Iterable[int]) -> str:
        """A kind of which some defects are, as one fact."""
        return self.text(f"kind.{kind}", kind, derived("kind", "", [f"defect.{each}.kind" for each in of]), name="kind")


def derived(rule: str, formula: str = "", fact_ids: Iterable[str] = ()) -> Source:
    """A source in other facts."""
    return Source(where=Derived(rule=rule, formula=formula, fact_ids=tuple(fact_ids)))


def decimal(value: float, places: int) -> Decimal:
    """A measured number to so many decimal places, without the noise of floats; never minus zero."""
    return round(Decimal(repr(float(value))), places) + Decimal(0)


def _status(sources: Iterable[Source]) -> Status:
    return Status.DERIVED if all(source.input is None for source in sources) else Status.PRESENTED
