"""A model on a server: what is read from its answers, and what becomes of its failures."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from evident_core.decode.generator import SamplingParams
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.decode.remote.transport import Call, Limits
from evident_core.errors import (
    EvidentError,
    Forbidden,
    InvalidInput,
    ModelNotReady,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
)
from wayward_server import (
    Wayward,
    hangs,
    hangs_up,
    models,
    says,
    streams,
    streams_for_ever,
    wayward_server,
    words,
)

CHAT = [{"role": "user", "content": "What do you see?"}]
QUICK = Limits(connect_seconds=2.0, read_seconds=5.0, total_seconds=20.0, retries=3)


@pytest.fixture
def server() -> Iterator[Wayward]:
    with wayward_server() as running:
        yield running


@pytest.fixture
def remote(server: Wayward) -> Iterator[Callable[..., Remote]]:
    made: list[Remote] = []

    def make(**options) -> Remote:
        given = {"url": server.url, "model": "m", "dialect": "vllm", "limits": QUICK, **options}
        made.append(Remote(RemoteOptions(**given)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The pauses before retries, which are noted and not made."""
    noted: list[float] = []
    monkeypatch.setattr(Call, "pause", lambda call, seconds: noted.append(seconds))
    return noted


@pytest.fixture
def no_pauses(monkeypatch) -> None:
    monkeypatch.setattr("evident_core.decode.remote.transport._FIRST_WAIT", 0.001)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_chat_is_streamed_piece_by_piece_and_ends_with_the_whole(server, remote):
    server.does(streams(*words("A nod", "ule of ", "8 mm.")))
    chunks = list(remote().stream(CHAT))
    assert [chunk.text for chunk in chunks] == ["A nod", "ule of ", "8 mm.", ""]
    assert [chunk.completion for chunk in chunks[:-1]] == [None, None, None]
    last = chunks[-1].completion
    assert (last.text, last.finish_reason) == ("A nodule of 8 mm.", "stop")
    assert (last.prompt_tokens, last.completion_tokens, last.model_steps) == (3, 2, None)
    [(path, headers, body)] = server.asked
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["messages"] == CHAT
    assert body["stream"] is True


