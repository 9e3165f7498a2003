"""Frames of a camera, as images of parts."""

import time
from collections.abc import Callable
from typing import Any

from evident_manufacturing.agent.sources import Taken
from evident_manufacturing.inspection.schema import Part


class CameraSource:
    """A camera, or a video file, through OpenCV; one frame for each trigger, as lossless PNG.

    Args:
        device: Number or address of the camera.
        number: Gives the next part's number, and never one twice: ``lambda: outbox.count("camera top")``.
        trigger: Whether a part lies under the camera now; by default always.
        camera: Its name; also the beginning of the part ids.
        product: Of the parts.
        retry_seconds: Between tries to open a camera that is gone.
    """

    def __init__(
        self,
        device: int | str,
        *,
        number: Callable[[], int],
        trigger: Callable[[], bool] = lambda: True,
        camera: str = "camera",
        product: str = "",
        retry_seconds: float = 2.0,
    ) -> None:
        self._device, self._number, self._trigger = device, number, trigger
        self._camera, self._product, self._retry_seconds = camera, product, retry_seconds
        self._capture: Any = None
        self._again = 0.0
        self.problem = ""
        self._pending: Taken | None = None

    def next(self) -> Taken | None:
        """A frame; the last one again where it was not said to be safe; None without a trigger or a camera."""
        if self._pending is not None:
            return self._pending
        if not self._trigger() or time.monotonic() < self._again:
            return None
        import cv2

        if self._capture is None:
            self._capture = cv2.VideoCapture(self._device)
        got, frame = self._capture.read()
        if not got:
            self._capture.release()
            self._capture = None
            self._again = time.monotonic() + self._retry_seconds
            self.problem = f"The camera {self._device} gives no frame."
            return None
        self.problem = ""
        _, encoded = cv2.imencode(".png", frame)
        part = Part(part_id=f"{self._camera}-{self._number():08d}", product=self._product, camera=self._camera)
        self._pending = Taken(encoded.tobytes(), part, part.part_id)
        return self._pending

    def waits(self) -> bool:
        """Never: a camera's next frame is of the part that is under it then."""
        return False

    def done(self, taken: Taken) -> None:  # noqa: ARG002  # there is one frame
        """Take the next frame from now on."""
        self._pending = None

    def failed(self, token: str, reason: str) -> None:  # noqa: ARG002  # the same
        """Take the next frame from now on; a frame cannot be put aside."""
        self._pending = None

    def close(self) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
