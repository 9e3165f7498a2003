"""Boards and templates as PNG, as they were inspected; made in a process of its own, for files come from strangers."""

from pathlib import Path
from typing import Final, Literal

import cv2
from cv2.typing import MatLike

from evident_core import sandbox
from evident_core.errors import InvalidInput, NotFound
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_manufacturing.desk import light
from evident_manufacturing.inspection.ingest import ingest
from evident_manufacturing.inspection.perceive.align import lay
from evident_manufacturing.inspection.schema import Alignment
from evident_manufacturing.kept import Kept

THUMBNAIL: Final = 160
"""Pixels of the longer side of a board's picture on the line's page."""
LARGEST: Final = 4096
Which = Literal["board", "template"]


def picture(job_id: str, which: Which, *, small: bool = False) -> bytes:
    """A board as it was inspected (grey, upright), or its template laid under it, as PNG; made in a process of its own.

    Raises:
        NotFound: There is no such board, it was inspected without a template, or an agent sent no picture.
        EvidentError: The file cannot be read as a picture.
    """
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    rows = [frame.store.input(each, frame.caller.id) for each in job.input_ids]
    if not rows:
        raise NotFound("The agent that inspected this board sent no picture of it.", job=job_id)
    if which == "template" and len(rows) < 2:
        raise NotFound("This board was inspected without a template, so there is no picture of one.", job=job_id)
    alignment, shape = None, None
    if which == "template" and job.result_id is not None:
        inspection = light(job.result_id).inspection
        alignment, shape = inspection.alignment, (inspection.height, inspection.width)
    row = rows[1 if which == "template" else 0]
    side = THUMBNAIL if small else LARGEST
    key = f"{row.sha256} {side} {shape} {alignment.model_dump_json() if alignment else ''}"
    path = frame.store.input_path(row)
    limits = frame.settings.sandbox
    return _pictures.get(key, lambda: sandbox.run(_drawn, path, row.name, alignment, shape, side, limits=limits))


def _drawn(path: Path, name: str, alignment: Alignment | None, shape: tuple[int, int] | None, side: int) -> bytes:
    gray = ingest(path.read_bytes(), name=name, allow_blank=True).gray
    if alignment is not None and shape is not None:
        gray = lay(gray, alignment, shape)[0]
    factor = side / max(gray.shape)
    if factor < 1:
        size = max(1, round(gray.shape[1] * factor)), max(1, round(gray.shape[0] * factor))
        return _png(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
    return _png(gray)


def _png(gray: MatLike) -> bytes:
    done, data = cv2.imencode(".png", gray)
    if not done:
        raise InvalidInput("The picture cannot be drawn as PNG.")
    return bytes(data.tobytes())


_pictures: Final = Kept[bytes](48)
