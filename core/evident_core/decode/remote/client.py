"""A model behind any OpenAI-compatible server, as a text generator: vLLM, SGLang, Ray Serve, DeepSeek, our own.

Answers are always streamed from the server, also for :meth:`Remote.generate`: so a time-out can tell a server at work
from one that hangs, and a request that is taken back ends there at once, with its connection.
"""

import json
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from evident_core.decode.generator import Chunk, Completion, FinishReason, Prompt, SamplingParams
from evident_core.decode.remote.conformance import Judge, judge
from evident_core.decode.remote.dialects import DIALECTS, Body, Dialect, DialectName, dialect_of
from evident_core.decode.remote.refusals import reason_in
from evident_core.decode.remote.secret import Secret
from evident_core.decode.remote.sse import event_data
from evident_core.decode.remote.transport import Call, Limits, Transport
from evident_core.errors import Cancelled, InvalidInput, ModelNotReady, NotFound, TooMany

_FINISHED: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length"}
_DONE: Final = "[DONE]"
_EVENT_STREAM: Final = "text/event-stream"
_MAX_LIST_BYTES: Final = 4 << 20
_CHECK_SECONDS: Final = 5.0


@dataclass(frozen=True)
class RemoteOptions:
    """Which server is asked, and how.

    Attributes:
        url: Where its API is, with or without ``/v1``.
        model: What the model is called there; empty: the only one that the server lists.
        api_key: Sent as a bearer token; never shown.
        dialect: Which kind of server it is; ``auto`` goes by what its list of models says.
        allow_plain_http: Whether the key may go over unencrypted HTTP to another machine.
        limits: Time-outs and retries.
        max_concurrent: Most requests at the same time.
    """

    url: str
    model: str = ""
    api_key: Secret = field(default_factory=Secret)
    dialect: DialectName = "auto"
    allow_plain_http: bool = False
    limits: Limits = field(default_factory=Limits)
    max_concurrent: int = 16


@dataclass(frozen=True)
class _Request:
    path: str
    body: Body
    judge: Judge | None


