"""The commands of the language engine: ``generate``, ``serve-llm``, ``quantize``, ``model``, ``bench``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from evident_core.errors import InvalidInput
from evident_core.settings import Settings, load

if TYPE_CHECKING:
    from evident_core.decode.generator import Completion, Generator, Message, SamplingParams
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.terms import TermTrie

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

_ENGINE = (
    click.option("--model", type=FOLDER, help="Checkpoint folder; default: the suite's own small model."),
    click.option("--quantization", type=click.Choice(["int8", "int4"]), help="Quantise the weights after loading."),
    click.option("--device", help="cpu (default), cuda, cuda:1."),
    click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the CPU kernel; default: one a core."),
)
_CONSTRAINTS = (
    click.option("--json-schema", metavar="SCHEMA", help="The text is JSON by this schema: a file or the JSON itself."),
    click.option("--regex", help="The text matches this regular expression."),
    click.option("--lark", type=FILE, help="The text follows the grammar in this file (Lark's syntax)."),
    click.option("--choice", "choices", multiple=True, help="The text is one of these; give it several times."),
    click.option("--terms", type=FILE, help="The text is one term of this file, a line each."),
)
_SAMPLING = (
    click.option("--temperature", type=float, default=0.0, show_default=True, help="0 takes the most probable token."),
    click.option("--top-p", type=float, default=1.0, show_default=True),
    click.option("--top-k", type=int, default=0, show_default=True, help="0 is all."),
    click.option("--min-p", type=float, default=0.0, show_default=True),
    click.option("--repetition-penalty", type=float, default=1.0, show_default=True),
    click.option("--no-repeat-ngram", type=int, default=0, show_default=True, help="0 is no such rule."),
    click.option("--seed", type=int),
    click.option("--stop", multiple=True, help="Text at which writing ends; may be given several times."),
    click.option("--max-tokens", type=int, default=256, show_default=True),
)


def _with(*options: Callable[[CommandT], CommandT]) -> Callable[[CommandT], CommandT]:
    def decorate(command: CommandT) -> CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _settings(web: Mapping[str, object], llm: Mapping[str, object]) -> Settings:
    """The settings, with the options that were given over them."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in llm.items()}
    sections = {"web": web, "llm": given}
    return load(None, **{name: {k: v for k, v in each.items() if v is not None} for name, each in sections.items()})


@click.command()
@click.argument("prompt")
@_with(*_ENGINE)
@click.option("--system", help="What the model is told before the prompt; for models with a chat template.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the model's chat template.")
@_with(*_CONSTRAINTS, *_SAMPLING)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with text and figures, and nothing else.")
def generate(
    prompt: str,
    model: Path | None,
    quantization: str | None,
    device: str | None,
    threads: int | None,
    system: str | None,
    raw: bool,
    as_json: bool,
    **chosen: Any,  # the options of sampling and of the grammar
) -> None:
    """Continue PROMPT ("-" reads it from standard input), printed as it is written."""
    from evident_core.decode.choose import generator

    if prompt == "-":
        prompt = sys.stdin.read()
    if not prompt.strip():
        raise InvalidInput("The prompt is empty; there is nothing to continue.")
    params = _params(chosen)
    llm = {"model": model, "quantization": quantization, "device": device, "threads": threads}
    written_by = generator(_settings({}, llm).llm)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    asked = prompt if raw or not _chats(written_by) else messages
    began, first, done = time.perf_counter(), None, None
    for chunk in written_by.stream(asked, params):
        if first is None and chunk.text:
            first = time.perf_counter()
        if not as_json:
            click.echo(chunk.text, nl=False)
        done = chunk.completion or done
    ended = time.perf_counter()
    if done is None:
        return
    if as_json:
        click.echo(json.dumps(_told(written_by, done, began, first or ended, ended), ensure_ascii=False, indent=1))
        return
    click.echo()
    if done.finish_reason == "length":
        click.echo(f"(ended at --max-tokens {params.max_tokens})", err=True)


def _chats(generator: Generator) -> bool:
    """Whether a prompt is put into a chat: a server decides for itself, our engine by its template."""
    tokenizer = getattr(generator, "tokenizer", None)
    return tokenizer is None or bool(tokenizer.has_chat_template)


def _told(generator: Generator, done: Completion, began: float, first: float, ended: float) -> dict[str, object]:
    return {
        "model": generator.name,
        "text": done.text,
        "finish_reason": done.finish_reason,
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "model_steps": done.model_steps,
        "seconds_to_first_token": round(first - began, 4),
        "seconds": round(ended - began, 4),
    }


