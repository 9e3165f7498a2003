"""The finance pages and API by Flask's test client; each job is done by a real worker, in its sandbox."""

import io
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html
from werkzeug.test import TestResponse

from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.worker import Worker
from evident_finance.app import create_app
from evident_finance.desk import samples

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
Read = Callable[..., str]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    frame(made).close()


def frame(app: Flask) -> Frame:
    return app.extensions["evident"]


def client_of(app: Flask, name: str) -> FlaskClient:
    """A program with a key of its own: what it uploads no other test sees."""
    key, _ = frame(app).keys.create(name)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture
def client(app: Flask, request: pytest.FixtureRequest) -> FlaskClient:
    return client_of(app, request.node.originalname)


def upload(client: FlaskClient, data: bytes, name: str = "report.pdf", **fields: str) -> str:
    """The id of the job that the form's upload became."""
    answer = client.post("/reports", data={"file": (io.BytesIO(data), name), **fields}, headers=HTML)
    assert answer.status_code == 303, answer.text
    return str(answer.location.rpartition("/")[2])


def work(app: Flask, settings: Settings, job_id: str) -> None:
    Worker(frame(app).jobs, settings, threading.Event()).look(job_id)


@pytest.fixture
def read(app: Flask, settings: Settings, client: FlaskClient) -> Read:
    """Upload bytes and read them to the end; returns the job's id."""

    def upload_and_read(data: bytes, name: str = "report.pdf", **fields: str) -> str:
        job_id = upload(client, data, name, **fields)
        work(app, settings, job_id)
        return job_id

    return upload_and_read


@pytest.fixture(scope="module")
def analyst(app: Flask) -> FlaskClient:
    return client_of(app, "analyst")


@pytest.fixture(scope="module")
def report(app: Flask, settings: Settings, analyst: FlaskClient, sample_pdf: Path) -> str:
    """A report that is read and that no test changes."""
    job_id = upload(analyst, sample_pdf.read_bytes(), sample_pdf.name)
    work(app, settings, job_id)
    return job_id


def page(client: FlaskClient, path: str, status: int = 200) -> html.HtmlElement:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text[:2000]
    return html.document_fromstring(answer.text)


def text(element: html.HtmlElement) -> str:
    return re.sub(r"\s+", " ", element.text_content())


