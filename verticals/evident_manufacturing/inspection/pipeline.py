"""The five steps in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import evident_core
from evident_core.evidence import InputRef
from evident_core.progress import OnProgress, Progress, silent
from evident_manufacturing.inspection.assess import CalibrationState, Specification, assess, calibration_state
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.perceive import Models, perceive
from evident_manufacturing.inspection.perceive.arbiter import read_arbiter
from evident_manufacturing.inspection.perceive.detector import FOLDER, Detector
from evident_manufacturing.inspection.schema import Calibration, Inspection, Part

VERSION = f"manufacturing {evident_core.__version__}"


def open_models(folder: Path = FOLDER, *, precision: str | None = None, threads: int | None = None) -> Models:
    """The models of a folder with ``fused``, and perhaps ``plain``, within.

    Raises:
        ModelNotReady: There is none.
        InvalidInput: A file is not what its manifest says.
    """
    fused = folder / "fused"
    plain = folder / "plain"
    return Models(
        fused=Detector(fused, precision=precision, threads=threads),
        arbiter=read_arbiter(fused),
        plain=Detector(plain, precision=precision, threads=threads) if plain.is_dir() else None,
    )


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Station:
    """What stays the same from board to board of one product: inspects one after the other.

    Attributes:
        models: That are open.
        template: The golden sample; None: the evidence is weaker, and the verdict says so.
        specification: None: any defect rejects, and the verdict says so.
        calibration: None: sizes are in pixels, and the verdict says so.
        today: Which day it is, for the calibration of pictures that do not say when they were taken.
    """

    models: Models
    template: Board | None = None
    specification: Specification | None = None
    calibration: Calibration | None = None
    today: Callable[[], date] = field(default=_today)

    def inspect(
        self, data: bytes, part: Part, *, name: str, report: bool = True, on_progress: OnProgress = silent
    ) -> Inspection:
        """Inspect one image.

        Args:
            data: The file's bytes.
            part: Which part it is of.
            name: What its sender calls the file.
            report: Whether it is written out; it takes longer than all else, and can be done later by :func:`written`.
            on_progress: Told after each step.

        Raises:
            EvidentError: The image cannot be read or does not fit its template; the message says why.
        """
        began = time.perf_counter()
        on_progress(Progress(stage="ingest"))
        board = ingest(data, name=name)
        read = time.perf_counter()
        on = part.taken.date() if part.taken else self.today()
        holds = calibration_state(self.calibration, part.camera, on) is CalibrationState.VALID
        on_progress(Progress(stage="perceive"))
        seen = perceive(board, self.template, self.models, self.calibration if holds else None)
        on_progress(Progress(stage="assess"))
        judged = time.perf_counter()
        template = self.template.input if self.template else None
        found = assess(
            seen.defects,
            self.specification,
            image=board.input,
            width=board.width,
            height=board.height,
            part=part,
            on=on,
            calibration=self.calibration,
            template=template,
            alignment=seen.alignment,
        )
        done = time.perf_counter()
        laps = {"load": read - began, "assess": done - judged, "whole": done - began}
        inspection = Inspection(
            part=part,
            input=board.input,
            template=template,
            width=board.width,
            height=board.height,
            alignment=seen.alignment,
            calibration=self.calibration,
            defects=seen.defects,
            facts=found.facts,
            claims=found.claims,
            verdict=found.verdict,
            model=seen.model,
            version=VERSION,
            milliseconds=seen.milliseconds | {step: round(took * 1e3, 3) for step, took in laps.items()},
        )
        if not report:
            return inspection
        on_progress(Progress(stage="write"))
        inspection = written(inspection, self.specification)
        on_progress(Progress(stage="write", done=1))
        return inspection


def written(inspection: Inspection, specification: Specification | None) -> Inspection:
    """The inspection with its report; ``specification`` is the one it was judged by."""
    from evident_manufacturing.inspection.write import write  # an agent never writes, and starts without it

    inputs: list[InputRef] = [inspection.input]
    inputs += [inspection.template] if inspection.template else []
    inputs += [specification.input] if specification else []
    return inspection.model_copy(update={"report": write(inputs, inspection.facts, inspection.claims)})
