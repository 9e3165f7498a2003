"""Sample inspections: defects of known size, judged by the shipped specification, written and whole."""

from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

from evident_core.evidence import InputRef
from evident_manufacturing.inspection.assess import Specification, assess
from evident_manufacturing.inspection.schema import (
    Alignment,
    Calibration,
    Defect,
    Inspection,
    Part,
    Quantity,
    Seen,
    Size,
)
from evident_manufacturing.inspection.write import write

IMAGE = InputRef(sha256="a1" * 32, name="board_0001_test.png")
TEMPLATE = InputRef(sha256="b2" * 32, name="board_temp.png")
PART = Part(
    part_id="SN-0001", product="demo-board", lot="L-77", camera="cam-1", taken=datetime(2025, 3, 14, 9, 30, tzinfo=UTC)
)
DAY = date(2025, 3, 14)
CALIBRATION = Calibration(
    id="CAL-2025-03",
    mm_per_pixel=(1 / 48, 1 / 48),
    residual_mm=0.002,
    method="dot_grid",
    made=date(2025, 3, 1),
    valid_until=date(2025, 9, 1),
)
ALIGNMENT = Alignment(dx=-2.4, dy=1.2, angle=0.05, confidence=0.93, residual=0.21)


def specification() -> Specification:
    """The specification that the service ships as its example."""
    path = files("evident_manufacturing.inspection") / "data" / "specification.yaml"
    return Specification.load(path.read_bytes(), "specification.yaml")


def size(
    length: str = "0.30",
    width: str = "0.12",
    area: str = "0.028",
    gap: str | None = "0.15",
    unit: str = "mm",
    uncertainty: str = "0.012",
) -> Size:
    """A size; ``unit`` is mm or px, and the area's unit follows."""
    spread = Decimal(uncertainty)

    def of(value: str, in_unit: str) -> Quantity:
        return Quantity.model_validate({"value": value, "uncertainty": spread, "unit": in_unit})

    return Size(
        length=of(length, unit), width=of(width, unit), area=of(area, f"{unit}2"), gap=of(gap, unit) if gap else None
    )


def defect(number: int = 1, kind: str = "mousebite", **changes: Any) -> Defect:
    """A defect of 24 x 12 pixels, measured."""
    left, top = 40.0 + 60 * (number - 1), 100.0
    given: dict[str, Any] = {
        "number": number,
        "kind": kind,
        "bbox": (left, top, left + 24, top + 12),
        "score": 0.97,
        "seen": Seen.BOTH,
        "mask_rle": "0 288",
        "size": size(),
    }
    return Defect(**(given | changes))


def inspection(**changes: Any) -> Inspection:
    """A whole inspection, assessed and written from what it holds.

    Args:
        **changes: Fields of Inspection in place of the specimen's, and ``specification`` and ``on`` of the judgement;
            ``facts``, ``claims``, ``verdict`` and ``report`` follow from the others unless they are given.
    """
    judged_by = changes.pop("specification", specification())
    on = changes.pop("on", DAY)
    given: dict[str, Any] = {
        "part": PART,
        "input": IMAGE,
        "template": TEMPLATE,
        "width": 640,
        "height": 640,
        "alignment": ALIGNMENT,
        "calibration": CALIBRATION,
        "defects": (defect(1), defect(2, "short", size=size(gap=None)), defect(3, "pinhole", score=0.41)),
        "model": "fused-n-fp32@1",
        "version": "0.1.0",
        "milliseconds": {"detect": 12.5, "measure": 1.25},
    } | changes
    made = assess(
        given["defects"],
        judged_by,
        image=given["input"],
        width=given["width"],
        height=given["height"],
        part=given["part"],
        on=on,
        calibration=given["calibration"],
        template=given["template"],
        alignment=given["alignment"],
    )
    inputs = [given["input"], *([given["template"]] if given["template"] else [])]
    inputs += [judged_by.input] if judged_by else []
    given = {"facts": made.facts, "claims": made.claims, "verdict": made.verdict} | given
    given.setdefault("report", write(inputs, given["facts"], given["claims"]))
    return Inspection(**given)