def test_plain_text_is_continued(server, remote):
    events = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("ab", "cd")]
    events += [{"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}, "[DONE]"]
    server.does(streams(*events))
    [completion] = remote().generate(["Once"], SamplingParams(max_tokens=2))
    assert (completion.text, completion.finish_reason) == ("abcd", "length")
    [(path, _, body)] = server.asked
    assert (path, body["prompt"], body["max_tokens"]) == ("/v1/completions", "Once", 2)


def test_a_stream_may_hold_comments_odd_line_ends_and_text_in_any_cut(server, remote):
    line = '{"choices":[{"index":0,"delta":{"content":"8 mm\u2028结节"},"finish_reason":"stop"}]}'
    raw = f": keep-alive\r\n\r\nevent: x\r\nid: 1\r\ndata: {line}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    server.does(streams(*(raw[at : at + 3] for at in range(0, len(raw), 3))))
    [completion] = remote().generate([CHAT])
    assert completion.text == "8 mm\u2028结节"


def test_an_answer_without_counts_or_done_is_whole_once_it_says_why_it_ended(server, remote):
    server.does(streams(*words("ja", usage=None)[:-1]))
    [completion] = remote().generate([CHAT])
    assert (completion.text, completion.prompt_tokens) == ("ja", 0)


def test_reasoning_beside_the_answer_is_passed_over(server, remote):
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm", "content": None}}]}
    server.does(streams(thought, *words("8")))
    assert remote().generate([CHAT])[0].text == "8"


def test_many_prompts_come_back_in_their_order_and_never_more_at_once_than_allowed(server, remote):
    running, most, lock = [0], [0], threading.Lock()

    def answer(handler):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        asked = handler.body["messages"][0]["content"]
        # The first are answered last.
        time.sleep(0.04 if asked in ("p0", "p1") else 0.01)
        with lock:
            running[0] -= 1
        streams(*words(asked.upper()))(handler)

    server.does(answer)
    prompts = [[{"role": "user", "content": f"p{index}"}] for index in range(12)]
    completions = remote(max_concurrent=3).generate(prompts)
    assert [each.text for each in completions] == [f"P{index}" for index in range(12)]
    assert 1 < most[0] <= 3


def test_each_prompt_may_have_its_own_parameters(server, remote):
    server.does(streams(*words("x")))
    remote(max_concurrent=1).generate([CHAT, CHAT], [SamplingParams(max_tokens=1), SamplingParams(max_tokens=2)])
    assert [body["max_completion_tokens"] for body in server.bodies] == [1, 2]
    with pytest.raises(InvalidInput, match="2 prompts and 1 params"):
        remote().generate([CHAT, CHAT], [SamplingParams()])
    assert remote().generate([]) == []


# --- which model, which server ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "dialect"), [("vllm", "vllm"), ("sglang", "sglang"), ("deepseek", "deepseek"), ("system", "openai")]
)
def test_model_and_dialect_are_asked_of_the_server_once(server, remote, owner, dialect):
    server.does(models("the/model", owner=owner), streams(*words("x")))
    asked = remote(model="", dialect="auto")
    asked.generate([CHAT])
    asked.generate([CHAT])
    assert [path for path, _, _ in server.asked] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    assert (asked.name, asked.dialect) == ("the/model", dialect)
    assert server.bodies[1]["model"] == "the/model"


def test_of_several_models_one_must_be_named(server, remote):
    server.does(models("a", "b"))
    with pytest.raises(NotFound, match=r"models a, b; set llm\.remote_model"):
        remote(model="", dialect="auto").generate([CHAT])
    assert remote(model="b", dialect="auto").name == "b"


def test_a_check_asks_once_and_shortly(server, remote):
    server.does(says(503, "busy"))
    with pytest.raises(ModelNotReady, match="answers 503: busy"):
        remote().check()
    assert len(server.asked) == 1
    server.does(models("m"))
    remote().check()
    assert server.asked[0][0] == "/v1/models"


@pytest.mark.parametrize("body", ["<html>", {"data": None}, {"data": [{"name": "x"}]}, []])
def test_a_server_that_lists_no_models_is_named(server, remote, body):
    server.does(says(200, body))
    with pytest.raises(ModelNotReady, match=r"lists no models; set llm\.remote_model"):
        remote(model="").stream(CHAT)


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", "/v1"), ("/", "/v1"), ("/v1/", "/v1"), ("/llm/qwen/v1", "/llm/qwen/v1"), ("/beta", "/beta")],
)
def test_the_url_may_have_a_path_or_none(server, remote, path, asked):
    server.does(streams(*words("x")))
    remote(url=f"http://127.0.0.1:{server.port}{path}").generate([CHAT])
    assert server.asked[0][0] == f"{asked}/chat/completions"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://host:99999", "http://[", "http://a b"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidInput, match=r"llm\.url is no address"):
        Remote(RemoteOptions(url))


def test_options_that_cannot_be_are_refused(server):
    with pytest.raises(InvalidInput, match=r"llm\.dialect is 'tgi'; it is one of auto, openai, vllm"):
        Remote(RemoteOptions(server.url, dialect="tgi"))
    with pytest.raises(InvalidInput, match=r"max_concurrent is 0"):
        Remote(RemoteOptions(server.url, max_concurrent=0))


# --- refusals and failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (400, InvalidInput, ""),
        (401, Unauthenticated, "Set llm.api_key (EVIDENT_LLM__API_KEY)"),
        (402, Forbidden, "account of llm.api_key"),
        (403, Forbidden, "key in llm.api_key"),
        (404, NotFound, "llm.remote_model"),
        (409, InvalidInput, ""),
        (413, TooLarge, "shorter prompt"),
        (422, InvalidInput, ""),
        (302, InvalidInput, "Redirects are not followed"),
    ],
)
def test_a_refusal_is_told_once_with_its_reason_and_never_tried_again(server, remote, status, kind, remedy):
    server.does(says(status, {"error": {"message": "No such\nthing"}}, Location="http://elsewhere.example"))
    with pytest.raises(EvidentError) as caught:
        list(remote().stream(CHAT))
    assert type(caught.value) is kind
    assert f"answers {status}: No such thing." in caught.value.message
    assert remedy in caught.value.message
    assert caught.value.details["upstream_status"] == status
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": "plain"}, "plain"),
        ({"message": "top", "code": 1}, "top"),
        ({"detail": [{"loc": ["body"], "msg": "wrong"}]}, "wrong"),
        ({"error": {"code": 7}}, '"code": 7'),
        ("<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        ("x" * 5000, "x" * 300 + "…"),
        ("", "answers 400."),
    ],
)
def test_refusals_of_every_form_are_quoted_shortly(server, remote, body, told):
    server.does(says(400, body))
    with pytest.raises(InvalidInput) as caught:
        remote().generate([CHAT])
    assert told in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("failure", [says(500, "oops"), says(503, "busy"), says(429, "slow"), hangs_up])
