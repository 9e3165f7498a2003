"""A station's desk: boards that are sent in with what they are judged by, their inspections, and their pictures."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final, Generic, Literal, TypeVar

import cv2
from cv2.typing import MatLike
from pydantic import BaseModel, ConfigDict, Field, field_validator
from werkzeug.datastructures import FileStorage

from evident_core import sandbox
from evident_core.errors import Conflict, EvidentError, InvalidInput, NotFound
from evident_core.evidence import Frozen
from evident_core.progress import OnProgress
from evident_core.settings import MIB
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Task
from evident_core.web.tables import Input
from evident_core.work import Work
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.assess.camera import Border, ImageStatistics, half_scan, image_statistics
from evident_manufacturing.inspection.calibration import parse
from evident_manufacturing.inspection.ingest import Board, ingest, quality
from evident_manufacturing.inspection.perceive.align import lay
from evident_manufacturing.inspection.perceive.detector import FOLDER, read_manifest
from evident_manufacturing.inspection.pipeline import VERSION, Station, open_models
from evident_manufacturing.inspection.schema import Alignment, Inspection, Part

THUMBNAIL: Final = 160
"""Pixels of the longer side of a board's picture on the line's page."""
LARGEST_PICTURE: Final = 4096
_SAMPLES: Final = (Path(__file__).parent / "samples", Path(__file__).parents[2] / "sample_data" / "manufacturing")
Which = Literal["board", "template"]
ValueT = TypeVar("ValueT")


def _version() -> str:
    """What decides a result besides its inputs: another model inspects anew."""
    try:
        return f"{VERSION} {read_manifest(FOLDER / 'fused').version}"[:64]
    except EvidentError:
        return VERSION


class Options(BaseModel):
    """What a board is judged by, besides its picture and that of its template; kept with the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part_id: str = Field("", max_length=128, description="By default the name of the board's file.")
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


TASK: Final = Task(
    service="manufacturing", version=_version(), run="evident_manufacturing.desk:inspect", options=Options
)


class Remark(Frozen):
    """A remark on a picture: ``code`` for programs, and a sentence for a person."""

    code: str
    message: str


class Record(Frozen):
    """What a job keeps of one board: its inspection, and what the line watches of its camera.

    Attributes:
        pixels: SHA-256 of the grey levels, which stays the same where a frozen camera encodes its frame anew.
        half_scan: The border from which on the picture is missing.
        remarks: On exposure, focus, and what was done to the samples.
    """

    inspection: Inspection
    statistics: ImageStatistics
    pixels: str
    half_scan: Border | None = None
    remarks: tuple[Remark, ...] = ()


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
    part = Part(
        part_id=options.part_id or Path(source.name).stem[:128] or source.sha256[:12],
        product=options.product or (specification.product if specification else ""),
        lot=options.lot,
        camera=options.camera,
        taken=options.taken,
    )
    station = Station(
        open_models(), template, specification, parse(options.calibration) if options.calibration else None
    )
    data = source.path.read_bytes()
    inspection = station.inspect(data, part, name=source.name, on_progress=on_progress)
    return _record(inspection, ingest(data, name=source.name), template).model_dump_json().encode()


def _record(inspection: Inspection, board: Board, template: Board | None) -> Record:
    comparable = template is not None and template.gray.shape == board.gray.shape
    return Record(
        inspection=inspection,
        statistics=image_statistics(board.gray),
        pixels=hashlib.sha256(board.gray.tobytes()).hexdigest(),
        half_scan=half_scan(board.gray, template.gray) if template is not None and comparable else None,
        remarks=tuple(Remark(code=each.code, message=each.message) for each in (*board.notes, *quality(board))),
    )


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
    job = current_jobs().submit(TASK, [each.id for each in inputs], owner=frame.caller.id, options=chosen)
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
    record = _whole.get(result.id, lambda: Record.model_validate_json(result.body))
    return Desk(job_id=job_id, result_id=result.id, record=record, options=Options.model_validate(result.options))


def light(result_id: str) -> Record:
    """The record of the caller's result without its facts, claims and report: what figures over many boards need."""
    frame = current_frame()

    def read() -> Record:
        values = json.loads(frame.store.result(result_id, frame.caller.id).body)
        values["inspection"] |= {"facts": (), "claims": (), "report": None}
        return Record.model_validate(values)

    return _light.get(result_id, read)


def forget(job_id: str) -> None:
    """Delete a board's picture and all that came of it; its template stays, for it belongs to other boards too.

    Raises:
        NotFound: The caller has none of that id.
    """
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    with frame.store.session() as session:
        row = frame.store.delete_input_in(session, job.input_ids[0], frame.caller.id)
        frame.audit.append(session, frame.caller.id, "input.delete", row.id, sha256=row.sha256)


def picture(job_id: str, which: Which, *, small: bool = False) -> bytes:
    """A board as it was inspected (grey, upright), or its template laid under it, as PNG; made in a process of its own.

    Raises:
        NotFound: There is no such board, or it was inspected without a template.
        EvidentError: The file cannot be read as a picture.
    """
    frame = current_frame()
    job = current_jobs().get(job_id, frame.caller.id)
    rows = [frame.store.input(each, frame.caller.id) for each in job.input_ids]
    if which == "template" and len(rows) < 2:
        raise NotFound("This board was inspected without a template, so there is no picture of one.", job=job_id)
    alignment, shape = None, None
    if which == "template" and job.result_id is not None:
        inspection = light(job.result_id).inspection
        alignment, shape = inspection.alignment, (inspection.height, inspection.width)
    row = rows[1 if which == "template" else 0]
    side = THUMBNAIL if small else LARGEST_PICTURE
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


class SampleBoard(Frozen):
    """A pair of pictures that comes with the project."""

    name: str
    board: Path
    template: Path


def samples() -> Mapping[str, SampleBoard]:
    """The sample boards by name."""
    folder = _sample_folder()
    if folder is None:
        return {}
    pairs = (
        (path, path.with_name(path.name.replace("_test", "_template"))) for path in sorted(folder.glob("*_test.png"))
    )
    return {
        board.stem.removesuffix("_test"): SampleBoard(
            name=board.stem.removesuffix("_test"), board=board, template=template
        )
        for board, template in pairs
        if template.is_file()
    }


def send_sample(name: str) -> JobView:
    """Queue the inspection of a sample board, judged by the specification and the certificate that come with it.

    Raises:
        NotFound: There is no sample of that name.
    """
    known = samples()
    if name not in known:
        raise NotFound(f"There is no sample {name!r}; there are {', '.join(known) or 'none'}.", name=name)
    sample = known[name]
    options = Options(
        part_id=name,
        lot="samples",
        calibration=sample.board.with_name("calibration.json").read_text("utf-8"),
        specification=shipped_specification(),
    )
    with sample.board.open("rb") as board, sample.template.open("rb") as template:
        files = [
            FileStorage(stream, filename=path.name, content_type="image/png")
            for stream, path in ((board, sample.board), (template, sample.template))
        ]
        return send(files[0], files[1], options)


def _sample_folder() -> Path | None:
    return next((each for each in _SAMPLES if each.is_dir()), None)


class Kept(Generic[ValueT]):
    """The last few values by key, each made once: what is kept never changes under its key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, ValueT] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], ValueT]) -> ValueT:
        """The value of a key, made if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


_specifications: Final = Kept[Specification](64)
_whole: Final = Kept[Record](12)
_light: Final = Kept[Record](2000)
_pictures: Final = Kept[bytes](48)
