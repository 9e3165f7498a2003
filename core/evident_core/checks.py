"""What is installed, what is missing, and what to do about it: a line each."""

import ctypes
import platform
import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from evident_core import __version__
from evident_core.errors import EvidentError
from evident_core.evidence import Frozen
from evident_core.services import Vertical, installed
from evident_core.settings import Settings, load
from evident_kernels import build

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
CJK_FONTS = ("NotoSansCJK-Regular.*", "NotoSansSC*", "wqy-microhei.ttc", "wqy-zenhei.ttc", "NotoSerifCJK-Regular.*")
WEIGHTS = (".safetensors", ".onnx")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class State(StrEnum):
    """OK; ABSENT where something optional is not there; WRONG where something that is needed is not."""

    OK = "ok"
    ABSENT = "absent"
    WRONG = "wrong"


class Check(Frozen):
    """One line: what was looked at, what was found, and what to do where it is not as it should be."""

    group: str
    name: str
    state: State
    found: str
    remedy: str = ""


def run_checks() -> Iterator[Check]:
    """Look at everything, line by line."""
    yield Check(group="versions", name="Evident", state=State.OK, found=__version__)
    yield Check(
        group="versions",
        name="Python",
        state=State.OK,
        found=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    )
    for package in ("flask", "sqlalchemy", "huey", "pydantic"):
        yield _package(package)
    for vertical in installed().values():
        yield from _service(vertical)
    yield from _kernels()
    yield from _language_engine()
    yield from _fonts()
    yield from _programs()
    yield from _frame()


def cjk_font() -> Path | None:
    """A font file with Chinese characters, of those that Debian packages; None where none is installed."""
    for name in CJK_FONTS:
        for folder in FONT_FOLDERS:
            if found := next(iter(sorted(folder.rglob(name))), None):
                return found
    return None


def _package(name: str) -> Check:
    return Check(group="versions", name=name, state=State.OK, found=version(name))


