"""What computes a network: ONNX Runtime, or OpenVINO or TensorRT where they are installed and asked for.

Shapes: N images, H height, W width.
"""

import os
from functools import cached_property
from importlib import import_module
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import EvidentError, InvalidInput, MissingExtra, ModelNotReady

Name = Literal["onnxruntime", "openvino", "tensorrt"]
NAMES: Final = get_args(Name)
Images = NDArray[np.float32]
Rows = NDArray[np.float32]
_TENSORRT: Final = "TensorrtExecutionProvider"


class Runtime(Protocol):
    """A network that is open.

    Attributes:
        workers: Calls of :meth:`beside` that may run at once; 1: images are rather computed in batches.
    """

    workers: int

    def run(self, images_N3HW: Images) -> Rows:
        """Compute in the shortest time, on all threads: float32 [N, 300, 6]."""

    def beside(self, images_N3HW: Images) -> Rows:
        """The same on one thread, while other threads call it too: more images a second, each later."""


class OnnxRuntime:
    """ONNX Runtime on the CPU.

    Args:
        data: The ONNX file.
        threads: At most; 0: one a core.

    Raises:
        MissingExtra: It is not installed.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    def __init__(self, data: bytes, threads: int = 0) -> None:
        self._data = data
        self.workers = threads or _cores()
        self._whole = self._session(threads)
        (self._input,) = (each.name for each in self._whole.get_inputs())

    def run(self, images_N3HW: Images) -> Rows:
        """See :class:`Runtime`."""
        rows: Rows = self._whole.run(None, {self._input: images_N3HW})[0]
        return rows

    def beside(self, images_N3HW: Images) -> Rows:
        """See :class:`Runtime`."""
        rows: Rows = self._single.run(None, {self._input: images_N3HW})[0]
        return rows

    @cached_property
    def _single(self) -> Any:
        """A session that computes in the thread that calls it, so that one serves all; opened at the first need."""
        return self._session(1)

    def _session(self, threads: int) -> Any:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait take the core from what comes next: on two cores the alignment after a
        # forward took six times as long, and with anything else on the machine the forward itself twice.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(self._data, options, providers=list(self.providers))


class TensorRt(OnnxRuntime):
    """ONNX Runtime with NVIDIA's TensorRT, and CUDA for what that does not compute.

    Raises:
        ModelNotReady: ONNX Runtime has it not.
    """

    providers = (_TENSORRT, "CUDAExecutionProvider", "CPUExecutionProvider")

    def __init__(self, data: bytes, threads: int = 0) -> None:
        known = _onnxruntime().get_available_providers()
        if _TENSORRT not in known:
            raise ModelNotReady(
                f"TensorRT is asked for, and ONNX Runtime has only {', '.join(known)} here; install onnxruntime-gpu "
                "with TensorRT, or take the runtime onnxruntime.",
                runtime="tensorrt",
            )
        super().__init__(data, threads)
        # ONNX Runtime goes on without a provider whose libraries do not load, and only logs it.
        if _TENSORRT not in self._whole.get_providers():
            raise ModelNotReady(
                "TensorRT is asked for and does not start here: its libraries or the GPU are missing; mend that, or "
                "take the runtime onnxruntime.",
                runtime="tensorrt",
            )
        self.workers = 1  # one GPU is full with a batch


class OpenVino:
    """Intel's OpenVINO on the CPU, from the same ONNX file.

    Args:
        data: The ONNX file.
        threads: At most; 0: one a core.

    Raises:
        MissingExtra: It is not installed.
    """

    def __init__(self, data: bytes, threads: int = 0) -> None:
        try:
            openvino: Any = import_module("openvino")
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "The runtime openvino is asked for and not installed: pip install openvino, or take onnxruntime.",
                extra="openvino",
            ) from error
        self.workers = threads or _cores()
        self._core = openvino.Core()
        self._model = self._core.read_model(data)
        _unquantise_between(self._model)
        self._whole = self._compiled("LATENCY", self.workers, 1)

    def run(self, images_N3HW: Images) -> Rows:
        """See :class:`Runtime`."""
        return self._computed(self._whole, images_N3HW)

    def beside(self, images_N3HW: Images) -> Rows:
        """See :class:`Runtime`."""
        return self._computed(self._streams, images_N3HW)

    @cached_property
    def _streams(self) -> Any:
        return self._compiled("THROUGHPUT", self.workers, self.workers)

    def _compiled(self, hint: str, threads: int, streams: int) -> Any:
        how = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
        return self._core.compile_model(self._model, "CPU", how)

    @staticmethod
    def _computed(model: Any, images_N3HW: Images) -> Rows:
        request = model.create_infer_request()  # of this call alone: others run in other threads
        rows: Rows = request.infer({0: images_N3HW}, share_inputs=True)[model.output(0)]
        return rows


def open_runtime(name: str, data: bytes, threads: int = 0, *, called: str = "The file") -> Runtime:
    """Open a network in a runtime.

    Args:
        name: One of :data:`NAMES`.
        data: The ONNX file.
        threads: At most; 0: one a core.
        called: What a refusal calls the file.

    Raises:
        InvalidInput: There is no runtime of that name, or the file is no network.
        MissingExtra: It is not installed.
        ModelNotReady: What it needs is not there.
    """
    if name not in _KNOWN:
        raise InvalidInput(f"There is no runtime {name!r}; take one of {', '.join(NAMES)}.", runtime=name)
    try:
        return _KNOWN[name](data, threads)
    except EvidentError:
        raise
    except Exception as error:  # neither has an error type of its own to name
        raise InvalidInput(f"{called} is no network that {name} opens: {error}", runtime=name) from error


_KNOWN: Final[dict[str, type[OnnxRuntime | OpenVino]]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "tensorrt": TensorRt,
}


def _unquantise_between(model: Any) -> None:
    """Let only convolutions and matrix products take eight bits; what lies between takes what came before rounding.

    The file rounds after each step, as ONNX Runtime has kernels of eight bits for all. OpenVINO joins a convolution
    with the activation after it, unless it must round in between: with that it took twice as long as without.
    """
    multiply = ("Convolution", "GroupConvolution", "MatMul")
    for rounded in [each for each in model.get_ops() if each.get_type_name() == "FakeQuantize"]:
        for target in _users(rounded):
            if target.get_node().get_type_name() not in multiply:
                target.replace_source_output(rounded.input_value(0))
    model.validate_nodes_and_infer_types()


def _users(node: Any) -> list[Any]:
    """What takes a rounded value once it is scaled back: Convert to integers, Convert, Subtract, Multiply."""
    found = []
    for target in node.output(0).get_target_inputs():
        user, kind, before = target.get_node(), target.get_node().get_type_name(), node.get_type_name()
        scales = kind in ("Convert", "Subtract") or (kind == "Multiply" and before in ("Convert", "Subtract"))
        found += _users(user) if scales else [target]
    return found


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Detecting needs onnxruntime, which is not installed: pip install 'evident[manufacturing]'",
            extra="manufacturing",
        ) from error
    return onnxruntime


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
