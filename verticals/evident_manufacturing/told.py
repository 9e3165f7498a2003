"""Events as the pages take them from an agent: strict about their form, and back to what was inspected."""

from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from evident_core.errors import InvalidInput
from evident_core.evidence import BBox, Frozen, InputRef
from evident_manufacturing.delivery.events import ALARM_FORM, MAX_DEFECTS, MAX_MESSAGE, MAX_TEXT, event_of, plain_text
from evident_manufacturing.inspection.schema import (
    Decision,
    Defect,
    Inspection,
    Part,
    Quantity,
    Reason,
    Seen,
    Size,
    Verdict,
)


def _plain(text: str) -> str:
    if plain_text(text) != text:
        raise ValueError("has characters that a page or a terminal obeys")
    return text


def _plain_message(text: str) -> str:
    if plain_text(text, MAX_MESSAGE) != text:
        raise ValueError("has characters that a page or a terminal obeys")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_plain)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_LARGEST: Final = 1 << 20
_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


class ToldQuantity(Frozen):
    """A value and its expanded uncertainty."""

    value: float = Field(allow_inf_nan=False)
    u: float = Field(ge=0, allow_inf_nan=False)
    unit: Literal["mm", "mm2", "px", "px2"]

    def quantity(self) -> Quantity:
        """As an inspection has it."""
        return Quantity(value=Decimal(str(self.value)), uncertainty=Decimal(str(self.u)), unit=self.unit)


class ToldReason(Frozen):
    """Why it was decided so."""

    rule: Text
    decision: Decision | None
    defects: tuple[Annotated[int, Field(ge=1)], ...] = Field(max_length=MAX_DEFECTS)
    limit: Text


class ToldDefect(Frozen):
    """One defect."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    number: int = Field(ge=1)
    kind: Text = Field(alias="class", min_length=1)
    bbox_px: BBox
    score: float = Field(ge=0, le=1)
    seen: Seen
    length: ToldQuantity | None = None
    width: ToldQuantity | None = None
    area: ToldQuantity | None = None
    gap: ToldQuantity | None = None
    gap_over: ToldQuantity | None = None

    @model_validator(mode="after")
    def _a_box(self) -> Self:
        x0, y0, x1, y1 = self.bbox_px
        if not (0 <= x0 < x1 <= _LARGEST and 0 <= y0 < y1 <= _LARGEST):
            raise ValueError(f"the box {self.bbox_px} has swapped corners, or lies outside a picture")
        return self

    def defect(self) -> Defect:
        """As an inspection has it."""
        size = None
        if self.length and self.width and self.area:
            size = Size(
                length=self.length.quantity(),
                width=self.width.quantity(),
                area=self.area.quantity(),
                gap=self.gap.quantity() if self.gap else None,
                gap_over=self.gap_over.quantity() if self.gap_over else None,
            )
        return Defect(
            number=self.number, kind=self.kind, bbox=self.bbox_px, score=self.score, seen=self.seen, size=size
        )


class ToldImage(Frozen):
    """Which picture it was."""

    sha256: Sha256
    width: int = Field(ge=1, le=_LARGEST)
    height: int = Field(ge=1, le=_LARGEST)


class Told(Frozen):
    """An event of ``delivery/data/event.schema.json``."""

    form: Literal["evident.inspection/1"]
    event_id: str = Field(pattern=_UUID)
    revision: int = Field(ge=1)
    station: Text
    part_id: Text = Field(min_length=1)
    lot: Text
    product: Text
    camera: Text
    decision: Decision
    weak: bool
    specification: Text
    reasons: tuple[ToldReason, ...] = Field(max_length=1000)
    defects: tuple[ToldDefect, ...] = Field(max_length=MAX_DEFECTS)
    defects_total: int = Field(ge=0)
    model: Text
    version: Text
    calibration: Text | None
    image: ToldImage
    template_sha256: Sha256 | None
    taken: AwareDatetime | None
    inspected: AwareDatetime
    milliseconds: dict[Text, Annotated[float, Field(allow_inf_nan=False)]] = Field(max_length=50)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        numbers = [defect.number for defect in self.defects]
        if len(set(numbers)) < len(numbers) or self.defects_total < len(numbers):
            raise ValueError("its defects have a number twice, or are more than defects_total")
        return self

    def inspection(self) -> Inspection:
        """What is known of the board from its event alone: boxes, sizes and the verdict, and not what they rest on."""
        return Inspection(
            part=Part(
                part_id=self.part_id,
                revision=self.revision,
                product=self.product,
                lot=self.lot,
                camera=self.camera,
                taken=self.taken,
            ),
            input=InputRef(sha256=self.image.sha256, name=self.part_id),
            template=InputRef(sha256=self.template_sha256, name="template") if self.template_sha256 else None,
            width=self.image.width,
            height=self.image.height,
            alignment=None,
            calibration=None,
            defects=tuple(each.defect() for each in self.defects),
            facts=(),
            claims=(),
            verdict=Verdict(
                decision=self.decision,
                specification=self.specification,
                reasons=tuple(Reason(**each.model_dump()) for each in self.reasons),
                weak=self.weak,
            ),
            model=self.model,
            version=self.version,
            milliseconds=self.milliseconds,
        )

    def refuse_another(self, inspection: Inspection) -> None:
        """See that an inspection is the one that this event tells of.

        Raises:
            InvalidInput: It is another.
        """
        event = event_of(inspection, station=self.station, inspected=self.inspected, revision=self.revision)
        again = Told.model_validate_json(event.body).model_copy(update={"event_id": self.event_id})
        if again != self:
            raise InvalidInput(f"The inspection is not the one of event {self.event_id}.", event_id=self.event_id)


class ToldAlarm(Frozen):
    """An alarm of ``delivery/data/alarm.schema.json``: something at a station that a person must see to."""

    form: Literal["evident.alarm/1"]
    event_id: str = Field(pattern=_UUID)
    station: Text
    code: Text
    state: Literal["raised", "cleared"]
    message: Annotated[str, Field(max_length=MAX_MESSAGE), AfterValidator(_plain_message)]
    part_id: Text
    at: AwareDatetime
    images: int = Field(1, ge=1, le=_LARGEST)


_ANY: Final[TypeAdapter[Told | ToldAlarm]] = TypeAdapter(Annotated[Told | ToldAlarm, Field(discriminator="form")])


def read(body: bytes) -> Told | ToldAlarm:
    """An event of its JSON.

    Raises:
        InvalidInput: It is none; the message names the field.
    """
    try:
        return _ANY.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][1:])) or "event"
        schema = "alarm.schema.json" if first["loc"][:1] == (ALARM_FORM,) else "event.schema.json"
        raise InvalidInput(f"{where}: {first['msg']}; see {schema}.", field=where) from None