def test_a_passing_failure_is_tried_again(server, remote, no_pauses, failure):
    server.does(failure, failure, streams(*words("x")))
    assert remote().generate([CHAT])[0].text == "x"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("failure", "kind"), [(says(500, "oops"), ModelNotReady), (says(429, "slow"), TooMany), (hangs_up, ModelNotReady)]
)
def test_a_lasting_failure_is_tried_as_often_as_allowed(server, remote, no_pauses, failure, kind):
    server.does(failure)
    with pytest.raises(kind):
        remote(limits=Limits(retries=2)).generate([CHAT])
    assert len(server.asked) == 3


def test_pauses_grow_and_are_never_equal(server, remote, waits):
    server.does(says(500, "oops"))
    with pytest.raises(ModelNotReady):
        remote(limits=Limits(retries=6)).generate([CHAT])
    tops = [0.5, 1, 2, 4, 8, 8]
    assert all(top / 2 <= wait <= top for wait, top in zip(waits, tops, strict=True))
    assert len(set(waits)) == 6


def test_retry_after_is_obeyed(server, remote, waits):
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 20))
    server.does(
        says(429, "slow", Retry_After="7"), says(503, "busy", Retry_After=later), says(429, "", Retry_After="soon"),
        streams(*words("x")),
    )  # fmt: skip
    assert remote(limits=Limits()).generate([CHAT])[0].text == "x"
    assert waits[0] == 7
    assert 15 < waits[1] <= 20
    assert waits[2] <= 2


def test_a_server_that_asks_for_a_longer_wait_than_allowed_is_not_waited_for(server, remote, waits):
    server.does(says(429, {"error": {"message": "Rate limit"}}, Retry_After="3600"))
    with pytest.raises(TooMany, match=r"Rate limit\. Ask again later") as caught:
        remote().generate([CHAT])
    assert caught.value.details["retry_after"] == 3600
    assert waits == []


def test_no_pause_is_longer_than_the_time_that_is_left(server, remote, waits):
    server.does(says(503, "busy", Retry_After="25"))
    with pytest.raises(ModelNotReady):
        remote(limits=Limits(total_seconds=10)).generate([CHAT])
    assert waits == []


def test_where_nobody_listens_is_said(remote, no_pauses):
    with wayward_server() as gone:
        url = gone.url
    with pytest.raises(ModelNotReady, match=r"cannot be reached \(.*refused.*\); check llm\.url"):
        remote(url=url).generate([CHAT])


def test_a_server_that_hangs_is_left_and_not_asked_again(server, remote):
    server.does(hangs())
    with pytest.raises(ModelNotReady, match=r"did not begin to answer within 0\.2 s \(llm\.read_seconds\)"):
        remote(limits=Limits(read_seconds=0.2)).generate([CHAT])
    assert len(server.asked) == 1


