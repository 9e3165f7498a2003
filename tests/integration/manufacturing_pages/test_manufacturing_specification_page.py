"""The specification editor: versions, mistakes at their line, and what one would have decided."""

import json

import pytest
from flask.testing import FlaskClient
from lxml import html

from evident_manufacturing import desk
from manufacturing_client import HTML, JSON, Inspect, board_form, document, inspection, page, text


def changed(version: int, old: str, new: str) -> str:
    shipped = desk.shipped_specification()
    assert old in shipped
    return shipped.replace("version: 1", f"version: {version}").replace(old, new)


def test_the_shipped_specification_would_decide_as_it_did(engineer: FlaskClient, line: dict[str, str]) -> None:
    body = {"text": desk.shipped_specification()}
    found = engineer.post("/specifications/preview", json=body, headers=JSON).json
    assert found["boards"] == len(line)
    assert found["before"] == found["after"]
    assert found["changes"] == []


def test_a_preview_names_the_boards_that_would_change(engineer: FlaskClient, line: dict[str, str]) -> None:
    lenient = "product: demo-board\nversion: 2\ndefault: accept\n"
    found = engineer.post("/specifications/preview", json={"text": lenient}, headers=JSON).json
    before = {part: inspection(engineer, job_id).verdict.decision for part, job_id in line.items()}
    assert found["after"] == {"accept": len(line), "rework": 0, "reject": 0}
    assert {each["part_id"] for each in found["changes"]} == {part for part, was in before.items() if was != "accept"}
    assert all(each["no_longer"] for each in found["changes"])
    shown = html.fromstring(engineer.post("/specification", data={"text": lenient, "do": "try"}, headers=HTML).text)
    counts = [cell.text for cell in shown.xpath("//tr[@data-counts='after']/td")]
    assert counts == [str(len(line)), "0", "0"]
    assert shown.xpath("//textarea")[0].text.strip() == lenient.strip()
    foreign = engineer.post("/specifications/preview", json={"text": "product: other\nversion: 1\n"}, headers=JSON)
    assert foreign.json["boards"] == 0
    assert engineer.get("/specifications", headers=JSON).json["documents"] == []


def test_a_version_is_kept_and_never_changed(client: FlaskClient) -> None:
    text_of_2 = changed(2, "length_max: 0.50 mm", "length_max: 0.60 mm")
    answer = client.post("/specification", data={"text": text_of_2.replace("\n", "\r\n"), "do": "keep"}, headers=HTML)
    assert answer.status_code == 303
    assert page(client, answer.location).xpath("//textarea")[0].text.strip() == text_of_2.strip()
    assert client.post("/specifications", json={"text": text_of_2}, headers=JSON).status_code == 201
    other = client.post("/specifications", json={"text": changed(2, "0.60 mm", "0.70 mm")}, headers=JSON)
    assert (other.status_code, other.json["code"]) == (409, "conflict")
    assert "demo-board@2" in other.json["detail"]
    assert [each["name"] for each in client.get("/specifications", headers=JSON).json["documents"]] == ["demo-board@2"]
    assert set(page(client, "/specification").xpath("//nav[@class='versions']/a/text()")) == {
        "demo-board@2",
        "demo-board@1",
    }


def test_what_ships_under_a_name_is_the_only_one_of_that_name(client: FlaskClient) -> None:
    other = changed(1, "length_max: 0.50 mm", "length_max: 0.60 mm")
    kept = client.post("/specifications", json={"text": other}, headers=JSON)
    sent = client.post("/boards", data=board_form(specification=document(other)), headers=JSON)
    queued = client.post("/jobs", data={"file": board_form()["file"], "options": json.dumps({"specification": other})})
    for answer in (kept, sent, queued):
        assert (answer.status_code, "demo-board@1 is kept already" in answer.json["detail"]) == (409, True)
    assert client.get("/jobs", headers=JSON).json["jobs"] == []
    windows = desk.shipped_specification().replace("\n", "\r\n")
    same = client.post("/boards", data=board_form(specification=document(windows)), headers=JSON)
    assert same.status_code == 202


def test_boards_without_a_product_are_counted_apart(client: FlaskClient, inspect: Inspect) -> None:
    inspect("board_5_clean")
    inspect("board_5_clean", part_id="SN-2", product="demo-board")
    body = {"text": desk.shipped_specification()}
    found = client.post("/specifications/preview", json=body, headers=JSON).json
    assert (found["boards"], found["without_product"]) == (1, 1)
    shown = client.post("/specification?lang=en", data=body | {"do": "try"}, headers=HTML)
    assert "name no product, left out: 1" in shown.text


