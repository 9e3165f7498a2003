"""The service's own figures in a terminal."""

from rich.console import Console
from rich.table import Table

from evident_manufacturing.inspection.evaluate.clean import Clean
from evident_manufacturing.inspection.evaluate.sizes import CLASSES, SMALL_MM, SMALL_REAL_MM, SizeClass, Sizes
from evident_manufacturing.inspection.evaluate.speed import Speed
from evident_manufacturing.training.comparison import Comparison, sentence


def print_sizes(console: Console, found: Sizes) -> None:
    """Share found, errors in mm and coverage, by true length."""
    console.print(
        f"{found.boards} generated boards from seed {found.first_seed}, {found.every.defects} defects, "
        f"{found.refused} templates refused, {found.false_calls} false calls, {found.model}",
        highlight=False,
    )
    table = Table(
        "true length", "defects", "found", "kind right", "measured", "length, 95 %", "width, 95 %", "within", box=None
    )
    for each in (*found.by_length, found.small, found.every):
        table.add_row(
            _bounds(each),
            str(each.defects),
            f"{each.share:.1%}",
            str(each.kind_right),
            str(each.measured),
            _mm(each.p95_length),
            _mm(each.p95_width),
            " ".join("" if share is None else f"{share:.0%}" for share in (each.covered_length, each.covered_width)),
        )
    console.print(table)
    if (real := found.real) is not None:
        console.print(
            f"{real.folder}, {real.pairs} pairs: {real.found} of {real.labels} labels under {SMALL_REAL_MM} mm found "
            f"({real.share:.1%}); {real.unseen_found} of {real.unseen} in which nothing differs",
            highlight=False,
        )


def print_clean(console: Console, found: Clean) -> None:
    """Share of clean boards with a false call."""
    table = Table("clean boards", "", "with a false call", "", "false calls", "templates refused", box=None)
    for each in found.sorts:
        table.add_row(
            each.sort, str(each.boards), str(each.called), f"{each.share:.1%}", str(each.calls), str(each.refused)
        )
    console.print(table)


def print_speed(console: Console, found: Speed) -> None:
    """Ratios with both medians."""
    console.print(
        f"{found.model}, {found.cores} cores, load {found.load[0]} to {found.load[1]}, median of {found.rounds}",
        highlight=False,
    )
    table = Table("what", "ratio", "target", "ours", "theirs", "", box=None)
    for each in found.ratios:
        table.add_row(
            each.name,
            "not measured" if each.value is None else f"{each.value:.2f}",
            f"{'≤' if each.at_most else '≥'} {each.target:g}",
            _ms(each.ours),
            _ms(each.theirs),
            each.note,
        )
    console.print(table)


def print_comparison(console: Console, found: Comparison) -> None:
    """Both models' figures, what the recommendation rests on, and the recommendation."""
    console.print(
        f"{found.pairs} pairs, {found.labels} labels, {found.refused} templates refused; {found.clean} clean boards",
        highlight=False,
    )
    old, new = found.current, found.candidate
    table = Table("", old.version, new.version, box=None)
    rows = {"mAP at IoU 0.33": (old.map_iou33, new.map_iou33), "mAP at 0.5": (old.map50, new.map50)}
    rows |= {"F": (old.f1, new.f1)} | {kind: (old.by_kind[kind], new.by_kind[kind]) for kind in found.gains}
    for name, figures in rows.items():
        table.add_row(name, *(f"{value:.4f}" for value in figures))
    table.add_row("clean boards called", str(old.called), str(new.called))
    console.print(table)
    for finding in found.findings:
        console.print(sentence(finding), highlight=False)
    console.print("Promote the new model." if found.recommendation == "promote" else "Keep the model in use.")


def _bounds(each: SizeClass) -> str:
    if each.most == SMALL_MM and each.above == 0.0:
        return f"all ≤ {SMALL_MM:.2f} mm"
    if each.above == 0.0:
        return "all" if each.most == CLASSES[-1][1] else f"≤ {each.most:.2f} mm"
    return f"> {each.above:.2f} mm" if each.most == CLASSES[-1][1] else f"{each.above:.2f} to {each.most:.2f} mm"


def _mm(value: float | None) -> str:
    return "" if value is None else f"± {value:.3f} mm"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} ms"
