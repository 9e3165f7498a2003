"""What the commands print: progress, an inspection, the detector's figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evident_manufacturing.inspection.evaluate import Evaluation
from evident_manufacturing.inspection.schema import Decision, Inspection, Quantity, Size

TRAINED_ON = "trainval.txt"
"""The split of DeepPCB's layout from which detectors are trained, but for its validation part."""
COLOURS = {Decision.ACCEPT: "green", Decision.REWORK: "yellow", Decision.REJECT: "red"}


@contextmanager
def bar(what: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; gives what is told how many are done, and of how many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def print_inspection(console: Console, inspection: Inspection) -> None:
    """Defects, the sentences of the report, and the verdict."""
    unit = "mm" if any(each.size and each.size.length.unit == "mm" for each in inspection.defects) else "px"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in (
        "kind",
        "at (px)",
        f"length ({unit})",
        f"width ({unit})",
        f"area ({unit}²)",
        f"gap ({unit})",
        "seen by",
    ):
        table.add_column(name, no_wrap=True)
    for defect in inspection.defects:
        size = defect.size
        figures = (
            [_size(size.length), _size(size.width), _size(size.area), _gap(size)]
            if size
            else ["not measured"] + [""] * 3
        )
        x0, y0, x1, y1 = defect.bbox
        at = f"{(x0 + x1) / 2:.0f},{(y0 + y1) / 2:.0f}"
        table.add_row(f"{defect.number} {defect.kind}", at, *figures, defect.seen.value)
    if inspection.defects:
        console.print(table)
    if inspection.report:
        for section in inspection.report.sections:
            for sentence in section.sentences:
                console.print(sentence.text["en"], highlight=False, markup=False)
    verdict = inspection.verdict
    colour = COLOURS[verdict.decision]
    weak = " (on weaker evidence)" if verdict.weak else ""
    console.print(
        f"[{colour} bold]{verdict.decision.upper()}[/]{weak}  {inspection.model}, "
        f"{inspection.milliseconds['whole']:.0f} ms",
        highlight=False,
    )


def _size(quantity: Quantity | None) -> str:
    return "" if quantity is None else f"{quantity.value}±{quantity.uncertainty}"


def _gap(size: Size) -> str:
    return f">{size.gap_over.value}" if size.gap_over else _size(size.gap)


def print_evaluation(console: Console, found: Evaluation, split: str, part: str) -> None:
    """The detector's figures on labelled pairs, and whether it may have been trained on some of them."""
    console.print(
        f"{found.folder}: {found.pairs} pairs, {found.labels} labels, {found.refused} templates refused, {found.model}",
        highlight=False,
    )
    if split == TRAINED_ON and part != "validation":
        of = "among them" if part == "all" else "all of them"
        console.print(
            f"Pairs that detectors are trained on are {of}: such figures flatter. --part validation measures on the "
            "others alone.",
            highlight=False,
        )
    console.print(
        f"mAP at IoU 0.33 {found.map_iou33:.4f}, at 0.5 {found.map50:.4f}; F {found.f1:.4f} (precision "
        f"{found.precision:.4f}, recall {found.recall:.4f}); best F {found.best_f1:.4f} at {found.best_threshold:.2f}; "
        f"{found.milliseconds:.0f} ms a pair",
        highlight=False,
    )
    table = Table("board", "pairs", "mAP .33", "mAP .5", "F", box=None)
    for name, group in found.by_group.items():
        table.add_row(name, str(group.pairs), f"{group.map_iou33:.4f}", f"{group.map50:.4f}", f"{group.f1:.4f}")
    console.print(table)
    console.print("  ".join(f"{kind} {value:.4f}" for kind, value in found.by_kind.items()), highlight=False)
