"""Tokens to text as they come, held back where a stop text may have begun."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evident_core.decode.tokenizer import StreamDecoder


class Text:
    """A text that grows token by token and ends at the first of its stop texts.

    Attributes:
        whole: All that was written and may be shown, once it has ended.
        stopped: Whether a stop text came. It is not part of the text, nor is anything after it.
    """

    def __init__(self, decoder: "StreamDecoder", stop: tuple[str, ...] = ()) -> None:
        self._decoder, self._stop = decoder, stop
        self._shown: list[str] = []
        self._held = ""
        self.stopped = False

    @property
    def whole(self) -> str:
        """The text that was given out so far."""
        return "".join(self._shown)

    def push(self, token: int) -> str:
        """Add a token; returns the piece of text that is certain now, which may be empty."""
        return self._give(self._decoder.put(token))

    def flush(self) -> str:
        """The rest, once no token follows."""
        if self.stopped:
            return ""
        piece = self._give(self._decoder.flush())
        rest, self._held = self._held, ""
        if rest and not self.stopped:
            self._shown.append(rest)
            piece += rest
        return piece

    def _give(self, piece: str) -> str:
        if not self._stop:
            if piece:
                self._shown.append(piece)
            return piece
        if not piece or self.stopped:
            return ""
        held = self._held + piece
        if ends := [at for text in self._stop if (at := held.find(text)) >= 0]:
            self.stopped, certain, self._held = True, held[: min(ends)], ""
        else:
            kept = max(map(self._begun, self._stop, [held] * len(self._stop)))
            certain, self._held = held[: len(held) - kept], held[len(held) - kept :]
        if certain:
            self._shown.append(certain)
        return certain

    @staticmethod
    def _begun(stop: str, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a stop text."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
