"""Certificates of calibrations: how large a pixel of a camera is, found on which day, and until when that holds."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection.schema import Calibration

FINEST, COARSEST = 0.000_05, 0.5
"""mm per pixel that cameras over boards and parts have: a microscope's to a wide line scan's."""

MOST_OBLONG = 2.0
"""Ratio of a pixel's sides."""

WORST_FIT = 0.05
"""Share of the pitch, or of a known length, that may be left over."""


@dataclass(frozen=True)
class Certificate:
    """What a calibration is called, of which camera, made when, and until when it holds."""

    id: str
    made: date
    valid_until: date
    camera: str = ""


def certified(certificate: Certificate, **found: Any) -> Calibration:
    """A calibration under the name and dates of its certificate.

    Args:
        certificate: Its name and dates.
        **found: What was measured, by the names of :class:`~evident_manufacturing.inspection.schema.Calibration`.

    Raises:
        InvalidInput: It contradicts itself, or its figures can only be of another unit.
    """
    calibration = _validated(vars(certificate) | found, "the calibration")
    check(calibration)
    return calibration


def text_of(calibration: Calibration) -> str:
    """The certificate as JSON, which :func:`load` reads."""
    return calibration.model_dump_json(indent=1) + "\n"


def load(path: Path) -> Calibration:
    """Read a certificate from YAML or JSON.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is not a certificate, contradicts itself, or is in another unit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(
            f"there is no calibration {path}; `evident manufacturing calibrate` makes one of a picture of a dot grid"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as text ({error}); a calibration is YAML or JSON") from error
    return parse(text, name=path.name)


def parse(text: str, *, name: str = "the calibration") -> Calibration:
    """:func:`load` of text."""
    import yaml  # an agent without a certificate starts without it: it takes 10 ms

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        at = f" from line {mark.line + 1} on" if mark else ""
        raise InvalidInput(f"{name} is neither YAML nor JSON{at}; a calibration is one of them") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{name} is {type(values).__name__}; a calibration is a mapping with mm_per_pixel and dates")
    if "mm_per_pixel" not in values:
        raise InvalidInput(f"{name} is no calibration certificate: it has no mm_per_pixel; is it another file?")
    unit = values.pop("unit", "mm")
    if unit != "mm":
        raise InvalidInput(f"{name} is in {unit!r}; give mm_per_pixel and residual_mm in mm", unit=str(unit))
    calibration = _validated(values, name)
    try:
        check(calibration)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.message}", **error.details) from error
    return calibration


def check(calibration: Calibration) -> None:
    """Refuse a certificate that contradicts itself, or whose figures can only be of another unit."""
    for value in calibration.mm_per_pixel:
        if not FINEST <= value <= COARSEST:
            turned = f"; {value:g} pixels per mm would be {1 / value:.6f}" if value > COARSEST else ""
            raise InvalidInput(
                f"{value:g} mm per pixel is not between {FINEST:g} and {COARSEST:g}: is it in another unit{turned}?",
                mm_per_pixel=value,
            )
    x, y = calibration.mm_per_pixel
    if max(x, y) > MOST_OBLONG * min(x, y):
        raise InvalidInput(
            f"pixels of {x:g} x {y:g} mm are more than {MOST_OBLONG:g} times as long as wide; check both"
        )
    if calibration.valid_until < calibration.made:
        raise InvalidInput(
            f"calibration {calibration.id} was made on {calibration.made} and holds until {calibration.valid_until}, "
            "which is earlier; correct the dates"
        )
    if calibration.residual_mm > 10 * max(x, y):
        raise InvalidInput(
            f"a residual of {calibration.residual_mm:g} mm is more than ten pixels; is it in micrometres?",
            residual_mm=calibration.residual_mm,
        )
    if calibration.scale_uncertainty > WORST_FIT:
        raise InvalidInput(
            f"a scale uncertain by {calibration.scale_uncertainty:.0%} measures nothing; calibrate again"
        )


def _validated(values: dict[str, Any], name: str) -> Calibration:
    try:
        return Calibration.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        raise InvalidInput(f"{name}: {where or 'value'}: {first['msg']}", field=where) from error