def facts(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return dict(json.loads(client.get(f"/reports/{job_id}/files/json").text)["facts"])


def correct(client: FlaskClient, job_id: str, fact_id: str, value: str, **more: object) -> TestResponse:
    return client.post(
        f"/reports/{job_id}/corrections", json={"fact_id": fact_id, "value": value, **more}, headers=JSON
    )


def test_the_start_page_offers_the_samples_and_has_nothing_to_compare_yet(client: FlaskClient) -> None:
    home = page(client, "/?lang=zh")
    assert [text(each) for each in home.xpath("//form[contains(@action, '/samples/')]//button")] == [
        "澄屿精密：2023 年年度报告（中文）",
        "Larkhaven Instruments：2023 年 10-K（英文）",
    ]
    assert not home.xpath("//table")
    assert set(samples()) == {"larkhaven_2023_10k", "chengyu_2023_annual_report"}


def test_a_sample_is_read_and_its_first_facts_come_before_the_report(
    app: Flask, settings: Settings, client: FlaskClient
) -> None:
    answer = client.post("/samples/larkhaven_2023_10k", headers=HTML)
    job_id = answer.location.rpartition("/")[2]
    waiting = page(client, f"/reports/{job_id}")
    assert "Not yet" in text(waiting.xpath("//*[@data-partial]")[0])
    assert waiting.xpath("//noscript/meta[@http-equiv='refresh']")
    work(app, settings, job_id)
    events = frame(app).jobs.events(job_id, frame(app).keys.list()[-1].id)
    partial = next(event.data["partial"] for event in events if event.data.get("partial"))
    revenue = next(value for fact_id, value in partial["facts"].items() if fact_id.startswith("revenue@2023"))
    assert facts(client, job_id)["revenue@2023-12-31"]["value"] == revenue
    labels = json.loads(waiting.xpath("//@data-labels")[0])
    assert {fact_id.partition("@")[0] for fact_id in partial["facts"]} <= set(labels)
    assert page(client, f"/reports/{job_id}").xpath("//h1")[0].text == "LARKHAVEN INSTRUMENTS, INC."


def test_an_unknown_sample_is_refused_with_those_there_are(client: FlaskClient) -> None:
    answer = client.post("/samples/enron", headers=JSON)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert "larkhaven_2023_10k" in answer.json["detail"]


def test_every_number_leads_to_its_page_and_its_fact(analyst: FlaskClient, report: str) -> None:
    shown = page(analyst, f"/reports/{report}")
    cited = shown.xpath("//a[@data-evidence]")
    assert len(cited) > 300
    assert sum(1 for each in cited if each.get("data-page")) > 0.8 * len(cited)
    ids = dict.fromkeys(each.get("data-evidence") for each in cited)
    for fact_id in list(ids)[::40]:
        href = next(each.get("href") for each in cited if each.get("data-evidence") == fact_id)
        assert analyst.get(href, headers=HTML).status_code == 200, fact_id
    derived = next(each for each in cited if each.get("data-evidence") == "current_ratio@2023-12-31")
    boxes = json.loads(derived.get("data-boxes"))
    assert len(boxes) == 2
    assert str(boxes[0][0]) == derived.get("data-page")
    targets = {each.lstrip("#") for each in shown.xpath("//nav[@data-contents]//a/@href")}
    assert targets <= set(shown.xpath("//@id"))
    assert len(targets) > 12


def test_repeated_words_stand_once_above_the_quotations(analyst: FlaskClient, report: str) -> None:
    shown = page(analyst, f"/reports/{report}")
    groups = shown.xpath("//section[@id='section-text_risks']//div[@class='quotes']")
    leads = [text(group.xpath("./div[contains(@class, 'quotes-lead')]")[0]) for group in groups]
    assert len(leads) == len(set(leads)) > 2
    for group in groups:
        lead = group.xpath("./div[contains(@class, 'quotes-lead')]/div[@class='en']")[0].text
        for quoted in group.xpath("./div[@class='quoted']/p[@class='en']"):
            assert quoted.text_content().startswith(lead)


def test_the_card_of_a_derived_number_lists_its_inputs(analyst: FlaskClient, report: str) -> None:
    card = page(analyst, f"/reports/{report}/cards/current_ratio@2023-12-31?lang=zh")
    assert "流动比率" in text(card)
    inputs = card.xpath("//ul[@class='card-inputs']//a/@data-evidence")
    assert inputs == ["total_current_assets@2023-12-31", "total_current_liabilities@2023-12-31"]
    assert card.xpath("//code")
    assert analyst.get(f"/reports/{report}/cards/nothing", headers=JSON).status_code == 404


def test_languages_side_by_side_or_one(analyst: FlaskClient, report: str) -> None:
    for mode in ("both", "en", "zh"):
        shown = page(analyst, f"/reports/{report}?mode={mode}")
        assert shown.xpath(f"//article[contains(@class, 'lang-{mode}')]")
    assert analyst.get(f"/reports/{report}?mode=fr", headers=JSON).status_code == 422


def test_a_page_is_a_picture(analyst: FlaskClient, report: str) -> None:
    picture = analyst.get(f"/reports/{report}/pages/1.png")
    assert picture.mimetype == "image/png"
    assert picture.data.startswith(b"\x89PNG")
    assert "immutable" in picture.headers["Cache-Control"]
    missing = analyst.get(f"/reports/{report}/pages/999.png", headers=JSON)
    assert missing.status_code == 404
    assert "999" in missing.json["detail"]


def test_a_correction_changes_all_that_follows_and_leaves_its_trail(
    client: FlaskClient, read: Read, sample_pdf: Path
) -> None:
    job_id = read(sample_pdf.read_bytes())
    before = facts(client, job_id)
    url = f"/reports/{job_id}/facts/total_current_assets@2023-12-31"
    old = before["total_current_assets@2023-12-31"]["value"]
    doubled = f"{2 * int(old):,}"
    form = {"value": doubled, "reason": "<b>typing error</b>", "after": "0"}
    assert client.post(url, data=form, headers=HTML).status_code == 303
    after = facts(client, job_id)
    ratio = "current_ratio@2023-12-31"
    assert float(after[ratio]["value"]) == pytest.approx(2 * float(before[ratio]["value"]), rel=1e-6)
    shown = page(client, url)
    assert "Corrected" in text(shown.xpath("//p[@class='fact-value']")[0])
    (trail,) = client.get(f"/reports/{job_id}/corrections", headers=JSON).json["corrections"]
    assert (trail["previous"], trail["value"], trail["number"]) == (old, doubled.replace(",", ""), 1)
    whole = page(client, f"/reports/{job_id}")
    assert f"{int(old):,}" in text(whole.xpath("//section[@id='section-trail']")[0])
    assert not whole.xpath("//section[@id='section-trail']//b[text()='typing error']")
    stale = client.post(url, data=form, headers=JSON)
    assert stale.status_code == 409
    # Set back, everything is as it was.
    assert correct(client, job_id, "total_current_assets@2023-12-31", old, after=1).status_code == 200
    assert facts(client, job_id)[ratio]["value"] == before[ratio]["value"]


@pytest.mark.parametrize(
    ("fact_id", "value", "unit", "said"),
    [
        ("revenue@2023-12-31", "much", "", "'much' is not a number"),
        ("revenue@2023-12-31", "1", "EUR", "is in USD, not in EUR"),
        ("revenue@2023-12-31", "1", "<b>", "'<b>' is not a unit"),
        (
            "current_ratio@2023-12-31",
            "1",
            "",
            "correct one of total_current_assets@2023-12-31",
        ),
        ("filing.company", "Another", "", "is text; only the numbers"),
        ("nothing@2023-12-31", "1", "", "There is no fact 'nothing@2023-12-31'"),
    ],
)
def test_what_cannot_be_corrected_is_refused_and_leaves_no_trail(
    analyst: FlaskClient, report: str, fact_id: str, value: str, unit: str, said: str
) -> None:
    answer = correct(analyst, report, fact_id, value, unit=unit)
    assert answer.status_code in (404, 422)
    assert said in answer.json["detail"]
    assert analyst.get(f"/reports/{report}/corrections", headers=JSON).json["corrections"] == []


def test_a_fact_that_is_not_presented_can_be_set(client: FlaskClient, read: Read, sample_pdf: Path) -> None:
    job_id = read(sample_pdf.read_bytes())
    absent = page(client, f"/reports/{job_id}").xpath("//section[@id='section-absent']//a/@data-evidence")
    fact_id = next(each for each in absent if "share" not in each)
    shown = page(client, f"/reports/{job_id}/facts/{fact_id}")
    assert shown.xpath("//input[@name='unit']/@value") == ["USD"]
    assert shown.xpath("//input[@name='value']/@value") == [""]
    form = {"value": "12,000,000", "unit": "USD", "reason": "note 9", "after": "0"}
    assert client.post(f"/reports/{job_id}/facts/{fact_id}", data=form, headers=HTML).status_code == 303
    entry = facts(client, job_id)[fact_id]
    assert (entry["value"], entry["dimensions"]["unit"]) == ("12000000", "iso4217:USD")
    (trail,) = client.get(f"/reports/{job_id}/corrections", headers=JSON).json["corrections"]
    assert trail["previous"] is None


def test_a_locked_file_asks_for_its_password_and_continues(
    app: Flask, settings: Settings, client: FlaskClient, read: Read, sample_pdf: Path
) -> None:
    locked = io.BytesIO()
    with pikepdf.open(sample_pdf) as document:
        document.save(locked, encryption=pikepdf.Encryption(user="open sesame", owner="boss"))
    job_id = read(locked.getvalue(), "locked.pdf")
    for given, said in ((None, "Give its password"), ("wrong", "does not open the file")):
        if given:
            answer = client.post(f"/reports/{job_id}/password", data={"password": given}, headers=HTML)
            job_id = answer.location.rpartition("/")[2]
            work(app, settings, job_id)
        asking = page(client, f"/reports/{job_id}")
        assert asking.xpath("//form[contains(@action, '/password')]//input[@type='password']")
        assert said in text(asking)
    assert client.post(f"/reports/{job_id}/password", data={"password": ""}, headers=JSON).status_code == 422
    answer = client.post(f"/reports/{job_id}/password", data={"password": "open sesame"}, headers=HTML)
    job_id = answer.location.rpartition("/")[2]
    work(app, settings, job_id)
    assert page(client, f"/reports/{job_id}").xpath("//article[contains(@class, 'report')]")
    picture = client.get(f"/reports/{job_id}/pages/3.png", headers=JSON)
    assert (picture.status_code, picture.json["code"]) == (422, "password_needed")
    assert "page 3 of your own copy" in picture.json["detail"]
    (row,) = page(client, "/").xpath("//tbody/tr")
    assert "locked.pdf" in text(row)
    with frame(app).store.reading() as rows:
        kept = rows.connection().exec_driver_sql("SELECT secrets FROM jobs WHERE secrets IS NOT NULL").all()
    assert [row for row in kept if row[0] not in (None, "null")] == []


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>.pdf",
        "../../etc/passwd.pdf",
        "C:\\reports\\2023.pdf",
        "长" * 300 + ".pdf",
    ],
)
def test_hostile_names_are_text(client: FlaskClient, read: Read, sample_pdf: Path, name: str) -> None:
    job_id = read(sample_pdf.read_bytes(), name)
    for path in (f"/reports/{job_id}", "/"):
        answer = client.get(path, headers=HTML)
        assert answer.status_code == 200
        assert b"<script>alert" not in answer.data
        assert b"/etc/" not in answer.data
    disposition = client.get(f"/reports/{job_id}/files/json").headers["Content-Disposition"]
    assert disposition.startswith("attachment")
    assert not re.search(r"[\\/\n]", disposition.replace("UTF-8''", ""))


