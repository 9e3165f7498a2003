"""The sample boards that come with the project, and how one is sent down the line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from werkzeug.datastructures import FileStorage

from evident_core.errors import NotFound
from evident_core.evidence import Frozen
from evident_core.web.job_rows import JobView
from evident_manufacturing.desk import Options, send, shipped_specification

_FOLDERS: Final = (Path(__file__).parent / "samples", Path(__file__).parents[2] / "sample_data" / "manufacturing")


class SampleBoard(Frozen):
    """A pair of pictures that comes with the project."""

    name: str
    board: Path
    template: Path


def samples() -> Mapping[str, SampleBoard]:
    """The sample boards by name."""
    folder = next((each for each in _FOLDERS if each.is_dir()), None)
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
