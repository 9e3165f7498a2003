"""What the form of a board offers to judge it by: only what has served, and nothing that nobody chose there."""

import io
import json

from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings
from evident_manufacturing import desk
from evident_manufacturing.samples import samples
from manufacturing_client import HTML, JSON, Inspect, board_form, certificate, document, page, text, work

FIELDS = ("template_id", "calibration_name", "specification_name")


def offered(client: FlaskClient, url: str = "/?lang=en") -> dict[str, list[str]]:
    shown = page(client, url)
    return {field: [text(each) for each in shown.xpath(f"//select[@name='{field}']/option")] for field in FIELDS}


def chosen(client: FlaskClient, url: str = "/?lang=en") -> list[str]:
    return [text(each) for each in page(client, url).xpath("//form[@data-dropzone]//option[@selected]")]


def test_what_was_sent_from_a_browser_is_chosen_there_alone_and_is_seen(
    app: Flask, client: FlaskClient, inspect: Inspect
) -> None:
    assert chosen(client) == []
    inspect("board_1", calibration=certificate(), specification=document())
    sent = [samples()["board_1"].template.name, "EVIDENT-SAMPLE-0001, until ", "demo-board@1"]
    for shown, wanted in zip(chosen(client), sent, strict=True):
        assert shown.startswith(wanted)
    assert not page(client, "/").xpath("//details//select")  # nothing that is chosen is out of sight
    (none,) = page(client, "/?lang=en").xpath("//a[.='Choose none of these']/@href")
    assert chosen(client, none) == []
    other = app.test_client()
    other.environ_base["HTTP_AUTHORIZATION"] = client.environ_base["HTTP_AUTHORIZATION"]
    assert chosen(other) == []
    assert len(offered(other)["calibration_name"]) == 2
    inspect("board_5_clean", template=False)
    assert chosen(client) == []


def test_what_failed_is_neither_offered_nor_chosen(app: Flask, settings: Settings, client: FlaskClient) -> None:
    shipped = desk.shipped_specification().replace("version: 1", "version: 8")
    off = shipped.replace("rectangle: [0, 560, 640, 640]", "rectangle: [700, 0, 900, 640]")
    broken = (io.BytesIO(samples()["board_1"].template.read_bytes()[:999]), "broken.png")
    for fields in ({"specification": document(off)}, {"template": broken, "calibration": certificate()}):
        answer = client.post("/boards", data=board_form() | fields, headers=JSON)
        work(app, settings, answer.json["id"])
        assert client.get(f"/jobs/{answer.json['id']}", headers=JSON).json["state"] == "failed"
    for url in ("/?lang=zh", f"/boards/{answer.json['id']}?lang=zh"):
        shown = text(page(client, url))
        assert "broken.png 是 PNG 文件，但无法读到末尾：已截断、损坏" in shown
        assert "broken.png is a PNG that cannot be read to its end" in shown
    assert "区域 fingers 在电路板之外：其范围为 x 700…900, y 0…640 px" in text(page(client, "/?lang=zh"))
    assert offered(client) == {field: ["none"] for field in FIELDS[:2]} | {FIELDS[2]: ["none", "demo-board@1"]}
    assert chosen(client) == []
    assert client.post("/specifications", json={"text": off}, headers=JSON).status_code == 201  # a person wants it
    assert offered(client)["specification_name"] == ["none", "demo-board@8", "demo-board@1"]
    client.post("/boards", data=board_form(specification=document(off)), headers=HTML)
    assert "demo-board@8" in offered(client)["specification_name"]


def test_an_expired_certificate_is_marked_and_never_chosen_beforehand(client: FlaskClient, inspect: Inspect) -> None:
    values = json.loads(certificate()[0].read()) | {"id": "OLD-1", "made": "2020-01-01", "valid_until": "2021-01-01"}
    inspect("board_1", calibration=(io.BytesIO(json.dumps(values).encode()), "old.json"))
    assert offered(client)["calibration_name"][1].startswith("EXPIRED 2021-01-01: OLD-1")
    assert chosen(client) == [samples()["board_1"].template.name]