def test_a_refusal_is_said_in_the_readers_language_with_its_sentence(client: FlaskClient, read: Read) -> None:
    job_id = read(b"<html>no report</html>", "page.pdf")
    failed = page(client, f"/reports/{job_id}?lang=zh")
    assert "不支持的文件类型" in text(failed)
    sentence = text(failed.xpath("//*[@data-problem]")[0])
    assert "PDF" in sentence
    row = text(page(client, "/?lang=zh").xpath("//tbody/tr")[0])
    assert "失败" in row
    assert sentence.strip() in row
    refused = client.get(f"/reports/{job_id}/files/json", headers=JSON)
    assert refused.status_code == 409
    assert sentence.strip() in refused.json["detail"]


def test_without_a_file_the_form_says_so(client: FlaskClient) -> None:
    answer = client.post("/reports", data={}, headers=JSON)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_input")


def test_years_and_companies_are_compared(client: FlaskClient, read: Read) -> None:
    ids = [read(path.read_bytes(), path.name) for path in samples().values()]
    query = "&".join(f"report={each}" for each in ids)
    table = client.get(f"/compare?{query}", headers=JSON).json
    assert {column["company"] for column in table["columns"]} == {
        "LARKHAVEN INSTRUMENTS, INC.",
        "澄屿精密制造股份有限公司",
    }
    assert any("CNY and USD" in note for note in table["notes"])
    shown = page(client, f"/compare?{query}")
    assert len(shown.xpath("//thead//th")) == len(table["columns"]) + 1
    assert len(shown.xpath("//tbody/tr")) == len(table["lines"])
    years = page(client, f"/compare?report={ids[0]}")
    assert len({text(each) for each in years.xpath("//thead//th")}) > 2
    for wrong in ("", "&".join(["report=" + ids[0]] * 9)):
        assert client.get(f"/compare?{wrong}", headers=JSON).status_code == 422


