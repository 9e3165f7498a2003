"""What the OpenAI API asks for, read into prompts and sampling parameters; what this server cannot do is refused.

Nothing is passed over in silence: a parameter that is not known is an error that names it, and one that is known and
not offered is accepted only with the value that means the same as leaving it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from evident_core.decode.generator import Completion, Message, Prompt, SamplingParams
from evident_core.errors import InvalidInput
from evident_core.web.llm_api.grammars import FORMS, grammar_of
from evident_core.web.problems import place

MAX_CHOICES: Final = 8
MAX_PROMPTS: Final = 64
_MAX_STOPS: Final = 16
_DEFAULT_COMPLETION_TOKENS: Final = 16  # as in OpenAI's API

# What is accepted though it is not offered: the values that ask for nothing.
_NOT_OFFERED: Final[Mapping[str, tuple[object, ...]]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0, 0.0),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0, 0.0),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none",),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
# They say who asks and change nothing in an answer.
_LABELS: Final = frozenset({"user", "safety_identifier", "prompt_cache_key"})


@dataclass(frozen=True)
class Ask:
    """One request: each prompt is continued ``choices`` times.

    ``params`` are those of the choices, alike but for their seeds.
    """

    is_chat: bool
    prompts: tuple[Prompt, ...]
    params: tuple[SamplingParams, ...]
    stream: bool
    include_usage: bool
    model: str | None

    @property
    def texts(self) -> list[tuple[Prompt, SamplingParams]]:
        """Each text that is to be written, in the order of ``index`` in the answer."""
        return [(prompt, each) for prompt in self.prompts for each in self.params]

    def counted(self, completions: Sequence[Completion]) -> tuple[int, int]:
        """Tokens that were read and written; a prompt counts once, however often it is continued."""
        return (
            sum(each.prompt_tokens for each in completions[:: len(self.params)]),
            sum(each.completion_tokens for each in completions),
        )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Part(_Strict):
    type: Literal["text"]
    text: str


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part]


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class _Request(_Strict):
    model: str | None = None
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = Field(0, ge=-1)
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: str | list[str] = Field(default_factory=list)
    stream: bool = False
    stream_options: _StreamOptions | None = None


class _ChatRequest(_Request):
    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: int | None = None


class _TextRequest(_Request):
    prompt: str | list[str]


_RequestT = TypeVar("_RequestT", bound=_Request)


def read_chat(body: bytes, default_tokens: int) -> Ask:
    """A body of ``/v1/chat/completions``; ``default_tokens`` bounds an answer that names no bound.

    Raises:
        InvalidInput: It is no such request, or asks for what is not offered.
    """
    request, given = _read(body, _ChatRequest)
    limits = {each for each in (request.max_tokens, request.max_completion_tokens) if each is not None}
    if len(limits) > 1:
        raise InvalidInput(
            f"max_tokens is {request.max_tokens}, and max_completion_tokens {request.max_completion_tokens}; give one.",
            parameter="max_completion_tokens",
        )
    chat = [_message(each) for each in request.messages]
    return _ask(request, given, [chat], next(iter(limits), default_tokens), is_chat=True)


def read_text(body: bytes) -> Ask:
    """A body of ``/v1/completions``.

    Raises:
        InvalidInput: It is no such request, or asks for what is not offered.
    """
    request, given = _read(body, _TextRequest)
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise InvalidInput(f"There are {len(prompts)} prompts; give 1 to {MAX_PROMPTS}.", parameter="prompt")
    limit = _DEFAULT_COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens
    return _ask(request, given, prompts, limit, is_chat=False)


def _ask(
    request: _Request, given: Mapping[str, Any], prompts: Sequence[Prompt], max_tokens: int, *, is_chat: bool
) -> Ask:
    if request.stream_options is not None and not request.stream:
        raise InvalidInput("stream_options is for streams; set stream.", parameter="stream_options")
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    if len(stop) > _MAX_STOPS:
        raise InvalidInput(f"There are {len(stop)} stop texts; give at most {_MAX_STOPS}.", parameter="stop")
    params = SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=max(0, request.top_k),  # -1 is all in vLLM's and SGLang's API
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        no_repeat_ngram=request.no_repeat_ngram,
        seed=request.seed,
        stop=tuple(stop),
        max_tokens=max_tokens,
        grammar=grammar_of(given),
    )
    seeds = [None if params.seed is None else params.seed + index for index in range(request.n)]
    return Ask(
        is_chat=is_chat,
        prompts=tuple(prompts),
        params=tuple(replace(params, seed=seed) for seed in seeds),
        stream=request.stream,
        include_usage=request.stream_options is not None and request.stream_options.include_usage,
        model=request.model,
    )


def _message(given: _Message) -> Message:
    content = given.content if isinstance(given.content, str) else "".join(part.text for part in given.content)
    return Message(role="system" if given.role == "developer" else given.role, content=content)


def _read(body: bytes, kind: type[_RequestT]) -> tuple[_RequestT, dict[str, Any]]:
    """The request as its model, and the fields beside it that ask for a grammar."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from None
    if not isinstance(given, dict):
        raise InvalidInput(f"The body is a JSON {type(given).__name__}; send an object.")
    given = cast(dict[str, Any], _without_nulls(given))
    for name in _LABELS & given.keys():
        if not isinstance(given.pop(name), str):
            raise InvalidInput(f"{name} must be a text.", parameter=name)
    for name, neutral in _NOT_OFFERED.items():
        if name in given and not any(_same(given[name], value) for value in neutral):
            raise InvalidInput(
                f"{name} is not supported by this server; leave it out.", parameter=name, reason="unsupported_parameter"
            )
        given.pop(name, None)
    forms = {name: given.pop(name) for name in FORMS if name in given}
    try:
        return kind.model_validate(given), forms
    except ValidationError as error:
        raise _explained(error) from None


def _same(value: object, neutral: object) -> bool:
    # True and 1 are equal in Python and are not the same in JSON.
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _without_nulls(value: object) -> object:
    """A client that sends ``null`` means nothing by it; those that send an answer back do so in messages too."""
    if not isinstance(value, dict):
        return value
    kept = {name: each for name, each in value.items() if each is not None}
    if isinstance(messages := kept.get("messages"), list):
        kept["messages"] = [_without_nulls(each) for each in messages]
    return kept


def _explained(error: ValidationError) -> InvalidInput:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    where = place(_named(first["loc"])).lstrip(".")
    if first["type"] == "extra_forbidden":
        return InvalidInput(
            f"{where} is not known to this server; leave it out.", parameter=where, reason="unknown_parameter"
        )
    if first["type"] == "missing":
        return InvalidInput(f"{where} is missing.", parameter=where, reason="missing_required_parameter")
    if where.startswith("prompt"):
        return InvalidInput("prompt must be a text or a list of texts; tokens are not read.", parameter="prompt")
    if where.endswith((".content", ".type")) and where.startswith("messages"):
        return InvalidInput(
            f"{where} is no text; this server reads texts and parts of the type text, no images and no sound.",
            parameter=where,
        )
    return InvalidInput(f"{where} is wrong: {first['msg'][0].lower()}{first['msg'][1:]}.", parameter=where)


def _named(location: tuple[int | str, ...]) -> list[int | str]:
    """A place without the names of the alternatives that pydantic tried there (``str``, ``list[_Part]``)."""
    return [step for step in location if isinstance(step, int) or not (step in ("str",) or step.startswith("list["))]
