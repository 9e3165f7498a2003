"""The figures as tables for a terminal."""

from typing import TYPE_CHECKING

from evident_core.bench.ours import Evident
from evident_core.bench.results import Figures, Row
from evident_core.bench.timing import Spread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BUSY = 0.05
"""Share of the cores' time above which engines whose threads wait for each other in a loop lose much more than that."""


def show(figures: Figures, *, targets: bool = True, console: "Console | None" = None) -> None:
    """Print one table of engines for each vocabulary and number of threads, then the rest, then the targets."""
    from rich.console import Console

    console = console or Console()
    machine = figures.machine
    told = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    console.print(
        f"[bold]{machine.processor}[/], {machine.cores} cores; {machine.engine}; Python {machine.python}; {told}"
    )
    pinned = "each process pinned to the same cores" if machine.pinned else "this system cannot pin processes"
    console.print(
        f"Medians (lowest–highest) of turns taken in one run of {figures.seconds:.0f} s, {pinned}; "
        f"{figures.decode_tokens} tokens greedily after a prompt of 8."
    )
    if machine.others is not None:
        warn = "[red]; they disturb what needs all cores[/]" if machine.others > BUSY else ""
        console.print(f"Other processes took {machine.others:.0%} of the cores' time meanwhile{warn}.")
    for vocab_size, threads in sorted({(row.vocab_size, row.threads) for row in figures.rows if row.threads}):
        rows = [row for row in figures.rows if row.vocab_size == vocab_size and row.threads in (threads, 0)]
        console.print(_engines(_where(vocab_size, threads), rows))
    if figures.reached:
        console.print(_memory(figures))
    if figures.batching:
        console.print(_batches(figures))
    if figures.grammar:
        console.print(_grammars(figures))
    if figures.constrained:
        console.print(_constrained(figures))
    for failure in figures.failures:
        console.print(f"[red]{failure}[/]", highlight=False)
    if targets:
        console.print(_targets(figures))


def _table(title: str, *headings: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _engines(title: str, rows: list[Row]) -> "Table":
    from rich.markup import escape

    lengths = sorted({length for row in rows for length in row.first_token_ms})
    firsts = [f"first token of {length}, ms" for length in lengths]
    table = _table(title, "", "tokens/s", "ours is", *firsts, "logits' error", "settings")
    table.columns[-1].justify = "left"
    for row in sorted(rows, key=lambda row: row.state != "measured"):
        cells = [_spread(row.tokens_per_second), "" if row.contestant == Evident.name else _spread(row.ratio, "x")]
        cells += [_spread(row.first_token_ms.get(length)) for length in lengths]
        cells.append("" if row.error is None else f"{row.exact_error:.0e} / {row.error:.1%}")
        told = escape(row.settings) if row.state == "measured" else f"[yellow]{row.state}[/]: {escape(row.note)}"
        table.add_row(row.contestant, *cells, told)
    return table


def _memory(figures: Figures) -> "Table":
    headings = ("", "MB a token", "GB/s reached", "GB/s of the model's size", "reached of it", "GB/s of memory")
    table = _table("reading the weights", *headings)
    for each in figures.reached:
        table.add_row(
            _where(each.vocab_size, each.threads),
            f"{each.bytes_a_token / 1e6:.1f}",
            f"{each.bytes_per_second / 1e9:.1f}",
            f"{each.model_rate / 1e9:.1f}",
            f"{each.share:.0%}",
            f"{each.memory_rate / 1e9:.1f}",
        )
    return table


def _batches(figures: Figures) -> "Table":
    figures_of = ("one, tokens/s", "all, tokens/s", "ratio", "in one call, tokens/s")
    table = _table(
        "16 requests at the same time", "", *figures_of, "first done, of the time", "slowest first token, ms"
    )
    for batch in figures.batching:
        table.add_row(
            _where(batch.vocab_size, batch.threads),
            _spread(batch.alone),
            _spread(batch.together),
            _spread(batch.ratio, "x"),
            _spread(batch.listed),
            f"{batch.first_done.median:.0%}",
            _spread(batch.slowest_first_token),
        )
    return table


def _grammars(figures: Figures) -> "Table":
    headings = ("first compile, ms", "compile, ms", "mask mean, us", "mask p99, us", "1,000 terms, us", "p99, us")
    table = _table("constraints", "", *headings)
    for grammar in figures.grammar:
        table.add_row(
            f"vocabulary {grammar.vocab_size}",
            f"{grammar.first_compile_ms:.1f}",
            _spread(grammar.compile_ms),
            f"{grammar.mask_mean_us:.1f}",
            f"{grammar.mask_p99_us:.1f}",
            f"{grammar.trie_mean_us:.1f}",
            f"{grammar.trie_p99_us:.1f}",
        )
    return table


def _constrained(figures: Figures) -> "Table":
    headings = ("a model-run token takes more", "written tokens come", "tokens by the model")
    table = _table("text under a schema beside free text", "", *headings)
    for each in figures.constrained:
        cost = each.cost
        table.add_row(
            _where(each.vocab_size, each.threads),
            f"{cost.median:+.1%} ({cost.low:+.1%} to {cost.high:+.1%})",
            f"{_spread(each.speed, 'x')} as fast",
            f"{each.model_steps} of {each.written}",
        )
    return table


def _targets(figures: Figures) -> "Table":
    table = _table("targets", "", "wanted", "measured", "")
    marks = {True: "[green]reached[/]", False: "[red]not reached[/]", None: "[yellow]not measured[/]"}
    for target in figures.targets:
        table.add_row(target.name, target.wanted, target.measured, marks[target.reached])
    return table


def _where(vocab_size: int, threads: int) -> str:
    return f"vocabulary {vocab_size}, {threads} thread{'s' if threads > 1 else ''}"


def _spread(spread: Spread | None, unit: str = "") -> str:
    if spread is None:
        return ""
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2
    return f"{spread.median:.{digits}f}{unit} ({spread.low:.{digits}f}–{spread.high:.{digits}f})"