def test_questions_are_formulas_with_helpful_refusals(analyst: FlaskClient, report: str) -> None:
    found = analyst.get(f"/reports/{report}/answer", query_string={"q": "free cash flow 2023"}, headers=JSON).json
    assert found["fact"]["unit"] == "USD"
    assert {each["name"] for each in found["inputs"]} >= {"operating_cash_flow", "capex"}
    shown = page(analyst, f"/reports/{report}?q=net+debt+%2F+ebitda")
    assert shown.xpath("//*[@id='answer']//a[@data-evidence]")
    wrong = page(analyst, f"/reports/{report}?q=frea+cash+flow+2023")
    assert "did you mean 'free cash flow'" in text(wrong.xpath("//*[@id='answer']")[0])


def test_all_formats_are_downloads(analyst: FlaskClient, report: str) -> None:
    links = page(analyst, f"/reports/{report}").xpath("//a[contains(@href, '/files/')]/@href")
    assert len(links) == 5
    begins = {"json": b"{", "html": b"<!doctype html>", "xlsx": b"PK", "docx": b"PK"}
    for file_format, first in begins.items():
        answer = analyst.get(f"/reports/{report}/files/{file_format}")
        assert answer.data.startswith(first)
        assert f"filename=larkhaven_2023_10k.{file_format}" in answer.headers["Content-Disposition"]
    assert analyst.get(f"/reports/{report}/files/odt", headers=JSON).status_code == 422


