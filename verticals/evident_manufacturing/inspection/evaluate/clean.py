"""How often a clean board is called defective: generated, displaced, and real templates against themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate.boards import FIRST_SEED, Gray, OnBoard, generate, inspect, nobody, seeds
from evident_manufacturing.inspection.evaluate.pairs import SPLIT, entries, read
from evident_manufacturing.inspection.perceive import Models

DISPLACED: Final = {"shift": 8.0, "turn": 0.5}
"""Pixels and degrees: a board that lies askew in its fixture."""
SHIFT: Final = 0.5
"""Pixels by which a template is moved at most along x and y before it is inspected against itself."""
NOISE: Final = 4.0
"""Grey levels, standard deviation of the camera's noise that it is given."""
JPEG: Final = (75, 96)
"""Qualities with which it is compressed: from, below."""


class CleanBoards(Frozen):
    """Clean boards of one sort.

    Attributes:
        sort: ``generated``, ``displaced`` or ``real``.
        called: Boards on which any defect is reported; ``calls`` such defects.
        refused: Boards whose template was refused: not called, and no line runs by it either.
    """

    sort: str
    boards: int
    called: int
    calls: int
    refused: int

    @property
    def share(self) -> float:
        """Of boards with a false call."""
        return self.called / self.boards if self.boards else 0.0


class Clean(Frozen):
    """Figures on clean boards, by sort."""

    model: str
    sorts: tuple[CleanBoards, ...]


def measure_clean(
    models: Models,
    boards: int = 150,
    seed: int = FIRST_SEED,
    *,
    folder: Path | None = None,
    split: str = SPLIT,
    on_board: OnBoard = nobody,
) -> Clean:
    """Inspect boards on which there is nothing to find.

    Args:
        models: That are open.
        boards: How many of each sort.
        seed: Of the first generated one, and of noise and shift of the real ones.
        folder: Pairs in DeepPCB's layout, of which the templates are taken; None: only generated boards.
        split: The split file there.
        on_board: Told after each board.

    Raises:
        InvalidInput: A seed that training may have used.
    """
    sorts: dict[str, Callable[[], Iterator[tuple[Gray, Gray, int | None]]]] = {
        "generated": lambda: _generated(seed, boards, {}),
        "displaced": lambda: _generated(seed, boards, DISPLACED),
    }
    if folder is not None:
        sorts["real"] = lambda: _real(folder, split, boards, seed)
    done, results = 0, []
    for sort, made in sorts.items():
        calls = []
        for number, (test, template, jpeg) in enumerate(made(), 1):
            found = inspect(models, test, template, f"clean.{sort}.{number}", jpeg=jpeg)
            calls.append(None if found is None else len(found.defects))
            done += 1
            on_board(done, len(sorts) * boards)
        results.append(
            CleanBoards(
                sort=sort,
                boards=len(calls),
                called=sum(bool(each) for each in calls),
                calls=sum(each or 0 for each in calls),
                refused=calls.count(None),
            )
        )
    return Clean(model=models.fused.version, sorts=tuple(results))


def _generated(seed: int, boards: int, how: dict[str, float]) -> Iterator[tuple[Gray, Gray, int | None]]:
    for each in seeds(seed, boards):
        sample = generate(each, defects=0, **how)
        yield sample.test, sample.template, None


def _real(folder: Path, split: str, boards: int, seed: int) -> Iterator[tuple[Gray, Gray, int | None]]:
    """Templates spread over the folder, and the same again as a camera would take it a second time."""
    every = sorted(entries(folder, split), key=lambda each: each.test.as_posix())
    rng = np.random.default_rng(seed)
    for index in np.unique(np.linspace(0, len(every) - 1, min(boards, len(every))).astype(int)):
        template = read(every[index]).template
        yield taken_again(template, rng), template, int(rng.integers(*JPEG))


def taken_again(image: Gray, rng: np.random.Generator) -> Gray:
    """A picture, uint8 [H, W], as a camera takes it a second time: moved by part of a pixel, with other noise."""
    dx, dy = rng.uniform(-SHIFT, SHIFT, 2)
    move = np.array([[1, 0, dx], [0, 1, dy]])
    moved = cv2.warpAffine(image, move, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    noisy: Gray = np.clip(np.rint(moved + rng.normal(0.0, NOISE, moved.shape)), 0, 255).astype(np.uint8)
    return noisy
