"""The values that pass between the steps of an inspection.

Pixels: x to the right, y down, boxes (x0, y0, x1, y1) with x1 and y1 exclusive, all in the tested image as it was
received. Millimetres only where a calibration holds. Fact ids are ``defect.<n>.<name>`` (``defect.3.length``),
``board.<name>`` for what concerns the whole image.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import Field

from evident_core.evidence import BBox, Claim, Fact, Frozen, InputRef, Report

KINDS = ("open", "short", "mousebite", "spur", "copper", "pinhole")
"""The defect kinds of the shipped detector, in the order of its classes (DeepPCB's types 1 to 6)."""


class Alignment(Frozen):
    """Where a template lies under a tested image: test(x, y) = template(x - dx, y - dy), after a turn of ``angle``.

    Attributes:
        dx: Pixels to the right.
        dy: Pixels down.
        angle: Degrees, counter-clockwise as shown, about the image's centre.
        confidence: From 0 (no relation) to 1 (the same picture).
        residual: Pixels, root mean square distance of edges that the fit leaves over.
        bend: Pixels (x, y) to the right and down by which places lie off that shift and turn, at the middles of a grid
            of equal cells over the tested image, row by row, linear in between; empty: none.
    """

    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    confidence: float = Field(ge=0.0, le=1.0)
    residual: float = Field(default=0.0, ge=0.0)
    bend: tuple[tuple[tuple[float, float], ...], ...] = ()


class Calibration(Frozen):
    """A certificate that says how large a pixel is.

    Attributes:
        id: Of the certificate.
        mm_per_pixel: (x, y); pixels need not be square.
        residual_mm: One standard deviation of a length measured on the target, after the fit.
        method: ``dot_grid`` or ``known_pitch``.
        made: Day of the calibration.
        valid_until: Last day on which it holds.
        camera: Which camera it is of; empty: any.
        scale_uncertainty: Relative standard uncertainty of ``mm_per_pixel``: of the fit and of the target.
        points: Number of dots, or of known lengths, that it rests on; 0: not said.
    """

    id: str = Field(min_length=1)
    mm_per_pixel: tuple[float, float]
    residual_mm: float = Field(ge=0.0)
    method: Literal["dot_grid", "known_pitch"]
    made: date
    valid_until: date
    camera: str = ""
    scale_uncertainty: float = Field(default=0.0, ge=0.0)
    points: int = Field(default=0, ge=0)


class Quantity(Frozen):
    """A measured value with its expanded uncertainty (k = 2, about 95 %), both in ``unit``."""

    value: Decimal
    uncertainty: Decimal
    unit: Literal["mm", "mm2", "px", "px2"]


class Size(Frozen):
    """How large a defect is, measured on its difference component and not on a label box.

    Attributes:
        length: Longest extent of its minimum-area rectangle.
        width: The other side of that.
        area: Of its pixels.
        gap: What is left between conductors (short, spur, copper) or of a conductor (open, mousebite, pinhole) at the
            defect; None where nothing lies within reach.
        gap_over: What the gap is then known to exceed.
    """

    length: Quantity
    width: Quantity
    area: Quantity
    gap: Quantity | None = None
    gap_over: Quantity | None = None


class Seen(StrEnum):
    """Who saw a defect."""

    BOTH = "both"
    GOLDEN = "golden"
    LEARNED = "learned"


class Candidate(Frozen):
    """A place that differs from the template.

    Attributes:
        bbox: Around its pixels.
        mask_rle: Its pixels within ``bbox``, row by row: run lengths joined by spaces, the first of them of pixels that
            are not part of it.
        area: Number of its pixels.
        contrast: Mean difference of its pixels from the template, 0 to 1.
        added: Whether there is more conductor than in the template (short, spur, copper) or less.
    """

    bbox: BBox
    mask_rle: str
    area: int = Field(ge=1)
    contrast: float = Field(ge=0.0, le=1.0)
    added: bool


class Detection(Frozen):
    """A box of the learned detector."""

    bbox: BBox
    kind: str
    score: float = Field(ge=0.0, le=1.0)


class Naming(Frozen):
    """That a defect's kind was named from a description of the specification, and how surely.

    Attributes:
        instead_of: The kind that the detector, or the rule for differences, took it for.
        share: Of the description, beside what ordinary defects reach, 0 to 1.
        likeness: Cosine of picture and description, -1 to 1.
        ordinary: The likeness below which nearly all ordinary defects of the kind ``instead_of`` stay.
    """

    instead_of: str
    share: float = Field(ge=0.0, le=1.0)
    likeness: float = Field(ge=-1.001, le=1.001)
    ordinary: float = Field(ge=-1.001, le=1.001)


class Wording(Frozen):
    """What the aligner would say of a defect: ``key`` is ``kind.trait`` of a remark in the service's descriptions.

    Attributes:
        share: Of all remarks that were offered, 0 to 1: how sure it is.
    """

    key: str
    share: float = Field(ge=0.0, le=1.0)


class Defect(Frozen):
    """A defect: what it is, where, how large, who saw it, and how sure that is.

    Attributes:
        number: From 1, in reading order.
        kind: One of :data:`KINDS`, or a kind that a person added.
        bbox: What is drawn and exported, in whole pixels: the detector's box with the differences in it, or around a
            difference with the margin that a person would leave.
        mask_rle: Of the differences, within ``bbox``, as :class:`Candidate` writes it.
        score: Calibrated probability that this is a defect.
        size: None where there is no difference component to measure.
        naming: Where its kind was named from a description; None: the kind is the detector's own.
    """

    number: int = Field(ge=1)
    kind: str
    bbox: BBox
    score: float = Field(ge=0.0, le=1.0)
    seen: Seen
    mask_rle: str | None = None
    size: Size | None = None
    naming: Naming | None = None


class Decision(StrEnum):
    """What happens to a part."""

    ACCEPT = "accept"
    REWORK = "rework"
    REJECT = "reject"


class Reason(Frozen):
    """Why a decision is not "accept", or is weaker than it could be: a rule of the specification, and what met it.

    Attributes:
        rule: Its key in the specification, or one of ``template_missing``, ``calibration_missing``,
            ``calibration_expired``, ``specification_missing``, ``kind_by_description``.
        defects: Numbers of the defects it is about.
        limit: As the specification writes it; empty where there is none.
    """

    rule: str
    decision: Decision | None = None
    defects: tuple[int, ...] = ()
    limit: str = ""


class Verdict(Frozen):
    """The decision on one part by one version of its specification.

    Attributes:
        specification: ``<product>@<version>``; empty where there was none.
        weak: The evidence is weaker than it should be; ``reasons`` say why.
    """

    decision: Decision
    specification: str = ""
    reasons: tuple[Reason, ...] = ()
    weak: bool = False


class Part(Frozen):
    """Which part an image is of, as the line says it; ``part_id`` is what makes a delivery idempotent.

    Attributes:
        revision: Above 1 where the part was inspected again on purpose; the highest is its result.
    """

    part_id: str = Field(min_length=1, max_length=128)
    revision: int = Field(default=1, ge=1)
    product: str = Field(default="", max_length=128)
    lot: str = Field(default="", max_length=128)
    camera: str = Field(default="", max_length=128)
    taken: datetime | None = None


class Inspection(Frozen):
    """Everything that is known about one part: what the pages, the exports and the MES are made of.

    ``report`` is None where it was not asked for: it can be written of the facts and claims at any time.
    """

    part: Part
    input: InputRef
    template: InputRef | None
    width: int
    height: int
    alignment: Alignment | None
    calibration: Calibration | None
    defects: tuple[Defect, ...]
    facts: tuple[Fact, ...]
    claims: tuple[Claim, ...]
    verdict: Verdict
    report: Report | None = None
    model: str
    version: str
    milliseconds: dict[str, float] = Field(default_factory=dict)

    @property
    def mm_per_pixel(self) -> tuple[float, float] | None:
        """By the calibration, (x, y); None where none held, as the verdict says: sizes are in pixels then."""
        missing = {"calibration_missing", "calibration_expired"} & {each.rule for each in self.verdict.reasons}
        return None if missing or self.calibration is None else self.calibration.mm_per_pixel
