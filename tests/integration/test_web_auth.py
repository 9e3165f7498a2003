"""Keys and their scopes, the open mode, signing in."""

import re
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from evident_core.errors import InvalidInput, NotFound
from evident_core.settings import Settings, load
from evident_core.web.auth import Keys
from evident_core.web.frame import Frame
from evident_core.web.security import is_loopback
from evident_core.web.tables import ApiKey
from specimen_service import create

WISH = {"item": "revenue", "value": 1}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path / "data"})


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create(settings)


@pytest.fixture
def frame(app: Flask) -> Frame:
    return app.extensions["evident"]


@pytest.fixture
def keys(frame: Frame) -> Keys:
    return frame.keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_keys_this_machine_is_let_in(app):
    client = app.test_client()
    assert client.get("/reports").status_code == 200
    assert client.post("/reports/1/corrections", json=WISH).status_code == 201


def test_with_keys_everybody_needs_one(app, keys):
    key, _ = keys.create("analyst")
    client = app.test_client()
    refused = client.get("/reports")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.get("/reports", headers=bearer(key)).status_code == 200
    assert client.get("/reports", headers={"X-Api-Key": key}).status_code == 200
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/sign-in"):
        assert client.get(path).status_code == 200, path
    with client.get("/static/evident.css") as asset:
        assert asset.status_code == 200


@pytest.mark.parametrize("wrong", ["evd_wrong", "evd_", "x" * 5000, "evd_é"])
def test_a_wrong_key_is_never_taken_for_none(app, keys, wrong):
    client, header = app.test_client(), bearer(wrong.encode().decode("latin-1"))
    assert client.get("/reports", headers=header).status_code == 401
    keys.create("analyst")
    assert client.get("/reports", headers=header).status_code == 401


@pytest.mark.parametrize(
    ("scopes", "may_read", "may_write", "may_measure"),
    [
        (("read",), True, False, False),
        (("write",), False, True, False),
        (("read", "write"), True, True, False),
        (("metrics",), False, False, True),
        (("admin",), True, True, True),
        (("finance:read",), False, False, False),
        (("finance:admin", "read"), True, False, False),
    ],
)
def test_a_scope_is_what_it_says(app, keys, scopes, may_read, may_write, may_measure):
    key, _ = keys.create("someone", scopes)
    client = app.test_client()
    allowed = {True: (200, 201), False: (403,)}
    assert client.get("/reports", headers=bearer(key)).status_code in allowed[may_read]
    assert client.post("/reports/1/corrections", json=WISH, headers=bearer(key)).status_code in allowed[may_write]
    assert client.get("/metrics", headers=bearer(key)).status_code in allowed[may_measure]


def test_a_page_without_a_declaration_is_not_open(app, keys):
    """What nobody thought of is closed: the page ``/report`` declares no scope."""
    keys.create("analyst")
    assert app.test_client().get("/report").status_code == 401


def test_the_store_keeps_no_key(frame, keys):
    key, info = keys.create("analyst")
    with frame.store.reading() as rows:
        row = rows.scalars(select(ApiKey)).one()
    assert key not in repr(vars(row))
    assert key.removeprefix("evd_") not in repr(vars(row))
    assert len(key) > 40
    assert info == keys.list()[0]


def test_use_of_a_key_is_noted(app, keys):
    key, _ = keys.create("analyst")
    assert keys.list()[0].last_used is None
    app.test_client().get("/reports", headers=bearer(key))
    assert keys.list()[0].last_used is not None


def test_a_revoked_key_opens_nothing_and_leaves_the_doors_closed(app, keys):
    key, info = keys.create("analyst")
    assert keys.revoke(info.id).revoked is not None
    assert keys.revoke(info.id).revoked == keys.list()[0].revoked
    client = app.test_client()
    assert client.get("/reports", headers=bearer(key)).status_code == 401
    assert client.get("/reports").status_code == 401


def test_making_and_revoking_is_in_the_audit_log(frame, keys):
    key, info = keys.create("analyst", actor="root")
    keys.revoke(info.id, actor="root")
    lines = frame.audit.lines(subject=info.id)
    assert [(line.actor, line.action) for line in lines] == [("root", "key.create"), ("root", "key.revoke")]
    assert key not in repr([line.details for line in lines])


@pytest.mark.parametrize(
    ("name", "scopes", "word"),
    [
        ("", ("read",), "name"),
        ("x" * 128, ("read",), "128"),
        ("x", (), "scope"),
        ("x", ("reed",), "reed"),
        ("x", ("nothing:read",), "nothing:read"),
    ],
)
def test_a_key_that_cannot_be_made_says_why(keys, name, scopes, word):
    with pytest.raises(InvalidInput, match=re.escape(word)):
        keys.create(name, scopes)
    assert not keys.any()


def test_revoking_what_is_not_there_says_so(keys):
    with pytest.raises(NotFound, match="evident keys list"):
        keys.revoke("nothing")


# --- where it listens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_open_doors_are_refused_at_the_start(tmp_path, host):
    settings = load(store={"data_dir": tmp_path}, web={"host": host})
    with pytest.raises(InvalidInput, match="evident keys create"):
        create(settings)
    with_key = create(load(store={"data_dir": tmp_path}))
    with_key.extensions["evident"].keys.create("first")
    assert create(settings).test_client().get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("localhost.evil.test", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


# --- signing in -------------------------------------------------------------------------------------------------------


def sign_in(client, key):
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text)
    return client.post("/sign-in", data={"key": key, "csrf_token": token[1]}, headers={"Accept": "text/html"})


def test_a_person_signs_in_and_out(app, keys, frame):
    key, info = keys.create("Ms Li")
    client = app.test_client()
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'href="/sign-in"' in page.text
    answer = sign_in(client, f" {key}\n")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Secure" in app.test_client().get("/sign-in", base_url="https://localhost").headers["Set-Cookie"]
    home = client.get("/")
    assert home.status_code == 200
    assert "Ms Li" in home.text
    token = re.search(r'name="csrf_token" value="([^"]+)"', home.text)
    assert client.post("/sign-out").status_code == 403
    assert client.post("/sign-out", data={"csrf_token": token[1]}).status_code == 303
    assert client.get("/").status_code == 401
    assert [line.action for line in frame.audit.lines(after=1)] == ["session.begin"]
    assert frame.audit.lines(after=1)[0].actor == info.id


def test_a_wrong_key_at_the_door_is_told_and_noted(app, keys, frame):
    keys.create("Ms Li")
    client = app.test_client()
    for wrong in ("", "evd_wrong"):
        answer = sign_in(client, wrong)
        assert answer.status_code == 401
        assert "not known" in answer.text
    assert [line.action for line in frame.audit.lines(after=1)] == ["session.refused", "session.refused"]


def test_revoking_ends_the_session(app, keys):
    key, info = keys.create("Ms Li")
    client = app.test_client()
    sign_in(client, key)
    assert client.get("/").status_code == 200
    keys.revoke(info.id)
    assert client.get("/").status_code == 401


def test_a_session_still_needs_form_tokens_and_a_key_does_not(app, keys):
    key, _ = keys.create("Ms Li")
    client = app.test_client()
    sign_in(client, key)
    assert client.post("/reports/1/corrections", json=WISH).status_code == 403
    assert client.post("/reports/1/corrections", json=WISH, headers=bearer(key)).status_code == 201


def test_examples_carry_a_key_where_one_is_needed(app, keys):
    client = app.test_client()
    assert "Bearer evd_…&#39;" not in client.get("/docs").text
    keys.create("Ms Li")
    assert "Bearer evd_…&#39;" in client.get("/docs").text
