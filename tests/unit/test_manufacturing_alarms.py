"""Alarms of a station: told once, for what pictures say of their camera and for what a disk or a source does."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np

from evident_manufacturing.agent.alarms import Alarms
from evident_manufacturing.agent.watch import CameraWatch, see_calibration
from evident_manufacturing.delivery.events import ALARM_CODES, ALARM_SCHEMA
from evident_manufacturing.delivery.outbox import Outbox, Receipt
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.schema import Calibration, Part


def told(outbox: Outbox) -> list[tuple[str, str, str]]:
    bodies = [json.loads(each.body) for each in outbox.next_batch(100)]
    return [(body["code"], body["state"], body["part_id"]) for body in bodies if body["form"] == "evident.alarm/1"]


def confirm_all(outbox: Outbox) -> None:
    while batch := outbox.next_batch(100):
        outbox.settle(batch, Receipt({each.sequence for each in batch}))


def test_a_calibration_past_its_day_is_an_alarm_until_another_is_given(tmp_path: Path) -> None:
    old = {"id": "c1", "mm_per_pixel": (0.02, 0.02), "residual_mm": 0.001, "method": "dot_grid", "made": "2020-01-01"}
    expired, valid = (Calibration.model_validate({**old, "valid_until": day}) for day in ("2020-12-31", "9999-12-31"))
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")
        for each in (None, valid, expired, expired):
            see_calibration(each, alarms)
        assert "c1 was valid until 2020-12-31" in alarms.raised["calibration_expired"]
        assert told(outbox) == [("calibration_expired", "raised", "")]
        confirm_all(outbox)
        see_calibration(valid, alarms)
        assert told(outbox) == [("calibration_expired", "cleared", "")]


def test_an_alarm_is_told_when_it_begins_and_when_it_is_over_and_not_between(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(ALARM_SCHEMA.read_text()))
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")
        alarms.tell("half_scan", "")
        alarms.tell("half_scan", "half a board", "SN-1\u202e")
        alarms.tell("half_scan", "another half", "SN-2")
        assert alarms.raised == {"half_scan": "half a board"}
        (queued,) = outbox.next_batch()
        body = json.loads(queued.body)
        validator.validate(body)
        assert (body["station"], body["code"], body["state"], body["message"]) == (
            "aoi-1", "half_scan", "raised", "half a board",
        )  # fmt: skip
        assert body["part_id"].startswith("SN-1\\u202e~")
        confirm_all(outbox)
        alarms.tell("half_scan", "")
        alarms.tell("half_scan", "")
        assert told(outbox) == [("half_scan", "cleared", "")]
        confirm_all(outbox)
        assert outbox.last_sequence == 2
    schema_codes = validator.schema["properties"]["code"]["enum"]
    assert schema_codes == list(ALARM_CODES)


def test_an_alarm_is_over_also_after_a_restart(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")
        alarms.tell("source_lost", "the folder is away")
        alarms.tell("half_scan", "half a board")
        alarms.tell("half_scan", "")
        confirm_all(outbox)
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        assert Alarms(outbox, "aoi-2").raised == {}
        again = Alarms(outbox, "aoi-1")
        assert again.raised == {"source_lost": "the folder is away"}
        again.tell("source_lost", "away still")
        again.tell("source_lost", "")
        (queued,) = outbox.next_batch()
        body = json.loads(queued.body)
        assert (body["code"], body["state"], body["message"]) == ("source_lost", "cleared", "the folder is away")
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        assert Alarms(outbox, "aoi-1").raised == {}


def test_what_a_station_looks_for_no_more_is_over_at_its_next_start(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        for code in ("frozen_camera", "half_scan", "source_lost"):
            Alarms(outbox, "aoi-1").tell(code, "as before")
        again = Alarms(outbox, "aoi-1")
        CameraWatch(again, frame(0, 0, 0), live=True)
        assert len(again.raised) == 3
        CameraWatch(again)
        assert set(again.raised) == {"source_lost"}


def test_an_outbox_of_before_remembers_alarms_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    Outbox(path, owner="a").close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE note")
    with Outbox(path, owner="a") as outbox:
        Alarms(outbox, "aoi-1").tell("half_scan", "half a board")
        assert Alarms(outbox, "aoi-1").raised == {"half_scan": "half a board"}


def test_alarms_of_an_agent_that_sends_none_are_raised_all_the_same(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1", events=False)
        alarms.tell("source_lost", "gone")
        assert (alarms.raised, outbox.waiting) == ({"source_lost": "gone"}, 0)


def frame(shift: float, noise: int, seed: int) -> Board:
    """A camera's frame of one board, moved to the right by so many pixels."""
    rows, columns = np.mgrid[:160, :200]
    grey = 120 + 60 * np.sin((columns - shift) / 5) * np.sin(rows / 7)
    grey += np.random.default_rng(seed).normal(0, noise, grey.shape)
    return ingest(cv2.imencode(".png", grey.clip(0, 255).astype(np.uint8))[1].tobytes(), name="frame", allow_blank=True)


