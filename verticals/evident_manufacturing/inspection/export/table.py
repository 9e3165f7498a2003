"""An inspection as CSV (RFC 4180): one line for each defect, and one for a part without any.

A gap that is known only as more than so much, since nothing lies within reach, is in ``gap_over`` and ``gap`` is empty;
where both are empty, none was measured. ``revision`` is above 1 where the part was inspected again on purpose.
"""

from __future__ import annotations

import csv
import io
from typing import Final

from evident_manufacturing.inspection.assess.ledger import SIZES
from evident_manufacturing.inspection.schema import Defect, Inspection

_BOX: Final = ("x0", "y0", "x1", "y1")
_SIZES: Final = (*SIZES, "gap_over")
COLUMNS: Final = (
    "part_id", "product", "lot", "camera", "taken", "image_sha256", "specification", "decision", "weak",
    "number", "kind", "score", "seen", *_BOX,
    *(f"{size}{part}" for size in _SIZES for part in ("", "_uncertainty", "_unit")),
    "revision",
)  # fmt: skip


def to_csv(inspection: Inspection, _image: bytes | None = None) -> bytes:
    """The defects as a table, in UTF-8 with a byte order mark, by which spreadsheets know it.

    A text that a spreadsheet would run as a formula is written with an apostrophe before it.
    """
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    part, verdict = inspection.part, inspection.verdict
    about = {
        "part_id": plain(part.part_id),
        "product": plain(part.product),
        "lot": plain(part.lot),
        "camera": plain(part.camera),
        "taken": part.taken.isoformat() if part.taken else "",
        "image_sha256": inspection.input.sha256,
        "specification": plain(verdict.specification),
        "decision": str(verdict.decision),
        "weak": str(verdict.weak).lower(),
        "revision": str(part.revision),
    }
    for defect in inspection.defects:
        writer.writerow(about | _defect(defect))
    if not inspection.defects:
        writer.writerow(about)
    return out.getvalue().encode("utf-8-sig")


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r\n") else text


def _defect(defect: Defect) -> dict[str, str]:
    row = {
        "number": str(defect.number),
        "kind": plain(defect.kind),
        "score": repr(defect.score),
        "seen": str(defect.seen),
        **{name: repr(value) for name, value in zip(_BOX, defect.bbox, strict=True)},
    }
    for name in _SIZES:
        if defect.size and (quantity := getattr(defect.size, name)):
            row |= {
                name: str(quantity.value),
                f"{name}_uncertainty": str(quantity.uncertainty),
                f"{name}_unit": quantity.unit,
            }
    return row