def _params(chosen: dict[str, Any]) -> SamplingParams:
    from evident_core.decode.generator import SamplingParams

    constraints = {name: chosen.pop(name) for name in ("json_schema", "regex", "lark", "choices", "terms")}
    return SamplingParams(**chosen | {"stop": tuple(chosen["stop"])}, grammar=_grammar(constraints))


def _grammar(given: dict[str, Any]) -> Grammar | TermTrie | None:
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.terms import TermTrie

    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        options = " and ".join(f"--{name.replace('_', '-').removesuffix('s')}" for name in named)
        raise InvalidInput(f"{options} exclude each other; give one.")
    if not named:
        return None
    value = given[named[0]]
    match named[0]:
        case "json_schema":
            return Grammar.json_schema(value if value.lstrip().startswith("{") else _read(Path(value)))
        case "regex":
            return Grammar.regex(value)
        case "lark":
            return Grammar.lark(_read(value))
        case "choices":
            return Grammar.choices(list(value))
        case _:
            return TermTrie([line for line in _read(value).splitlines() if line.strip()])


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InvalidInput(f"The file {path} does not exist.", path=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The file {path} cannot be read as UTF-8 text: {error}.", path=str(path)) from None


@click.command("serve-llm")
@_with(*_ENGINE)
@click.option("--host", help="Address to listen on; any other than loopback needs an API key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
def serve_llm(
    model: Path | None,
    quantization: str | None,
    device: str | None,
    threads: int | None,
    host: str | None,
    port: int | None,
) -> None:
    """Serve a model behind the OpenAI API (/v1/chat/completions and others)."""
    from evident_core.web.llm_api import serve

    llm = {"model": model, "quantization": quantization, "device": device, "threads": threads}
    serve(
        _settings({"host": host, "port": port}, llm),
        lambda address: click.echo(f"The model is at {address}/v1  (Ctrl-C ends it)", err=True),
    )


@click.command()
@click.argument("source", type=FOLDER)
@click.argument("target", type=FOLDER)
@click.option("--bits", type=click.Choice(["8", "4"]), default="8", show_default=True)
@click.option("--group-size", type=click.IntRange(8, 1024), default=128, show_default=True, help="For 4 bits.")
@click.option("--calibrate", type=FILE, help="Text by which 4 bits are fitted to what the model sees (AWQ).")
@click.option("--text", type=FILE, help="Text on which the change of perplexity is measured.")
@click.option("--force", is_flag=True, help="Write it although the perplexity changes by more than the limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def quantize(
    source: Path,
    target: Path,
    bits: str,
    group_size: int,
    calibrate: Path | None,
    text: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the checkpoint SOURCE with int8 or int4 weights to the new folder TARGET."""
    from evident_core.quant import Int4Config, Int8Config, quantize_folder

    report = quantize_folder(
        source,
        target,
        Int8Config() if bits == "8" else Int4Config(group_size=group_size),
        calibration_texts=_paragraphs(calibrate),
        evaluation_texts=_paragraphs(text),
        force=force,
    )
    click.echo(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if as_json else report.table())


def _paragraphs(path: Path | None) -> list[str]:
    return [] if path is None else [each for each in _read(path).split("\n\n") if each.strip()]


@click.group()
def model() -> None:
    """Checkpoints."""


@model.command()
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def inspect(folder: Path, as_json: bool) -> None:
    """Tell family, parameters and size of the checkpoint in FOLDER, and whether it fits this machine."""
    from evident_core.moe.inspection import inspect_folder

    found = inspect_folder(folder)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in found.lines():
        table.add_row(f"[dim]{name}[/]", value)
    Console().print(table)


@click.group()
def bench() -> None:
    """Speed of this machine, beside peers."""


@bench.command()
@click.option("--quick", is_flag=True, help="Fewer rounds: a first look, not a figure.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def cpu(quick: bool, as_json: bool) -> None:
    """Measure the language engine on the CPU beside llama.cpp, ONNX Runtime and transformers; takes minutes."""
    import evident_core.decode  # noqa: F401  # says what to install where a package is missing
    from evident_core.bench.cpu import run

    result = run(quick=quick, progress=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1))
    else:
        result.print()


COMMANDS = (generate, serve_llm, quantize, model, bench)
