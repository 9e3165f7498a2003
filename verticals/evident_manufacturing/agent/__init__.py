"""The edge agent: images from a source, through an inspection, into an outbox, to a MES; without PyTorch."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """For the imports of a process that inspects: they take a fifth less, and an inspection less of the cores.

    OpenBLAS, NumPy's and OpenCV's, is given one thread, unless the environment says otherwise: its threads spin on the
    other cores, at the import and after each product, and no inspection was sooner done for it. Nothing is looked
    through for garbage meanwhile, nor what was imported ever after: it stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
