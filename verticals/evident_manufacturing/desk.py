"""A station's desk: boards that are sent in with what they are judged by, and the records that come of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator
from werkzeug.datastructures import FileStorage

from evident_core.errors import Conflict, EvidentError, InvalidInput
from evident_core.evidence import Frozen
from evident_core.progress import OnProgress
from evident_core.settings import MIB
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs, delete_upload
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Task
from evident_core.web.tables import Input
from evident_core.work import Work, WorkInput
from evident_manufacturing.agent.installed import KINDS, folder_in_use, open_in_use, stores_folder
from evident_manufacturing.agent.sources import named
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.assess.camera import Border, ImageStatistics, half_scan, image_statistics
from evident_manufacturing.inspection.calibration import parse
from evident_manufacturing.inspection.ingest import Board, ingest, quality
from evident_manufacturing.inspection.perceive.aligner import pack
from evident_manufacturing.inspection.perceive.detector import read_manifest
from evident_manufacturing.inspection.perceive.naming import cut_crops, embed
from evident_manufacturing.inspection.pipeline import VERSION, Station, open_models, written
from evident_manufacturing.inspection.schema import Inspection, Part
from evident_manufacturing.kept import Kept
from evident_manufacturing.told import Told


class Options(BaseModel):
    """What a board is judged by, besides its picture and that of its template; kept with the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part_id: str = Field("", max_length=128, description="By default the file's name; `SN-1.rev2.png` is SN-1 again.")
    product: str = Field("", max_length=128, description="By default the specification's.")
    lot: str = Field("", max_length=128)
    camera: str = Field("", max_length=128)
    taken: datetime | None = Field(None, description="When the picture was taken; by default: now.")
    calibration: str = Field("", description="The text of a certificate, YAML or JSON; empty: sizes are in pixels.")
    specification: str = Field("", description="The text of a specification, YAML; empty: any defect rejects.")

    @field_validator("calibration")
    @classmethod
    def _a_certificate(cls, text: str) -> str:
        if text:
            parse(text)
        return text

    @field_validator("specification")
    @classmethod
    def _a_specification(cls, text: str) -> str:
        specification_of(text)
        return text


TASK: Final = Task(service="manufacturing", version=VERSION, run="evident_manufacturing.desk:inspect", options=Options)


def task() -> Task:
    """The inspection by the models that are in use now: a result is of its models, and others inspect anew."""
    folder = stores_folder(current_frame().store.folder)
    models = [read_manifest(path).version for kind in KINDS if (path := folder_in_use(folder, kind)).is_dir()]
    return replace(TASK, version=f"{VERSION} {hashlib.sha256('|'.join(models).encode()).hexdigest()[:12]}")


ARRIVED: Final = "evident_manufacturing.arrivals"
"""What stands in the place of a function at the jobs of boards that an agent inspected."""


class Remark(Frozen):
    """A remark on a picture: ``code`` for programs, and a sentence for a person."""

    code: str
    message: str


class Record(Frozen):
    """What a job keeps of one board: its inspection, and what the line watches of its camera.

    Attributes:
        vectors: Of its defects, for the search of similar ones; first, so that they are read without the rest.
        statistics: None where an agent told of the board and its picture did not come.
        pixels: SHA-256 of the grey levels, which stays the same where a frozen camera encodes its frame anew.
        half_scan: The border from which on the picture is missing.
        remarks: On exposure, focus, and what was done to the samples.
        event: As an agent told it; None where the board was sent to the pages.
    """

    vectors: str = ""
    inspection: Inspection
    statistics: ImageStatistics | None
    pixels: str
    half_scan: Border | None = None
    remarks: tuple[Remark, ...] = ()
    event: Told | None = None


class Desk(Frozen):
    """One board on the desk: the job that inspected it, what came of it, and what it was judged by."""

    job_id: str
    result_id: str
    record: Record
    options: Options

    @property
    def inspection(self) -> Inspection:
        """What is known of the board."""
        return self.record.inspection


def inspect(work: Work, *, on_progress: OnProgress) -> bytes:
    """What a job does: the record of one board, as JSON. The first input is the board, the second its template."""
    if not 1 <= len(work.inputs) <= 2:
        raise InvalidInput(
            f"{len(work.inputs)} files were sent; an inspection is of one board, and of its template after it.",
            files=len(work.inputs),
        )
    options = Options.model_validate(work.options)
    source = work.inputs[0]
    template = None
    if len(work.inputs) == 2:
        template = ingest(work.inputs[1].path.read_bytes(), name=work.inputs[1].name, allow_blank=True)
    specification = specification_of(options.specification)
    by_name, revision = named(Path(f"_{source.name}").stem[1:])  # of ".png" nothing is left
    given = options.part_id.strip()
    part = Part(
        part_id=given or by_name.strip()[:128] or source.sha256[:12],
        revision=1 if given else revision,
        product=options.product or (specification.product if specification else ""),
        lot=options.lot,
        camera=options.camera,
        taken=options.taken,
    )
    station = Station(
        open_models() if work.data_dir is None else open_in_use(stores_folder(work.data_dir)),
        template,
        specification,
        parse(options.calibration) if options.calibration else None,
    )
    data = source.path.read_bytes()
    inspection = station.inspect(data, part, name=source.name, on_progress=on_progress)
    return record_of(inspection, ingest(data, name=source.name), template).model_dump_json().encode()


