"""What this machine can build kernels with, which accelerators it has, and the building; PyTorch is not imported.

The C++ sources in ``csrc`` are compiled on first use with the system's compiler, into a folder of the user's cache that
is named by a hash of the sources, the flags and the compiler: a changed source is a new library, and an old one stays
valid for whoever has it open.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"

_COMPILERS = {"c++": ("c++", "g++", "clang++"), "nvcc": ("nvcc", "/usr/local/cuda/bin/nvcc")}
# Multiply and add are fused only where the sources say so: results must not depend on what a compiler feels like.
_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-pthread", "-ffp-contract=off", "-fvisibility=hidden", "-Wno-psabi")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
_X86_FLAGS = {"isa_avx2.cpp": _AVX2, "isa_avx512vnni.cpp": (*_AVX2, *_AVX512)}
_TIMEOUT = 600


class BuildFailed(Exception):
    """The kernels cannot be built here; the message is a line for a person."""


@dataclass(frozen=True)
class Compiler:
    """A compiler that was found: its path, and the line in which it states its version."""

    path: str
    version: str


def compiler(language: str) -> Compiler | None:
    """The compiler for ``"c++"`` or ``"nvcc"`` (CUDA), or None where there is none."""
    for name in _COMPILERS[language]:
        if path := shutil.which(name):
            lines = _output(path, "--version")
            stated = [line for line in lines if "release" in line] or lines[:1]
            return Compiler(path, "".join(stated))
    return None


def devices() -> tuple[str, ...]:
    """The CUDA devices of this machine by name, as its driver lists them."""
    smi = shutil.which("nvidia-smi")
    return _output(smi, "--query-gpu=name,memory.total", "--format=csv,noheader") if smi else ()


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``evident/kernels`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "evident" / "kernels"


def built_library() -> Path | None:
    """The library of the CPU kernels where it is compiled already."""
    found = compiler("c++")
    target = _target(found) if found else None
    return target if target and target.exists() else None


def build_library() -> Path:
    """The library of the CPU kernels: the cached one, or one that is compiled now.

    Several processes may do this at once: each compiles in a folder of its own and moves the finished library into
    place, which is one step for the file system.

    Raises:
        BuildFailed: There is no compiler, it fails, or the cache folder cannot be written.
    """
    found = compiler("c++")
    if found is None:
        raise BuildFailed("no C++ compiler was found (c++, g++ or clang++); apt install g++ adds one")
    target = _target(found)
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
            built = _compile(found.path, Path(folder))
            if _target(found) != target:  # compiled of some sources that were and others that are
                raise BuildFailed(f"the sources in {SOURCES} were changed while they were compiled; start again")
            built.replace(target)
    except OSError as error:
        raise BuildFailed(
            f"{target.parent} cannot be written ({error.strerror}); set XDG_CACHE_HOME to another"
        ) from error
    return target


def _target(found: Compiler) -> Path:
    return cache_folder() / _digest(found) / "libevident_kernels.so"


def _compile(path: str, folder: Path) -> Path:
    sources = sorted(SOURCES.glob("*.cpp"))
    # The largest first, so that the last ones to finish are small.
    flags_of = _X86_FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {}
    sources.sort(key=lambda source: not source.name.startswith("isa_"))
    objects = [folder / f"{source.stem}.o" for source in sources]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        commands = [
            (path, *_FLAGS, *flags_of.get(source.name, ()), "-c", str(source), "-o", str(made))
            for source, made in zip(sources, objects, strict=True)
        ]
        list(pool.map(_run, commands))
    library = folder / "library.so"
    _run((path, "-shared", "-pthread", "-o", str(library), *map(str, objects)))
    return library


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        told = next((line for line in lines if "error" in line), lines[0])
        raise BuildFailed(f"{command[0]} failed: {told.strip()}")


def _digest(found: Compiler) -> str:
    told = hashlib.sha256(repr((found, _FLAGS, _X86_FLAGS, platform.machine())).encode())
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in {".cpp", ".h"}:
            told.update(source.name.encode() + b"\0" + source.read_bytes())
    return told.hexdigest()[:16]


def _output(program: str, *arguments: str) -> tuple[str, ...]:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
