"""Templates: ``{slot}``, ``{slot.form}``, ``(one|of|these)``, ``[there when its slots are]``; parsed once."""

import re
import zlib
from random import Random

LITERAL = str.maketrans("⟨⟩¦", "()|")  # how a template writes brackets and bars of its text
JOINED = re.compile("[0-9A-Za-z.%]{2}")
SHARE = 12  # one wording of so many is held out
SMALLEST = 6  # of options that can spare one


def held_out(text: str, share: int) -> bool:
    """Whether a text is kept for the evaluation: one of ``share`` is, the same ones always."""
    return zlib.crc32(text.encode()) % share == 0


class Draw:
    """Where choices come from; the split is "train", "fresh" (known templates, new values) or "held" (new ones too)."""

    def __init__(self, seed: str, split: str = "train") -> None:
        self.random = Random(seed)
        self.split = split
        self.across = False  # whether names are asked for in the other language, so that every name needs two
        self.unseen = 0  # wordings chosen that training never sees
        self.chance = self.random.random

    def pick(self, options):
        """One of the options, all alike."""
        return options[int(self.chance() * len(options))]

    def phrase(self, known, held):
        """One of the known options, or of those that training never sees when the split asks for them."""
        if held and self.split == "held":
            self.unseen += 1
            return self.pick(held)
        return self.pick(known)


def divide(options, text_of=lambda template: template.text):
    """Options for training, and those held out; a group's first, its most usual way, is always trained on."""
    texts = [text_of(option) for option in options]
    if len(set(texts)) < SMALLEST:
        return options, []
    held = {text for text in texts if held_out(text, SHARE) and text != texts[0]}
    return (
        [option for option, text in zip(options, texts, strict=True) if text not in held],
        [option for option, text in zip(options, texts, strict=True) if text in held],
    )


class Template:
    """One parsed template. ``required`` slots must be there, each of ``groups`` is a set of slots that may be."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.nodes, rest = _sequence(text, 0)
        if rest != len(text):
            raise ValueError(f"unbalanced bracket at {rest} in template {text!r}")
        self.required = frozenset(_slots(self.nodes))
        self.groups = [frozenset(node[2]) for node in self.nodes if node[0] == "opt" and node[2]]
        self.slots = self.required.union(*self.groups)

    def fits(self, have: frozenset[str]) -> bool:
        """Whether exactly these slots can be said."""
        if not self.required <= have <= self.slots:
            return False
        return self.required.union(*(group for group in self.groups if group <= have)) == have

    def render(self, values, language: str, draw: Draw, surfaces: dict[str, str] | None = None) -> str:
        """The text for these values. ``surfaces`` is given what was written for each slot."""
        out: list[str] = []
        _render(self.nodes, values, language, draw, surfaces, out)
        return "".join(out)


def _sequence(text: str, at: int):
    nodes: list[tuple] = []
    while at < len(text) and text[at] not in "|)]":
        char = text[at]
        if char == "{":
            end = text.index("}", at)
            name, _, form = text[at + 1 : end].partition(".")
            nodes.append(("form", name, form) if form else ("slot", name))
            at = end + 1
        elif char == "[":
            inner, end = _sequence(text, at + 1)
            nodes.append(("opt", inner, frozenset(_slots(inner))))
            at = _closed(text, end, "]")
        elif char == "(":
            start, options = at, []
            while text[at] != ")" if at > start else True:
                inner, end = _sequence(text, at + 1)
                options.append((text[at + 1 : end], inner))
                at = end
                if at >= len(text) or text[at] not in "|)":
                    raise ValueError(f"unclosed ( at {start} in template {text!r}")
            if len({frozenset(_slots(inner)) for _, inner in options}) > 1:
                raise ValueError(f"alternatives with different slots in template {text!r}")
            known, held = divide(options, lambda option: option[0])
            nodes.append(("alt", [inner for _, inner in known], [inner for _, inner in held]))
            at += 1
        else:
            end = at
            while end < len(text) and text[end] not in "{[(|)]":
                end += 1
            nodes.append(("text", text[at:end].translate(LITERAL)))
            at = end
    return nodes, at


def _closed(text: str, at: int, char: str) -> int:
    if at >= len(text) or text[at] != char:
        raise ValueError(f"{char} is missing in template {text!r}")
    return at + 1


def _slots(nodes):
    for node in nodes:
        if node[0] in ("slot", "form"):
            yield node[1]
        elif node[0] == "alt":
            for option in (*node[1], *node[2]):
                yield from _slots(option)


def _render(nodes, values, language, draw, surfaces, out) -> None:
    for node in nodes:
        kind = node[0]
        if kind == "text":
            out.append(node[1])
        elif kind == "slot":
            value = values[node[1]]
            text = value if isinstance(value, str) else value.text[language]
            if surfaces is not None:
                surfaces[node[1]] = text
            if language == "zh" and text and JOINED.fullmatch("".join(out[-1:])[-1:] + text[0]):
                out.append(" ")  # two numbers side by side would read as one
            out.append(text)
        elif kind == "form":
            value = values[node[1]]
            text = value.forms[node[2]][language].render({}, language, draw)
            if surfaces is not None:
                surfaces.setdefault(node[1], text)
            out.append(text)
        elif kind == "alt":
            _render(draw.phrase(node[1], node[2]), values, language, draw, surfaces, out)
        elif (node[2] <= values.keys()) if node[2] else draw.chance() < 0.5:
            _render(node[1], values, language, draw, surfaces, out)
