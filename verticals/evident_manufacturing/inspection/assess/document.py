"""A value of a document that a person wrote: it knows its line, and every refusal names it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import NoReturn

from evident_core.errors import InvalidInput


@dataclass(frozen=True)
class Node:
    """A value of a document and the line on which it stands: text, a list of nodes, or a mapping of nodes."""

    document: str
    line: int
    path: str
    value: str | tuple[Node, ...] | dict[str, Node]

    def refuse(self, message: str, **details: object) -> NoReturn:
        """Raise an InvalidInput that names the document, the line and the place.

        Args:
            message: What is wrong, and what would be right.
            **details: The same values for programs; ``reason`` names what kind of mistake it is.
        """
        about = {"line": self.line, "path": self.path, **details}
        raise InvalidInput(f"{self.document}, line {self.line}: {message}", **about)

    @property
    def text(self) -> str:
        """The value as it was typed; refused where it is a list or a mapping."""
        if not isinstance(self.value, str):
            self.refuse(
                f"{self.path or 'the document'} is a single value, such as 0.2 mm, and not a list or a mapping."
            )
        return self.value

    @property
    def items(self) -> tuple[Node, ...]:
        """The values of a list."""
        if not isinstance(self.value, tuple):
            self.refuse(f"{self.path} is a list, such as [1, 2].")
        return self.value

    def number(self, *, signed: bool = False) -> Decimal:
        """The value as a number of at most a million."""
        try:
            number = Decimal(self.text)
        except InvalidOperation:
            self.refuse(f"{self.text!r} is not a number.")
        if not number.is_finite() or abs(number) > 1_000_000 or (number < 0 and not signed):
            self.refuse(f"{self.text} is out of range.")
        return number

    def numbers(self, count: int) -> list[float]:
        """The values of a list of so many numbers."""
        if len(self.items) != count:
            self.refuse(f"{self.path} has {len(self.items)} numbers; it needs {count}.")
        return [float(each.number(signed=True)) for each in self.items]

    def fields(self, *known: str) -> dict[str, Node]:
        """The entries of a mapping; where names are given, another one is refused with the nearest of them."""
        if not isinstance(self.value, dict):
            self.refuse(f"{self.path or 'the document'} is a mapping of keys to values (key: value).")
        for key, node in self.value.items():
            if known and key not in known:
                near = get_close_matches(key, known, 1)
                place = self.path or "the document"
                meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
                if key[:1].isdigit() and node.value == "":  # 0,2 mm between braces: a comma ends a value there
                    node.refuse(
                        f"{key!r} is not a key of {place}; if it is the end of a number, the decimal sign is a point, "
                        "as in 0.2, and no comma.",
                        reason="comma_apart",
                        key=key,
                    )
                node.refuse(
                    f"{key!r} is not a key of {place}; {meant}",
                    reason="key_like" if near else "key",
                    key=key,
                    meant=near[0] if near else ", ".join(known),
                )
        return self.value
