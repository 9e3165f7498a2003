"""The line's figures, alarms and charts from records alone; a person's labels; what a specification would change."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from lxml import etree

from evident_manufacturing.alarms import RECENT
from evident_manufacturing.charts import control_chart
from evident_manufacturing.desk import Options, Record, Remark
from evident_manufacturing.inspection.assess import Specification, spc
from evident_manufacturing.inspection.assess.camera import ImageStatistics
from evident_manufacturing.inspection.schema import Decision, Part, Verdict
from evident_manufacturing.line import PACED, Board, Line, line
from evident_manufacturing.past import judge, preview
from evident_manufacturing.rules import in_words
from evident_manufacturing.texts import text
from manufacturing_specimen import defect, inspection, specification

BEGAN = datetime(2025, 3, 14, 9, tzinfo=UTC)


def board(number: int, decision: str = "accept", **changes: Any) -> Board:
    """The ``number``-th board of a line, one every two seconds."""
    given = inspection(part=Part(part_id=changes.pop("part_id", f"SN-{number}"), camera=changes.pop("camera", "cam-1")))
    given = given.model_copy(
        update={
            "verdict": Verdict(decision=Decision(decision)),
            "defects": changes.pop("defects", ()),
            "milliseconds": {"whole": 30.0 + number},
        }
    )
    record = Record(
        inspection=given,
        statistics=ImageStatistics(brightness=changes.pop("brightness", 120 + number % 3), contrast=60, sharpness=1.5),
        pixels=changes.pop("pixels", f"{number:064x}"),
        **changes,
    )
    at = BEGAN + timedelta(seconds=2 * number)
    return Board(
        job_id=f"job-{number}",
        name=f"{number}.png",
        state="done",
        created=at,
        finished=at,
        result_id=f"result-{number}",
        options=Options(),
        record=record,
    )


def newest_first(*boards: Board) -> list[Board]:
    return list(boards)[::-1]


def codes(*boards: Board) -> list[str]:
    return [alarm.code for alarm in line(newest_first(*boards)).alarms]


def test_a_line_without_boards_has_no_figures():
    figures = line([])
    assert (figures.boards, figures.accepted, figures.per_minute, figures.p, figures.alarms) == (
        0,
        None,
        None,
        None,
        (),
    )


def test_yield_pace_and_samples_follow_from_the_boards():
    decisions = ["accept", "accept", "rework", "reject", "accept", "accept", "reject"]
    boards = [board(n, each, defects=(defect(),) * (each != "accept")) for n, each in enumerate(decisions)]
    figures = line(newest_first(*boards), size=3)
    assert figures.accepted == pytest.approx(4 / 7)
    assert [(each.boards, each.bad, each.defects) for each in figures.samples] == [(3, 1, 1), (3, 1, 1), (1, 1, 1)]
    assert figures.per_minute == pytest.approx(30)
    assert figures.milliseconds == 33
    assert figures.p is not None
    assert figures.p.centre == pytest.approx(3 / 7)
    assert [each.part_id for each in figures.last] == [f"SN-{n}" for n in range(6, -1, -1)]


def test_of_few_boards_no_pace_and_of_few_samples_no_limits_are_told():
    assert [line(newest_first(*map(board, range(n)))).per_minute for n in (1, 2, PACED - 1)] == [None] * 3
    assert line(newest_first(*map(board, range(PACED)))).per_minute == pytest.approx(30)
    last = {"decision": "reject", "defects": (defect(kind="open"),) * 9}

    def made(count: int) -> Line:
        return line(newest_first(*map(board, range(count - 1)), board(count - 1, **last)), size=1)

    for few in (1, 2, spc.LEAST_SAMPLES - 1):
        figures = made(few)
        assert [alarm.code for alarm in figures.alarms if alarm.code.startswith("chart")] == []
        for chart in (figures.p, figures.u):
            assert chart is not None
            assert {(point.lower, point.upper, point.signals) for point in chart.points} == {(None, None, ())}
            drawn = etree.fromstring(control_chart(chart, "a", [""] * few))
            assert (drawn.findall("path[@class='limit']"), len(drawn.findall("circle"))) == ([], few)
    enough = made(spc.LEAST_SAMPLES)
    assert enough.u is not None
    assert enough.u.points[-1].signals
    assert etree.fromstring(control_chart(enough.u, "a", [""] * spc.LEAST_SAMPLES)).findall("path[@class='limit']")
    assert "chart_beyond_3_sigma" in [alarm.code for alarm in enough.alarms]


def test_each_limit_of_a_specification_is_said_in_both_languages():
    asked = "length_max: 3 mm, length_min: 1 mm, width_max: 3 mm, width_min: 1 mm, area_max: 3 mm2, area_min: 1 mm2"
    own = Specification.load(
        "product: a\nversion: 1\nkinds: [划痕]\nzones: {a.b: {rectangle: [0, 0, 9, 9]}}\n"
        f"classes: {{划痕: {{zones: {{a.b: {{reject: {{{asked}, gap_max: 3 mm, gap_min: 1 mm, count_max: 2}}}}}}}}}}\n"
    )
    for limit in (*specification().limits, *own.limits):
        english, chinese = (in_words(limit.key, limit.text, language) for language in ("en", "zh"))
        assert limit.text.replace("mm2", "mm²") in english
        assert limit.text.replace("mm2", "mm²") in chinese
        assert english != chinese
        assert "{" not in english + chinese
    assert in_words("mousebite@fingers.reject.length_max", "0.10 mm", "en") == (
        "Mouse bites in zone fingers: length at most 0.10 mm"
    )
    assert in_words("划痕@a.b.reject.count_max", "2", "zh") == "划痕（区域 a.b）：不得多于 2 处"
    assert [in_words(rule, "", "zh") for rule in ("default", "short", "a.b.c", "spur.reject.count_min")] == [""] * 4


def test_one_frame_five_times_is_a_frozen_camera_and_two_cameras_are_not_mixed():
    same = {"pixels": "f" * 64}
    four = [board(n, **same) for n in range(4)]
    assert codes(*four) == []
    assert codes(*four, board(4, **same)) == ["frozen_camera"]
    assert codes(*four, board(4, camera="cam-2", **same)) == []


def test_equal_boards_of_no_camera_or_of_an_agent_are_no_frozen_camera():
    same = {"pixels": "f" * 64}
    assert codes(*(board(n, camera="", **same) for n in range(5))) == []
    assert codes(*(board(n, **same).model_copy(update={"told": True}) for n in range(5))) == []


def test_what_is_wrong_with_a_picture_is_an_alarm_that_leads_to_it():
    blurred = board(1, remarks=(Remark(code="blurred", message="x"), Remark(code="alpha", message="x")))
    found = line(newest_first(board(0), blurred, board(2, half_scan="bottom"))).alarms
    assert [(each.code, each.level, each.job_id) for each in found] == [
        ("half_scan", "alarm", "job-2"),
        ("blurred", "watch", "job-1"),
    ]


def test_a_lamp_that_ages_and_a_new_mix_of_kinds_are_drift():
    before = [board(n, defects=(defect(kind="spur"),)) for n in range(40)]
    steady = [board(40 + n, defects=(defect(kind="spur"),)) for n in range(RECENT)]
    assert not [code for code in codes(*before, *steady) if code.startswith("drift")]
    darker = [board(40 + n, brightness=90 + n % 3, defects=(defect(kind="open"),)) for n in range(RECENT)]
    assert {"drift_brightness", "drift_kinds"} <= set(codes(*before, *darker))


def test_each_alarm_has_its_text_in_both_languages():
    chart_rules = [f"chart_{rule}" for rule in get_args(spc.Rule)]
    drifts = [f"drift_{name}" for name in line([]).drift]
    values = {"camera": "c", "part": "p", "border": "top", "chart": "p", "distance": "1"}
    for code in (*chart_rules, *drifts, "frozen_camera", "half_scan", "over_exposed", "under_exposed", "blurred"):
        english, chinese = (text(f"alarm.{code}", language, **values) for language in ("en", "zh"))
        assert english != chinese
        assert "{" not in english + chinese


def test_a_chart_is_xml_with_its_notes_as_text():
    chart = spc.u_chart([1, 0, 2, 9], [5, 5, 5, 5])
    drawn = etree.fromstring(control_chart(chart, "<b>", ["<script>", "2", "3", "4"]))
    points = drawn.findall("circle")
    assert len(points) == 4
    assert points[0].findtext("title") == "<script>"
    assert "signal" in points[3].get("class")
    heights = [float(point.get("cy")) for point in points]
    assert heights.index(min(heights)) == 3


def test_a_specification_is_tried_on_boards_of_its_product_alone():
    def of_product(made: Board, product: str) -> Board:
        assert made.record is not None
        part = made.record.inspection.part.model_copy(update={"product": product})
        told = made.record.inspection.model_copy(update={"part": part})
        return made.model_copy(update={"record": made.record.model_copy(update={"inspection": told})})

    rejected = of_product(board(1, "reject", defects=(defect(kind="open"),)), "demo-board")
    foreign, of_none = of_product(board(2, "reject"), "other"), of_product(board(3, "reject"), "")
    lenient = Specification.load("product: demo-board\nversion: 9\ndefault: accept\n")
    found = preview(lenient, newest_first(rejected, foreign, of_none))
    assert (found.boards, found.before[Decision.REJECT], found.after[Decision.ACCEPT]) == (1, 1, 1)
    assert found.without_product == 1
    assert [(each.job_id, each.after) for each in found.changes] == [("job-1", Decision.ACCEPT)]
    same = preview(specification(), newest_first(rejected))
    assert (same.changes, same.after[Decision.REJECT]) == ((), 1)


def test_a_board_is_judged_again_as_it_was():
    known = inspection()
    assert judge(known, specification()) == known.verdict
    uncalibrated = inspection(calibration=None, defects=(defect(size=None),))
    assert judge(uncalibrated, specification()) == uncalibrated.verdict