class Remote:
    """A model on a server; threads may share one.

    A text under a grammar is checked here as well, since not every server heeds one: what does not conform raises, so
    under a grammar the pieces of :meth:`stream` are provisional until its last chunk.

    Raises:
        InvalidInput: The URL, the key or the dialect is wrong.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, options: RemoteOptions) -> None:
        if options.dialect != "auto" and options.dialect not in DIALECTS:
            known = ", ".join(("auto", *DIALECTS))
            raise InvalidInput(f"llm.dialect is {options.dialect!r}; it is one of {known}.", key="llm.dialect")
        if options.max_concurrent < 1:
            raise InvalidInput(f"llm.max_concurrent is {options.max_concurrent}; it must be at least 1.")
        self.options = options
        self._transport = Transport(
            options.url, options.api_key, options.limits, allow_plain_http=options.allow_plain_http
        )
        self._places = threading.BoundedSemaphore(options.max_concurrent)
        self._asking = threading.Lock()
        self._known: tuple[str, Dialect] | None = None
        if options.model and options.dialect != "auto":
            self._known = options.model, DIALECTS[options.dialect]

    @property
    def name(self) -> str:
        """The model's name on the server, which is asked for it once if the settings do not tell."""
        return self._served()[0]

    @property
    def dialect(self) -> str:
        """Which kind of server it is taken for."""
        return self._served()[1].name

    def __enter__(self) -> Self:
        """The model, whose connections are closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        return f"Remote({self._transport.base!r}, model={self.options.model!r}, dialect={self.options.dialect!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Remote holds connections and a key; make one from the settings where it is needed")

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()

    def check(self) -> None:
        """Ask the server whether it is there, once and shortly.

        Raises:
            EvidentError: It is not, or has several models and none is named; see `stream`.
        """
        self._choose(self._listed(Call(replace(self.options.limits, total_seconds=_CHECK_SECONDS), once=True)))

    def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[Completion]:
        """Continue each prompt, several at the same time; see :class:`Generator`. One that fails ends the others.

        Raises:
            EvidentError: See `stream`.
        """
        requests = self._requests(prompts, params)
        called_off = threading.Event()
        if len(requests) == 1:
            return [self._whole(requests[0], called_off)]
        if not requests:
            return []
        with ThreadPoolExecutor(min(len(requests), self.options.max_concurrent), "evident-remote") as pool:
            tasks = [pool.submit(self._whole, request, called_off) for request in requests]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                called_off.set()
                pool.shutdown(cancel_futures=True)
        failures = [error for task in tasks if not task.cancelled() and (error := task.exception())]
        for error in failures:
            if not isinstance(error, Cancelled):
                raise error
        return [task.result() for task in tasks]

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Chunk]:
        """Continue one prompt piece by piece; closing the iterator closes the connection; see :class:`Generator`.

        Raises:
            InvalidInput: The prompt is empty, the server cannot do what is asked or refuses it (400, 422), or
                ``max_tokens`` ended the text before its grammar allows.
            Unauthenticated: It does not know the key (401).
            Forbidden: The key may not do this (403).
            NotFound: There is no such model or address (404).
            TooMany: It is busy after all retries (429), or too many requests wait for ``max_concurrent``.
            ModelNotReady: It cannot be reached, fails after all retries (5xx), takes too long, breaks off, answers with
                something else than a stream, or does not heed the grammar.
        """
        [request] = self._requests([prompt], params)
        return self._stream(request, Call(self.options.limits))

    def _requests(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None
    ) -> list[_Request]:
        if isinstance(prompts, str):
            raise InvalidInput("prompts is one text; give a list of texts.", parameter="prompts")
        each_params = list(params) if isinstance(params, Sequence) else [params or SamplingParams()] * len(prompts)
        if len(each_params) != len(prompts):
            raise InvalidInput(
                f"There are {len(prompts)} prompts and {len(each_params)} params; give one for all, or one each."
            )
        if not prompts:
            return []
        model, dialect = self._served()
        requests = []
        for prompt, each in zip(prompts, each_params, strict=True):
            path, body = dialect.request(model, prompt, each, self._transport.base)
            requests.append(_Request(path, body, judge(each.grammar) if each.grammar is not None else None))
        return requests

    def _whole(self, request: _Request, called_off: threading.Event) -> Completion:
        with closing(self._stream(request, Call(self.options.limits, called_off))) as chunks:
            for chunk in chunks:
                if chunk.completion is not None:
                    return chunk.completion
        raise Cancelled("The request was taken back.")

    def _stream(self, request: _Request, call: Call) -> Generator[Chunk, None, None]:
        text, reason, usage = "", "", (0, 0)
        with self._place(call), self._transport.open("POST", request.path, request.body, call) as answer:
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != _EVENT_STREAM:
                raise self._strange(
                    f"answers with {self._transport.quote(kind) or 'no media type'} where a stream was asked for"
                )
            events = event_data(self._transport.read(answer, call))
            while (event := self._next(events)) is not None and event != _DONE:
                piece, ended, counted = self._read(event)
                reason, usage = ended or reason, counted or usage
                if piece:
                    text += piece
                    yield Chunk(piece)
        if not reason:
            raise self._strange(f"ended its answer in the middle, after {len(text)} characters")
        yield Chunk("", self._completion(request, text, reason, usage))

    def _completion(self, request: _Request, text: str, reason: str, usage: tuple[int, int]) -> Completion:
        if reason not in _FINISHED:
            raise self._strange(f"did not write the text to its end ({self._transport.quote(reason)})")
        wrong = request.judge(text) if request.judge else ""
        if wrong and reason == "length":
            raise InvalidInput(
                f"max_tokens ended the text before it was what its grammar asks for: {wrong}. Allow more.",
                parameter="max_tokens",
            )
        if wrong:
            raise self._strange(
                f"does not heed the grammar: {wrong}. Set llm.dialect ({self.dialect} is taken) to what the server is"
            )
        return Completion(text, _FINISHED[reason], prompt_tokens=usage[0], completion_tokens=usage[1])

    def _next(self, events: Iterator[str]) -> str | None:
        wrong = ""
        try:
            return next(events, None)
        except ValueError as error:
            wrong = str(error)
        raise self._strange(f"sent a stream that is none ({self._transport.quote(wrong)})")

    def _read(self, event: str) -> tuple[str, str | None, tuple[int, int] | None]:
        """Text, reason to end, and counts of tokens in an event; any may be absent."""
        try:
            data = json.loads(event)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise self._strange(f"sent an event that is no JSON object ({self._transport.quote(event)})")
        if data.get("error"):
            raise self._strange(f"broke off its answer: {self._transport.quote(reason_in(event))}")
        said: object
        ended: object
        usage = None
        try:
            choice: dict[str, Any] = next((each for each in data.get("choices") or () if not each.get("index")), {})
            said = choice.get("text") if "text" in choice else (choice.get("delta") or {}).get("content")
            ended = choice.get("finish_reason")
            if counted := data.get("usage"):
                usage = (int(counted["prompt_tokens"]), int(counted["completion_tokens"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            said = ended = False
        if not isinstance(said, str | None) or not isinstance(ended, str | None):
            raise self._strange(f"sent an event of another form ({self._transport.quote(event)})")
        return said or "", ended, usage

    def _strange(self, what: str) -> ModelNotReady:
        return ModelNotReady(f"{self._transport.base} {what}.", url=self._transport.base)

    @contextmanager
    def _place(self, call: Call) -> Iterator[None]:
        if not self._places.acquire(timeout=call.left):
            raise TooMany(
                f"{self.options.max_concurrent} requests to {self._transport.base} run already (llm.max_concurrent), "
                "and none ended in time; ask again later."
            )
        try:
            call.refuse_called_off()
            yield
        finally:
            self._places.release()

    def _served(self) -> tuple[str, Dialect]:
        if self._known is None:
            with self._asking:
                if self._known is None:
                    self._known = self._choose(self._listed(Call(self.options.limits)))
        return self._known

    def _listed(self, call: Call) -> list[dict[str, Any]]:
        body = b""
        with self._transport.open("GET", "models", None, call) as answer:
            for chunk in self._transport.read(answer, call):
                body += chunk
                if len(body) > _MAX_LIST_BYTES:
                    break
        try:
            listed = json.loads(body)["data"]
            return [each for each in listed if isinstance(each["id"], str)]
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise self._strange("lists no models; set llm.remote_model and llm.dialect, or check llm.url")

    def _choose(self, listed: list[dict[str, Any]]) -> tuple[str, Dialect]:
        wanted, dialect = self.options.model, self.options.dialect
        named = ", ".join(self._transport.quote(each["id"]) for each in listed[:10]) or "none"
        found = [each for each in listed if wanted in ("", each["id"])]
        if not found and wanted:
            # A gateway may list less than it has; whether there is such a model shows when it is asked.
            found = [{"id": wanted, "owned_by": listed[0].get("owned_by", "")}] if listed else []
        if len(found) != 1:
            raise NotFound(
                f"{self._transport.base} has the models {named}; set llm.remote_model to one of them.",
                key="llm.remote_model",
            )
        owner = str(found[0].get("owned_by", ""))
        return found[0]["id"], dialect_of(owner) if dialect == "auto" else DIALECTS[dialect]
