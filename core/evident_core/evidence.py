"""Source, Fact, Claim, Report: the contract of the whole suite.

A service reads *facts* out of its inputs; each fact carries the places it was read from. Rules turn facts into
*claims*; sentences state claims. So each number on a page leads back, sentence -> claim -> fact -> source, to a box on
a page, a region of an image or an element of a brief. All values are frozen, and survive JSON unchanged.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

BBox = tuple[float, float, float, float]
Language = Literal["en", "zh"]


class Frozen(BaseModel):
    """A value: immutable, and strict about the names of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRef(Frozen):
    """One input as it was received: its SHA-256 (hex) and the name its sender gave it (display only, never a path)."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str


class PageBox(Frozen):
    """A box on a page, and the text printed there.

    ``page`` counts from 1; ``bbox`` is (x0, top, x1, bottom) in PDF points from the upper left corner of the page as it
    is displayed; ``quote`` is the text.
    """

    kind: Literal["page_box"] = "page_box"
    page: int = Field(ge=1)
    bbox: BBox
    quote: str = ""


class ImageRegion(Frozen):
    """A region of an image: DICOM UIDs or a frame, a box in pixels (x0, y0, x1, y1), and the pixel size in mm."""

    kind: Literal["image_region"] = "image_region"
    series_uid: str | None = None
    sop_instance_uid: str | None = None
    frame: int = Field(default=0, ge=0)
    bbox: BBox | None = None
    mask_rle: str | None = None
    mm_per_pixel: tuple[float, float] | None = None


class Element(Frozen):
    """An element of a structured input, as a JSON pointer (RFC 6901) or FHIRPath."""

    kind: Literal["element"] = "element"
    path: str
    quote: str = ""


class Derived(Frozen):
    """Computed from other facts: the rule's name, its formula as a person reads it, and the facts that went in."""

    kind: Literal["derived"] = "derived"
    rule: str
    formula: str = ""
    fact_ids: tuple[str, ...] = ()


class Correction(Frozen):
    """Set by a person in place of what was read: who, when (ISO 8601), why, and the value that stood before."""

    kind: Literal["correction"] = "correction"
    by: str
    at: str
    reason: str = ""
    previous: str | None = None


Location = Annotated[PageBox | ImageRegion | Element | Derived | Correction, Field(discriminator="kind")]


class Source(Frozen):
    """Which input, and where in it; ``input`` is None exactly for what none states: derived and corrected values."""

    input: InputRef | None = None
    where: Location

    @model_validator(mode="after")
    def _input_names_a_place(self) -> Self:
        if isinstance(self.where, Derived | Correction) is not (self.input is None):
            raise ValueError("a source in an input names that input; a derived or corrected one names none")
        return self


class Status(StrEnum):
    """How a value is known: printed in an input, computed from such, or not there (then ``value`` is None)."""

    PRESENTED = "presented"
    DERIVED = "derived"
    NOT_PRESENTED = "not_presented"


class Fact(Frozen):
    """One value with its origin.

    ``value`` is a Decimal exactly when ``unit`` is given (UCUM, ISO 4217, ``"1"`` for a pure number), otherwise text;
    it is None exactly when ``status`` is NOT_PRESENTED. Numbers are in whole units: 32,765 printed in millions is
    ``Decimal(32765000000)`` with ``scale=1_000_000``.
    """

    id: str = Field(min_length=1)
    name: str = Field(min_length=1, description="A term of the service's vocabulary.")
    value: Decimal | str | None
    unit: str | None = None
    scale: int = Field(default=1, ge=1, description="The multiple of the unit in which the source prints the value.")
    period: str | None = Field(default=None, description="ISO 8601 date of the period's end, where the value has one.")
    subject: str | None = Field(default=None, description="What the value is about, where not the whole input.")
    status: Status = Status.PRESENTED
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    sources: tuple[Source, ...] = ()
    note: str = Field(default="", description="A remark a reader needs: restated, contested, residual of an identity.")

    @model_validator(mode="before")
    @classmethod
    def _unit_decides_the_type(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        value = data.get("value")
        if isinstance(value, float):
            raise ValueError(  # noqa: TRY004  # pydantic turns a ValueError into its own
                f"{value!r} is a float; give a Decimal or a string, floats do not keep what was printed"
            )
        if isinstance(value, str | int) and data.get("unit") is not None:
            try:
                return {**data, "value": Decimal(value)}
            except InvalidOperation:
                raise ValueError(f"{value!r} is not a number, and a value with a unit is one") from None
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.value is None) is not (self.status is Status.NOT_PRESENTED):
            raise ValueError(f"fact {self.id}: a value is absent exactly when its status is not_presented")
        if self.value is not None and isinstance(self.value, Decimal) is (self.unit is None):
            raise ValueError(f"fact {self.id}: a number has a unit ('1' for a pure number), and text has none")
        if self.value is not None and not self.sources:
            raise ValueError(f"fact {self.id}: a value without a source; nothing is written that cannot be pointed at")
        if isinstance(self.value, Decimal) and not self.value.is_finite():
            raise ValueError(f"fact {self.id}: {self.value} is not a number that can be stated")
        return self

    @property
    def number(self) -> Decimal:
        """The value of a numeric fact; a TypeError tells that this fact has none."""
        if not isinstance(self.value, Decimal):
            raise TypeError(f"fact {self.id} ({self.status}) has no number")
        return self.value


