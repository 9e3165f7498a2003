"""Blocks of training tokens from processes that make them as they are needed.

Each process writes blocks to its standard output, without end: two int32 (rows B, length L), then B * L uint16. The
highest bit of a token says that it is to be learnt in full; token 0 pads. They are read in turn, so that the same
processes give the same blocks in the same order.
"""

import queue
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from evident_core.errors import InvalidInput

_WAITING = 8


class Feed:
    """Running processes and what they have written so far; to be used as a context, which ends them.

    Args:
        commands: One command a process.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._processes = [
            subprocess.Popen(list(command), stdout=subprocess.PIPE)  # noqa: S603 - the caller's own command
            for command in commands
        ]
        self._queues: list[queue.Queue[Tensor | None]] = [queue.Queue(_WAITING) for _ in commands]
        self._stopped = threading.Event()
        self._next = 0
        for process, blocks in zip(self._processes, self._queues, strict=True):
            if process.stdout is not None:
                threading.Thread(target=self._read, args=(process.stdout, blocks), daemon=True).start()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    @property
    def ended(self) -> bool:
        """Whether every process has ended."""
        return all(process.poll() is not None for process in self._processes)

    def take(self) -> Tensor:
        """The next block, int32 [B, L], marks included; waits for it.

        Raises:
            InvalidInput: A process has ended; its own words stand in standard error.
        """
        index = self._next
        self._next = (index + 1) % len(self._queues)
        block = self._queues[index].get()
        if block is None:
            code = self._processes[index].wait()
            raise InvalidInput(f"The process that makes training text {index} ended with exit code {code}.", code=code)
        return block

    def _read(self, stream: BinaryIO, blocks: "queue.Queue[Tensor | None]") -> None:
        while True:
            block = _block(stream)
            while not self._stopped.is_set():
                try:
                    blocks.put(block, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if block is None or self._stopped.is_set():
                stream.close()
                return


def _block(stream: BinaryIO) -> Tensor | None:
    head = _exactly(stream, 8)
    if head is None:
        return None
    rows, length = torch.frombuffer(head, dtype=torch.int32).tolist()
    body = _exactly(stream, 2 * rows * length)
    if body is None:
        return None
    # There are few operations on uint16: the marks are told from the sign instead.
    return (torch.frombuffer(body, dtype=torch.int16).int() & 0xFFFF).view(rows, length)


def _exactly(stream: BinaryIO, size: int) -> bytearray | None:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            return None
        done += count
    return data
