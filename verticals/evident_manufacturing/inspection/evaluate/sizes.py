"""How small a defect is found, and how true its size is: generated boards with exact truth, and small real defects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate.boards import (
    FIRST_SEED,
    PX_PER_MM,
    OnBoard,
    generate,
    inspect,
    matches,
    nobody,
    seeds,
)
from evident_manufacturing.inspection.evaluate.pairs import SPLIT, Entry, Pair, divide, entries, read
from evident_manufacturing.inspection.perceive import Models, lay_under, weigh
from evident_manufacturing.inspection.perceive.difference import Difference, difference
from evident_manufacturing.inspection.schema import Quantity

SMALL_MM: Final = 0.20
SMALL_REAL_MM: Final = 0.21
"""Longest side of the difference of a real defect that counts as small."""
CLASSES: Final = ((0.0, 0.10), (0.10, 0.20), (0.20, 0.40), (0.40, 10.0))
"""(above, at most) of the true length in mm."""


class SizeClass(Frozen):
    """Figures of the defects whose true length lies above ``above`` and at most at ``most`` mm.

    Attributes:
        defects: How many there are.
        found: How many of them a reported defect lies on, whatever its kind.
        kind_right: How many of those found have the true kind.
        measured: How many of those found have a size.
        p95_length: mm, 95th percentile of the error of length; None where none is measured.
        p95_width: The same of width.
        covered_length: Share of the lengths within their stated uncertainty of the truth (95 % is what k = 2 promises).
        covered_width: The same of widths.
    """

    above: float
    most: float
    defects: int
    found: int
    kind_right: int
    measured: int
    p95_length: float | None
    p95_width: float | None
    covered_length: float | None
    covered_width: float | None

    @property
    def share(self) -> float:
        """Of the defects that were found; 1 where there are none."""
        return self.found / self.defects if self.defects else 1.0


class SmallReal(Frozen):
    """Labelled defects of real pairs by the longest side of their difference.

    Attributes:
        labels: Those under :data:`SMALL_REAL_MM`; ``found`` of them.
        unseen: Labels in which no pixel differs by enough to have a size; ``unseen_found`` of them.
    """

    folder: str
    pairs: int
    labels: int
    found: int
    unseen: int
    unseen_found: int

    @property
    def share(self) -> float:
        """Of the small ones that were found."""
        return self.found / self.labels if self.labels else 1.0


class Sizes(Frozen):
    """Figures on small defects.

    Attributes:
        refused: Boards whose template was refused; their defects count as not found.
        false_calls: Reported defects on the generated boards that are none.
        small: Of at most :data:`SMALL_MM`.
        every: Of all lengths.
        by_length: Of each of :data:`CLASSES`.
        real: Of labelled pairs, where a folder was given.
    """

    model: str
    boards: int
    first_seed: int
    refused: int
    false_calls: int
    small: SizeClass
    every: SizeClass
    by_length: tuple[SizeClass, ...]
    real: SmallReal | None = None


@dataclass(frozen=True)
class _Measured:
    length: float
    found: bool
    kind_right: bool = False
    errors: tuple[float, float] | None = None
    stated: tuple[float, float] = (0.0, 0.0)


def measure_sizes(
    models: Models,
    boards: int = 150,
    seed: int = FIRST_SEED,
    *,
    folder: Path | None = None,
    split: str = SPLIT,
    part: str = "validation",
    on_board: OnBoard = nobody,
) -> Sizes:
    """Measure on generated boards, every second of which has only small defects.

    Args:
        models: That are open.
        boards: How many.
        seed: Of the first.
        folder: Pairs in DeepPCB's layout for the real ones; None: only generated boards.
        split: The split file there.
        part: ``all``, ``train`` or ``validation`` of the pairs.
        on_board: Told after each board or pair.

    Raises:
        InvalidInput: A seed that training may have used.
    """
    every: list[_Measured] = []
    refused = false_calls = 0
    listed = _listed(folder, split, part) if folder else []
    total = boards + len(listed)
    for number, each in enumerate(seeds(seed, boards), 1):
        sample = generate(each, **({"sizes_mm": (0.05, SMALL_MM)} if number % 2 == 0 else {}))
        found = inspect(models, sample.test, sample.template, f"made.{each}")
        reported = found.defects if found else ()
        pairs = matches([one.bbox for one in sample.defects], [one.bbox for one in reported])
        refused += found is None
        false_calls += len(reported) - len(pairs)
        for index, true in enumerate(sample.defects):
            if index not in pairs:
                every.append(_Measured(true.length_mm, found=False))
                continue
            one = reported[pairs[index]]
            errors, stated = None, (0.0, 0.0)
            if one.size is not None:
                errors = _error(one.size.length, true.length_mm), _error(one.size.width, true.width_mm)
                stated = float(one.size.length.uncertainty), float(one.size.width.uncertainty)
            every.append(_Measured(true.length_mm, True, one.kind == true.kind, errors, stated))
        on_board(number, total)
    real = None
    if folder is not None:
        tallies = []
        for number, entry in enumerate(listed, 1):
            tallies.append(_small(read(entry), models))
            on_board(boards + number, total)
        labels, seen, unseen, unseen_seen = (int(each) for each in np.sum(tallies, axis=0))
        real = SmallReal(
            folder=folder.name,
            pairs=len(listed),
            labels=labels,
            found=seen,
            unseen=unseen,
            unseen_found=unseen_seen,
        )
    return Sizes(
        model=models.fused.version,
        boards=boards,
        first_seed=seed,
        refused=refused,
        false_calls=false_calls,
        small=_class(every, 0.0, SMALL_MM),
        every=_class(every, 0.0, CLASSES[-1][1]),
        by_length=tuple(_class(every, above, most) for above, most in CLASSES),
        real=real,
    )


def _listed(folder: Path, split: str, part: str) -> list[Entry]:
    every = entries(folder, split)
    train, validation = divide(every)
    chosen = {"all": every, "train": train, "validation": validation}.get(part)
    if not chosen:
        raise InvalidInput(f"{split} of {folder} lists no pair of {part!r}; it is all, train or validation.", part=part)
    return list(chosen)


def _error(measured: Quantity, true: float) -> float:
    return abs(float(measured.value) - true)


def _class(every: list[_Measured], above: float, most: float) -> SizeClass:
    mine = [each for each in every if above < each.length <= most]
    sized = [(each.errors, each.stated) for each in mine if each.errors is not None]
    errors, stated = (np.array([each[which] for each in sized], np.float64).reshape(-1, 2) for which in (0, 1))
    p95 = [round(float(v), 4) for v in np.percentile(errors, 95, axis=0)] if sized else [None, None]
    covered = [round(float(v), 4) for v in (errors <= stated).mean(axis=0)] if sized else [None, None]
    return SizeClass(
        above=above,
        most=most,
        defects=len(mine),
        found=sum(each.found for each in mine),
        kind_right=sum(each.kind_right for each in mine),
        measured=len(sized),
        p95_length=p95[0],
        p95_width=p95[1],
        covered_length=covered[0],
        covered_width=covered[1],
    )


def _small(pair: Pair, models: Models) -> tuple[int, int, int, int]:
    """Of one pair: small labels, those found, labels without a difference, those found."""
    try:
        _, laid, valid = lay_under(pair.test, pair.template)
    except InvalidInput:
        laid, valid = pair.template, np.ones(pair.test.shape, np.bool_)
        reported = []
        differing = difference(pair.test, laid, valid=valid)
    else:
        differing = difference(pair.test, laid, valid=valid)
        weighed = weigh(pair.test, laid, differing, models)
        reported = [each.bbox for each, p in weighed if p >= models.arbiter.threshold]
    sides = [_longest(box.tolist(), differing) for box in pair.boxes]
    found = matches([tuple(box.tolist()) for box in pair.boxes], reported)
    small = [index for index, side in enumerate(sides) if side is not None and side < SMALL_REAL_MM * PX_PER_MM]
    unseen = [index for index, side in enumerate(sides) if side is None]
    return len(small), sum(i in found for i in small), len(unseen), sum(i in found for i in unseen)


def _longest(box: list[float], differing: Difference) -> float | None:
    """Pixels of the longest side around the differences whose middles lie in a label; None where there are none."""
    x0, y0, x1, y1 = box
    inside = [
        each.bbox
        for each in differing.candidates
        if x0 <= (each.bbox[0] + each.bbox[2]) / 2 <= x1 and y0 <= (each.bbox[1] + each.bbox[3]) / 2 <= y1
    ]
    if not inside:
        return None
    left, top, right, bottom = zip(*inside, strict=True)
    return float(max(max(right) - min(left), max(bottom) - min(top)))
