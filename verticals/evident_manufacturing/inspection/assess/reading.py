"""A small YAML reader for what people write by hand: plain values only, and every refusal names its line.

PyYAML's safe loader still lets a later key replace an earlier one, and an alias repeat a list a billion times over; it
also makes 1.10 a float. So the text is read as nodes here, each value stays the text that was typed, and what a
specification never needs (anchors, tags, a second document) is refused before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from evident_core.errors import InvalidInput, TooLarge
from evident_manufacturing.inspection.assess.document import Node

LONGEST = 65_536
"""Bytes of one document."""
_DEEPEST, _MOST = 12, 5_000


def read(text: str | bytes, name: str) -> Node:
    """The document as nodes.

    Args:
        text: YAML 1.1, UTF-8 where it is bytes; a byte order mark and CRLF are allowed.
        name: What errors call the document.

    Raises:
        TooLarge: It is longer than 64 KiB, deeper than 12 levels or of more than 5,000 values.
        InvalidInput: It is not YAML or not UTF-8, has a key twice, or uses anchors, aliases, tags or a second document.
    """
    size = len(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    if size > LONGEST:
        raise TooLarge(f"{name} has {size:,} bytes; a specification has {LONGEST:,} at most.", bytes=size)
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8.", byte=error.start) from None
    try:
        _refuse_the_unneeded(plain, name)
        root = yaml.compose(plain, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        told = f"{name}, line {line}: this is not YAML ({error.problem})."
        raise InvalidInput(told, line=line, reason="yaml") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{name} is not YAML ({str(error).splitlines()[0]}).") from None
    if root is None:
        raise InvalidInput(f"{name} is empty; it needs at least product and version.")
    return _node(root, name, "")


def _refuse_the_unneeded(text: str, name: str) -> None:
    """Go over the events, which are made one by one and without recursion, before any node is built."""
    depth = count = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        count += isinstance(event, yaml.NodeEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > _DEEPEST or count > _MOST:
            raise TooLarge(
                f"{name}, line {line}: more than {_DEEPEST} levels or {_MOST:,} values; that is no specification.",
                line=line,
            )
        what = next(_unneeded(event), "second document" if documents > 1 else None)
        if what:
            raise InvalidInput(
                f"{name}, line {line}: a specification holds plain values only, and this is a YAML {what}; "
                "write the value out.",
                line=line,
            )


def _unneeded(event: yaml.Event) -> Iterator[str]:
    if isinstance(event, yaml.AliasEvent):
        yield "alias"
    if getattr(event, "anchor", None):
        yield "anchor"
    if getattr(event, "tag", None):
        yield "tag"


def _node(node: yaml.Node, name: str, path: str) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return Node(name, line, path, str(node.value))
    if isinstance(node, yaml.SequenceNode):
        return Node(name, line, path, tuple(_node(each, name, f"{path}/{n}") for n, each in enumerate(node.value)))
    entries: dict[str, Node] = {}
    for key, value in node.value:
        at = Node(name, key.start_mark.line + 1, path, "")
        if not isinstance(key, yaml.ScalarNode):
            at.refuse("a key is a word, and not a list or a mapping.")
        if key.value in entries:
            before = entries[key.value].line
            told = f"{key.value!r} is given twice (before on line {before}); keep one of them."
            at.refuse(told, reason="twice", key=key.value, before=before)
        entries[str(key.value)] = _node(value, name, f"{path}/{key.value}")
    return Node(name, line, path, entries)
