"""What a MES is told: the form of an event, its id, and text that somebody made to hurt."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_core.evidence import InputRef, Report
from evident_manufacturing.delivery.events import MAX_DEFECTS, SCHEMA, event_id, event_of, plain_text
from evident_manufacturing.inspection.schema import (
    Decision,
    Defect,
    Inspection,
    Part,
    Quantity,
    Reason,
    Seen,
    Size,
    Verdict,
)
from evident_manufacturing.told import Told, read

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LENGTH = Quantity(value=Decimal("0.2100"), uncertainty=Decimal("0.0123"), unit="mm")
AREA = Quantity(value=Decimal("0.0310"), uncertainty=Decimal("0.0020"), unit="mm2")
SIZE = Size(length=LENGTH, width=LENGTH, area=AREA, gap=None)
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def inspection(part: Part, *, defects: int = 1) -> Inspection:
    found = tuple(
        Defect(number=number, kind="short", bbox=(1.004, 2.0, 30.0, 40.0), score=0.97531, seen=Seen.GOLDEN, size=SIZE)
        for number in range(1, defects + 1)
    )
    return Inspection(
        part=part,
        input=InputRef(sha256="ab" * 32, name="board.png"),
        template=None,
        width=640,
        height=480,
        alignment=None,
        calibration=None,
        defects=found,
        facts=(),
        claims=(),
        verdict=Verdict(
            decision=Decision.REJECT,
            specification="demo@3",
            reasons=(Reason(rule="short.max", decision=Decision.REJECT, defects=(1,), limit="0"),),
            weak=True,
        ),
        report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
        model="fused",
        version="7 int8",
        milliseconds={"detect": 12.34567},
    )


def body(part: Part, **options: Any) -> dict[str, Any]:
    event = event_of(inspection(part, **options), station="aoi-1", inspected=NOON)
    read: dict[str, Any] = json.loads(event.body)
    VALIDATOR.validate(read)
    return read


def test_what_a_gap_exceeds_is_told_and_read_back() -> None:
    beyond = Quantity(value=Decimal("0.35"), uncertainty=Decimal("0.01"), unit="mm")
    size = SIZE.model_copy(update={"gap_over": beyond})
    found = inspection(Part(part_id="B-1"))
    found = found.model_copy(update={"defects": (found.defects[0].model_copy(update={"size": size}),)})
    event = event_of(found, station="aoi-1", inspected=NOON)
    VALIDATOR.validate(json.loads(event.body))
    told = read(event.body)
    assert isinstance(told, Told)
    (defect,) = told.inspection().defects
    assert defect.size is not None
    assert (defect.size.gap, defect.size.gap_over) == (None, beyond)
    told.refuse_another(found)


def test_the_event_says_all_that_was_found() -> None:
    zone = timezone(timedelta(hours=8))
    read = body(
        Part(part_id="B-1", lot="L7", product="demo", camera="top", taken=datetime(2026, 3, 1, 19, 59, tzinfo=zone))
    )
    assert (read["part_id"], read["lot"], read["product"], read["camera"]) == ("B-1", "L7", "demo", "top")
    assert (read["decision"], read["weak"], read["specification"]) == ("reject", True, "demo@3")
    assert read["reasons"] == [{"rule": "short.max", "decision": "reject", "defects": [1], "limit": "0"}]
    assert read["defects"] == [
        {
            "number": 1,
            "class": "short",
            "bbox_px": [1.0, 2.0, 30.0, 40.0],
            "score": 0.9753,
            "seen": "golden",
            "length": {"value": 0.21, "u": 0.0123, "unit": "mm"},
            "width": {"value": 0.21, "u": 0.0123, "unit": "mm"},
            "area": {"value": 0.031, "u": 0.002, "unit": "mm2"},
        }
    ]
    assert read["image"] == {"sha256": "ab" * 32, "width": 640, "height": 480}
    assert (read["model"], read["version"]) == ("fused", "7 int8")
    assert (read["taken"], read["inspected"]) == ("2026-03-01T11:59:00.000Z", "2026-03-01T12:00:00.000Z")
    assert read["milliseconds"] == {"detect": 12.346}


def test_the_id_is_of_the_part_its_station_and_revision_and_of_nothing_else() -> None:
    first = event_of(inspection(Part(part_id="B-1", lot="L7")), station="aoi-1", inspected=NOON)
    later = event_of(inspection(Part(part_id="B-1")), station="aoi-1", inspected=NOON - timedelta(days=900))
    assert first.event_id == later.event_id == event_id("aoi-1", "B-1")
    assert (
        len({event_id(*each) for each in (("a", "B-1"), ("a", "B-2"), ("b", "B-1"), ("a", "B-1", 2), ("aB", "-1"))})
        == 5
    )


def test_more_defects_than_an_event_holds_are_counted_and_not_hidden() -> None:
    read = body(Part(part_id="B-1"), defects=MAX_DEFECTS + 20)
    assert (len(read["defects"]), read["defects_total"]) == (MAX_DEFECTS, MAX_DEFECTS + 20)


@pytest.mark.parametrize(
    "hostile",
    ["B-1\r\n", "B-1\x00", "\x1b[2J", "\u202eB-1", "B\u200b-1", "B\u2028-1", "\ufeffB-1", "B" * 128 + "\n"],
)
def test_hostile_text_is_made_visible_and_stays_another_part(hostile: str) -> None:
    shown = plain_text(hostile)
    assert shown != hostile
    assert shown.isprintable()
    assert shown != plain_text("".join(each for each in hostile if each.isprintable()))
    assert body(Part(part_id=hostile[:128], lot=hostile[:128]))["part_id"].isprintable()


@given(st.text(min_size=1, max_size=128), st.text(max_size=128))
def test_any_part_gives_an_event_of_the_form(part_id: str, lot: str) -> None:
    read = body(Part(part_id=part_id, lot=lot), defects=0)
    assert len(read["part_id"]) <= 128


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_texts_stay_two(one: str, other: str) -> None:
    assert (plain_text(one) == plain_text(other)) is (one == other)


def test_chinese_and_other_scripts_are_left_as_they_are() -> None:
    assert plain_text("主板-上 Ω µ é") == "主板-上 Ω µ é"


def test_a_revision_below_one_and_a_time_without_zone_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Revision 0"):
        event_of(inspection(Part(part_id="B-1")), station="a", inspected=NOON, revision=0)
    with pytest.raises(InvalidInput, match="no time zone"):
        event_of(inspection(Part(part_id="B-1")), station="a", inspected=NOON.replace(tzinfo=None))
