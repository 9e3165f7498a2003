"""Clients that leave, come in crowds, or meet a failure: nothing is written for nobody, and everybody is told."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import psutil
import pytest
from openai import OpenAI

from evident_core.decode.generator import SamplingParams
from evident_core.decode.llm import LLM
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.decode.remote.transport import Limits
from evident_core.errors import ModelNotReady, TooMany
from evident_core.web.llm_api import create_llm_app
from llm_server import Halted, eventually, is_free, served, tiny_llm, tiny_settings

PROGRAM = Path(__file__).parents[1] / "specimen" / "llm_server.py"
CHAT = [{"role": "user", "content": "?"}]
LONG = {"model": "evident", "messages": CHAT, "max_tokens": 200, "seed": 3}


@pytest.fixture(scope="module")
def llm() -> LLM:
    return tiny_llm()


@pytest.fixture
def address(llm: LLM, tmp_path: Path) -> Iterator[str]:
    with served(create_llm_app(tiny_settings(tmp_path, max_batch=2, max_queued=1), llm)) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="EMPTY", max_retries=0) as client:
        yield client


@pytest.fixture
def held(llm: LLM) -> Iterator[threading.Event]:
    """Steps of the engine wait until this is set."""
    with Halted(llm) as engine:
        yield engine.go


def _figures(address: str) -> str:
    return httpx.get(f"{address}/metrics").text


def _post(address: str, body: dict) -> socket.socket:
    """A connection on which a request was sent, and nothing is read."""
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port))
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


# --- who leaves -------------------------------------------------------------------------------------------------------


def test_a_stream_that_is_closed_frees_the_engine(llm, client):
    with Halted(llm, after=5) as engine:
        stream = client.chat.completions.create(**LONG, stream=True)
        next(stream)
        assert not is_free(llm)
        stream.close()
        engine.go.set()
        assert eventually(lambda: is_free(llm))
        assert engine.steps < 100, "200 tokens were asked for"


def test_a_remote_stream_that_is_closed_frees_the_engine(llm, address):
    with Remote(RemoteOptions(address)) as remote, Halted(llm, after=5) as engine:
        stream = remote.stream(CHAT, SamplingParams(max_tokens=200))
        next(stream)
        assert not is_free(llm)
        stream.close()
        engine.go.set()
        assert eventually(lambda: is_free(llm))
        assert engine.steps < 100, "200 tokens were asked for"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_is_gone_before_anything_is_written_frees_the_engine(llm, address, held, stream):
    connection = _post(address, {**LONG, "stream": stream})
    assert eventually(lambda: llm._leading)
    connection.close()
    held.set()
    assert eventually(lambda: is_free(llm))
    with OpenAI(base_url=f"{address}/v1", api_key="EMPTY", max_retries=0) as client:
        assert client.chat.completions.create(**{**LONG, "n": 3, "max_tokens": 2}).choices, "its room is free again"


def test_a_client_that_waits_for_the_whole_and_leaves_is_not_written_for(llm, address):
    with Halted(llm, after=5) as engine:
        connection = _post(address, LONG)
        assert eventually(lambda: engine.steps == 5)
        connection.close()
        engine.go.set()
        assert eventually(lambda: is_free(llm))
        assert engine.steps < 100, "200 tokens were asked for"


def test_a_client_that_gives_up_by_its_own_time_out_is_not_written_for(llm, client, held):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(**LONG)
    held.set()
    assert eventually(lambda: is_free(llm))


# --- who comes in crowds ----------------------------------------------------------------------------------------------


def test_more_than_there_is_room_for_are_told_to_come_back(llm, address, client, held):
    with ThreadPoolExecutor(3) as pool:
        within = [pool.submit(client.chat.completions.create, **LONG) for _ in range(3)]
        assert eventually(lambda: len(llm.engine.scheduler) + len(llm._added) == 3)
        with pytest.raises(openai.RateLimitError, match="3 texts are written or wait") as caught:
            client.chat.completions.create(**LONG)
        assert int(caught.value.response.headers["Retry-After"]) > 0
        assert caught.value.body["code"] == "rate_limit_exceeded"
        remote = Remote(RemoteOptions(address, model="evident", dialect="evident", limits=Limits(retries=0)))
        with pytest.raises(TooMany, match="3 texts are written or wait"):
            remote.generate([CHAT])
        assert client.models.list().data, "what writes nothing is answered"
        held.set()
        assert len({each.result().choices[0].message.content for each in within}) == 1
    assert client.chat.completions.create(**{**LONG, "max_tokens": 2}).choices


def test_a_remote_that_is_told_to_come_back_does(llm, address, client, held):
    with ThreadPoolExecutor(4) as pool:
        within = [pool.submit(client.chat.completions.create, **LONG) for _ in range(3)]
        assert eventually(lambda: len(llm.engine.scheduler) + len(llm._added) == 3)
        with Remote(RemoteOptions(address, model="evident", dialect="evident")) as remote:
            later = pool.submit(remote.generate, [CHAT], SamplingParams(max_tokens=2))
            threading.Event().wait(0.2)
            held.set()
            assert later.result()[0].completion_tokens == 2
        assert all(each.result().choices for each in within)


# --- who meets a failure ----------------------------------------------------------------------------------------------


@pytest.fixture
def breaking(llm: LLM) -> Iterator[None]:
    """The sixth step of the engine fails."""
    steps, run = [0], llm.engine.runner.run

    def broken(step_input):
        steps[0] += 1
        if steps[0] > 5:
            raise RuntimeError("a secret of the house")
        return run(step_input)

    llm.engine.runner.run = broken  # type: ignore[method-assign]
    yield
    del llm.engine.runner.run


def test_a_failure_in_a_stream_is_an_event_in_it(llm, client, breaking):
    pieces = []
    with pytest.raises(openai.APIError, match="Something went wrong here") as caught:
        pieces.extend(client.chat.completions.create(**LONG, stream=True))
    assert pieces
    assert "secret" not in str(caught.value) + str(caught.value.body)
    assert caught.value.body["type"] == "server_error"
    assert eventually(lambda: is_free(llm))


def test_a_failure_is_a_status_where_nothing_was_sent_yet(llm, client, breaking):
    with pytest.raises(openai.InternalServerError, match="Something went wrong here") as caught:
        client.chat.completions.create(**LONG)
    assert "secret" not in str(caught.value)
    assert eventually(lambda: is_free(llm))


def test_remote_tells_a_failure_in_the_middle_as_such(address, breaking):
    with Remote(RemoteOptions(address, model="evident", dialect="evident")) as remote:
        stream = remote.stream(CHAT, SamplingParams(max_tokens=100))
        assert next(stream).text
        with pytest.raises(ModelNotReady, match="broke off its answer: Something went wrong here"):
            list(stream)


def test_a_model_that_is_closed_tells_those_it_writes_for(llm, client):
    with Halted(llm, after=5):
        stream = client.chat.completions.create(**LONG, stream=True)
        next(stream)
        llm.close()
    with pytest.raises(openai.APIError, match="stopped writing this text; ask again"):
        list(stream)


def test_it_is_not_ready_where_the_server_behind_it_is_not(tmp_path):
    with Remote(RemoteOptions("http://127.0.0.1:9", model="m", dialect="vllm", limits=Limits(retries=0))) as gone:
        http = create_llm_app(tiny_settings(tmp_path), gone).test_client()
        answer = http.get("/readyz")
        assert answer.status_code == 503
        assert "cannot be reached" in answer.get_json()["checks"]["model"]
        answer = http.post("/v1/chat/completions", json={"messages": CHAT})
        assert answer.status_code == 503
        assert answer.get_json()["error"]["type"] == "server_error"


def test_one_server_may_stand_in_front_of_another(llm, address, tmp_path):
    with Remote(RemoteOptions(address)) as behind:
        http = create_llm_app(tiny_settings(tmp_path), behind).test_client()
        ask = {"messages": CHAT, "seed": 5, "max_tokens": 20}
        content = http.post("/v1/chat/completions", json=ask).get_json()["choices"][0]["message"]["content"]
    assert content == llm.generate([CHAT], SamplingParams(temperature=1.0, seed=5, max_tokens=20))[0].text


# --- the process ------------------------------------------------------------------------------------------------------


def test_a_model_that_cannot_be_opened_ends_the_server_with_the_reason(tmp_path):
    program = (
        "import sys; from evident_core.errors import EvidentError; from evident_core.web.llm_api import serve\n"
        "from llm_server import tiny_settings; from pathlib import Path\n"
        "try:\n    serve(tiny_settings(Path(sys.argv[1]), model=sys.argv[2]))\n"
        "except EvidentError as error:\n    print(type(error).__name__, error.message)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data"), str(tmp_path / "absent")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    assert ended.stdout.strip() == "ModelNotReady The server could not start; the log above says why."
    assert "absent" in ended.stderr


def test_one_process_serves_and_ends_whole(llm, tmp_path):
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "WEB_CONCURRENCY": "3", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            params = SamplingParams(max_tokens=30, temperature=0.8, seed=4)
            with Remote(RemoteOptions(address)) as remote:
                assert remote.generate([CHAT], params)[0].text == llm.generate([CHAT], params)[0].text
                stream = remote.stream(CHAT, SamplingParams(max_tokens=200))
                next(stream)
                stream.close()
            with OpenAI(base_url=f"{address}/v1", api_key="EMPTY", max_retries=0) as client:
                with ThreadPoolExecutor(8) as pool:
                    asked = {**LONG, "max_tokens": 20}
                    answers = list(pool.map(lambda _: client.chat.completions.create(**asked), range(8)))
                assert len({answer.choices[0].message.content for answer in answers}) == 1

                assert eventually(lambda: 'evident_llm_texts_total{reason="left"} 1.0' in _figures(address))
                _post(address, LONG).close()
                assert eventually(lambda: 'evident_llm_texts_total{reason="left"} 2.0' in _figures(address))
                assert "evident_llm_texts_within 0.0" in _figures(address)
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) == 1, "one process has the model, and there are no jobs to do"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert psutil.wait_procs(family, timeout=30)[1] == []
        finally:
            process.kill()