def test_a_stream_that_stops_is_left(server, remote):
    def stalls(handler):
        handler.begin(200, "text/event-stream", Transfer_Encoding="chunked")
        handler.end_headers()
        handler.event(words("a")[1])
        hangs()(handler)

    server.does(stalls)
    chunks = remote(limits=Limits(read_seconds=0.2)).stream(CHAT)
    assert next(chunks).text == "a"
    with pytest.raises(ModelNotReady, match=r"sent nothing for 0\.2 s"):
        next(chunks)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "behaviour", [streams_for_ever({"choices": []}), streams(*[b": still here\n\n"] * 500, wait=0.01)]
)
def test_the_whole_time_is_bounded_even_if_something_comes_always(server, remote, behaviour):
    server.does(behaviour)
    with pytest.raises(ModelNotReady, match=r"took longer than 0\.3 s \(llm\.total_seconds\)"):
        remote(limits=Limits(total_seconds=0.3)).generate([CHAT])


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (streams(*words("half", reason=None, usage=None), whole=False), "closed the connection before"),
        (streams(*words("half", reason=None, usage=None)), "in the middle, after 4 characters"),
        (streams(*words("half", reason=None), "[DONE]"), "in the middle, after 4 characters"),
        (streams({"choices": [{"delta": {"content": "a"}}]}, {"error": {"message": "CUDA out of memory"}}), "CUDA out"),
        (streams("{not json"), "no JSON object ({not json)"),
        (streams("[1]"), "no JSON object"),
        (streams("[" * 100_000), "no JSON object"),
        (streams({"choices": [{"delta": {"content": 5}}]}), "another form"),
        (streams({"choices": ["x"]}), "another form"),
        (streams({"choices": [], "usage": {"prompt_tokens": "x"}}), "another form"),
        (streams(b"data: \xff\xfe\n\n"), "a stream that is none"),
        (streams(b"\x00" * 2000), "in the middle, after 0"),
        (streams(*words("x"), kind="text/html; charset=utf-8"), "answers with text/html where a stream"),
        (says(200, {"choices": [{"message": {"content": "x"}}]}), "answers with application/json where a stream"),
        (streams(*words("x", reason="insufficient_system_resource")), "to its end (insufficient_system_resource)"),
        (streams(*words("x", reason="content_filter")), "to its end (content_filter)"),
    ],
)
def test_a_broken_answer_is_an_error_and_is_not_asked_for_again(server, remote, behaviour, told):
    server.does(behaviour)
    with pytest.raises(ModelNotReady) as caught:
        remote().generate([CHAT])
    assert told in caught.value.message
    assert len(server.asked) == 1


def test_what_came_before_a_break_was_given_out(server, remote):
    server.does(streams(*words("half", reason=None, usage=None), whole=False))
    chunks = remote().stream(CHAT)
    assert next(chunks).text == "half"
    with pytest.raises(ModelNotReady):
        next(chunks)


# --- taking back ------------------------------------------------------------------------------------------------------


def test_closing_a_stream_closes_the_connection(server, remote):
    server.does(streams_for_ever(words("a")[1]))
    chunks = remote(max_concurrent=1)
    first = chunks.stream(CHAT)
    assert next(first).text == "a"
    first.close()
    assert server.left.wait(10)
    # Its place is free again.
    server.does(streams(*words("x")))
    assert chunks.generate([CHAT])[0].text == "x"


def test_one_failure_ends_the_other_requests(server, remote):
    others = threading.Barrier(3)

    def answer(handler):
        if handler.body["messages"][0]["content"] == "p1":
            others.wait(10)
            says(400, "no")(handler)
        else:
            handler.begin(200, "text/event-stream", Transfer_Encoding="chunked")
            handler.end_headers()
            handler.event(words("a")[1])
            others.wait(10)
            while True:
                handler.event(words("a")[1])
                time.sleep(0.005)

    server.does(answer)
    prompts = [[{"role": "user", "content": f"p{index}"}] for index in range(3)]
    with pytest.raises(InvalidInput, match="answers 400: no"):
        remote().generate(prompts)
    assert server.left.wait(10)


def test_requests_beyond_the_allowed_number_wait_and_then_give_up(server, remote):
    server.does(streams_for_ever(words("a")[1]))
    shared = remote(max_concurrent=1, limits=Limits(total_seconds=0.3))
    first = shared.stream(CHAT)
    next(first)
    with pytest.raises(TooMany, match=r"1 requests .* run already \(llm\.max_concurrent\)"):
        shared.generate([CHAT])
    first.close()


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt_is_refused_before_anything_is_sent(server, remote, prompt):
    server.does(streams(*words("x")))
    with pytest.raises(InvalidInput, match=r"is empty|no message"):
        remote().stream(prompt)
    assert server.asked == []


def test_a_text_in_place_of_prompts_is_refused(server, remote):
    with pytest.raises(InvalidInput, match="prompts is one text"):
        remote().generate("Once")
