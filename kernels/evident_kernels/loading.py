"""The compiled library of the CPU kernels: opened once a process, or the reason why there is none."""

import ctypes
from functools import cache
from typing import Literal

from evident_kernels import abi, build
from evident_kernels.cores import physical_cores

ISA = Literal["avx512vnni", "avx2", "plain"]


@cache
def _library() -> ctypes.CDLL | str:
    """The library, or the reason why there is none; asked once a process."""
    try:
        return abi.load(str(build.build_library()))
    except (build.BuildFailed, OSError) as error:
        return f"the CPU kernels cannot be used: {error}"


def library() -> ctypes.CDLL | None:
    """The compiled kernels, built or read from the cache folder on the first call; None where they cannot be had."""
    found = _library()
    return found if isinstance(found, ctypes.CDLL) else None


def reason() -> str | None:
    """Why :func:`library` is None, in one line for a person; None where there is a library."""
    found = _library()
    return found if isinstance(found, str) else None


def isas() -> tuple[ISA, ...]:
    """The instruction sets that the library has code for and this machine can run, the best first; none without one."""
    found = library()
    every: tuple[ISA, ...] = ("avx512vnni", "avx2", "plain")
    return tuple(isa for isa in every if found is not None and found.ev_isa_available(isa.encode()))


def cores() -> int:
    """Threads that :class:`DecodeModel` uses unless told: physical cores this process may run on, within its CPU quota.

    At most 8: beyond that the phases of a step of a small model are shorter than it takes to agree on sharing them.
    """
    return min(physical_cores(), 8)


def needed() -> ctypes.CDLL:
    """:func:`library` where nothing can be done without it.

    Raises:
        ValueError: There is none; the message is :func:`reason`.
    """
    found = library()
    if found is None:
        raise ValueError(reason())
    return found
