"""Values of every kind, drawn at random: how each reads in English and in Chinese, and its bare number, if any."""

import re
import zlib

from language_corpus.names import (
    draw_city,
    draw_goods,
    draw_label,
    draw_person,
    draw_phrase,
    draw_role,
    draw_thing,
    draw_verb,
    identifiers_of,
    names_of,
)
from language_corpus.quantities import (
    READINGS,
    counts_of,
    draw_amount,
    draw_clock,
    draw_date,
    draw_extent,
    draw_per_share,
    draw_percent,
    draw_period,
    draw_score,
    draw_year,
    spans_of,
    units_of,
)
from language_corpus.value import COMMON, Value, digits

LIKE = re.compile(r"\d[\d,]*(?:\.\d+)?")
KINDS = {kind: names_of(kind) for kind in ("company", "organisation", "venue", "team", "bank", "auditor")}
KINDS |= {
    kind: units_of(kind, 4 if kind in ("rpm", "volume", "weight") else 2, (0, 1, 1, 2), units)
    for kind, units in READINGS.items()
}
KINDS |= {
    "person": draw_person, "city": draw_city, "amount": draw_amount, "per_share": draw_per_share,
    "percent": draw_percent, "year": draw_year,
    "period": draw_period, "date": draw_date, "length": draw_extent, "clock": draw_clock, "score": draw_score,
    "count": counts_of("count", 6), "count_small": counts_of("count_small", 3),
    "slice": counts_of("slice", 3), "age": counts_of("age", 2),
    "probability": lambda draw, _: Value("probability", *[f"0.{10 + int(draw.chance() * 89)}".rstrip("0")] * 3),
    "patient_id": identifiers_of("patient_id", ("A-99999", "999999", "AA9999", "P99999")),
    "serial": identifiers_of("serial", ("AA-99999", "A9999", "AA99-999", "999-9999", "AAA9999")),
    "station": identifiers_of("station", ("9", "A9", "99", "AA-9")),
    "line": identifiers_of("line", ("9", "A9", "A", "99")),
    "lot": identifiers_of("lot", ("A9999", "99-9999", "LOT9999", "AA99999")),
    "months": spans_of("months", (("months", "个月"), ("weeks", "周"), ("days", "天"))),
    "thing": draw_thing, "goods": draw_goods, "role": draw_role, "label": draw_label, "phrase": draw_phrase,
    "deed": draw_verb,
    "minutes": spans_of("minutes", (("minutes", "分钟"), ("hours", "小时"), ("min", "分钟"))),
}  # fmt: skip


def make_value(kind: str, draw, paired: bool = False) -> Value:
    """A value of that kind. One in ten is kept for evaluation; training never sees its texts.

    ``paired`` values read the same in both languages, one form each, so that a translation is determined.
    """
    make = KINDS[kind]
    for _ in range(200):
        value = make(draw, paired)
        if len(value.text["en"]) < 4 or (kind == "city" and value.text["en"] in COMMON["cities"]):
            return value
        if (zlib.crc32(value.text["en"].encode()) % 10 == 0) == (draw.split != "train"):
            return value
    return value


def like(value: Value, draw) -> Value | None:
    """Another value with the same unit, written in the same way (last year's amount); None where it has no number."""
    if value.number is None:
        return None
    old = LIKE.search(value.text["en"])
    places = len(value.number.partition(".")[2])
    written, number = digits(draw, len(value.number.partition(".")[0]), places, commas="," in (old[0] if old else ""))
    if number is None:
        return None
    en, zh = (LIKE.sub(written, value.text[language], count=1) for language in ("en", "zh"))
    return Value(value.kind, en, zh, number)