def test_a_zone_that_does_not_lie_on_past_boards_is_told(engineer: FlaskClient, line: dict[str, str]) -> None:
    off = changed(4, "rectangle: [0, 560, 640, 640]", "rectangle: [700, 0, 900, 640]")
    (found,) = engineer.post("/specifications/preview", json={"text": off}, headers=JSON).json["zones"]
    assert (found["boards"], found["zone"]["outside"]) == (len(line), True)
    assert (
        "zone fingers lies outside the board: it is at x 700…900, y 0…640 px, and the board is 640 x 640 px"
        in (found["message"])
    )
    shown = html.fromstring(engineer.post("/specification?lang=zh", data={"text": off, "do": "try"}, headers=HTML).text)
    warned = text(shown.xpath("//p[@role='alert'][@data-zone='fingers']")[0])
    assert "区域 fingers 在电路板之外：其范围为 x 700…900, y 0…640 px" in warned
    partly = changed(4, "rectangle: [0, 560, 640, 640]", "rectangle: [0, 560, 700, 700]")
    shown = html.fromstring(
        engineer.post("/specification?lang=en", data={"text": partly, "do": "try"}, headers=HTML).text
    )
    assert "reaches beyond the board" in text(shown.xpath("//p[@data-zone='fingers']")[0])
    same = engineer.post("/specifications/preview", json={"text": desk.shipped_specification()}, headers=JSON).json
    assert same["zones"] == []


def test_a_version_that_refuses_past_boards_is_kept_only_when_that_is_said_twice(
    client: FlaskClient, inspect: Inspect
) -> None:
    for number in range(2):
        inspect("board_5_clean", part_id=f"SN-{number}", product="demo-board")
    off = changed(4, "rectangle: [0, 560, 640, 640]", "rectangle: [700, 0, 900, 640]")
    tried = client.post("/specifications/preview", json={"text": off}, headers=JSON).json
    assert (tried["refused"], tried["after"], tried["changes"]) == (2, {"accept": 0, "rework": 0, "reject": 0}, [])
    refused = client.post("/specifications", json={"text": off}, headers=JSON)
    assert (refused.status_code, refused.json["refused"]) == (409, 2)
    answer = client.post("/specification?lang=en", data={"text": off, "do": "keep"}, headers=HTML)
    shown = html.fromstring(answer.text)
    assert answer.status_code == 409
    assert "2 of 2 past boards of this product would be refused" in text(
        shown.xpath("//*[@id='keep'][@role='alert']")[0]
    )
    assert shown.xpath("//p[@data-refused]")
    assert "The document is valid" not in text(shown)
    assert [each.text for each in shown.xpath("//tr[@data-counts='after']/td")] == ["0", "0", "0", "2"]
    assert client.get("/specifications", headers=JSON).json["documents"] == []
    (sure,) = shown.xpath("//button[@name='sure'][@form='edit']/@value")
    another = off.replace("[700, 0, 900, 640]", "[800, 0, 900, 640]")
    asked_anew = client.post("/specification", data={"text": another, "sure": sure}, headers=HTML)
    assert asked_anew.status_code == 409
    kept = client.post("/specification", data={"text": off, "sure": sure}, headers=HTML)
    assert kept.status_code == 303
    programs = client.post("/specifications", json={"text": off, "sure": True}, headers=JSON)
    assert programs.status_code == 201


def test_rules_and_refusals_are_told_in_chinese_on_a_chinese_page(engineer: FlaskClient, line: dict[str, str]) -> None:
    answer = engineer.post(
        "/specification?lang=zh", data={"text": "product: demo-board\nversion: 5\ndefault: rework\n", "do": "try"}
    )
    assert "规格未列出的类型" in html.fromstring(answer.text).xpath("string(//section[@class='preview'])")
    wrong = engineer.post("/specification?lang=zh", data={"text": "product: a\nversion: [\n", "do": "keep"})
    alert = html.fromstring(wrong.text).xpath("//div[@role='alert']")[0]
    assert "输入无效：第 3 行" in text(alert)
    assert "is not YAML" in text(alert.xpath(".//span[@lang='en']")[0])


@pytest.mark.parametrize("do", ["try", "keep"])
def test_a_mistake_is_shown_at_its_line_and_the_text_stays(client: FlaskClient, do: str) -> None:
    wrong = changed(3, "length_max: 0.50 mm", "length_max: 0.50 inch")
    answer = client.post("/specification", data={"text": wrong, "do": do}, headers=HTML)
    assert answer.status_code == 422
    shown = html.fromstring(answer.text)
    (line_shown,) = shown.xpath("//li[@class='wrong']")
    assert "0.50 inch" in text(line_shown)
    number = line_shown.get("id")[1:]
    assert f"line {number}" in text(shown.xpath("//div[@role='alert']")[0])
    assert wrong.splitlines()[int(number) - 1].strip() == text(line_shown)
    assert "0.50 inch" in shown.xpath("//textarea")[0].text
    assert client.get("/specification?name=no@1", headers=JSON).status_code == 404
