"""How each kind of server is asked for the same thing.

All speak the OpenAI API; beyond it they differ. What a server cannot do is refused here with a sentence: a parameter
that it would pass over in silence is never sent. The forms are vLLM's and Ray Serve's ``structured_outputs`` (vLLM 0.12
removed ``guided_*``), SGLang's ``regex`` beside ``response_format``, DeepSeek's JSON mode and OpenAI's strict schemas.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from evident_core.decode.generator import Message, Prompt, SamplingParams
from evident_core.errors import InvalidInput

if TYPE_CHECKING:
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.terms import TermTrie

DialectName = Literal["auto", "openai", "vllm", "sglang", "deepseek", "evident"]
Body = dict[str, Any]
_Form = Callable[["Grammar", bool, Body], None]
_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True)
class Dialect:
    """What one kind of server understands.

    Attributes:
        name: As in the setting ``llm.dialect``.
        extras: Sampling parameters beyond OpenAI's, by their name here and there.
        grammars: How each kind of grammar is asked for: writes into the body; a flag tells a chat from plain text.
        seeded: Whether it takes a seed.
        max_stops: Most stop texts.
        chat_limit: What the limit of tokens is called in chats.
    """

    name: str
    extras: Mapping[str, str] = field(default_factory=dict)
    grammars: Mapping[str, _Form] = field(default_factory=dict)
    seeded: bool = True
    max_stops: int = 1 << 20
    chat_limit: str = "max_completion_tokens"

    def request(self, model: str, prompt: Prompt, params: SamplingParams, base: str = "") -> tuple[str, Body]:
        """The path below the base URL and the body that ask for a streamed answer.

        Raises:
            InvalidInput: The prompt is empty, or the server cannot do what is asked.
        """
        is_chat = not isinstance(prompt, str)
        body: Body = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
        if isinstance(prompt, str):
            self._refuse_text(prompt, base)
            body["prompt"] = prompt
        else:
            body["messages"] = _messages(prompt)
        body[self.chat_limit if is_chat else "max_tokens"] = params.max_tokens
        self._sampling(params, body)
        if params.grammar is not None:
            self._grammar(params.grammar, is_chat, body)
        return ("chat/completions" if is_chat else "completions"), body

    def _refuse_text(self, prompt: str, base: str) -> None:
        if not prompt:
            raise InvalidInput("The prompt is empty; there is nothing to continue.", tokens=0)
        _must_be_sendable(prompt)
        if self.name == "deepseek" and not urlsplit(base).path.rstrip("/").endswith("/beta"):
            raise InvalidInput(
                "DeepSeek continues plain text at https://api.deepseek.com/beta alone; give a chat, or set llm.url.",
                parameter="prompt",
            )

    def _sampling(self, params: SamplingParams, body: Body) -> None:
        # All that the server knows is sent, defaults too: vLLM and SGLang would take the model's own for what is not.
        body["temperature"] = params.temperature
        body["top_p"] = params.top_p
        for name, neutral, sent in (
            ("top_k", 0, params.top_k or -1),
            ("min_p", 0.0, params.min_p),
            ("repetition_penalty", 1.0, params.repetition_penalty),
            ("no_repeat_ngram", 0, params.no_repeat_ngram),
        ):
            value = getattr(params, name)
            if name in self.extras:
                body[self.extras[name]] = sent
            elif value != neutral and not (name in ("top_k", "min_p") and params.greedy):
                raise self._unable(f"{name}={value}", name)
        if params.greedy:
            # top_k=1 is greedy here, and there may be no top_k there.
            body["temperature"] = 0.0
        elif params.seed is not None:
            if not self.seeded:
                raise self._unable("a seed", "seed")
            body["seed"] = params.seed
        if params.stop:
            if len(params.stop) > self.max_stops:
                raise self._unable(f"{len(params.stop)} stop texts ({self.max_stops} at most)", "stop")
            body["stop"] = list(params.stop)

    def _grammar(self, grammar: "Grammar | TermTrie", is_chat: bool, body: Body) -> None:
        kind = getattr(grammar, "kind", "terms")
        form = self.grammars.get(kind)
        if form is None:
            known = ", ".join(self.grammars)
            raise self._unable(f"a grammar of the kind {kind}", "grammar", f"It knows: {known}.")
        form(grammar, is_chat, body)  # type: ignore[arg-type]  # a TermTrie has no kind that a dialect lists

    def _unable(self, what: str, parameter: str, more: str = "") -> InvalidInput:
        said = f"A server of the dialect {self.name!r} cannot do {what}. {more}".rstrip()
        return InvalidInput(
            f"{said} Leave it out, or set llm.dialect if the server is another.",
            parameter=parameter,
            dialect=self.name,
        )


def _messages(prompt: Sequence[Message]) -> list[dict[str, str]]:
    if not prompt:
        raise InvalidInput("The chat has no message; there is nothing to answer.", messages=0)
    for index, message in enumerate(prompt):
        if message["role"] not in _ROLES:
            known = ", ".join(sorted(_ROLES))
            raise InvalidInput(f"Message {index} is of {message['role']!r}; a role is one of {known}.")
        _must_be_sendable(message["content"])
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def _must_be_sendable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"The prompt has half of a surrogate pair at character {error.start}, which is no text; take it out."
        ) from None


def _object_schema(grammar: "Grammar", dialect: str) -> dict[str, Any]:
    schema = json.loads(grammar.source)
    kind = schema.get("type", "object") if isinstance(schema, dict) else type(schema).__name__
    if kind != "object":
        raise InvalidInput(
            f"A server of the dialect {dialect!r} writes JSON objects only, and the schema asks for {kind!r}; "
            "put it into an object.",
            parameter="grammar",
            dialect=dialect,
        )
    return schema if isinstance(schema, dict) else {}


def _openai_schema(grammar: "Grammar", is_chat: bool, body: Body) -> None:
    if not is_chat:
        raise InvalidInput(
            "A server of the dialect 'openai' follows a schema in chats only; give a chat, or set llm.dialect if the "
            "server is another.",
            parameter="grammar",
            dialect="openai",
        )
    schema = _object_schema(grammar, "openai")
    body["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def _vllm(key: str, value: Callable[[str], Any] = str) -> _Form:
    def form(grammar: "Grammar", is_chat: bool, body: Body) -> None:  # noqa: ARG001
        body["structured_outputs"] = {key: value(grammar.source)}

    return form


def _sglang_schema(grammar: "Grammar", is_chat: bool, body: Body) -> None:
    # In chats SGLang reads a schema from response_format alone; for plain text it has a field of its own.
    if is_chat:
        schema = {"name": "answer", "strict": True, "schema": json.loads(grammar.source)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        body["json_schema"] = grammar.source


def _sglang_regex(grammar: "Grammar", is_chat: bool, body: Body) -> None:  # noqa: ARG001
    body["regex"] = grammar.source


def _sglang_choices(grammar: "Grammar", is_chat: bool, body: Body) -> None:  # noqa: ARG001
    body["regex"] = "|".join(map(literal_regex, json.loads(grammar.source)))


def literal_regex(text: str) -> str:
    """A regular expression for exactly that text, in the syntax that Python's, Rust's and xgrammar's share."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", lambda found: "\\" + found[0], text).replace("\n", r"\n")


