"""Answers in the OpenAI API's form: whole ones, and the events of streamed ones."""

import json
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

from evident_core.decode.generator import Completion
from evident_core.web.llm_api.requests import Ask

DONE: Final = "data: [DONE]\n\n"


class Answer:
    """The answer to one request; all of its parts carry the same id."""

    def __init__(self, ask: Ask, model: str) -> None:
        self._ask, self._model = ask, model
        self._id = f"{'chatcmpl' if ask.is_chat else 'cmpl'}-{uuid4().hex}"
        self._created = int(time.time())

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The answer at once."""
        choices = [
            {"index": index, **self._content(each.text), "logprobs": None, "finish_reason": each.finish_reason}
            for index, each in enumerate(completions)
        ]
        kind = "chat.completion" if self._ask.is_chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": self._usage(completions)}

    def begin(self, index: int) -> str:
        """The event with which a chat's choice begins; a plain text has none."""
        return self._event(index, {"delta": {"role": "assistant", "content": ""}}) if self._ask.is_chat else ""

    def piece(self, index: int, text: str) -> str:
        """The event of a piece of text."""
        return self._event(index, {"delta": {"content": text}} if self._ask.is_chat else {"text": text})

    def end(self, index: int, completion: Completion) -> str:
        """The event that tells why a choice ended."""
        return self._event(index, {"delta": {}} if self._ask.is_chat else {"text": ""}, completion.finish_reason)

    def usage(self, completions: Sequence[Completion]) -> str:
        """The event of the counts, if it was asked for."""
        if not self._ask.include_usage:
            return ""
        return event({**self._head(self._chunk), "choices": [], "usage": self._usage(completions)})

    @property
    def _chunk(self) -> str:
        return "chat.completion.chunk" if self._ask.is_chat else "text_completion"

    def _event(self, index: int, content: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": index, **content, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._ask.include_usage else {}
        return event({**self._head(self._chunk), "choices": [choice], **usage})

    def _content(self, text: str) -> dict[str, Any]:
        if self._ask.is_chat:
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"text": text}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _usage(self, completions: Sequence[Completion]) -> dict[str, int]:
        prompts, written = self._ask.counted(completions)
        return {"prompt_tokens": prompts, "completion_tokens": written, "total_tokens": prompts + written}


def event(data: dict[str, Any]) -> str:
    """A server-sent event; all that is not ASCII is escaped, since some readers take U+2028 for the end of a line."""
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