def test_a_deleted_file_leaves_nothing(client: FlaskClient, read: Read, sample_pdf: Path) -> None:
    job_id = read(sample_pdf.read_bytes())
    assert client.post(f"/reports/{job_id}/delete", headers=HTML).status_code == 303
    for path in (f"/reports/{job_id}", f"/reports/{job_id}/files/json", f"/reports/{job_id}/pages/1.png"):
        assert client.get(path, headers=JSON).status_code == 404
    assert not page(client, "/").xpath("//tbody/tr")


def test_a_waiting_job_can_be_cancelled(client: FlaskClient, sample_pdf: Path) -> None:
    job_id = upload(client, sample_pdf.read_bytes())
    assert client.post(f"/reports/{job_id}/cancel", headers=HTML).status_code == 303
    assert "Cancelled" in text(page(client, f"/reports/{job_id}").xpath("//*[@data-state='cancelled']")[0])


def test_nobody_sees_anothers_report(app: Flask, client: FlaskClient, report: str) -> None:
    for path in (f"/reports/{report}", f"/reports/{report}/pages/1.png", f"/compare?report={report}"):
        assert client.get(path, headers=JSON).status_code == 404


@pytest.mark.benchmark
def test_figures_of_a_correction_and_of_a_second_upload(
    client: FlaskClient, read: Read, sample_pdf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sample_pdf.read_bytes()
    job_id = read(data)
    corrections, uploads = [], []
    for number in range(5):
        began = time.perf_counter()
        assert correct(client, job_id, "revenue@2023-12-31", str(4_000_000_000 + number)).status_code == 200
        page(client, f"/reports/{job_id}")
        corrections.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert upload(client, data) == job_id  # the result is kept, so that no worker is needed
        uploads.append(time.perf_counter() - began)
    told = (
        f"corrected, recomputed and shown: {statistics.median(corrections):.2f} s; "
        f"same file again: {statistics.median(uploads):.3f} s (medians of 5)"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