def _deepseek_schema(grammar: "Grammar", is_chat: bool, body: Body) -> None:
    if not is_chat:
        raise InvalidInput("DeepSeek writes JSON in chats only; give a chat.", parameter="grammar", dialect="deepseek")
    schema = json.dumps(_object_schema(grammar, "deepseek"), ensure_ascii=False)
    # Its JSON mode knows no schema and asks for the word "JSON" in the prompt.
    told = f"Answer with one JSON object that follows this JSON schema, and with nothing else:\n{schema}"
    body["response_format"] = {"type": "json_object"}
    first, *rest = body["messages"]
    if first["role"] == "system":
        body["messages"] = [{"role": "system", "content": f"{first['content']}\n\n{told}"}, *rest]
    else:
        body["messages"] = [{"role": "system", "content": told}, first, *rest]


_SERVED_EXTRAS: Final = {name: name for name in ("top_k", "min_p", "repetition_penalty")}
_VLLM_GRAMMARS: Final[Mapping[str, _Form]] = {
    "json_schema": _vllm("json", json.loads),
    "regex": _vllm("regex"),
    "lark": _vllm("grammar"),
    "choices": _vllm("choice", json.loads),
}
DIALECTS: Final[Mapping[str, Dialect]] = {
    each.name: each
    for each in (
        Dialect("openai", grammars={"json_schema": _openai_schema}, max_stops=4),
        Dialect("vllm", extras=_SERVED_EXTRAS, grammars=_VLLM_GRAMMARS),
        # SGLang's grammars are GBNF, not Lark.
        Dialect(
            "sglang",
            extras=_SERVED_EXTRAS,
            grammars={"json_schema": _sglang_schema, "regex": _sglang_regex, "choices": _sglang_choices},
        ),
        Dialect(
            "deepseek",
            grammars={"json_schema": _deepseek_schema},
            seeded=False,
            max_stops=16,
            chat_limit="max_tokens",
        ),
        Dialect("evident", extras={**_SERVED_EXTRAS, "no_repeat_ngram": "no_repeat_ngram"}, grammars=_VLLM_GRAMMARS),
    )
}


def dialect_of(owner: str) -> Dialect:
    """The dialect of a server whose list of models names ``owner`` in ``owned_by``; a stranger's is OpenAI's own."""
    return DIALECTS.get(owner, DIALECTS["openai"])