def test_each_refused_image_counts_in_few_events(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(ALARM_SCHEMA.read_text()))
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")

        def events() -> list[dict[str, Any]]:
            found = []
            while batch := outbox.next_batch(100):  # at most one of each alarm, for their order
                found += [json.loads(each.body) for each in batch]
                outbox.settle(batch, Receipt({each.sequence for each in batch}))
            for each in found:
                validator.validate(each)
            return found

        for number in range(50):
            alarms.refuse(f"Image {number} is no board.", f"SN-{number}")
        assert alarms.raised == {"image_refused": "Image 49 is no board."}
        first = events()
        assert [(each["state"], each["message"], each.get("images", 1)) for each in first[:1]] == [
            ("raised", "Image 0 is no board.", 1)
        ]
        alarms.tell("image_refused", "")
        *rest, over = events()
        assert sum(each.get("images", 1) for each in [*first, *rest]) == 50
        assert len([*first, *rest]) < 10
        assert rest[-1]["message"].endswith("images could not be inspected. The last: Image 49 is no board.")
        assert (rest[-1]["part_id"], over["state"], "images" in over) == ("SN-49", "cleared", False)
        alarms.refuse("Image 50 is no board.")
        assert [each["message"] for each in events()] == ["Image 50 is no board."]  # a new alarm is told at once
        alarms.refuse("Image 51 is no board.")
        alarms.close()
        assert [each["message"] for each in events()] == ["Image 51 is no board."]


def test_refused_images_that_no_event_told_of_are_told_by_the_agent_that_is_started_after_a_kill(
    tmp_path: Path,
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:

        def images() -> list[tuple[int, str]]:
            found = []
            while batch := outbox.next_batch(100):
                found += [json.loads(each.body) for each in batch]
                outbox.settle(batch, Receipt({each.sequence for each in batch}))
            return [(each.get("images", 1), each["message"][-21:]) for each in found]

        killed = Alarms(outbox, "aoi-1")
        for number in range(10, 30):
            killed.refuse(f"Image {number} is no board.", f"SN-{number}")
        assert images() == [(1, "Image 10 is no board.")]
        for left in ([(19, "Image 29 is no board.")], []):
            Alarms(outbox, "aoi-1").flush()
            assert images() == left


def watched(tmp_path: Path, frames: list[Board], *, live: bool, template: Board | None = None) -> list[dict[str, str]]:
    with Outbox(tmp_path / f"{live}.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")
        watch = CameraWatch(alarms, template, live=live)
        states = []
        for number, board in enumerate(frames):
            watch.see(board, Part(part_id=f"p{number}"))
            states.append(dict(alarms.raised))
        return states


def test_a_live_camera_whose_frames_differ_by_noise_alone_is_an_alarm_until_they_change(tmp_path: Path) -> None:
    still = [frame(0, 4, seed) for seed in range(5)]
    states = watched(tmp_path, [*still, frame(0.7, 4, 9)], live=True)
    assert [set(each) for each in states] == [set(), set(), set(), set(), {"frozen_camera"}, set()]
    moving = [frame(0.3 * number, 4, number) for number in range(8)]
    assert not any(watched(tmp_path, moving, live=True))


def test_equal_boards_in_a_folder_are_no_alarm(tmp_path: Path) -> None:
    assert not any(watched(tmp_path, [frame(0, 0, 0)] * 8, live=False))


def test_a_frame_that_is_inspected_again_is_not_a_frozen_camera(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        alarms = Alarms(outbox, "aoi-1")
        watch = CameraWatch(alarms, live=True)
        for _ in range(9):
            watch.see(frame(0, 2, 0), Part(part_id="same"))
        assert not alarms.raised


def test_half_a_scan_is_an_alarm_also_from_a_folder(tmp_path: Path) -> None:
    whole, half = frame(0, 0, 0), frame(0, 0, 0).gray.copy()
    half[90:] = 0
    cut = ingest(cv2.imencode(".png", half)[1].tobytes(), name="cut")
    states = watched(tmp_path, [whole, cut, whole], live=False, template=whole)
    assert [set(each) for each in states] == [set(), {"half_scan"}, set()]
    assert "p1 is incomplete from its bottom on" in states[1]["half_scan"]
