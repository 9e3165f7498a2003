"""A whole step of a model in one call of the compiled library.

Shapes: T tokens of a step (all sequences packed), S sequences, B blocks of a table, R rows whose logits are wanted,
V vocabulary, N cache slots, G key/value heads, K head dim.
"""

import ctypes
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evident_kernels import abi
from evident_kernels.loading import ISA, cores, isas, needed
from evident_kernels.refusal import refusal
from evident_kernels.spec import ModelSpec, is_contiguous, type_name

if TYPE_CHECKING:
    from evident_kernels.spec import Array

_MOST_THREADS, _WORD = 64, 4


def supports(spec: ModelSpec) -> str | None:
    """None where :class:`DecodeModel` can run the model; otherwise the reason why not, as a sentence for a person."""
    return refusal(spec)


class DecodeModel:
    """A model that the kernel runs a whole step of at a time.

    One instance runs one step at a time (a lock sees to it; other threads wait, without holding the GIL). It holds
    references to the spec's arrays and to the bound caches; it copies and changes no weight.

    The result for a token is the same to the bit whatever else is in the step, and however a prompt is cut into steps.

    Args:
        spec: The model.
        threads: How many threads take part, the caller's among them; None is :func:`cores`.
        isa: The instruction set; None is the best that the machine has.

    Raises:
        ValueError: :func:`supports` says no; there is no library; the machine has not that ``isa``.
    """

    def __init__(self, spec: ModelSpec, *, threads: int | None = None, isa: ISA | None = None) -> None:
        self._lock = threading.Lock()
        self._model: int | None = None
        found = needed()
        if (why := supports(spec)) is not None:
            raise ValueError(why)
        available = isas()
        if isa is not None and isa not in available:
            raise ValueError(f"this machine cannot run {isa}; it has {', '.join(available)}")
        if threads is not None and not 1 <= threads <= _MOST_THREADS:
            raise ValueError(f"threads is {threads}; it must be from 1 to {_MOST_THREADS}")
        self.spec = spec
        self.threads = threads or cores()
        self.isa: ISA = isa or available[0]
        self._library = found
        self._step = abi.EvStep()
        self._logits = np.empty((0, spec.vocab_size), np.float32)
        self._kept: list[Any] = []
        struct, alive = abi.spec_struct(spec)
        self._model = found.ev_create(ctypes.byref(struct), self.threads, self.isa.encode())
        del alive

    def bind(self, keys: "Sequence[Array]", values: "Sequence[Array]") -> None:
        """Take the cache that the following steps read and write; may be called again for another one.

        Args:
            keys: [N, G, K] per layer, contiguous, float32 or float16, one type for all; NumPy or PyTorch (CPU).
                Keys are stored after the rotary embedding.
            values: [N, G, K] per layer, as ``keys``.

        Raises:
            ValueError: A wrong shape, type or number of arrays.
        """
        layers = len(self.spec.layers)
        if len(keys) != layers or len(values) != layers:
            raise ValueError(
                f"{len(keys)} key and {len(values)} value caches were given; the model has {layers} layers"
            )
        every = [*keys, *values]
        wanted = (every[0].shape[0], self.spec.num_kv_heads, self.spec.head_dim)
        kind = type_name(every[0])
        if kind not in {"float32", "float16"}:
            raise ValueError(f"the cache is of type {kind}; float32 or float16 is needed")
        for each in every:
            if tuple(each.shape) != wanted or type_name(each) != kind or not is_contiguous(each):
                raise ValueError(
                    f"a layer's cache is {type_name(each)} {tuple(each.shape)}; contiguous {kind} {wanted} is needed"
                )
        k, v = ((ctypes.c_void_p * layers)(*map(abi.pointer, part)) for part in (keys, values))
        with self._lock:
            self._library.ev_bind(self._opened(), k, v, wanted[0], kind == "float16")
            self._kept = every

    def run(
        self,
        token_ids: "Array",
        positions: "Array",
        slots: "Array",
        starts: Sequence[int],
        contexts: Sequence[int],
        tables: "Array",
        rows: "Array",
        block_size: int,
        masks: "Array | None" = None,
        *,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Run one step: write the tokens' keys and values into the cache, and give the logits of the wanted rows.

        Arguments are those of ``evident_core.moe.batch.Batch``, as NumPy arrays, CPU tensors or lists; int32 arrays are
        passed on as they are, others are converted.

        Args:
            token_ids: [T], 0..V-1.
            positions: [T], those of a sequence consecutive, its last one ``contexts[s] - 1``.
            slots: [T], the cache slot each token is written to (that of its position in its sequence's table).
            starts: [S + 1], where each sequence's tokens start; the last is T.
            contexts: [S], tokens of each sequence in the cache once this step is written.
            tables: [S, B], block tables: position p of sequence s lies in slot
                ``tables[s, p // block_size] * block_size + p % block_size``.
            rows: [R], indices into T; may be empty (a chunk of a prompt that is not its last).
            block_size: Slots of a block.
            masks: int32 [R, ceil(V / 32)], or None: bit i % 32 of word i // 32 set = token i is allowed. Logits of the
                others are -inf, and their rows of the head are not computed.
            out: float32 [R, V], contiguous, to write the logits to. None writes to a buffer of the model that the next
                call overwrites.

        Returns:
            Logits [R, V], float32: ``out``, or a view of the model's buffer, valid until the next call.

        Raises:
            ValueError: No cache is bound; or a token, position, slot, row or table entry is out of range.
        """
        numbers = [_integers(each) for each in (token_ids, positions, slots, starts, contexts, tables, rows)]
        tokens, sequences, wanted = len(numbers[0]), len(numbers[4]), len(numbers[6])
        expected = (tokens, tokens, tokens, sequences + 1, sequences, sequences, wanted)
        if tuple(map(len, numbers)) != expected or numbers[5].ndim != 2:
            raise ValueError(
                f"token_ids, positions, slots, starts, contexts, tables and rows have {tuple(map(len, numbers))} "
                f"entries; {expected} belong together, and tables needs two dimensions"
            )
        vocab = self.spec.vocab_size
        words = None if masks is None else np.asarray(masks)
        if words is not None and (words.shape != (wanted, -(-vocab // 32)) or words.itemsize != _WORD):
            raise ValueError(
                f"masks are {words.dtype} {words.shape}; int32 {(wanted, -(-vocab // 32))} is needed for {wanted} rows"
            )
        if words is not None:
            words = np.ascontiguousarray(words)
        if out is not None and (out.shape != (wanted, vocab) or out.dtype != np.float32 or not out.flags.c_contiguous):
            raise ValueError(f"out is {out.dtype} {out.shape}; contiguous float32 {(wanted, vocab)} is needed")
        with self._lock:
            if out is None:
                if len(self._logits) < wanted:
                    self._logits = np.empty((wanted, vocab), np.float32)
                out = self._logits[:wanted]
            step = self._step
            (step.token_ids, step.positions, step.slots, step.starts, step.contexts, step.tables, step.rows) = (
                each.ctypes.data for each in numbers
            )
            step.masks = None if words is None else words.ctypes.data
            step.logits = out.ctypes.data
            step.T, step.S, step.B, step.R, step.block_size = tokens, sequences, numbers[5].shape[1], wanted, block_size
            if self._library.ev_run(self._opened(), ctypes.byref(step)):
                raise ValueError(step.error.decode())
        return out

    def close(self) -> None:
        """End the threads and free the kernel's own buffers; also done when the object is collected."""
        with self._lock:  # a step that another thread runs is waited for
            model, self._model = self._model, None
            if model is not None:
                self._library.ev_destroy(model)

    def __del__(self) -> None:
        self.close()

    def _opened(self) -> int:
        if self._model is None:
            raise ValueError("this model was closed")
        return self._model


def _integers(values: Any) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)