def record_of(inspection: Inspection, board: Board, template: Board | None, event: Told | None = None) -> Record:
    """The record of a board that was inspected here or, with its event, by an agent."""
    comparable = template is not None and template.gray.shape == board.gray.shape
    return Record(
        vectors=_vectors(inspection, board, template),
        inspection=inspection,
        statistics=image_statistics(board.gray),
        pixels=hashlib.sha256(board.gray.data).hexdigest(),
        half_scan=half_scan(board.gray, template.gray) if template is not None and comparable else None,
        remarks=tuple(Remark(code=each.code, message=each.message) for each in (*board.notes, *quality(board))),
        event=event,
    )


def _vectors(inspection: Inspection, board: Board, template: Board | None) -> str:
    """The defects' places among all pictures; none without a template, or where the aligner is not there."""
    if template is None or not inspection.defects:  # most boards have none, and need not wait for the aligner to open
        return ""
    try:
        return pack(embed(cut_crops(board.gray, template.gray, inspection.defects, alignment=inspection.alignment)))
    except EvidentError:
        return ""


def looked_at(inspection: Inspection, event: Told, files: Sequence[WorkInput]) -> Record:
    """The record of a board that an agent inspected, with what its picture and its template's show.

    It is here since a process of its own calls it, into which this module is loaded before.
    """
    try:
        boards = [ingest(each.path.read_bytes(), name=each.name, allow_blank=True) for each in files]
    except EvidentError:
        return Record(inspection=inspection, statistics=None, pixels=f"file {event.image.sha256}", event=event)
    return record_of(inspection, boards[0], boards[1] if len(boards) > 1 else None, event)


@cache
def _shipped() -> str:
    return (Path(__file__).parent / "inspection" / "data" / "specification.yaml").read_text("utf-8")


def shipped_specification() -> str:
    """The text of the specification that comes with the service, for its sample boards."""
    return _shipped()


def specification_of(text: str) -> Specification | None:
    """The specification of a text, read once; None for an empty text."""
    return _specifications.get(hashlib.sha256(text.encode()).hexdigest(), lambda: _load(text)) if text else None


def _load(text: str) -> Specification:
    return Specification.load(text)


def send(board: FileStorage, template: FileStorage | str | None, options: Options) -> JobView:
    """Keep a board and queue its inspection, in the caller's name.

    Args:
        board: Its picture.
        template: A picture, the id of one that was sent before, or None.
        options: What it is judged by.

    Raises:
        InvalidInput: There is no board, or its template is the same file.
        NotFound: There is no template of that id.
        TooLarge: A picture is.
        TooMany: The queue is full.
    """
    frame = current_frame()
    if not board.filename:
        raise InvalidInput("There is no picture of a board in the form; send it as a part named file.")
    inputs = [keep_upload(board)]
    if isinstance(template, str):
        inputs.append(frame.store.input(template, frame.caller.id))
    elif template is not None and template.filename:
        inputs.append(keep_upload(template))
    if len({each.sha256 for each in inputs}) < len(inputs):
        raise InvalidInput(
            f"The board and its template are the same file ({inputs[0].name}); give the golden sample's own picture.",
            sha256=inputs[0].sha256,
        )
    chosen = options.model_dump(mode="json")
    job = current_jobs().submit(task(), [each.id for each in inputs], owner=frame.caller.id, options=chosen)
    frame.record("job.submit", job.id, inputs=[each.sha256 for each in inputs], service=TASK.service)
    return job


def keep_upload(file: FileStorage) -> Input:
    """Keep one picture of the present request.

    Raises:
        TooLarge: It has more bytes than are accepted.
    """
    frame = current_frame()
    return frame.store.put_input(
        file.stream,  # type: ignore[arg-type]  # it reads as a binary file does
        name=file.filename or "",
        owner=frame.caller.id,
        media_type=file.mimetype,
        max_bytes=frame.settings.web.max_upload_mib * MIB,
    )


def open_desk(job_id: str) -> Desk:
    """The caller's board of that job.

    Raises:
        NotFound: The caller has none of that id.
        Conflict: It is not inspected yet, or could not be; the message says which.
    """
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    if job.result_id is None:
        reason = job.error["message"] if job.error else "open it again when it is done."
        raise Conflict(f"The board is {job.state}: {reason}", state=job.state)
    result = frame.store.result(job.result_id, frame.caller.id)
    options = Options.model_validate(result.options)
    record = _whole.get(result.id, lambda: _written(Record.model_validate_json(result.body), options))
    return Desk(job_id=job_id, result_id=result.id, record=record, options=options)


def _written(record: Record, options: Options) -> Record:
    """The record with its report, which an agent leaves to be written here from its facts and claims."""
    inspection = record.inspection
    if inspection.report or not inspection.claims:
        return record
    specification = specification_of(options.specification)
    name = inspection.verdict.specification
    if name and (specification is None or specification.name != name):
        return record  # the report would cite lines of a document that is not here
    try:
        return record.model_copy(update={"inspection": written(inspection, specification)})
    except EvidentError:
        return record  # what does not trace back is not shown


def light(result_id: str) -> Record:
    """The record of the caller's result without its facts, claims and report: what figures over many boards need."""
    frame = current_frame()

    def read() -> Record:
        values = json.loads(frame.store.result(result_id, frame.caller.id).body)
        values["inspection"] |= {"facts": (), "claims": (), "report": None}
        values["vectors"] = ""
        return Record.model_validate(values)

    return _light.get(result_id, read)


def forget(job_id: str) -> None:
    """Delete a board and what came of it, with its picture unless another board has the same; its template stays.

    Raises:
        NotFound: The caller has none of that id.
    """
    delete_upload(job_id, keep=current_jobs().get(job_id, current_frame().caller.id).input_ids[1:])


_specifications: Final = Kept[Specification](64)
_whole: Final = Kept[Record](12)
_light: Final = Kept[Record](2000)
