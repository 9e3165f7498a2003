"""``evident finance``: a report, a comparison, a question, the service's own figures, and its page."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from evident_core import sandbox
from evident_core.cli import format_of, host_option, port_option, serve_app, web_arguments, write_whole
from evident_core.errors import NotFound, PasswordNeeded
from evident_core.evidence import Language
from evident_core.settings import Settings, load
from evident_finance import terminal
from evident_finance.risk_report import pipeline
from evident_finance.risk_report.assess.ask import ask as answer
from evident_finance.risk_report.evaluate import evaluate as measure
from evident_finance.risk_report.export import FORMATS, export
from evident_finance.risk_report.export.compare import compare as put_side_by_side
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis, Facts

LANGUAGES: dict[str, tuple[Language, ...]] = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}

_lang = click.option(
    "--lang", type=click.Choice(list(LANGUAGES)), default="both", show_default=True, help="Language(s)."
)
_password = click.option("--password", help="Password of an encrypted PDF; asked for in a terminal when needed.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


@click.group()
def finance() -> None:
    """Annual report PDF -> risk report with SWOT, Chinese and English, every number with its page."""


@finance.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", multiple=True, type=click.Path(path_type=Path), help=f"Write {', '.join(FORMATS)}.")
@_lang
@_json
@_password
def report(file: Path, output: tuple[Path, ...], lang: str, as_json: bool, password: str | None) -> None:
    """Read an annual report FILE and print its risk report."""
    for path in output:
        format_of(path, FORMATS)  # before the work, not after it
    console = Console(stderr=True)
    analysis = _analyse(file, password, console)
    for path in output:
        write_whole(path, export(analysis, format_of(path, FORMATS)))
        console.print(f"{path} ({path.stat().st_size / 1024:,.0f} KiB)", highlight=False)
    if as_json:
        click.echo(export(analysis, "json"))
    elif not output:
        terminal.print_report(Console(), View(analysis), LANGUAGES[lang])


@finance.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_lang
@_json
@_password
def compare(files: tuple[Path, ...], lang: str, as_json: bool, password: str | None) -> None:
    """Put the years and companies of several annual reports FILES side by side."""
    console = Console(stderr=True)
    comparison = put_side_by_side([_analyse(file, password, console) for file in files])
    if as_json:
        click.echo(comparison.model_dump_json(indent=1))
    else:
        terminal.print_comparison(Console(), comparison, LANGUAGES[lang][0])


@finance.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("question")
@_json
@_password
def ask(file: Path, question: str, as_json: bool, password: str | None) -> None:
    """Ask a formula QUESTION of FILE: "free cash flow 2018", "net debt / ebitda"."""
    analysis = _analyse(file, password, Console(stderr=True))
    facts = Facts((*analysis.reading.facts, *analysis.assessment.facts))
    found = answer(question, facts)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        terminal.print_answer(Console(), View(analysis), found)


@finance.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_json
def evaluate(folder: Path, as_json: bool) -> None:
    """Measure the reader on FOLDER: its PDFs against its gold.jsonl."""
    console = Console(stderr=True)
    with terminal.progress_bar(console, folder.name) as show:
        evaluation = measure(folder, on_progress=show)
    if as_json:
        click.echo(evaluation.model_dump_json(indent=1))
    else:
        terminal.print_evaluation(Console(), evaluation)


@finance.command()
@host_option
@port_option
def serve(host: str | None, port: int | None) -> None:
    """Open the page on which annual reports are dropped."""
    from evident_finance.app import create_app  # the web stack is loaded by who serves, not by who reads one file

    serve_app(load(None, **web_arguments(host, port)), create_app)


def _analyse(file: Path, password: str | None, console: Console) -> Analysis:
    if not file.is_file():
        raise NotFound(f"There is no file {file}; give the path of an annual report PDF.", path=str(file))
    data, settings = file.read_bytes(), load()
    try:
        return _in_sandbox(data, file.name, password, settings, console)
    except PasswordNeeded:
        if password is not None or not sys.stdin.isatty():
            raise
        return _in_sandbox(data, file.name, click.prompt("Password", hide_input=True, err=True), settings, console)


def _in_sandbox(data: bytes, name: str, password: str | None, settings: Settings, console: Console) -> Analysis:
    with terminal.progress_bar(console, name) as show:
        return sandbox.run(_read, data, name, password, limits=settings.sandbox, on_progress=show)


def _read(data: bytes, name: str, password: str | None, *, on_progress: Any) -> Analysis:
    return pipeline.analyse(data, name=name, password=password, on_progress=on_progress)
