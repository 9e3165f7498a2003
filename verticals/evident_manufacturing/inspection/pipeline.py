"""The five steps in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import evident_core
from evident_core.errors import InvalidInput, MissingExtra, ModelNotReady
from evident_core.evidence import InputRef
from evident_core.progress import OnProgress, Progress, silent
from evident_manufacturing.inspection.assess import (
    Assessment,
    CalibrationState,
    Specification,
    assess,
    calibration_state,
)
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.perceive import Models, Perception, perceive
from evident_manufacturing.inspection.perceive.arbiter import read_arbiter
from evident_manufacturing.inspection.perceive.detector import FOLDER, Detector
from evident_manufacturing.inspection.schema import Calibration, Inspection, Part

VERSION = f"manufacturing {evident_core.__version__}"


def open_models(
    folder: Path = FOLDER,
    *,
    precision: str | None = None,
    threads: int | None = None,
    runtime: str = "onnxruntime",
) -> Models:
    """The models of a folder with ``fused``, and perhaps ``plain``, within.

    Raises:
        ModelNotReady: There is none, or the runtime lacks what it needs.
        MissingExtra: The runtime is not installed.
        InvalidInput: A file is not what its manifest says.
    """
    fused = folder / "fused"
    plain = folder / "plain"
    opened = partial(Detector, precision=precision, threads=threads, runtime=runtime)
    return Models(
        fused=opened(fused),
        arbiter=read_arbiter(fused),
        plain=opened(plain) if plain.is_dir() else None,
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
        on_board: Shown each picture that could be read, before it is looked at.
    """

    models: Models
    template: Board | None = None
    specification: Specification | None = None
    calibration: Calibration | None = None
    today: Callable[[], date] = field(default=_today)
    on_board: Callable[[Board, Part], None] | None = None

    def __post_init__(self) -> None:
        """Refuse what no board could be judged by, before the first one comes.

        Raises:
            InvalidInput: A zone with limits lies outside the template, two kinds of the specification are described
                alike, or one in contradiction.
            ModelNotReady: Kinds are described, and the aligner is not there.
        """
        if self.specification and self.template:
            scale = self.calibration.mm_per_pixel if self.calibration else None
            self.specification.refuse_misplaced(self.template.width, self.template.height, scale)
        if self.specification and self.specification.described:
            from evident_manufacturing.inspection.perceive.naming import refuse_unclear  # most products need no aligner

            refuse_unclear(self.specification.descriptions)

    def _of_product(self, part: Part) -> Part:
        """The part with its product: whoever does not say means that of the specification."""
        if self.specification is None:
            return part
        wanted = self.specification.product
        if part.product and part.product != wanted:
            raise InvalidInput(
                f"part {part.part_id} is of product {part.product!r}, and the specification {self.specification.name} "
                f"is of {wanted!r}; judge it by the specification of its own product",
                product=part.product,
                reason="product",
            )
        return part if part.product else part.model_copy(update={"product": wanted})

    def inspect(
        self,
        data: bytes,
        part: Part,
        *,
        name: str,
        report: bool = True,
        facts: bool = True,
        on_progress: OnProgress = silent,
    ) -> Inspection:
        """Inspect one image.

        Args:
            data: The file's bytes.
            part: Which part it is of.
            name: What its sender calls the file.
            report: Whether it is written out; it takes longer than all else, and can be done later by :func:`written`.
            facts: Whether facts and claims are made, of which a report is; without a report, an event needs none.
            on_progress: Told before each step, and within one that takes long.

        Raises:
            EvidentError: The image cannot be read or does not fit its template, or the part is of another product
                than the specification; the message says why.
        """
        part = self._of_product(part)
        began = time.perf_counter()
        on_progress(Progress(stage="ingest"))
        board = ingest(data, name=name)
        read = time.perf_counter()
        if self.on_board is not None:
            self.on_board(board, part)
        on = part.taken.date() if part.taken else self.today()
        holds = calibration_state(self.calibration, part.camera, on) is CalibrationState.VALID
        on_progress(Progress(stage="perceive"))
        in_time = self.calibration if holds else None
        try:
            seen = perceive(board, self.template, self.models, in_time, on_progress=on_progress)
        except InvalidInput as error:
            raise _with_transparency(error, board, self.template) from error
        if self.template and self.specification and self.specification.described:
            seen = _named(board, self.template, seen, self.specification)
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
            told=facts or report,
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
        inspection = written(inspection, self.specification, (board, self.template) if self.template else None)
        on_progress(Progress(stage="write", done=1))
        return inspection


def _with_transparency(error: InvalidInput, *pictures: Board | None) -> InvalidInput:
    """The same refusal, which also names pictures that were laid on black: that may be why they do not fit."""
    names = [each.input.name for each in pictures if each and any(note.code == "alpha" for note in each.notes)]
    if not names:
        return error
    message = f"{error.message}; transparent pixels of {' and of '.join(names)} were laid on black: save it without any"
    return type(error)(message, **error.details, transparent=" / ".join(names))


def written(
    inspection: Inspection, specification: Specification | None, pictures: tuple[Board, Board] | None = None
) -> Inspection:
    """The inspection with its report.

    Args:
        inspection: Without one.
        specification: The one it was judged by.
        pictures: The board and its template: with them the aligner chooses wordings for the defects that it is sure
            of, which are added to the facts and claims; without them each is called by its plain kind.
    """
    from evident_manufacturing.inspection.write import write  # an agent never writes, and starts without it

    if pictures:
        inspection = _worded(inspection, *pictures)
    inputs: list[InputRef] = [inspection.input]
    inputs += [inspection.template] if inspection.template else []
    inputs += [specification.input] if specification else []
    return inspection.model_copy(update={"report": write(inputs, inspection.facts, inspection.claims)})


def _named(board: Board, template: Board, seen: Perception, specification: Specification) -> Perception:
    """The same with the kinds that the specification describes and the pictures clearly have."""
    from evident_manufacturing.inspection.perceive.naming import by_description, cut_crops, embed

    began = time.perf_counter()
    vectors = embed(cut_crops(board.gray, template.gray, seen.defects, alignment=seen.alignment))
    defects = by_description(seen.defects, vectors, specification.descriptions)
    took = {"name": round((time.perf_counter() - began) * 1e3, 3)}
    return replace(seen, defects=defects, milliseconds=seen.milliseconds | took)


def _worded(inspection: Inspection, board: Board, template: Board) -> Inspection:
    from evident_manufacturing.inspection.assess.wordings import with_wordings
    from evident_manufacturing.inspection.perceive.aligner import open_aligner
    from evident_manufacturing.inspection.perceive.naming import cut_crops, embed, remarks

    try:
        crops = cut_crops(board.gray, template.gray, inspection.defects, alignment=inspection.alignment)
        found, chosen_by = remarks(inspection.defects, embed(crops)), open_aligner().version
    except (ModelNotReady, MissingExtra):
        return inspection  # a remark is a courtesy: without the aligner the plain kinds are written
    said = with_wordings(
        Assessment(inspection.facts, inspection.claims, inspection.verdict),
        inspection.defects,
        found,
        image=inspection.input,
        mm_per_pixel=inspection.mm_per_pixel,
        chosen_by=chosen_by,
    )
    return inspection.model_copy(update={"facts": said.facts, "claims": said.claims})
