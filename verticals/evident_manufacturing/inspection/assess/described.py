"""Kinds of defects that a product has and the detector does not know: names, and descriptions to name them by.

::

    kinds:
      scratch:
        description:
          en: a long thin line of missing copper that crosses several edges
          zh: [一条细长的缺铜线, 铜沿一条长线被去除，越过多条边缘]
      crater: {}                  # a name that a person may give; nothing is named so by itself

or only names, ``kinds: [scratch, crater]``.
"""

from __future__ import annotations

import re
from typing import Final

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess.document import Node
from evident_manufacturing.inspection.schema import KINDS

ANY: Final = "any"
"""The class of all defects together."""
# Compiled when a specification is read: classes as wide take 6 ms of the start of an agent without one.
_NAME: Final = r"[A-Za-z0-9㐀-鿿][A-Za-z0-9㐀-鿿_.-]{0,39}"
_HAN: Final = r"[㐀-鿿]"
MOST: Final = 20
"""Kinds of one product, and wordings of one kind in a language."""
LONGEST: Final = 255
"""Bytes of a wording: what is beyond is not read."""


class Described(Frozen):
    """A kind with what is seen of it, in one or both languages; ``line`` is where its description stands."""

    name: str
    line: int = 1
    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """In both languages."""
        return (*self.en, *self.zh)

    @property
    def path(self) -> str:
        """Where they stand in the document, as a JSON pointer."""
        return f"/kinds/{self.name}/description"


def own_kinds(node: Node) -> tuple[tuple[str, ...], tuple[Described, ...]]:
    """The kinds that a product adds, and those of them that are described.

    Raises:
        InvalidInput: A name is none, or a description is empty, too long, of a kind that the detector knows, a mere
            name, not in its language, or given to two kinds. The message names the line.
    """
    if isinstance(node.value, tuple):
        return tuple(word(each) for each in node.value), ()
    if len(node.fields()) > MOST:
        node.refuse(f"{len(node.fields())} kinds are given; a product has {MOST} of its own at most.")
    described, known = [], dict[str, Node]()
    for name, entry in node.fields().items():
        word(Node(entry.document, entry.line, entry.path, name))
        fields = entry.fields("description") if entry.value != "" else {}
        if "description" not in fields:
            continue
        if name in KINDS:
            entry.refuse(f"{name} is a kind that the detector knows by itself; describe only kinds that it does not.")
        said = fields["description"].fields("en", "zh") if fields["description"].value != "" else {}
        found = {language: _wordings(name, language, said[language], known) for language in said}
        if not any(found.values()):
            fields["description"].refuse(
                f"{name} has an empty description; write what is seen, such as en: a long thin line of missing copper."
            )
        described.append(Described.model_validate({"name": name, "line": fields["description"].line, **found}))
    return tuple(node.fields()), tuple(described)


def is_name(text: str) -> bool:
    """Whether a kind or a zone can be called so."""
    return re.fullmatch(_NAME, text) is not None


def word(node: Node) -> str:
    """A kind's name."""
    if not is_name(node.text) or node.text == ANY:
        node.refuse(
            f"{node.text!r} is not a kind's name: letters, digits, '.', '-' and '_', 40 at most, and not 'any'."
        )
    return node.text


def _wordings(name: str, language: str, node: Node, known: dict[str, Node]) -> tuple[str, ...]:
    given = node.items if isinstance(node.value, tuple) else (node,)
    if len(given) > MOST:
        node.refuse(f"{name} has {len(given)} wordings in {language!r}; {MOST} are enough.")
    found = []
    for each in given:
        text = " ".join(each.text.split())
        if not text:
            each.refuse(f"{name} has an empty description in {language!r}; write what is seen, or leave it out.")
        if text.casefold() == name.replace("_", " ").casefold():
            each.refuse(f"{name} is described by its own name, which says nothing of what is seen; describe its form.")
        if not text.isprintable() or len(text.encode()) > LONGEST:
            each.refuse(f"a description of {name} is {LONGEST} bytes of printable text at most, and this is not.")
        if (re.search(_HAN, text) is None) is (language == "zh"):
            each.refuse(f"this description of {name} is not in {language!r}: {text!r}.")
        if text in known:
            each.refuse(f"{text!r} describes two things (before on line {known[text].line}); describe what differs.")
        known[text] = each
        found.append(text)
    return tuple(found)
