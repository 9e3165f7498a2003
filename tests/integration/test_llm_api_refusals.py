"""What the OpenAI API refuses: every refusal names the parameter, in the form and with the status that clients know."""

import json
import logging
from collections.abc import Iterator

import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openai import OpenAI

from evident_core.decode.llm import LLM
from evident_core.web import logs
from evident_core.web.llm_api import create_llm_app
from llm_server import is_free, served, tiny_llm, tiny_settings

CHAT = [{"role": "user", "content": "?"}]
BASE = {"model": "evident", "messages": CHAT, "max_tokens": 4}


@pytest.fixture(scope="module")
def llm() -> LLM:
    return tiny_llm()


@pytest.fixture(scope="module")
def app(llm: LLM, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_llm_app(tiny_settings(tmp_path_factory.mktemp("data")), llm)


@pytest.fixture
def http(app: Flask, llm: LLM) -> Iterator[FlaskClient]:
    yield app.test_client()
    assert is_free(llm)


def _refused(answer, status: int = 400) -> dict[str, str | None]:
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.mimetype == "application/json"
    body = answer.get_json()
    assert list(body) == ["error"]
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return body["error"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "auto"),
        ("functions", [{"name": "f"}]),
        ("logprobs", True),
        ("logprobs", 0),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("audio", {"voice": "x"}),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "high"),
        ("prediction", {"type": "content", "content": "x"}),
        ("service_tier", "priority"),
        ("store", True),
        ("metadata", {"a": "b"}),
        ("web_search_options", {}),
        ("echo", True),
        ("best_of", 2),
        ("suffix", "x"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_name(http, name, value):
    error = _refused(http.post("/v1/chat/completions", json={**BASE, name: value}))
    assert error["message"] == f"{name} is not supported by this server; leave it out."
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", name, "unsupported_parameter")


def test_what_asks_for_nothing_is_accepted(http):
    nothing = {
        "tools": [], "tool_choice": "none", "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "store": False,
        "frequency_penalty": 0, "presence_penalty": 0.0, "modalities": ["text"], "service_tier": "auto", "user": "me",
        "response_format": {"type": "text"}, "n": 1, "stop": [], "seed": None, "parallel_tool_calls": True,
        "stream": False, "metadata": None, "safety_identifier": "x", "prompt_cache_key": "y", "top_k": -1,
    }  # fmt: skip
    assert http.post("/v1/chat/completions", json=BASE | nothing).status_code == 200


@pytest.mark.parametrize(
    ("changes", "param", "told"),
    [
        ({"temprature": 1}, "temprature", "is not known"),
        ({"min_tokens": 3}, "min_tokens", "is not known"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": None}, "messages", "is missing"),
        ({"messages": "hi"}, "messages", "valid list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "'system', 'developer'"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name", "is not known"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
         "messages[0].content", "no images and no sound"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "messages[0].content", "no images and no sound"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "is no text"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 9}, "n", "less than or equal to 8"),
        ({"n": "2"}, "n", "valid integer"),
        ({"temperature": "warm"}, "temperature", "valid number"),
        ({"temperature": -1}, "temperature", "it must be from 0.0 to 100.0"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"top_p": 0}, "top_p", "it must be above 0"),
        ({"top_p": 1.5}, "top_p", "at most 1.0"),
        ({"top_k": -2}, "top_k", "greater than or equal to -1"),
        ({"min_p": 2}, "min_p", "from 0.0 to 1.0"),
        ({"repetition_penalty": 0}, "repetition_penalty", "above 0"),
        ({"seed": 1.5}, "seed", "valid integer"),
        ({"seed": 1 << 64}, "seed", "less than"),
        ({"stop": [""]}, "stop", "an empty text"),
        ({"stop": ["x"] * 17}, "stop", "17 stop texts"),
        ({"stop": 5}, "stop", "valid"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, "max_completion_tokens", "give one"),
        ({"stream": "yes"}, "stream", "valid boolean"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "set stream"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}},
         "stream_options.include_obfuscation", "False"),
        ({"user": 5}, "user", "must be a text"),
        ({"messages": [{"role": "user", "content": "x" * 300}]}, None, "the context holds 255"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(http, changes, param, told):
    error = _refused(http.post("/v1/chat/completions", json=BASE | changes))
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert told in error["message"]
    assert "pydantic" not in error["message"]


@pytest.mark.parametrize(
    ("changes", "param", "told"),
    [
        ({"response_format": "json"}, "response_format", "text, json_object or json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format", "text, json_object or json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "a name and a schema"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema", "is not known"),
        ({"structured_outputs": {}}, "structured_outputs", "it has none"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "it has choice, regex"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "is not known"),
        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex", "wrong type"),
        ({"structured_outputs": {"choice": "left"}}, "structured_outputs.choice", "wrong type"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", ""),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "not JSON"),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs.json_object", "must be true"),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, "structured_outputs.grammar", "GBNF"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "guided_regex and guided_choice"),
        ({"guided_decoding_backend": "outlines"}, "guided_decoding_backend", "is not known"),
    ],
)  # fmt: skip
def test_a_wrong_grammar_is_named(http, changes, param, told):
    error = _refused(http.post("/v1/chat/completions", json=BASE | changes))
    assert error["param"] == param
    assert told in error["message"]


