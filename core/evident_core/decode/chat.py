"""A checkpoint's chat template, rendered as ``transformers`` renders it, in jinja2's sandbox.

A template comes with the weights, from whoever made them. It cannot reach Python's objects, files or network; what it
repeats, calls and joins is counted, and it ends with an error when that is more than a chat can need. That is no wall
against a template made to exhaust memory in one operation: such a one is refused by not using the checkpoint.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from evident_core.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from evident_core.decode.generator import Message

MAX_CHARACTERS: Final = 1 << 24
"""Most characters of a rendered chat, and of any text within its making."""
MAX_STEPS: Final = 200_000
"""Most repetitions and calls in rendering one chat."""
MAX_SECONDS: Final = 5.0

_VEIL, _UNVEIL = "\ufdd0", "\ufdd1"  # noncharacters: Unicode keeps them out of texts that people exchange
_PADDING: Final = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})

ValueT = TypeVar("ValueT")


class ChatTemplate:
    """One compiled template.

    Args:
        source: The Jinja template.
        special_tokens: Texts that it may write by name: ``bos_token``, ``eos_token`` and others.

    Raises:
        InvalidInput: The source is not a Jinja template; the message has the line.
        MissingExtra: jinja2 is not installed.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self._special_tokens = dict(special_tokens or {})
        environment = _environment()
        from jinja2 import TemplateSyntaxError

        try:
            self._template = environment.from_string(_counted(environment.parse(source)))
        except TemplateSyntaxError as error:
            raise InvalidInput(
                f"The chat template is not a Jinja template: line {error.lineno}: {error.message}", line=error.lineno
            ) from error
        except (RecursionError, SyntaxError) as error:
            raise InvalidInput(f"The chat template is nested too deep to be read: {error}") from error

    def render(
        self,
        messages: "Sequence[Message]",
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> str:
        """The chat as one text.

        Args:
            messages: Turns, the oldest first.
            tools: JSON schemas of functions that the model may call.
            add_generation_prompt: End where the assistant's answer begins.
            **variables: What else the template reads (``enable_thinking``).

        Raises:
            InvalidInput: A message is not one, the template refuses the chat, or it does what a template may not.
        """
        _must_be_messages(messages)
        budget = _Budget()
        known: dict[str, object] = {
            "messages": list(messages),
            "tools": None if tools is None else list(tools),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        pieces: list[str] = []
        try:
            for piece in self._template.generate(
                self._special_tokens | known | variables | {"evident_count": budget.count, "evident_join": budget.join}
            ):
                budget.write(piece)
                pieces.append(piece)
        except _Exceeded as error:
            raise InvalidInput(f"The chat template {error}; it does not fit a chat of any length.") from error
        except _Refused as error:
            raise InvalidInput(f"The model's chat template refuses these messages: {error}") from error
        except RecursionError as error:
            raise InvalidInput("The chat template calls itself without an end.") from error
        except Exception as error:  # whatever its own code raises: the template is the caller's, not ours
            raise InvalidInput(f"The chat template fails: {type(error).__name__}: {error}") from error
        return "".join(pieces)


def veil(value: ValueT, names: Sequence[str]) -> tuple[ValueT, list[str]]:
    """Hide special tokens' names in messages, so that a rendered chat has only those that the template wrote.

    Args:
        value: Messages, tools: any texts within lists and mappings.
        names: What to hide.

    Returns:
        The same with a mark for each name, and the names that :func:`unveil` puts back.
    """
    found: list[str] = []
    pattern = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name) or "(?!)")

    def hide(match: re.Match[str]) -> str:
        found.append(match[0])
        return f"{_VEIL}{len(found) - 1}{_UNVEIL}"

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            return pattern.sub(hide, part.replace(_VEIL, "").replace(_UNVEIL, ""))
        if isinstance(part, Mapping):
            return {key: walk(within) for key, within in part.items()}
        return [walk(within) for within in part] if isinstance(part, list | tuple) else part

    return walk(value), found


def unveil(text: str, names: Sequence[str]) -> list[str]:
    """The parts of a rendered chat: at even places what the template meant, at odd ones names that are mere text."""
    parts = re.split(f"{_VEIL}([0-9]+){_UNVEIL}", text)
    parts[1::2] = [names[int(number)] if int(number) < len(names) else "" for number in parts[1::2]]
    return [part.replace(_VEIL, "").replace(_UNVEIL, "") for part in parts]


class _Exceeded(Exception):
    """The template did more than it may."""


