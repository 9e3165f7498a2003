"""The frame of every service, by test client: errors, headers, forms, languages, documentation, probes."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from evident_core import errors
from evident_core.errors import EvidentError
from evident_core.services import Vertical, installed
from evident_core.settings import Settings, load
from evident_core.web import logs
from evident_core.web.frame import Frame
from evident_core.web.service import create_landing
from specimen_service import create, not_there, specimen

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EvidentError)]


def refusals() -> Blueprint:
    blueprint = Blueprint("refusals", __name__)

    @blueprint.get("/refuses/<name>")
    def refuses(name: str) -> str:
        kind = next(each for each in ERRORS if each.__name__ == name)
        raise kind(
            "series 1.2.3 has 4 slices.", slices=4, odd=Path("x"), status="lost", code="other", request_id="other"
        )

    return blueprint


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path / "data"}, web={"max_upload_mib": 1})


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """One app for all tests that leave it as it was."""
    return create(
        load(store={"data_dir": tmp_path_factory.mktemp("data")}, web={"max_upload_mib": 1}), None, refusals()
    )


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def frame_of(app: Flask) -> Frame:
    return app.extensions["evident"]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_suite_is_a_problem(client, kind):
    answer = client.get(f"/refuses/{kind.__name__}")
    assert answer.status_code == kind.status
    assert answer.mimetype == "application/problem+json"
    body = answer.get_json()
    assert body["type"] == f"urn:evident:problem:{kind.code}"
    assert body["code"] == kind.code
    assert body["title"] == kind.title
    assert body["status"] == kind.status
    assert body["detail"] == "series 1.2.3 has 4 slices."
    assert body["instance"] == f"/refuses/{kind.__name__}"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["slices"] == 4
    assert body["odd"] == "x"


@pytest.mark.parametrize("kind", ERRORS[1:])
def test_every_error_has_a_title_in_both_languages(app, kind):
    texts = frame_of(app).texts
    assert texts.get(f"problem.{kind.code}", "zh") != texts.get(f"problem.{kind.code}", "en")


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "word"),
    [
        ("GET", "/nothing", 404, "not_found", "/nothing"),
        ("PUT", "/reports", 405, "method_not_allowed", "GET, HEAD, OPTIONS"),
        ("POST", "/reports/1/corrections", 415, "unsupported_media", "application/json"),
        ("GET", "/reports?limit=1000", 422, "invalid_input", "limit"),
        ("GET", "/broken", 500, "internal", "request id"),
        ("POST", "/upload", 400, "bad_request", ""),
    ],
)
def test_what_goes_wrong_is_a_problem(client, method, path, status, code, word):
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    body = answer.get_json()
    assert body["code"] == code
    assert word in body["detail"]


def test_405_tells_what_is_allowed(client):
    assert set(re.findall(r"\w+", client.put("/reports").headers["Allow"])) == {"GET", "HEAD", "OPTIONS"}


def test_too_many_tells_when_to_come_back(client):
    answer = client.get("/busy")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "30"


def test_an_unforeseen_error_tells_nothing_of_itself(client):
    for headers in ({}, PAGE):
        answer = client.get("/broken", headers=headers)
        assert answer.status_code == 500
        assert "SECRET" not in answer.text
        assert "Traceback" not in answer.text
        assert "ValueError" not in answer.text
        assert answer.headers["Content-Security-Policy"]


def test_a_problem_is_a_page_for_a_browser_in_its_language(client):
    answer = client.get("/nothing", headers={**PAGE, "Accept-Language": "zh-CN,zh;q=0.9"})
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "未找到" in answer.text
    assert answer.headers["X-Request-Id"] in answer.text
    assert answer.headers["Content-Language"] == "zh"


def test_a_page_that_cannot_be_made_falls_back_to_json(settings):
    app = create(settings)
    app.template_context_processors[None].append(lambda: {"t": None})
    answer = app.test_client().get("/nothing", headers=PAGE)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_sound_request_id_is_taken_over(client):
    assert (
        client.get("/healthz", headers={"X-Request-Id": "trace-12345678"}).headers["X-Request-Id"] == "trace-12345678"
    )


@pytest.mark.parametrize("given", ["short", "a" * 65, "with space 1", "evil<script>"])
def test_an_unsound_request_id_is_replaced(client, given):
    assert re.fullmatch(
        r"[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    )


def test_query_and_body_are_checked_and_given_to_the_view(client):
    assert client.get("/reports?limit=3&tag=a&tag=b").get_json() == {
        "item": "a+b",
        "value": 3,
        "language": "en",
    }
    answer = client.post("/reports/7/corrections", json={"item": "revenue", "value": 1.5})
    assert (answer.status_code, answer.get_json()["item"]) == (201, "7/revenue")


def test_a_wrong_body_names_every_field_and_repeats_no_value(client):
    answer = client.post("/reports/7/corrections", json={"item": "", "value": "SECRET"})
    assert answer.status_code == 422
    body = answer.get_json()
    assert [each["where"] for each in body["errors"]] == ["body.item", "body.value"]
    assert "SECRET" not in answer.text
    assert "1 more" in body["detail"]
    assert client.post("/reports/7/corrections", data="{", content_type="application/json").status_code == 422


FORM = "multipart/form-data; boundary=b"
FORM_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def upload(client: FlaskClient, data: bytes, **options):
    return client.post("/upload", data={"file": (io.BytesIO(data), "a.pdf"), **options})


def test_an_upload_is_read_and_its_form_checked(client):
    assert upload(client, b"%PDF", note="hello").status_code == 201
    assert "note" in upload(client, b"%PDF", note="x" * 21).get_json()["detail"]
    assert upload(client, b"<html").status_code == 415


def test_an_upload_over_the_limit_is_refused_before_it_is_read(client):
    answer = client.post("/upload", data=FORM_HEAD + bytes(1 << 20), content_type=FORM)
    assert answer.status_code == 413
    assert answer.get_json()["code"] == "too_large"
    assert "1,048,576" in answer.get_json()["detail"]


def test_an_upload_of_unknown_length_is_refused_when_the_limit_is_passed(app):
    """Sent in chunks, a body announces no length: it is counted while it comes, and never kept whole."""
    sent = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            nonlocal sent
            head = FORM_HEAD if sent == 0 else b""
            piece = (head + bytes(len(buffer)))[: len(buffer)]
            buffer[: len(piece)] = piece
            sent += len(piece)
            return len(piece)

    environ = {"wsgi.input": io.BufferedReader(Endless()), "wsgi.input_terminated": True}
    answer = app.test_client().post("/upload", content_type=FORM, environ_overrides=environ)
    assert answer.status_code == 413
    assert sent < 3 << 20


# --- security ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/broken", "/docs", "/static/evident.css"])
def test_every_answer_has_the_security_headers(client, path):
    with client.get(path) as answer:
        headers = answer.headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in headers


def test_https_is_remembered(client):
    assert "Strict-Transport-Security" in client.get("/", base_url="https://localhost").headers


def test_pages_are_not_kept_and_assets_are(client):
    assert client.get("/").headers["Cache-Control"] == "no-store"
    with client.get("/static/evident.css?v=1") as asset:
        assert "max-age=31536000" in asset.headers["Cache-Control"]


def test_no_page_has_inline_style_or_script(client):
    for path in ("/", "/report", "/docs", "/sign-in"):
        text = client.get(path, headers=PAGE).text
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\bsrc=)", text), path


def token_in(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found
    return found[1]


def test_a_form_needs_the_token_of_its_visitor(app):
    visitor, other = app.test_client(), app.test_client()
    token = token_in(visitor.get("/").text)
    foreign = token_in(other.get("/").text)
    for wrong in ({}, {"csrf_token": "x"}, {"csrf_token": foreign}, {"csrf_token": token + "x"}):
        answer = upload(visitor, b"%PDF", **wrong)
        assert answer.status_code == 403
        assert answer.get_json()["reason"] == "csrf"
    assert upload(visitor, b"%PDF", csrf_token=token).status_code == 201
    assert visitor.post("/reports/1/corrections", json={"item": "a", "value": 1}).status_code == 403
    with_header = visitor.post(
        "/reports/1/corrections", json={"item": "a", "value": 1}, headers={"X-CSRF-Token": token}
    )
    assert with_header.status_code == 201


def test_an_old_token_is_refused(app, monkeypatch):
    visitor = app.test_client()
    token = token_in(visitor.get("/").text)
    monkeypatch.setattr("evident_core.web.security.CSRF_SECONDS", -1)
    assert upload(visitor, b"%PDF", csrf_token=token).status_code == 403


@pytest.mark.parametrize("header", ["Origin", "Referer", "Sec-Fetch-Site"])
def test_a_foreign_page_cannot_post_in_the_open_mode(client, header):
    answer = client.post(
        "/upload", data={"file": (io.BytesIO(b"%PDF"), "a.pdf")}, headers={header: "https://evil.test"}
    )
    assert answer.status_code == 403


def test_the_open_mode_answers_to_this_machine_alone(client):
    """A foreign name that resolves to 127.0.0.1 (DNS rebinding) is refused."""
    for name in ("localhost", "127.0.0.1:8000", "[::1]:8000", "127.0.0.2"):
        assert client.get("/", headers={"Host": name}).status_code == 200, name
    for name in ("evil.test", "evil.test:8000", "127.0.0.1.evil.test", "10.0.0.7"):
        assert client.get("/", headers={"Host": name}).status_code == 403, name


def test_forwarded_headers_count_only_behind_a_proxy(settings, tmp_path):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evident"}
    assert "Strict-Transport-Security" not in create(settings).test_client().get("/", headers=headers).headers
    behind = (
        create(load(store={"data_dir": tmp_path}, web={"trusted_proxies": 1})).test_client().get("/", headers=headers)
    )
    assert "Strict-Transport-Security" in behind.headers
    assert 'href="/evident/static/evident.css' in behind.text


def test_a_mounted_service_behind_a_proxy_knows_where_it_is(tmp_path):
    here = Vertical("specimen", specimen.title, specimen.summary, "specimen_service:create", "")
    settings = load(store={"data_dir": tmp_path}, web={"trusted_proxies": 1})
    client = create_landing(settings, {"specimen": here}).test_client()
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evident"}
    page = client.get("/specimen/", headers=headers)
    assert 'href="/evident/specimen/static/evident.css' in page.text
    assert 'class="mark" href="/evident/"' in page.text
    assert "Strict-Transport-Security" in page.headers


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "expected"),
    [
        ("", "", "", "en"),
        ("", "", "de,zh-TW;q=0.5", "zh-Hans"),
        ("", "", "en-GB,zh;q=0.5", "en"),
        ("", "zh", "en", "zh-Hans"),
        ("?lang=en", "zh", "zh", "en"),
        ("?lang=xx", "", "zh", "zh-Hans"),
    ],
)
def test_language_is_query_then_cookie_then_browser(app, query, cookie, accept, expected):
    client = app.test_client()
    if cookie:
        client.set_cookie("evident_lang", cookie)
    page = client.get(f"/{query}", headers={**PAGE, "Accept-Language": accept})
    assert f'<html lang="{expected}"' in page.text
    assert "Accept-Language" in page.headers["Vary"]


def test_the_settings_decide_the_language_of_who_states_none(tmp_path):
    client = create(load(store={"data_dir": tmp_path}, web={"language": "zh"})).test_client()
    assert '<html lang="zh-Hans"' in client.get("/").text
    assert '<html lang="en"' in client.get("/", headers={"Accept-Language": "en"}).text


def test_choices_are_remembered(client):
    client.get("/?lang=zh&theme=dark")
    page = client.get("/").text
    assert '<html lang="zh-Hans" data-theme="dark">' in page
    client.get("/?theme=plaid")
    assert 'data-theme="dark"' in client.get("/").text


def test_the_switch_keeps_the_query(client):
    assert 'href="/report?company=A%26B&amp;lang=zh"' in client.get("/report?company=A%26B").text


@pytest.mark.parametrize("path", ["/", "/report", "/docs", "/sign-in", "/nothing"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_page_is_whole_in_both_languages(client, path, lang):
    page = client.get(f"{path}?lang={lang}", headers=PAGE)
    assert page.mimetype == "text/html"
    assert page.text.count("<h1") == 1
    assert page.text.endswith("</html>")


def test_the_docs_describe_every_operation(client):
    page = client.get("/docs").text
    for word in (
        "Correct a value",
        "/reports/{report_id}/corrections",
        "POST",
        "Wish",
        "http://localhost/upload",
        "too_faint",
    ):
        assert word in page
    assert "https://" not in page
    assert "`" not in page.partition('id="schemas"')[0]


def test_openapi_is_valid_and_complete(client):
    document = client.get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    correct = document["paths"]["/reports/{report_id}/corrections"]["post"]
    assert correct["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Wish"}
    assert correct["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Receipt"
    }
    assert set(correct["responses"]) == {"201", "404", "409", "default"}
    assert correct["security"] == [{"key": ["write"]}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    listed = {each["name"]: each for each in document["paths"]["/reports"]["get"]["parameters"]}
    assert listed["limit"]["schema"]["maximum"] == 100
    assert listed["tag"]["schema"]["type"] == "array"
    assert listed["order"]["schema"]["enum"] == ["newest", "oldest"]
    form = document["paths"]["/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["allOf"][0]["required"] == ["file"]
    assert document["paths"]["/pages/{number}.svg"]["get"]["parameters"][0]["schema"] == {"type": "integer"}
    assert document["paths"]["/upload"]["post"]["description"].count("\n\n") == 1


@pytest.mark.parametrize("name", list(installed()))
def test_openapi_of_every_installed_service_is_valid(settings, name):
    client = create_landing(settings, {name: installed()[name]}).test_client()
    if client.get(f"/{name}/healthz").status_code == 404:
        pytest.skip(f"pip install 'evident[{name}]'")
    document = client.get(f"/{name}/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    assert client.get(f"/{name}/docs").status_code == 200


def test_the_landing_page_holds_every_service(settings):
    here = Vertical("specimen", specimen.title, specimen.summary, "specimen_service:create", "")
    absent = Vertical("absent", specimen.title, specimen.summary, "not_here:x", "", requires=("not_here",))
    client = create_landing(settings, {"absent": absent, "specimen": here}).test_client()
    page = client.get("/").text
    assert "pip install &#39;evident[absent]&#39;" in page
    assert 'href="/specimen/"' in page
    assert client.get("/specimen/").status_code == 200
    assert client.get("/specimen/openapi.json").get_json()["servers"] == [{"url": "/specimen"}]
    assert client.get("/specimen/nothing").get_json()["instance"] == "/specimen/nothing"
    assert client.get("/absent/").status_code == 404
    assert client.get("/readyz").get_json()["status"] == "ready"
    assert 'class="mark" href="/"' in client.get("/specimen/").text


def test_the_landing_page_says_that_there_is_nothing_yet(settings):
    assert "pip install" in create_landing(settings, {}).test_client().get("/").text


# --- probes -----------------------------------------------------------------------------------------------------------


def test_probes(settings):
    client = create(settings).test_client()
    assert client.get("/healthz").get_json()["service"] == "specimen"
    assert client.get("/readyz").get_json() == {"status": "ready", "checks": {"store": "ok", "jobs": "ok"}}
    waiting = create(settings, {"weights": not_there}).test_client().get("/readyz")
    assert waiting.status_code == 503
    assert waiting.get_json()["checks"] == {
        "store": "ok",
        "jobs": "ok",
        "weights": "The weights are absent; fetch them.",
    }


def test_metrics_count_by_route_and_not_by_path(client):
    for number in range(3):
        client.get(f"/pages/{number}.svg")
        client.get(f"/nothing/{number}")
    client.open("/healthz", method="BREW")
    text = client.get("/metrics").text
    assert (
        'evident_requests_total{method="GET",route="/pages/<int:number>.svg",service="specimen",status="200"}' in text
    )
    assert "/nothing/" not in text
    assert 'method="BREW"' not in text
    assert 'evident_problems_total{code="not_found",service="specimen"}' in text
    assert "evident_request_seconds_bucket" in text


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is written to the log, which is set up as in a server."""
    root, own = logging.getLogger(), logging.getLogger("evident")
    before = (list(root.handlers), root.level, own.level)
    stream = io.StringIO()
    logs.configure("INFO", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_logs_are_json_without_contents_and_keys(settings, log):
    app = create(settings)
    key, _ = frame_of(app).keys.create("someone", ("admin",))
    client = app.test_client()
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "trace-12345678"}
    client.get("/reports?limit=1&tag=SECRET", headers=headers)
    client.get("/broken", headers=headers)
    logging.getLogger("evident.web").info("a careless line with %s", key)
    assert "SECRET" not in log.getvalue()
    assert key not in log.getvalue()
    lines = lines_of(log)
    first = lines[0]
    assert (first["event"], first["route"], first["status"]) == ("request", "/reports", 200)
    assert first["request_id"] == "trace-12345678"
    assert first["caller"]
    unforeseen = next(line for line in lines if line["event"] == "unforeseen")
    assert unforeseen["exception"]["type"] == "builtins.ValueError"
    assert any("specimen_service.py" in frame for frame in unforeseen["exception"]["frames"])
    assert lines[-1]["event"] == "a careless line with evd_…"


def test_of_a_library_the_log_keeps_warnings_and_not_what_they_quote(log):
    logging.getLogger("pdfminer.pdfinterp").warning("cannot set colour because %r is invalid", "SECRET")
    logging.getLogger("pdfminer.pdfinterp").info("details")
    assert [line["event"] for line in lines_of(log)] == ["cannot set colour because %r is invalid"]


def test_the_log_tells_our_own_sentences_and_the_types_of_all_causes():
    def fail() -> None:
        try:
            int("SECRET")
        except ValueError as error:
            raise EvidentError("Page 3 cannot be read.") from error

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    try:
        fail()
    except EvidentError as error:
        handler.handle(logging.LogRecord("x", logging.ERROR, "", 1, "failed", (), (type(error), error, None)))
    told = json.loads(stream.getvalue())["exception"]
    assert told["message"] == "Page 3 cannot be read."
    assert told["cause"]["type"] == "builtins.ValueError"
    assert "SECRET" not in stream.getvalue()
