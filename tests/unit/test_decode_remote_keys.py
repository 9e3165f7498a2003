"""The key of a model server goes to that server, and nowhere else."""

import copy
import dataclasses
import io
import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest

from evident_core.decode import choose
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.decode.remote.secret import Secret
from evident_core.decode.remote.transport import Limits
from evident_core.errors import EvidentError, InvalidInput
from evident_core.settings import load
from wayward_server import Wayward, echoes, hangs, hangs_up, says, streams, wayward_server, words

KEY = 'sk-9f2e"7\\c41/b8%d0e6a53'
CHAT = [{"role": "user", "content": "?"}]
ONCE = Limits(retries=0, read_seconds=0.3)


@pytest.fixture
def server() -> Iterator[Wayward]:
    with wayward_server() as running:
        yield running


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """All that any logger says, down to DEBUG."""
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    loggers = [logging.getLogger(name) for name in (None, "httpx", "httpcore", "evident")]
    before = [(each, each.level) for each in loggers]
    logging.getLogger().addHandler(handler)
    for each in loggers:
        each.setLevel(logging.DEBUG)
    yield told
    logging.getLogger().removeHandler(handler)
    for each, level in before:
        each.setLevel(level)


def _remote(server: Wayward, **options) -> Remote:
    given = {"url": server.url, "model": "m", "dialect": "vllm", "api_key": Secret(KEY), "limits": ONCE, **options}
    return Remote(RemoteOptions(**given))


def _forms(text: str) -> list[str]:
    """A text as it may be hidden in another: as it is, as Python and as JSON would quote it."""
    return [text, repr(text)[1:-1], text.replace("\\", "\\\\").replace('"', '\\"'), text[4:12]]


def _shown(error: BaseException) -> str:
    """All that anybody could see of an error."""
    chain, each = [], error
    while each is not None:
        chain.append(each)
        each = each.__cause__ or each.__context__
    parts = ["".join(traceback.format_exception(error)), *map(repr, chain), *(repr(vars(each)) for each in chain)]
    return "\n".join([*parts, pickle.dumps(error).decode("latin-1")])


def test_the_key_is_sent(server):
    server.does(streams(*words("x")))
    _remote(server).generate([CHAT])
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "behaviour",
    [
        echoes,
        hangs(),
        hangs_up,
        says(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
        says(400, f"key {KEY} " * 40),
        says(404, "x" * 290 + KEY),
        says(302, "", Location=f"https://elsewhere/{KEY}"),
        streams({"error": {"message": KEY}}),
        streams(KEY),
        streams(*words("x", reason=KEY)),
        streams(*words("x")),
        says(200, KEY, KEY),
        says(200, "", "text/event-stream", X_Echo=KEY),
    ],
)
def test_whatever_the_server_does_the_key_is_in_no_log_and_no_error(server, everything_logged, behaviour):
    server.does(behaviour)
    shown = ""
    try:
        _remote(server).generate([CHAT])
    except EvidentError as error:
        shown = _shown(error)
    logged = everything_logged.getvalue()
    assert "httpcore" in logged or "receive_response_headers" in logged or "send_request_headers" in logged
    for form in _forms(KEY):
        assert form not in logged
        assert form not in shown


def test_no_error_holds_the_library_s_own_with_its_request(server):
    server.does(hangs_up)
    with pytest.raises(EvidentError) as caught:
        _remote(server).generate([CHAT])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_key_is_masked_in_what_the_server_says(server):
    server.does(says(400, {"error": {"message": f"Bearer {KEY} may not"}}))
    with pytest.raises(InvalidInput, match="Bearer … may not"):
        _remote(server).generate([CHAT])


def test_logs_of_another_remote_are_as_they_were(server, everything_logged):
    server.does(says(500, "oops", X_Other="another-key-of-nobody"))
    with pytest.raises(EvidentError):
        _remote(server).generate([CHAT])
    assert "another-key-of-nobody" in everything_logged.getvalue()


