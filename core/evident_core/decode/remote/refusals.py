"""What a refusal of a model server means here, and whether to ask again."""

import json
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from evident_core.errors import (
    EvidentError,
    Forbidden,
    InvalidInput,
    ModelNotReady,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
)

_REDIRECTS: Final = range(300, 400)
_TOO_MANY: Final = 429
_FAILURES: Final = 500
_MEANINGS: Final[dict[int, tuple[type[EvidentError], str]]] = {
    401: (Unauthenticated, "Set llm.api_key (EVIDENT_LLM__API_KEY) to a key that it knows."),
    402: (Forbidden, "The account of llm.api_key has no means left."),
    403: (Forbidden, "The key in llm.api_key may not do this."),
    404: (NotFound, "Check llm.url, which often ends in /v1, and llm.remote_model."),
    413: (TooLarge, "Send a shorter prompt."),
}


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer.

    Attributes:
        error: What is raised if it is not asked again.
        again: Whether asking again may help.
        after: Seconds after which the server wants to be asked again, if it says.
    """

    error: EvidentError
    again: bool = False
    after: float | None = None


def refusal(base: str, status: int, said: str, retry_after: str) -> Refusal:
    """The meaning of a status other than 200.

    Args:
        base: Where the server is.
        status: Its status.
        said: Its reason, fit to be shown.
        retry_after: Its header of that name, or nothing.
    """
    told = f"{base} answers {status}" + (f": {said}" if said else "")
    told += "" if told.endswith((".", "…", "!", "?")) else "."
    after = _seconds(retry_after)
    if status == _TOO_MANY:
        later = {} if after is None else {"retry_after": math.ceil(after)}
        return Refusal(TooMany(f"{told} Ask again later.", url=base, **later), again=True, after=after)
    if status >= _FAILURES:
        return Refusal(ModelNotReady(told, url=base), again=True, after=after)
    kind, remedy = _MEANINGS.get(status, (InvalidInput, ""))
    if status in _REDIRECTS:
        remedy = "Redirects are not followed; set llm.url to where the API is."
    return Refusal(kind(f"{told} {remedy}".rstrip(), url=base, upstream_status=status))


def reason_in(text: str) -> str:
    """The message of an error as OpenAI, vLLM, SGLang and FastAPI write it; else the text as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    while isinstance(found, dict):
        named = next((found[name] for name in ("error", "message", "detail") if found.get(name)), None)
        if named is None:
            return text
        found = named
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _seconds(value: str) -> float | None:
    """Seconds that ``Retry-After`` names, as a number or as a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
