"""Boards held on disk until their events are delivered: whole or not at all, bounded, and gone afterwards."""

import json
from pathlib import Path

import httpx
import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.events import Event, event_of
from evident_manufacturing.delivery.outbox import Queued
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.inspection.schema import Inspection
from evident_manufacturing.told import Told, read
from manufacturing_specimen import PART
from manufacturing_specimen import inspection as specimen

IMAGE = b"\x89PNG of a board" * 100


def board(number: int = 1) -> tuple[Event, Inspection]:
    held = specimen(part=PART.model_copy(update={"part_id": f"SN-{number}"}))
    assert PART.taken is not None
    return event_of(held, station="aoi-1", inspected=PART.taken), held


def test_a_board_is_found_until_it_is_dropped_also_by_the_next_process(tmp_path: Path) -> None:
    event, held = board()
    Boards(tmp_path).keep(event, held, IMAGE)
    (tmp_path / "torn.image.part").write_bytes(b"half")
    again = Boards(tmp_path, template=tmp_path / "golden.png")
    found = again.find(event.event_id)
    assert found is not None
    assert (found.image, found.template) == (IMAGE, tmp_path / "golden.png")
    assert Inspection.model_validate_json(found.inspection) == held
    again.keep(event, held, b"another picture")
    assert again.find(event.event_id) == found
    again.drop(event.event_id)
    assert again.find(event.event_id) is None
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    size = len(IMAGE) + len(board()[1].model_dump_json().encode())
    boards = Boards(tmp_path, max_bytes=2 * size + size // 2)
    made = [board(number) for number in (1, 2, 3)]
    for event, held in made:
        boards.keep(event, held, IMAGE)
    assert [boards.find(event.event_id) is not None for event, _ in made] == [False, True, True]
    boards.keep(*board(4), bytes(3 * size))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * size + size // 2


def test_a_disk_that_takes_no_more_costs_the_picture_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    boards = Boards(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        boards.keep(*board(), IMAGE)
    assert boards.find(board()[0].event_id) is None
    boards.keep(*board(), IMAGE)
    assert boards.find(board()[0].event_id) is not None


@pytest.mark.parametrize(
    ("board_status", "delivered", "held"),
    [(201, True, False), (422, True, False), (503, False, True), (403, False, True)],
)
def test_an_event_is_delivered_when_the_board_that_was_asked_for_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board_status: int, delivered: bool, held: bool
) -> None:
    event, inspection = board()
    boards = Boards(tmp_path)
    boards.keep(event, inspection, IMAGE)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("/board"):
            assert IMAGE in request.read()
            return httpx.Response(board_status)
        result = {"event_id": event.event_id, "status": 200, "wants": ["board", "template"]}
        return httpx.Response(200, json={"results": [result]})

    with RestSink(RestSettings("http://mes/events/"), boards) as sink:
        monkeypatch.setattr(sink, "_client", httpx.Client(transport=httpx.MockTransport(answer)))
        receipt = sink.send([Queued(1, event.event_id, event.part_id, event.body)])
    assert asked == ["/events/", f"/events/{event.event_id}/board"]
    assert (list(receipt.delivered) == [1]) is delivered
    assert (boards.find(event.event_id) is not None) is held
    assert bool(receipt.problem) is not delivered


def test_a_mes_that_asks_for_nothing_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event, inspection = board()
    boards = Boards(tmp_path)
    boards.keep(event, inspection, IMAGE)
    with RestSink(RestSettings("http://mes/"), boards) as sink:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, text="ok"))
        monkeypatch.setattr(sink, "_client", httpx.Client(transport=transport))
        assert list(sink.send([Queued(1, event.event_id, event.part_id, event.body)]).delivered) == [1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch", [True, False])
def test_the_board_of_an_event_that_is_refused_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    boards, made = Boards(tmp_path), [board(number) for number in (1, 2)]
    for event, inspection in made:
        boards.keep(event, inspection, IMAGE)

    def answer(request: httpx.Request) -> httpx.Response:
        results = [
            {"event_id": event.event_id, "status": status} for (event, _), status in zip(made, (409, 503), strict=True)
        ]
        refused = made[0][0].event_id in request.content.decode()
        return httpx.Response(200, json={"results": results}) if batch else httpx.Response(422 if refused else 503)

    with RestSink(RestSettings("http://mes/", batch=batch), boards) as sink:
        monkeypatch.setattr(sink, "_client", httpx.Client(transport=httpx.MockTransport(answer)))
        queued = [Queued(n, event.event_id, event.part_id, event.body) for n, (event, _) in enumerate(made)]
        assert set(sink.send(queued).refused) == {0}
    assert [boards.find(event.event_id) is not None for event, _ in made] == [False, True]


def test_an_event_tells_its_inspection_and_no_other() -> None:
    event, held = board()
    told = Told.model_validate_json(event.body)
    again = told.inspection()
    assert (again.part, again.verdict, again.milliseconds) == (held.part, held.verdict, held.milliseconds)
    for one, other in zip(again.defects, held.defects, strict=True):
        assert one == other.model_copy(update={"mask_rle": None})
    told.refuse_another(held)
    for changed in (specimen(), held.model_copy(update={"defects": held.defects[:1]})):
        with pytest.raises(InvalidInput, match="not the one of event"):
            told.refuse_another(changed)


@pytest.mark.parametrize("box", [[5, 5, 1, 9], [-1, 0, 4, 4], [0, 0, 1e9, 4]])
def test_a_box_that_is_none_is_refused(box: list[float]) -> None:
    body = json.loads(board()[0].body)
    body["defects"][0]["bbox_px"] = box
    with pytest.raises(InvalidInput, match="swapped corners, or lies outside"):
        read(json.dumps(body).encode())
