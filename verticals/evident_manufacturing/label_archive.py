"""The label set as a file: a ZIP in DeepPCB's layout, as ``train``, ``retrain`` and ``evaluate`` read it."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core import sandbox
from evident_core.errors import InvalidInput
from evident_core.web.frame import current_frame
from evident_manufacturing.inspection.ingest import ingest
from evident_manufacturing.inspection.schema import KINDS
from evident_manufacturing.label_sets import WHY, LabelledBoard, LabelSet

_DAY: Final = (1980, 1, 1, 0, 0, 0)
_JPEG_QUALITY: Final = 95


def archive(labels: LabelSet) -> bytes:
    """A label set as a ZIP in DeepPCB's layout; the same set gives the same bytes.

    Beside the layout lies ``labels.json``: the set, and what is left out of it, with the reasons.

    Raises:
        InvalidInput: No board is complete.
        EvidentError: A picture cannot be read.
    """
    if not labels.boards:
        raise InvalidInput(
            "No board is complete yet: say of each of its defects whether it is one, or that it is clean."
        )
    frame = current_frame()
    paths = {row.sha256: frame.store.input_path(row) for row in frame.store.inputs(frame.caller.id)}
    return sandbox.run(
        _packed, labels, {each: paths[each] for each in _pictures(labels)}, limits=frame.settings.sandbox
    )


def label_name(board: LabelledBoard) -> str:
    """A board's name in the archive, by which it is trained on or held back."""
    return board.image[:16]


def _pictures(labels: LabelSet) -> set[str]:
    return {sha256 for board in labels.boards for sha256 in (board.image, board.template)}


def _packed(labels: LabelSet, paths: dict[str, Path]) -> bytes:
    out = io.BytesIO()
    group = f"labels_{labels.version[:12]}"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:

        def write(name: str, data: bytes) -> None:
            packed.writestr(zipfile.ZipInfo(name, _DAY), data, zipfile.ZIP_DEFLATED)

        listed = []
        for board in labels.boards:
            stem = f"{group}/{label_name(board)}"
            write(f"{stem}_test.jpg", _jpeg(paths[board.image]))
            write(f"{stem}_temp.jpg", _jpeg(paths[board.template]))
            lines = [
                f"{' '.join(str(round(v)) for v in entry.bbox)} {KINDS.index(entry.kind) + 1}"
                for entry in board.entries
            ]
            write(f"{stem}.txt", "".join(f"{line}\n" for line in lines).encode())
            listed.append(f"{stem}.jpg {stem}.txt\n")
        write("trainval.txt", "".join(listed).encode())
        write("labels.json", json.dumps(_manifest(labels), indent=1, ensure_ascii=False).encode())
    return out.getvalue()


def _manifest(labels: LabelSet) -> dict[str, Any]:
    of_this_place = {"__all__": {"job_id"}}
    manifest = labels.model_dump(
        mode="json", exclude={"boards": of_this_place, "contradictions": {"__all__": {"boards": of_this_place}}}
    )
    left_out = [{"reason": reason, "boards": boards, "why": WHY[reason]} for reason, boards in labels.left_out.items()]
    return manifest | {"left_out": left_out}


def _jpeg(path: Path) -> bytes:
    gray: NDArray[np.uint8] = ingest(path.read_bytes(), name=path.name[:12], allow_blank=True).gray
    done, data = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise InvalidInput("A picture cannot be written as JPEG.")
    return bytes(data.tobytes())
