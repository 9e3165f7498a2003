"""Schemas of reports that no process has seen before, reports that follow them, and a terminology."""

import json
import random
import re
from functools import cache
from typing import Any

from evident_core.bench.vocabulary import corpus

CHARACTERS = "肺叶结节影上下左右前后缘毛玻璃密度增高减低实变空洞钙化胸膜积液气心包纵隔淋巴肿大血管支扩张纤维条索斑片"
SITES = [
    "apex",
    "upper_lobe",
    "middle_lobe",
    "lower_lobe",
    "hilum",
    "pleura",
    "mediastinum",
    "liver",
    "spleen",
    "kidney",
]
CERTAINTY = ["certain", "probable", "possible", "unlikely", "not assessed"]


def report_schema(number: int) -> dict[str, Any]:
    """A nested schema of a report, with names that no other number has."""
    text = {"type": "string", "minLength": 20, "maxLength": 200}
    source = _record(
        image=_whole(0, 4000), box={"type": "array", "items": _whole(0, 4096), "minItems": 4, "maxItems": 4}
    )
    finding = _record(
        site={"enum": [f"{site}_{number}" for site in SITES]},
        side={"enum": ["left", "right", "both", "none"]},
        size_mm={"anyOf": [{"type": "number", "minimum": 0, "maximum": 400}, {"type": "null"}]},
        certainty={"enum": CERTAINTY},
        description=text,
        sources={"type": "array", "items": source, "minItems": 1, "maxItems": 4},
    )
    return _record(
        **{f"report_{number}": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{6}$"}},
        date={"type": "string", "pattern": "^20[0-9]{2}-[01][0-9]-[0-3][0-9]$"},
        language={"enum": ["en", "zh"]},
        findings={"type": "array", "items": finding, "minItems": 2, "maxItems": 8},
        impression={"type": "array", "items": text, "minItems": 1, "maxItems": 5},
        follow_up=_record(needed={"type": "boolean"}, weeks={"anyOf": [_whole(1, 104), {"type": "null"}]}),
    )


def _record(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def report(number: int, chance: random.Random) -> str:
    """JSON of that schema, whose texts are sentences of the Python library."""
    words = _words()

    def text() -> str:
        begin = chance.randrange(len(words) - 40)
        return " ".join(words[begin : begin + 40])[:150].ljust(20, ".")

    def finding() -> dict[str, Any]:
        box = [chance.randrange(4096) for _ in range(4)]
        return {
            "site": f"{chance.choice(SITES)}_{number}",
            "side": chance.choice(["left", "right"]),
            "size_mm": chance.choice([None, round(chance.uniform(1, 90), 1)]),
            "certainty": chance.choice(CERTAINTY),
            "description": text(),
            "sources": [{"image": chance.randrange(400), "box": box}],
        }

    value = {
        f"report_{number}": f"CT-{chance.randrange(10**6):06}",
        "date": "2024-05-17",
        "language": "en",
        "findings": [finding() for _ in range(3)],
        "impression": [text()],
        "follow_up": {"needed": True, "weeks": 12},
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def terminology(count: int, chance: random.Random) -> list[str]:
    """Different terms, half of two English words and half of some Chinese characters."""
    words = sorted({word.lower() for word in _words() if len(word) > 3})
    terms: set[str] = set()
    while len(terms) < count:
        chinese = len(terms) % 2
        terms.add(
            "".join(chance.choices(CHARACTERS, k=chance.randint(2, 6)))
            if chinese
            else " ".join(chance.choices(words, k=2))
        )
    return sorted(terms)


@cache
def _words() -> list[str]:
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in corpus()[:60])
    return re.findall("[A-Za-z]+", text)
