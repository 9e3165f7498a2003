"""What every text generator of the suite takes and gives: our own engine, and any OpenAI-compatible server.

A service holds a :class:`Generator` and never asks which: ``decode.llm.LLM`` runs a checkpoint in this process,
``decode.remote.Remote`` asks a server (vLLM, SGLang, Ray Serve, DeepSeek, or ``evident serve-llm``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

from evident_core.errors import InvalidInput

if TYPE_CHECKING:
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.terms import TermTrie

FinishReason = Literal["stop", "length", "cancelled"]


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


Prompt = str | Sequence[Message]
"""Plain text that is continued as it is, or a chat that the model's own template turns into text."""


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen, and when a text ends.

    The order is that of Hugging Face's ``generate``: repetition_penalty, no_repeat_ngram, grammar, temperature, top_k,
    top_p, min_p.

    Attributes:
        temperature: 0 takes the most probable token always (greedy); 1 draws from the model's own distribution.
        top_p: Draw from the smallest set of tokens whose probabilities sum to at least this; 1 is all.
        top_k: Draw from this many most probable tokens; 0 is all.
        min_p: Leave out tokens less probable than this share of the most probable one's.
        repetition_penalty: Divide positive (multiply negative) logits of tokens that occur already; 1 is none.
        no_repeat_ngram: Never write an n-gram of this many tokens twice; 0 is no such rule.
        seed: The same seed gives the same text, whatever else is in the batch; None draws a new one.
        stop: Texts at which writing ends; they are not part of the result.
        max_tokens: Most tokens that are written. Under a grammar the text is brought to its shortest end in time.
        grammar: What the text must be; see ``decode.grammar``.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    grammar: "Grammar | TermTrie | None" = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, each with the range that is possible."""
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("min_p", 0.0, 1.0),
            ("top_k", 0, 1 << 31),
            ("no_repeat_ngram", 0, 1 << 20),
            ("max_tokens", 1, 1 << 20),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(f"{name} is {value!r}; it must be from {low} to {high}.", parameter=name)
        for name, high in (("top_p", 1.0), ("repetition_penalty", 100.0)):
            value = getattr(self, name)
            if not 0.0 < value <= high:
                raise InvalidInput(f"{name} is {value!r}; it must be above 0 and at most {high}.", parameter=name)
        if isinstance(self.stop, str):
            raise InvalidInput(f"stop is the text {self.stop!r}; it must be a tuple of texts.", parameter="stop")
        if any(not text for text in self.stop):
            raise InvalidInput("stop has an empty text, at which every text would end at once.", parameter="stop")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken always."""
        return self.temperature == 0.0 or self.top_k == 1


@dataclass(frozen=True)
class Completion:
    """A text that was written.

    ``finish_reason`` is "stop" (the model ended it, a stop text came, or the grammar allows no more), "length"
    (max_tokens or the context was used up) or "cancelled". ``model_steps`` counts the tokens for which the model was
    asked; the rest of ``completion_tokens`` was forced by the grammar. A server does not tell it (None).
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    token_ids: tuple[int, ...] = ()
    model_steps: int | None = None


@dataclass(frozen=True)
class Chunk:
    """The next piece of a text as it is written; the last one carries the whole in ``completion``."""

    text: str
    completion: Completion | None = field(default=None)


class Generator(Protocol):
    """Anything that continues prompts."""

    @property
    def name(self) -> str:
        """What the model is called, in answers and logs."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[Completion]:
        """Continue each prompt; results in the order of the prompts.

        Raises:
            InvalidInput: A prompt is empty or longer than the context, or a parameter is wrong.
        """
        ...

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Chunk]:
        """Continue one prompt piece by piece; closing the iterator cancels it."""
        ...
