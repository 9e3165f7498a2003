"""Is the line still the same line? Control charts of its defects, and alarms when what is measured drifts.

All functions are pure, over plain values. Charts after ISO 7870-2 and Montgomery, *Introduction to Statistical Quality
Control*, chapter 7; run rules after Nelson, *Journal of Quality Technology* 16 (1984).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import Literal

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen

Rule = Literal[
    "beyond_3_sigma", "nine_on_one_side", "six_in_a_row", "fourteen_alternating", "two_of_three", "four_of_five"
]  # fmt: skip
PSI_WATCH, PSI_ALARM = 0.10, 0.25
"""Population stability index: below the first nothing moved, from the second on the population is another one
(Siddiqi, *Credit Risk Scorecards*, 2006)."""
LEAST_REFERENCE, LEAST_BIN = 20, 5
LEAST_SAMPLES = 20
"""Samples from which on limits are drawn of a line's own samples (ISO 7870-2: 20 to 25 of them)."""
DRIFT_SIGMA = 4.0
"""Deviation of a mean from its reference, in standard errors, from which an image statistic has drifted."""


class Point(Frozen):
    """One sample on a chart: its share or rate, the limits for its size, and the rules that it completes.

    ``z`` is its distance from the centre in standard deviations, on which the run rules work, since the limits change
    with the sample size. Without limits (:func:`settled`) there are none of either.
    """

    value: float
    lower: float | None
    upper: float | None
    z: float
    signals: tuple[Rule, ...] = ()


class Chart(Frozen):
    """A control chart: ``kind`` p (share of bad parts) or u (defects per part), its centre line and its points."""

    kind: Literal["p", "u"]
    centre: float
    points: tuple[Point, ...]


def p_chart(bad: Sequence[int], inspected: Sequence[int], centre: float | None = None) -> Chart:
    """The share of bad parts, with limits at centre +- 3 sqrt(centre (1 - centre) / n) of each sample.

    Args:
        bad: Bad parts of each sample.
        inspected: Parts of each sample; they may differ.
        centre: Share from a time when the line was in control; None: that of all samples together.

    Raises:
        InvalidInput: The lists differ in length, are empty, or a sample has more bad parts than parts.
    """
    _check(bad, inspected)
    for one, size in zip(bad, inspected, strict=True):
        if one > size:
            raise InvalidInput(f"{one} bad parts of {size} cannot be.", bad=one, inspected=size)
    middle = sum(bad) / sum(inspected) if centre is None else centre
    if not 0 <= middle <= 1:
        raise InvalidInput(f"The centre of a p chart is a share from 0 to 1, and {middle} is not.", centre=middle)
    sigmas = [math.sqrt(middle * (1 - middle) / size) for size in inspected]
    return _chart("p", middle, [one / size for one, size in zip(bad, inspected, strict=True)], sigmas, 1.0)


def u_chart(defects: Sequence[int], inspected: Sequence[int], centre: float | None = None) -> Chart:
    """Defects per part, with limits at centre +- 3 sqrt(centre / n) of each sample.

    Args:
        defects: Of each sample.
        inspected: Parts of each sample; they may differ.
        centre: Rate from a time when the line was in control; None: that of all samples together.

    Raises:
        InvalidInput: The lists differ in length or are empty.
    """
    _check(defects, inspected)
    middle = sum(defects) / sum(inspected) if centre is None else centre
    if middle < 0 or not math.isfinite(middle):
        raise InvalidInput(f"The centre of a u chart is a rate of 0 or more, and {middle} is not.", centre=middle)
    sigmas = [math.sqrt(middle / size) for size in inspected]
    return _chart("u", middle, [one / size for one, size in zip(defects, inspected, strict=True)], sigmas, math.inf)


def settled(chart: Chart) -> Chart:
    """The chart, without limits and signals where its samples are too few to set limits by."""
    if len(chart.points) >= LEAST_SAMPLES:
        return chart
    bare = {"lower": None, "upper": None, "signals": ()}
    return chart.model_copy(update={"points": tuple(point.model_copy(update=bare) for point in chart.points)})


def run_rules(z: Sequence[float]) -> list[tuple[Rule, ...]]:
    """Which rules each point completes, from distances to the centre in standard deviations.

    Nelson's rules 1 to 6: beyond 3 sigma; nine on one side; six rising or falling; fourteen alternating; two of three
    beyond 2 sigma on one side; four of five beyond 1 sigma on one side (1, 5 and 6 are also Western Electric's; its run
    of eight is Nelson's of nine, which errs less).
    """
    return [tuple(_completed(z[: end + 1])) for end in range(len(z))]


