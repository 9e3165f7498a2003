"""A tiny random model behind the OpenAI API: in a thread of the tests, or as a program of its own."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import click
from flask import Flask
from werkzeug.serving import make_server

from evident_core.decode.engine import EngineOptions
from evident_core.decode.llm import LLM
from evident_core.decode.runner import Float32, StepInput
from evident_core.settings import Settings, load
from evident_core.web.llm_api import serve
from tiny_model import tiny_model, tiny_tokenizer


def tiny_llm(**options: int) -> LLM:
    """The model; its texts are noise, and the same noise always."""
    return LLM(tiny_model(), tiny_tokenizer(), kernel=False, options=EngineOptions(**options))


def tiny_settings(folder: Path, port: int = 0, **llm: object) -> Settings:
    return load(store={"data_dir": folder}, web={"port": port, "max_upload_mib": 1}, llm=llm)


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address of a server of that app, which runs for the block."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Halted:
    """An engine that stops before its next step once it has taken ``after`` steps, until ``go`` is set."""

    def __init__(self, llm: LLM, after: int = 0) -> None:
        self.llm, self.after, self.steps, self.go = llm, after, 0, threading.Event()

    def __enter__(self) -> Self:
        run = self.llm.engine.runner.run

        def step(step_input: StepInput) -> Float32:
            if self.steps >= self.after:
                self.go.wait(30)
            self.steps += 1
            return run(step_input)

        self.llm.engine.runner.run = step  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        del self.llm.engine.runner.run


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether that comes true within the time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def is_free(llm: LLM) -> bool:
    """Whether the engine writes nothing and holds no block."""
    return llm.engine.pool.free == llm.engine.pool.num_blocks and not len(llm.engine.scheduler)


if __name__ == "__main__":
    serve(tiny_settings(Path(sys.argv[1])), lambda address: click.echo(address), tiny_llm)