class Polarity(StrEnum):
    """What a claim says of its finding. NOT_ASSESSED is an answer: the inputs do not allow one of the other two."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_ASSESSED = "not_assessed"


class Severity(StrEnum):
    """How much a claim matters to the reader, from none to critical."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Claim(Frozen):
    """What a rule concludes from facts. ``facts`` maps a role in the predicate to a fact id; sentences name roles."""

    id: str = Field(min_length=1)
    predicate: str = Field(min_length=1, description="Key of the rule and of its phrases in every language.")
    facts: dict[str, str] = Field(default_factory=dict)
    polarity: Polarity = Polarity.PRESENT
    certainty: float = Field(default=1.0, ge=0.0, le=1.0)
    severity: Severity = Severity.NONE
    topic: str = Field(default="", description="Section of the report that states it.")


class Span(Frozen):
    """The characters ``text[start:end]`` of a sentence that state a fact: what a reader hovers to see its source."""

    start: int = Field(ge=0)
    end: int
    fact_id: str


class Sentence(Frozen):
    """One sentence in each language, the claims it states, and which of its characters state which fact."""

    id: str
    text: dict[Language, str]
    claim_ids: tuple[str, ...] = Field(min_length=1)
    spans: dict[Language, tuple[Span, ...]] = Field(default_factory=dict)


class Section(Frozen):
    """A titled run of sentences."""

    key: str
    title: dict[Language, str]
    sentences: tuple[Sentence, ...] = ()


class Report(Frozen):
    """The one document that every export is made from: sections of sentences, with all claims and facts under them."""

    title: dict[Language, str]
    inputs: tuple[InputRef, ...]
    facts: tuple[Fact, ...]
    claims: tuple[Claim, ...]
    sections: tuple[Section, ...]

    @model_validator(mode="after")
    def _nothing_dangles(self) -> Self:
        facts = _unique("fact", (fact.id for fact in self.facts))
        claims = _unique("claim", (claim.id for claim in self.claims))
        for claim in self.claims:
            if missing := set(claim.facts.values()) - facts:
                raise ValueError(f"claim {claim.id} rests on facts that are not in the report: {sorted(missing)}")
        for section in self.sections:
            for sentence in section.sentences:
                if missing := set(sentence.claim_ids) - claims:
                    raise ValueError(f"sentence {sentence.id} states claims that are not there: {sorted(missing)}")
        return self

    def fact(self, fact_id: str) -> Fact:
        """The fact of that id; KeyError where there is none."""
        return self._facts[fact_id]

    def claim(self, claim_id: str) -> Claim:
        """The claim of that id; KeyError where there is none."""
        return self._claims[claim_id]

    @cached_property
    def _facts(self) -> dict[str, Fact]:
        return {fact.id: fact for fact in self.facts}

    @cached_property
    def _claims(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in self.claims}


def _unique(what: str, ids: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise ValueError(f"{what} id {each!r} is given twice")
        seen.add(each)
    return seen
