"""The page of a served language model: it tells what the model is, and shows an answer while it is written."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from evident_core.decode.generator import SamplingParams
from evident_core.decode.llm import LLM
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.web.llm_api import create_llm_app
from llm_server import is_free, tiny_llm, tiny_settings


@pytest.fixture(scope="module")
def llm() -> LLM:
    return tiny_llm()


@pytest.fixture
def http(llm: LLM, tmp_path: Path) -> Iterator[FlaskClient]:
    yield create_llm_app(tiny_settings(tmp_path, max_tokens=40), llm).test_client()
    assert is_free(llm)


def _token(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_it_tells_what_the_model_is(http, llm):
    page = http.get("/").get_data(as_text=True)
    config = llm.model.config
    for fact in (f"{config.num_parameters:,}", f"{config.num_active_parameters:,}", "25.0%", "256", "floating point"):
        assert f"<dd>{fact}</dd>" in page
    assert "http://localhost/v1" in page
    chinese = http.get("/?lang=zh").get_data(as_text=True)
    assert "<dd>浮点</dd>" in chinese
    assert "其中内容都不是证据" in chinese


def test_an_answer_comes_with_the_page_as_it_is_written(http, llm):
    token = _token(http.get("/").get_data(as_text=True))
    answer = http.post("/", data={"csrf_token": token, "prompt": "结节 <b>?"}, buffered=False)
    assert answer.status_code == 200
    parts = list(answer.iter_encoded())
    page = b"".join(parts).decode()
    [expected] = llm.generate([[{"role": "user", "content": "结节 <b>?"}]], SamplingParams(max_tokens=40))
    written = re.search(r'<p class="written" role="status">(.*?)</p>', page, re.DOTALL)
    assert written is not None
    assert unescape(written[1]) == expected.text
    assert "结节 &lt;b&gt;?</textarea>" in page
    assert len(parts) > 20


def test_a_reader_who_leaves_is_not_written_for(http, llm):
    token = _token(http.get("/").get_data(as_text=True))
    answer = http.post("/", data={"csrf_token": token, "prompt": "?"}, buffered=False)
    next(answer.iter_encoded())
    answer.close()
    assert is_free(llm)


def test_a_form_of_another_site_and_an_empty_one_are_refused(http):
    token = _token(http.get("/").get_data(as_text=True))
    assert http.post("/", data={"prompt": "x"}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert http.post("/", data={"csrf_token": token, "prompt": "x" * 400}).status_code == 422


def test_of_a_model_elsewhere_it_says_so(tmp_path):
    with Remote(RemoteOptions("http://127.0.0.1:9", model="org/elsewhere", dialect="vllm")) as remote:
        page = create_llm_app(tiny_settings(tmp_path), remote).test_client().get("/").get_data(as_text=True)
    assert "org/elsewhere" in page
    assert "It runs on another server" in page