def test_the_key_is_in_no_representation_and_no_copy_as_text(server):
    remote = _remote(server)
    options = remote.options
    for shown in (
        repr(remote), repr(options), str(options.api_key), f"{options.api_key}", repr(dataclasses.asdict(options)),
        repr(copy.deepcopy(options)), repr(vars(options)), repr(vars(remote)), repr(Secret(KEY)), repr([Secret(KEY)]),
    ):  # fmt: skip
        assert not any(form in shown for form in _forms(KEY))
    assert options.api_key.reveal() == KEY
    assert bool(Secret()) is False
    assert repr(Secret()) == "Secret('')"


@pytest.mark.parametrize("make", [lambda server: _remote(server), lambda server: _remote(server).options])
def test_what_holds_a_key_is_not_pickled(server, make):
    with pytest.raises(TypeError, match="from the settings where it is needed"):
        pickle.dumps(make(server))


@pytest.mark.parametrize("wrong", [f"{KEY}\n", f" {KEY}", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_no_header_carries_is_refused_without_being_quoted(wrong):
    with pytest.raises(InvalidInput, match=r"llm\.api_key has .* at position \d+ of") as caught:
        Secret(wrong)
    assert KEY[:8] not in _shown(caught.value)


@pytest.mark.parametrize(
    "url", [f"http://user:{KEY[:6]}x@host/v1", f"https://host/v1?key={KEY[:6]}x", "https://host/#x"]
)
def test_a_url_with_more_than_an_address_is_refused_without_being_quoted(url):
    with pytest.raises(InvalidInput, match=r"A key belongs into llm\.api_key") as caught:
        Remote(RemoteOptions(url))
    assert KEY[:6] not in str(caught.value) + repr(caught.value.details)


@pytest.mark.parametrize("url", ["http://model.internal:8000/v1", "http://10.0.0.7/v1", "http://[2001:db8::1]:80/v1"])
def test_a_key_does_not_cross_a_network_unencrypted_unless_allowed(url):
    with pytest.raises(InvalidInput, match=r"would be sent llm\.api_key unencrypted; use https"):
        Remote(RemoteOptions(url, api_key=Secret(KEY)))
    Remote(RemoteOptions(url)).close()
    Remote(RemoteOptions(url, api_key=Secret(KEY), allow_plain_http=True)).close()
    Remote(RemoteOptions(url.replace("http:", "https:"), api_key=Secret(KEY))).close()


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.0.0.1:1", "http://[::1]:1/v1"])
def test_on_this_machine_a_key_may_go_unencrypted(url):
    Remote(RemoteOptions(url, api_key=Secret(KEY))).close()


def test_a_redirect_does_not_take_the_key_along(server):
    with wayward_server() as elsewhere:
        elsewhere.does(streams(*words("x")))
        server.does(says(307, "", Location=f"{elsewhere.url}/chat/completions"))
        with pytest.raises(InvalidInput, match=r"Redirects are not followed; set llm\.url"):
            _remote(server).generate([CHAT])
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_told_what_is_said_on_this_machine(server, monkeypatch):
    with wayward_server() as proxy:
        proxy.does(streams(*words("from the proxy")))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        server.does(streams(*words("from the server")))
        assert _remote(server).generate([CHAT])[0].text == "from the server"


def test_settings_lead_to_the_server_and_keep_the_key(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIDENT_LLM__API_KEY", KEY)
    monkeypatch.setenv("EVIDENT_LLM__URL", server.url)
    settings = load(llm={"retries": 0, "read_seconds": 1, "max_concurrent": 2})
    assert KEY not in repr(settings) + settings.model_dump_json()
    server.does(says(200, {"data": [{"id": "org/m", "owned_by": "sglang"}]}), streams(*words("x")))
    generator = choose.generator(settings.llm)
    assert isinstance(generator, Remote)
    assert generator.generate([CHAT])[0].text == "x"
    assert (generator.name, generator.dialect) == ("org/m", "sglang")
    assert [headers["Authorization"] for _, headers, _ in server.asked] == [f"Bearer {KEY}"] * 2
    assert generator.options.limits == Limits(retries=0, read_seconds=1)
    assert generator.options.max_concurrent == 2
