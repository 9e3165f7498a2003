"""A report, a comparison and an evaluation in a terminal."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from evident_core.evidence import Derived, Fact, Language
from evident_core.progress import Progress as Step
from evident_finance.risk_report.assess.ask import Answer
from evident_finance.risk_report.evaluate import Evaluation
from evident_finance.risk_report.export.compare import Comparison
from evident_finance.risk_report.export.places import shown_value
from evident_finance.risk_report.export.view import MATRIX, SWOT, View
from evident_finance.risk_report.items import Items
from evident_finance.texts import text

COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "default", "none": "default"}
SCALES = {1: "", 1_000: ", thousands", 1_000_000: ", millions", 1_000_000_000: ", billions"}
STAGES = {
    "ingest": ("Opening the file", "打开文件"),
    "perceive": ("Finding the facts", "提取事实"),
    "assess": ("Applying the rules", "应用规则"),
    "write": ("Writing the report", "撰写报告"),
}


@contextmanager
def progress_bar(console: Console, name: str) -> Iterator[Callable[[Step], None]]:
    """A bar over the steps of the road, gone when the work is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(step: Step) -> None:
            label = " ".join(STAGES.get(step.stage, (step.stage, "")))
            bar.update(task, description=f"{name} · {label}", completed=step.done, total=step.total)

        yield show


def print_report(console: Console, view: View, languages: tuple[Language, ...]) -> None:
    """The whole report: key figures with their pages, sections, risk matrix, SWOT, and what was not found."""
    about = [
        str(fact.value) for name in ("form", "fiscal_year_end", "currency", "standard") if (fact := view.about(name))
    ]
    head = Text(view.company, style="bold")
    console.print(Panel(Group(head, Text(" · ".join([*about, f"{view.analysis.page_count} p."]))), expand=False))
    console.print(_figures(view, languages))
    for section in view.sections:
        console.print(Text(" ".join(section.title[language] for language in languages), style="bold underline"))
        _print_lines(console, view, section.key, languages)
    for key in (MATRIX, *SWOT):
        found = next((s for s in view.analysis.report.sections if s.key == key and s.sentences), None)
        if found:
            console.print(Text(" ".join(found.title[language] for language in languages), style="bold underline"))
            _print_lines(console, view, key, languages)
    if absent := view.absent():
        names = ", ".join(view.items.label(fact.name, languages[0]) for fact in absent)
        console.print(Text(f"{text('report.absent', languages[0])}: {names}", style="dim"))


def _print_lines(console: Console, view: View, key: str, languages: tuple[Language, ...]) -> None:
    section = next(s for s in view.analysis.report.sections if s.key == key)
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in languages:
        table.add_column(ratio=1, overflow="fold")  # Chinese has no spaces to break a line at
    table.add_column(justify="right", style="dim", no_wrap=True)
    for line in view.lines(section):
        pages = sorted({page for fact in line.fact_ids for page in view.cite(fact).pages})
        cells = [
            Text("".join(part.text for part in line.parts.get(language, ())), style=COLOURS[line.severity])
            for language in languages
        ]
        table.add_row(*cells, f"p. {', '.join(map(str, pages[:4]))}{'…' if len(pages) > 4 else ''}" if pages else "")
    console.print(table)
    console.print()


def _figures(view: View, languages: tuple[Language, ...]) -> Table:
    """The items in the order of the statements, in the unit in which the filing prints most of them."""
    names = {fact.name for fact in view.facts.all}
    money = [fact for fact in view.facts.all if fact.name in view.items.names and fact.unit and len(fact.unit) == 3]
    scale = Counter(fact.scale for fact in money).most_common(1)[0][0] if money else 1
    unit = f"{money[0].unit}{SCALES.get(scale, f' x {scale:,}')}" if money else ""
    table = Table(title=unit or None, title_justify="left", show_edge=False, header_style="bold")
    table.add_column(" ".join(text("report.item", language) for language in languages), overflow="fold")
    for period in view.periods:
        table.add_column(period, justify="right", no_wrap=True)
    table.add_column(" ".join(text("report.page", language) for language in languages), justify="right", style="dim")
    for name in view.items.names:
        facts = [view.facts.get(name, period) for period in view.periods] if name in names else []
        if facts and facts[0] is not None and facts[0].value is not None:
            label = " ".join(view.items.label(name, language) for language in languages)
            pages = view.cite(facts[0].id).pages
            mark = {"derived": " ƒ"}.get(facts[0].status, "")
            table.add_row(f"{label}{mark}", *(_cell(fact, scale) for fact in facts), ", ".join(map(str, pages[:3])))
    return table


def _cell(fact: Fact | None, scale: int | None = None) -> Text:
    """A value; with ``scale`` divided by it, unless the filing prints the item in full (per share)."""
    if fact is None or fact.value is None:
        return Text("—", style="dim")
    negative = isinstance(fact.value, Decimal) and fact.value < 0
    uncertain = fact.confidence < 0.5
    shown = shown_value(fact) if scale is None or not isinstance(fact.value, Decimal) else _scaled(fact, scale)
    return Text(shown + (" ?" if uncertain else ""), style="red" if negative else "")


def _scaled(fact: Fact, scale: int) -> str:
    if fact.scale == 1 and abs(fact.number) < 10_000:
        return f"{fact.number:,.2f}"
    number = fact.number / scale
    return f"{number:,.{min(2, max(0, -int(number.normalize().as_tuple().exponent)))}f}"


def print_comparison(console: Console, comparison: Comparison, language: Language) -> None:
    """Companies and years as columns, items and measures as rows."""
    items = Items.load()
    table = Table(show_edge=False, header_style="bold")
    table.add_column(text("report.item", language))
    for column in comparison.columns:
        table.add_column(f"{column.company}\n{column.period}", justify="right")
    group = ""
    for line in comparison.lines:
        if line.group != group:
            group = line.group
            table.add_section()
        table.add_row(items.label(line.name, language), *(_cell(fact) for fact in line.facts))
    console.print(table)
    for note in comparison.notes:
        console.print(Text(note, style="yellow"))


def print_answer(console: Console, view: View, answer: Answer) -> None:
    """An answer with its formula, and what went in with the pages it was read from."""
    console.print(Text(shown_value(answer.fact), style="bold"))
    console.print(Text(answer.expression if not (made := _formula(answer.fact)) else made))
    for each in answer.inputs:
        pages = ", ".join(map(str, view.cite(each.id).pages))
        console.print(Text(f"  {each.id} = {shown_value(each)}  (p. {pages})", style="dim"))


def _formula(fact: Fact) -> str:
    return next((source.where.formula for source in fact.sources if isinstance(source.where, Derived)), "")


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The service's figures as one table, and each miss."""
    table = Table(show_edge=False, show_header=False)
    costs = ("seconds", "cpu_seconds", "seconds_slowest", "peak_mib")
    for name, value in evaluation.model_dump(exclude={"misses"}).items():
        share = isinstance(value, float) and name not in costs
        if isinstance(value, tuple):
            shown = ", ".join(value) or "none"
        elif value is None:
            shown = "nothing to measure it on"
        else:
            shown = f"{value:.2%}" if share else f"{value:g}"
        table.add_row(name.replace("_", " "), shown)
    console.print(table)
    for miss in evaluation.misses:
        console.print(
            Text(f"{miss.document} {miss.item}: expected {miss.expected}, found {miss.found}", style="yellow")
        )
