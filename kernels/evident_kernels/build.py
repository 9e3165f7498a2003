"""What this machine can build kernels with, and which accelerators it has. Asked without importing PyTorch."""

import shutil
import subprocess
from dataclasses import dataclass

_COMPILERS = {"c++": ("c++", "g++", "clang++"), "nvcc": ("nvcc", "/usr/local/cuda/bin/nvcc")}


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


def _output(program: str, *arguments: str) -> tuple[str, ...]:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
