"""Control charts as SVG: points, centre line, and limits that step with the sample size."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from evident_manufacturing.inspection.assess.spc import Chart

WIDTH: Final = 520
HEIGHT: Final = 190
_LEGIBLE: Final = 0.08
"""Of the height: numbers that stand closer lie over one another."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 12, 22


def control_chart(chart: Chart, title: str, notes: Sequence[str]) -> Markup:
    """A chart of one kind.

    Args:
        chart: Its points, and limits where they are set.
        title: What it shows, for those who hear it.
        notes: What is said of each point when it is pointed at.
    """
    points = chart.points
    upper = [point.upper for point in points if point.upper is not None]
    lower = [point.lower for point in points if point.lower is not None]
    top = max([point.value for point in points] + upper + [chart.centre]) * 1.08 or 1.0
    step = (WIDTH - _LEFT - _RIGHT) / len(points)

    def x(number: float) -> float:
        return _LEFT + step * number

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)

    def steps(values: Sequence[float]) -> str:
        return "M" + " L".join(
            f"{x(number + end):.1f} {y(value):.1f}" for number, value in enumerate(values) for end in (0, 1)
        )

    middles = [(x(number + 0.5), y(point.value)) for number, point in enumerate(points)]
    parts = [Markup('<path class="limit" d="{}"/>').format(steps(each)) for each in (upper, lower) if any(each)]
    parts.append(Markup('<path class="centre" d="M{} {:.1f} H{}"/>').format(_LEFT, y(chart.centre), WIDTH - _RIGHT))
    parts.append(
        Markup('<path class="axis" d="M{0} {1} V{2} H{3}"/>').format(_LEFT, _TOP, HEIGHT - _BOTTOM, WIDTH - _RIGHT)
    )
    for value in _apart((0.0, chart.centre, *upper[-1:]), top):
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                _LEFT - 6, y(value) + 4, _shown(chart, value)
            )
        )
    parts.append(
        Markup('<polyline class="run" points="{}"/>').format(
            " ".join(f"{left:.1f},{high:.1f}" for left, high in middles)
        )
    )
    for (left, high), point, note in zip(middles, points, notes, strict=True):
        mark = Markup('<circle class="point{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
        parts.append(mark.format(" signal" if point.signals else "", left, high, 5 if point.signals else 3.5, note))
    every = max(1, len(points) // 8)
    for number in range(0, len(points), every):
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x(number + 0.5), HEIGHT - 6, number + 1
            )
        )
    return Markup('<svg class="control-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, escape(title), Markup("").join(parts)
    )


def _apart(values: Sequence[float], top: float) -> list[float]:
    """The values whose numbers do not lie over the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or abs(value - kept[-1]) >= top * _LEGIBLE:
            kept.append(value)
    return kept


def _shown(chart: Chart, value: float) -> str:
    return f"{value * 100:.0f}%" if chart.kind == "p" else f"{value:.1f}"