@pytest.mark.parametrize(
    "extra",
    [{"regex": "(a"}, {"grammar": "start: missing"}, {"regex": "[^\\x00-\\x{10FFFF}]"}, {"json": {"type": "unicorn"}}],
)
def test_a_grammar_that_does_not_compile_is_told(http, extra):
    error = _refused(http.post("/v1/chat/completions", json={**BASE, "structured_outputs": extra}))
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("changes", "param", "told"),
    [
        ({"prompt": None}, "prompt", "is missing"),
        ({"prompt": ""}, None, "prompt is empty"),
        ({"prompt": ["a", ""]}, None, "prompt is empty"),
        ({"prompt": [1, 2]}, "prompt", "tokens are not read"),
        ({"prompt": [[1, 2]]}, "prompt", "tokens are not read"),
        ({"prompt": []}, "prompt", "There are 0 prompts"),
        ({"prompt": ["a"] * 65}, "prompt", "There are 65 prompts"),
        ({"prompt": "a", "messages": CHAT}, "messages", "is not known"),
        ({"prompt": ["a"] * 60, "n": 8}, "n", "asks for 480 texts"),
        ({"prompt": "a", "logprobs": 1}, "logprobs", "not supported"),
    ],
)
def test_a_wrong_prompt_is_named(http, llm, changes, param, told):
    error = _refused(http.post("/v1/completions", json={"model": "evident", **changes}))
    assert error["param"] == param
    assert told in error["message"]
    llm.generate(["a"])  # whoever asks next lets go of what was begun for nobody


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "a JSON list"),
        (b'"x"', "a JSON str"),
        (b'{"messages": NaN}', "not JSON"),
        (b'{"messages":[{"role":"user","content":"\\ud800"}]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_a_body_that_is_none_is_refused(http, body, told):
    answer = http.post("/v1/chat/completions", data=body, content_type="application/json")
    assert told in _refused(answer)["message"]


def test_media_type_size_path_and_method_are_refused_in_the_same_form(http):
    assert _refused(http.post("/v1/chat/completions", data=b"x=1"), 415)["code"] == "unsupported_media"
    assert "text/plain" in _refused(http.post("/v1/completions", data=b"{}", content_type="text/plain"), 415)["message"]
    big = json.dumps({**BASE, "user": "x" * (1 << 20)})
    error = _refused(http.post("/v1/chat/completions", data=big, content_type="application/json"), 413)
    assert error["type"] == "invalid_request_error"
    assert _refused(http.get("/v1/nothing"), 404)["type"] == "not_found_error"
    assert "/v1/embeddings" in _refused(http.post("/v1/embeddings", json={}), 404)["message"]
    answer = http.get("/v1/chat/completions")
    _refused(answer, 405)
    assert answer.headers["Allow"] == "POST"
    _refused(http.delete("/v1/models"), 405)


def test_another_model_is_not_found(http):
    for answer in (http.post("/v1/chat/completions", json=BASE | {"model": "gpt"}), http.get("/v1/models/org/gpt")):
        error = _refused(answer, 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert http.post("/v1/chat/completions", json={**BASE, "model": None}).status_code == 200


def test_every_answer_has_the_headers_of_the_frame(http):
    for answer in (http.get("/v1/models"), http.get("/v1/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Request-Id"]


def test_without_keys_any_key_of_a_client_will_do_on_this_machine_alone(app, http):
    for key in ("Bearer EMPTY", "Bearer evd_unknown"):
        assert http.get("/v1/models", headers={"Authorization": key}).status_code == 200
    elsewhere = http.get("/v1/models", headers={"Authorization": "Bearer x"}, base_url="http://rebound.example")
    assert _refused(elsewhere, 403)["type"] == "permission_error"
    foreign = http.post("/v1/chat/completions", json=BASE, headers={"Origin": "http://evil.example"})
    assert _refused(foreign, 403)["code"] == "csrf"


def test_with_keys_one_of_them_is_needed_with_its_scope(llm, tmp_path):
    app = create_llm_app(tiny_settings(tmp_path), llm)
    frame = app.extensions["evident"]
    key, _ = frame.keys.create("writer")
    reader, _ = frame.keys.create("reader", ("read",))
    http = app.test_client()
    for headers in ({}, {"Authorization": "Bearer EMPTY"}, {"Authorization": "Bearer evd_unknown"}):
        answer = http.get("/v1/models", headers=headers)
        error = _refused(answer, 401)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    with served(app) as address:

        def asked(given: str) -> str | None:
            with OpenAI(base_url=f"{address}/v1", api_key=given, max_retries=0) as client:
                assert client.models.list().data[0].id == "evident"
                return client.chat.completions.create(model="evident", messages=CHAT, max_tokens=4).object

        assert asked(key) == "chat.completion"
        with pytest.raises(openai.PermissionDeniedError, match="has no scope 'write'"):
            asked(reader)
        with pytest.raises(openai.AuthenticationError, match="not known or has been revoked"):
            asked("evd_wrong")
    frame.close()


def test_neither_prompt_nor_answer_nor_key_is_logged(http, caplog):
    http.application.extensions["evident"]
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(logs.JsonLines().format(record))
    logging.getLogger().addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG):
            secret = {"role": "user", "content": "a very private prompt"}
            headers = {"Authorization": "Bearer evd_private-key"}
            # Long and always the same: a text of a letter or two is in the log by chance.
            ask = {**BASE, "messages": [secret], "user": "private-user", "max_tokens": 40, "temperature": 0}
            text = http.post("/v1/chat/completions", json=ask, headers=headers).get_json()["choices"][0]["message"]
            wrong = {**ask, "structured_outputs": {"regex": "(private"}}
            assert http.post("/v1/chat/completions", json=wrong, headers=headers).status_code == 400
    finally:
        logging.getLogger().removeHandler(handler)
    told = "\n".join(records)
    assert '"route": "/v1/chat/completions"' in told
    assert "private" not in told
    assert text["content"] not in told


def test_probes_and_figures_are_those_of_the_frame_and_the_model_s(http):
    assert http.get("/healthz").get_json()["service"] == "llm"
    assert http.get("/readyz").get_json()["status"] == "ready"

    def figures() -> dict[str, float]:
        lines = http.get("/metrics").get_data(as_text=True).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    before = figures()
    http.post("/v1/completions", json={"model": "evident", "prompt": "abc", "n": 2, "max_tokens": 4, "seed": 1})
    http.post("/v1/completions", json={"model": "evident", "prompt": "x" * 400})
    after = figures()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('evident_llm_tokens_total{kind="prompt"}') == 3
    assert grown('evident_llm_tokens_total{kind="completion"}') == 8
    assert grown('evident_llm_texts_total{reason="length"}') == 2
    assert grown('evident_llm_texts_total{reason="failed"}') == 1
    assert grown("evident_llm_first_token_seconds_count") == 1
    assert after["evident_llm_texts_within"] == 0
    assert grown('evident_problems_total{code="invalid_input",service="llm"}') == 1