def psi(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """The population stability index of two counts by class: sum of (q - p) ln(q / p); 0 where they are alike.

    Half a count is added to each class, so that one that is new or gone is finite.

    Raises:
        InvalidInput: One of them counts nothing.
    """
    classes = sorted({*reference, *current})
    total, now = sum(reference.values()), sum(current.values())
    if total <= 0 or now <= 0:
        raise InvalidInput("A class mix needs counts on both sides; one of them is empty.")
    half = len(classes) / 2
    shares = [
        ((reference.get(each, 0) + 0.5) / (total + half), (current.get(each, 0) + 0.5) / (now + half))
        for each in classes
    ]
    return sum((q - p) * math.log(q / p) for p, q in shares)


class Drift(Frozen):
    """How far something has moved from its reference.

    ``distance`` is in standard errors for a mean, and the PSI for a mix; None where there is too little to tell, which
    is ``unknown``.
    """

    state: Literal["steady", "watch", "alarm", "unknown"]
    distance: float | None
    reference: int
    current: int


def mix_drift(reference: Mapping[str, int], current: Mapping[str, int]) -> Drift:
    """Whether the mix of classes has moved: watch from a PSI of 0.10 on, alarm from 0.25 on.

    PSI grows with chance in small samples: its mean is about (classes - 1)(1/n + 1/m) with no change at all, so twice
    that is taken off first, and fewer than five counts a class on average are not judged.
    """
    total, now, classes = sum(reference.values()), sum(current.values()), len({*reference, *current})
    if not classes or min(total, now) < LEAST_BIN * classes:
        return Drift(state="unknown", distance=None, reference=total, current=now)
    distance = max(0.0, psi(reference, current) - 2 * (classes - 1) * (1 / total + 1 / now))
    state: Literal["steady", "watch", "alarm"] = (
        "alarm" if distance >= PSI_ALARM else "watch" if distance >= PSI_WATCH else "steady"
    )
    return Drift(state=state, distance=distance, reference=total, current=now)


def score_drift(reference: Sequence[float], current: Sequence[float]) -> Drift:
    """Whether the scores (0 to 1) are distributed otherwise: :func:`mix_drift` over ten bins of equal width."""
    return mix_drift(_binned(reference), _binned(current))


def mean_drift(reference: Sequence[float], current: Sequence[float], sigma: float = DRIFT_SIGMA) -> Drift:
    """Whether the mean of an image statistic has moved: alarm from ``sigma`` standard errors on, watch from 3/4 of it.

    The error is that of the difference of both means (Welch), with a floor of a thousandth of the reference, below
    which no camera is stable.
    """
    if len(reference) < LEAST_REFERENCE or len(current) < 2:
        return Drift(state="unknown", distance=None, reference=len(reference), current=len(current))
    spread = stdev(reference)
    error = math.sqrt(spread**2 / len(reference) + max(spread, stdev(current)) ** 2 / len(current))
    distance = abs(fmean(current) - fmean(reference)) / max(error, abs(fmean(reference)) / 1000, 1e-12)
    state: Literal["steady", "watch", "alarm"] = (
        "alarm" if distance >= sigma else "watch" if distance >= 0.75 * sigma else "steady"
    )
    return Drift(state=state, distance=distance, reference=len(reference), current=len(current))


def _check(counts: Sequence[int], inspected: Sequence[int]) -> None:
    if not counts or len(counts) != len(inspected):
        raise InvalidInput(
            f"A chart needs as many counts as sample sizes, and one at least; there are {len(counts)} and "
            f"{len(inspected)}."
        )
    if min(counts) < 0 or min(inspected) < 1:
        raise InvalidInput("A chart needs counts of 0 or more and samples of 1 part or more.")


def _chart(kind: Literal["p", "u"], centre: float, values: list[float], sigmas: list[float], most: float) -> Chart:
    z = [
        (value - centre) / sigma if sigma > 0 else _sign(value - centre)
        for value, sigma in zip(values, sigmas, strict=True)
    ]
    points = (
        Point(
            value=value,
            lower=max(0.0, centre - 3 * sigma),
            upper=min(most, centre + 3 * sigma),
            z=away,
            signals=signals,
        )
        for value, sigma, away, signals in zip(values, sigmas, z, run_rules(z), strict=True)
    )
    return Chart(kind=kind, centre=centre, points=tuple(points))


def _sign(difference: float) -> float:
    """Where the centre leaves no spread (no defect ever, or nothing else), any difference is beyond all limits."""
    return math.copysign(math.inf, difference) if difference else 0.0


def _completed(z: Sequence[float]) -> Iterator[Rule]:
    last = z[-1]
    side = math.copysign(1.0, last)
    if abs(last) > 3:
        yield "beyond_3_sigma"
    if len(z) >= 9 and last != 0 and all(each * side > 0 for each in z[-9:]):
        yield "nine_on_one_side"
    steps = [after - before for before, after in pairwise(z[-14:])]
    if len(steps) >= 5 and (all(step > 0 for step in steps[-5:]) or all(step < 0 for step in steps[-5:])):
        yield "six_in_a_row"
    if len(steps) == 13 and all(one * other < 0 for one, other in pairwise(steps)):
        yield "fourteen_alternating"
    if last * side > 2 and sum(each * side > 2 for each in z[-3:]) >= 2:
        yield "two_of_three"
    if last * side > 1 and sum(each * side > 1 for each in z[-5:]) >= 4:
        yield "four_of_five"


def _binned(scores: Sequence[float]) -> dict[str, int]:
    bins = dict.fromkeys(map(str, range(10)), 0)
    for score in scores:
        if not 0 <= score <= 1:
            raise InvalidInput(f"A score is from 0 to 1, and {score} is not.", score=score)
        bins[str(min(9, int(score * 10)))] += 1
    return bins
