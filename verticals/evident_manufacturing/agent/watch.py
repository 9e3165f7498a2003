"""What is wrong with a station's camera: half a scan, a scene that does not change, a calibration past its day."""

from collections import deque
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.agent.alarms import Alarms
from evident_manufacturing.inspection.assess.camera import SceneChange, frozen_scene, half_scan, scene_change
from evident_manufacturing.inspection.ingest import Board
from evident_manufacturing.inspection.schema import Calibration, Part


class CameraWatch:
    """Looks at each picture once, and raises and clears alarms.

    Args:
        alarms: Of the agent.
        template: The golden sample, which a whole scan looks like; None: half scans are not seen.
        live: Whether pictures are a camera's frames, each of another part. In a folder or on a server equal pictures
            may lie for good reasons, and are no alarm.
    """

    def __init__(self, alarms: Alarms, template: Board | None = None, *, live: bool = False) -> None:
        self._alarms, self._template, self._live = alarms, template, live
        self._part_id = ""
        self._before: NDArray[np.uint8] | None = None
        self._changes: deque[SceneChange] = deque(maxlen=16)
        # What an agent raised before it was started otherwise is not looked for any more.
        if not live:
            alarms.tell("frozen_camera", "")
        if template is None:
            alarms.tell("half_scan", "")

    def see(self, board: Board, part: Part) -> None:
        """Look at the picture of a part; one that is inspected again is the same picture, and no frozen camera."""
        if part.part_id == self._part_id:
            return
        self._part_id = part.part_id
        self._see_borders(board, part)
        if self._live:
            self._see_change(board, part)

    def _see_borders(self, board: Board, part: Part) -> None:
        if self._template is None or self._template.gray.shape != board.gray.shape:
            return
        border = half_scan(board.gray, self._template.gray)
        message = f"The scan of part {part.part_id} is incomplete from its {border} on." if border else ""
        self._alarms.tell("half_scan", message, part.part_id)

    def _see_change(self, board: Board, part: Part) -> None:
        if self._before is not None:
            self._changes.append(scene_change(self._before, board.gray))
            if frozen_scene(self._changes):
                message = (
                    f"The camera's last frames, to part {part.part_id}, differ by nothing but noise: it is frozen, or "
                    "no new part comes under it."
                )
                self._alarms.tell("frozen_camera", message, part.part_id)
            elif not self._changes[-1].none:
                self._alarms.tell("frozen_camera", "")
        self._before = board.gray


def see_calibration(calibration: Calibration | None, alarms: Alarms) -> None:
    """An alarm where the certificate is past its day, for then nothing is judged in millimetres."""
    message = ""
    if calibration is not None and datetime.now(UTC).date() > calibration.valid_until:
        message = f"Calibration {calibration.id} was valid until {calibration.valid_until}; calibrate the camera again."
    alarms.tell("calibration_expired", message)
