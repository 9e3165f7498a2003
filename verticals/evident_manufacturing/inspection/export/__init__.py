"""One inspection to files: JSON, CSV, HTML. All are made from the same value, so they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.export.html import to_html
from evident_manufacturing.inspection.export.table import to_csv
from evident_manufacturing.inspection.schema import Inspection


@dataclass(frozen=True)
class Format:
    """A kind of file that an inspection is exported to."""

    media_type: str
    make: Callable[[Inspection, bytes | None], bytes]


def to_json(inspection: Inspection, _image: bytes | None = None) -> bytes:
    """The whole inspection; ``Inspection.model_validate_json`` reads it back unchanged."""
    return inspection.model_dump_json(indent=1).encode()


FORMATS: Final[dict[str, Format]] = {
    "json": Format("application/json", to_json),
    "csv": Format("text/csv; charset=utf-8; header=present", to_csv),
    "html": Format("text/html; charset=utf-8", to_html),
}


def export(inspection: Inspection, file_format: str, image: bytes | None = None) -> bytes:
    """The inspection as the bytes of a file.

    Args:
        inspection: What is known of one part.
        file_format: A key of ``FORMATS``: json, csv or html.
        image: The tested image as it was received, to be shown under the boxes (html).

    Raises:
        InvalidInput: There is no such format, or the image is not the one that was inspected.
    """
    if file_format not in FORMATS:
        raise InvalidInput(
            f"{file_format!r} is not an export format; there are {', '.join(FORMATS)}.", format=file_format
        )
    if image is not None and hashlib.sha256(image).hexdigest() != inspection.input.sha256:
        raise InvalidInput(
            f"This is not the image that was inspected as {inspection.input.name!r}: its SHA-256 differs; "
            "give that image, or none.",
            expected=inspection.input.sha256,
        )
    return FORMATS[file_format].make(inspection, image)