class _Refused(Exception):
    """The template called ``raise_exception``."""


class _Budget:
    """What one rendering has used."""

    def __init__(self) -> None:
        self._steps = self._characters = 0
        self._until = time.monotonic() + MAX_SECONDS

    def count(self) -> bool:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _Exceeded(f"takes more than {MAX_STEPS:,} steps")
        if time.monotonic() > self._until:
            raise _Exceeded(f"takes longer than {MAX_SECONDS:g} seconds")
        return True

    def join(self, *parts: object) -> str:
        self.count()
        texts = [str(part) for part in parts]
        _must_fit(sum(map(len, texts)))
        return "".join(texts)

    def write(self, text: str) -> None:
        self._characters += len(text)
        _must_fit(self._characters)


def _must_fit(characters: float) -> None:
    if characters > MAX_CHARACTERS:
        raise _Exceeded(f"makes a text of more than {MAX_CHARACTERS:,} characters")


def _must_be_messages(messages: object) -> None:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInput(f"A chat is a list of one or more messages, not {messages!r:.80}.", parameter="messages")
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidInput(
                f'Message {place} is {message!r:.80}; it must be {{"role": …, "content": …}}.', message_index=place
            )
        content = message.get("content")
        if not isinstance(content, str | list | None):
            raise InvalidInput(
                f"The content of message {place} is {content!r:.80}; it must be a text.", message_index=place
            )


def _counted(tree: Any) -> Any:
    """The template's tree with a count in each loop, each macro and each joining of texts."""
    from jinja2 import nodes

    def call(name: str, *arguments: Any) -> Any:
        return nodes.Call(nodes.Name(name, "load"), list(arguments), [], None, None)

    # Lists, since what is changed must not be walked into again.
    for loop in list(tree.find_all(nodes.For)):
        if loop.test is not None:
            loop.test = nodes.And(call("evident_count"), loop.test)
        loop.body.insert(0, nodes.ExprStmt(call("evident_count")))
    for macro in list(tree.find_all((nodes.Macro, nodes.CallBlock))):
        macro.body.insert(0, nodes.ExprStmt(call("evident_count")))
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in list(parent.iter_fields()):
            if isinstance(value, nodes.Concat):
                setattr(parent, field, call("evident_join", *value.nodes))
            elif isinstance(value, list):
                setattr(
                    parent,
                    field,
                    [call("evident_join", *one.nodes) if isinstance(one, nodes.Concat) else one for one in value],
                )
    for node in tree.find_all(nodes.Node):
        node.set_environment(tree.environment)
        if node.lineno is None:
            node.lineno = 1
    return tree


@cache
def _environment() -> Any:
    """Jinja as ``transformers`` sets it up for chat templates."""
    try:
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "A chat template needs jinja2, which is not installed: pip install 'evident[llm]'", extra="llm"
        ) from error

    class Generation(Extension):
        """``{% generation %}`` marks the assistant's part for training; here it is what it holds."""

        tags = {"generation"}  # noqa: RUF012  # as the base class has it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _must_be_small(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
            name = getattr(called, "__name__", "")
            if name in _PADDING and isinstance(getattr(called, "__self__", None), str):
                for argument in (*args, *kwargs.values()):
                    _must_fit(argument if isinstance(argument, int) else 0)
            return super().call(context, called, *args, **kwargs)

    def to_json(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message: object) -> None:
        raise _Refused(message)

    def strftime_now(form: str) -> str:
        return datetime.now().astimezone().strftime(form)

    environment = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = to_json
    for name in ("center", "format", "indent"):
        environment.filters[name] = _narrow(environment.filters[name])
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment


def _narrow(filtered: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, refusing widths that no chat has."""

    @wraps(filtered)
    def narrow(*args: Any, **kwargs: Any) -> Any:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, int):
                _must_fit(argument)
            elif isinstance(argument, str) and "%" in argument:
                _must_be_small("%", argument, ())
        return filtered(*args, **kwargs)

    return narrow


def _must_be_small(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result could fill the memory."""
    if operator == "+" and isinstance(left, str | list) and isinstance(right, str | list):
        _must_fit(len(left) + len(right))
    elif operator == "%" and isinstance(left, str):
        _must_fit(max(map(int, re.findall(r"\d+", left)), default=0))
    elif operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | list | tuple) and isinstance(times, int):
                _must_fit(len(many) * times)
        if isinstance(left, int) and isinstance(right, int):
            _must_fit(left.bit_length() + right.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _must_fit(left.bit_length() * max(right, 0))
