"""The whole measurement: our engine beside its peers on the reference shape, and what constraints and batches cost."""

import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evident_core.bench.bandwidth import Bandwidth
from evident_core.bench.batching import Batching
from evident_core.bench.comparison import SHORT_PROMPT, Kind, Say, compare, note, prove
from evident_core.bench.constrained import Constrained
from evident_core.bench.contestant import DECODED
from evident_core.bench.grammar_speed import GrammarSpeed
from evident_core.bench.load import OtherLoad
from evident_core.bench.ours import Evident, EvidentKernel
from evident_core.bench.peers.hugging_face import HuggingFace, HuggingFaceCompiled
from evident_core.bench.peers.llama_cpp import LlamaCpp
from evident_core.bench.peers.onnx_runtime import OnnxDynamic, OnnxFused
from evident_core.bench.results import Figures, Machine, Reached, Row
from evident_core.bench.shape import Shape, write_checkpoint
from evident_core.bench.targets import judge
from evident_core.bench.timing import Spread, available_cpus, pin
from evident_core.bench.worker import Worker, WorkerFailed
from evident_core.errors import InvalidInput, MissingExtra

REFERENCE = (Shape(vocab_size=1 << 14), Shape(vocab_size=1 << 15))
CONTESTANTS: tuple[Kind, ...] = (
    Evident, EvidentKernel, LlamaCpp, OnnxDynamic, OnnxFused, HuggingFace, HuggingFaceCompiled,
)  # fmt: skip
SLOW: tuple[Kind, ...] = (HuggingFaceCompiled,)
"""Left out of a quick run: they take minutes to load."""

REPORT = 1000
"""Most tokens of a text under the report's schema: about six times its shortest one."""


def run(
    *,
    quick: bool = False,
    progress: Say | None = None,
    shapes: Sequence[Shape] = REFERENCE,
    threads: Sequence[int] | None = None,
) -> Figures:
    """Measure everything; takes minutes, and wants the machine for itself.

    Args:
        quick: Fewer rounds, and without the contestants that take minutes to load: a first look, not a figure.
        progress: Called with a line for people now and then.
        shapes: What is measured.
        threads: Numbers of threads, each on as many cores; by default all cores, and one.

    Raises:
        InvalidInput: There are fewer cores than threads.
        MissingExtra: The engine's own packages are not installed.
    """
    cpus = available_cpus()
    counts = list(threads or dict.fromkeys((len(cpus), 1)))
    if not 1 <= min(counts) <= max(counts) <= len(cpus):
        raise InvalidInput(f"threads is {counts}; each must be from 1 to {len(cpus)}, the cores of this process.")
    if command := Evident().missing():
        raise MissingExtra(f"The language engine is not installed: {command}", extra="llm")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="evident-bench-") as folder:
        load = OtherLoad()
        measured = _Run(3 if quick else 7, progress or (lambda _: None))
        for shape in shapes:
            measured.shape(shape, Path(folder) / str(shape.vocab_size), [cpus[:count] for count in counts], quick=quick)
        others = load.share()
    return measured.figures(quick=quick, others=others, seconds=time.perf_counter() - began)


class _Run:
    """What is found, while it is found."""

    def __init__(self, rounds: int, say: Say) -> None:
        self._rounds, self._say = rounds, say
        self._rows: list[Row] = []
        self._bandwidth: list[Bandwidth] = []
        self._batching: list[Batching] = []
        self._grammar: list[GrammarSpeed] = []
        self._constrained: list[Constrained] = []
        self._reached: list[Reached] = []
        self._failures: list[str] = []

    def shape(self, shape: Shape, folder: Path, core_sets: Sequence[Sequence[int]], *, quick: bool) -> None:
        """Measure one shape on each set of cores."""
        self._say(f"writing random weights with a vocabulary of {shape.vocab_size}")
        write_checkpoint(folder, shape)
        left_out = SLOW if quick else ()
        kinds = [kind for kind in CONTESTANTS if kind not in left_out]
        entrants, absent = prove(kinds, shape, folder, core_sets[0], self._say)
        absent += [note(kind, shape, "left out", "it takes long to load; run without --quick") for kind in left_out]
        for row in absent:
            self._say(f"{row.contestant}: {row.state}: {row.note}")
        self._rows += absent
        for cores in core_sets:
            rows = compare(entrants, shape, folder, cores, self._rounds, self._say)
            self._rows += rows
            self._read_memory(shape, cores, next((row for row in rows if row.contestant == Evident.name), None))
            self._say(f"16 requests at the same time, with {len(cores)} threads")
            given: dict[str, object] = {"folder": folder, "threads": len(cores), "rounds": self._rounds}
            given["tokens"] = DECODED
            if found := self._of_worker("batching:BatchingBench", cores, **given):
                self._batching.append(Batching(**found))
            self._say(f"texts under a schema and free ones, with {len(cores)} threads")
            given["tokens"] = REPORT
            if found := self._of_worker("constrained:ConstrainedBench", cores, **given):
                self._constrained.append(Constrained(**found))
        self._say("grammars and terminologies")
        given = {"folder": folder, "rounds": self._rounds}
        if found := self._of_worker("grammar_speed:GrammarBench", core_sets[0][:1], **given):
            self._grammar.append(GrammarSpeed(**found))

    def figures(self, *, quick: bool, others: float | None, seconds: float) -> Figures:
        """All of it, with the targets."""
        ours = [row for row in self._rows if row.contestant == Evident.name and row.settings]
        return judge(
            Figures(
                machine=_machine(ours[0].settings if ours else "the engine could not be measured", others),
                quick=quick,
                decode_tokens=DECODED,
                rows=tuple(self._rows),
                bandwidth=tuple(self._bandwidth),
                reached=tuple(self._reached),
                batching=tuple(self._batching),
                grammar=tuple(self._grammar),
                constrained=tuple(self._constrained),
                failures=tuple(self._failures),
                targets=(),
                seconds=seconds,
            )
        )

    def _read_memory(self, shape: Shape, cores: Sequence[int], ours: Row | None) -> None:
        """Read as fast as possible, and say how near decoding came to it."""
        self._say(f"reading memory with {len(cores)} threads")
        given = {"threads": len(cores), "model_bytes": shape.int8_bytes}
        found = self._of_worker("bandwidth:BandwidthBench", cores, **given)
        if not found:
            return
        bandwidth = Bandwidth(**found)
        self._bandwidth.append(bandwidth)
        if ours and ours.tokens_per_second:
            size = shape.int8_bytes_a_token(SHORT_PROMPT + DECODED // 2)
            rate = size * ours.tokens_per_second.median
            self._reached.append(Reached(shape.vocab_size, len(cores), size, rate, bandwidth.model, bandwidth.memory))

    def _of_worker(self, target: str, cores: Sequence[int], **arguments: object) -> dict[str, Any] | None:
        """What ``run`` of a class of this package found in a process of its own; None where it failed."""
        try:
            with Worker(f"evident_core.bench.{target}", cores) as worker:
                found: dict[str, Any] = worker.call("run", **arguments)
        except WorkerFailed as error:
            self._say(error.message)
            self._failures.append(error.message)
            return None
        return {name: Spread(**value) if isinstance(value, dict) else value for name, value in found.items()}


def _machine(engine: str, others: float | None) -> Machine:
    versions = {}
    for package in ("evident", "torch", "transformers", "onnxruntime", "llama-cpp-python", "llguidance", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cpus = available_cpus()
    return Machine(_processor(), len(cpus), others, pin(cpus), engine, platform.python_version(), versions)


def _processor() -> str:
    """What the system calls it: its model, or at least its architecture."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