def _service(vertical: Vertical) -> Iterator[Check]:
    group, missing = f"service {vertical.name}", [name for name in vertical.requires if find_spec(name) is None]
    yield Check(
        group=group,
        name="libraries",
        state=State.WRONG if missing else State.OK,
        found=f"missing: {', '.join(missing)}" if missing else f"all {len(vertical.requires)}",
        remedy=f"pip install 'evident[{vertical.name}]'" if missing else "",
    )
    spec = find_spec(vertical.app.partition(".")[0])
    folders = [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []
    weights = [path for folder in folders for path in folder.rglob("*") if path.suffix in WEIGHTS]
    size = sum(path.stat().st_size for path in weights) / (1 << 20)
    yield Check(
        group=group,
        name="weights",
        state=State.OK,
        found=f"{len(weights)} files, {size:.1f} MiB" if weights else "none needed: it reads by rules",
    )


def _kernels() -> Iterator[Check]:
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    yield Check(
        group="kernels",
        name="PyTorch",
        state=State.OK if torch else State.ABSENT,
        found=torch or "not installed",
        remedy="" if torch else "pip install torch (for services with models)",
    )
    devices = build.devices()
    yield Check(
        group="kernels",
        name="device",
        state=State.OK,
        found="; ".join(devices) if devices else f"CPU ({platform.processor() or platform.machine()})",
    )
    for language, remedy in (("c++", "apt install g++"), ("nvcc", "install the CUDA toolkit, on a machine with a GPU")):
        compiler = build.compiler(language)
        yield Check(
            group="kernels",
            name=language,
            state=State.OK if compiler else State.ABSENT,
            found=compiler.version if compiler else "not found; the reference kernels are used",
            remedy="" if compiler else remedy,
        )


def _language_engine() -> Iterator[Check]:
    group = "language engine"
    packages = ("torch", "safetensors", "tokenizers", "llguidance", "httpx")
    missing = [name for name in packages if find_spec(name) is None]
    yield Check(
        group=group,
        name="packages",
        state=State.ABSENT if missing else State.OK,
        found=f"{', '.join(missing)} not installed; only needed to generate text" if missing else ", ".join(packages),
        remedy="pip install 'evident[llm]'" if missing else "",
    )
    built = build.built_library()
    yield Check(
        group=group,
        name="CPU kernel",
        state=State.OK if built or build.compiler("c++") else State.ABSENT,
        found="compiled" if built else "not compiled yet; the first text does it, in about a minute",
        remedy="" if built or build.compiler("c++") else "apt install g++ (PyTorch computes meanwhile, slower)",
    )
    files = [path for path in (Path(__file__).parent / "decode" / "default_model").iterdir() if path.suffix in WEIGHTS]
    size = sum(path.stat().st_size for path in files) / 2**20
    yield Check(
        group=group,
        name="default model",
        state=State.OK if files else State.WRONG,
        found=f"{len(files)} file, {size:.1f} MiB" if files else "not there",
        remedy="" if files else "install Evident again",
    )


def _fonts() -> Iterator[Check]:
    font = cjk_font()
    yield Check(
        group="fonts",
        name="Chinese",
        state=State.OK if font else State.ABSENT,
        found=str(font) if font else "none; PDF export needs one",
        remedy="" if font else "apt install fonts-noto-cjk (or fonts-wqy-microhei)",
    )
    pango = any(map(_loads, ("libpango-1.0.so.0", "libpango-1.0.dylib", "pango-1.0-0.dll")))
    yield Check(
        group="fonts",
        name="Pango",
        state=State.OK if pango else State.ABSENT,
        found="found" if pango else "not found; PDF export needs it",
        remedy="" if pango else "apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _programs() -> Iterator[Check]:
    for name, programs, use, package in (
        ("Chromium", _BROWSERS, "browser tests", "chromium"),
        ("Redis", ("redis-server", "valkey-server"), "a queue over several machines", "redis-server"),
        ("PostgreSQL", ("psql",), "a store over several machines", "postgresql"),
    ):
        path = next(filter(None, map(shutil.which, programs)), None)
        yield Check(
            group="programs",
            name=name,
            state=State.OK if path else State.ABSENT,
            found=path or f"not found; only needed for {use}",
            remedy="" if path else f"apt install {package}",
        )
    for name, module, use, command in (
        ("Redis client", "redis", "a queue in Redis", "pip install 'evident[redis]'"),
        ("PostgreSQL client", "psycopg", "a store in PostgreSQL", "pip install 'evident[postgres]'"),
        ("OCR", "rapidocr", "pages that are only images", "pip install 'evident[ocr]'"),
    ):
        present = find_spec(module) is not None
        yield Check(
            group="programs",
            name=name,
            state=State.OK if present else State.ABSENT,
            found=f"{module} {version(module)}" if present else f"not installed; only needed for {use}",
            remedy="" if present else command,
        )


def _frame() -> Iterator[Check]:
    """Settings, store and queue, in the order in which each needs the one before."""
    opened: list[Settings] = []

    def settings() -> str:
        opened.append(load())
        return "valid"

    def store() -> str:
        from evident_core.web.store import Store

        with Store(opened[0]) as each:
            each.ping()
            return f"{each.shown}, tables at {each.revision()}"

    def queue() -> str:
        from evident_core.web.jobs import Jobs
        from evident_core.web.store import Store

        with Store(opened[0]) as each, Jobs(each, opened[0]) as jobs:
            jobs.ping()
            return f"{'Redis' if opened[0].jobs.url.get_secret_value() else 'SQLite'}, {jobs.depth()} jobs wait"

    for name, look in (("settings", settings), ("store", store), ("queue", queue)):
        check = _asked(name, look)
        yield check
        if check.state is not State.OK:
            return


def _asked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(group="frame", name=name, state=State.OK, found=look())
    except EvidentError as error:
        return Check(group="frame", name=name, state=State.WRONG, found="not usable", remedy=error.message)
