"""Our engine behind the OpenAI API: the same texts from the engine, the real ``openai`` client, and Remote."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

from evident_core.decode.generator import SamplingParams
from evident_core.decode.grammar import Grammar
from evident_core.decode.llm import LLM
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.decode.remote.secret import Secret
from evident_core.errors import InvalidInput, NotFound
from evident_core.web.llm_api import create_llm_app
from llm_server import Halted, eventually, is_free, served, tiny_llm, tiny_settings

CHAT = [{"role": "system", "content": "You read scans."}, {"role": "user", "content": "结节 of what size?"}]
GREEDY = SamplingParams(max_tokens=24)
DRAWN = SamplingParams(max_tokens=40, temperature=0.9, top_p=0.95, top_k=50, min_p=0.01, seed=7, repetition_penalty=1.1)


class Finding(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: Literal["left", "right"]
    solid: bool
    grade: Literal[1, 2, 3]


SCHEMA = Finding.model_json_schema()


@pytest.fixture(scope="module")
def llm() -> LLM:
    return tiny_llm()


@pytest.fixture(scope="module")
def address(llm: LLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("data")
    with served(create_llm_app(tiny_settings(folder), llm)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="EMPTY", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def remote(address: str) -> Iterator[Remote]:
    with Remote(RemoteOptions(address, api_key=Secret("EMPTY"))) as remote:
        yield remote


@pytest.fixture(autouse=True)
def _all_freed(llm: LLM) -> Iterator[None]:
    yield
    assert eventually(lambda: is_free(llm))


def _extras(params: SamplingParams) -> dict[str, object]:
    return {"top_k": params.top_k, "min_p": params.min_p, "repetition_penalty": params.repetition_penalty}


def _common(params: SamplingParams) -> dict[str, object]:
    common = {"model": "evident", "temperature": params.temperature, "top_p": params.top_p, "seed": params.seed}
    return {**common, "max_tokens": params.max_tokens, "extra_body": _extras(params)}


# --- one text, three ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_chat_is_answered_alike_by_engine_client_and_remote(llm, client, remote, params):
    [expected] = llm.generate([CHAT], params)
    answer = client.chat.completions.create(messages=CHAT, **_common(params))
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == expected.finish_reason == "length"
    assert (answer.object, answer.model, answer.id[:9]) == ("chat.completion", "evident", "chatcmpl-")
    assert answer.usage.prompt_tokens == expected.prompt_tokens == len(llm.encode(CHAT))
    assert answer.usage.completion_tokens == expected.completion_tokens
    assert answer.usage.total_tokens == expected.prompt_tokens + expected.completion_tokens
    [there] = remote.generate([CHAT], params)
    assert (there.text, there.finish_reason) == (expected.text, expected.finish_reason)
    assert (there.prompt_tokens, there.completion_tokens) == (expected.prompt_tokens, expected.completion_tokens)


@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_plain_text_is_continued_alike_by_engine_client_and_remote(llm, client, remote, params):
    [expected] = llm.generate(["Once\u2028upon"], params)
    answer = client.completions.create(prompt="Once\u2028upon", **_common(params))
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (expected.text, "length")
    assert (answer.object, answer.usage.completion_tokens) == ("text_completion", expected.completion_tokens)
    assert remote.generate(["Once\u2028upon"], params)[0].text == expected.text


@pytest.mark.parametrize("params", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_stream_is_the_whole_text_in_pieces(llm, client, remote, params):
    [expected] = llm.generate([CHAT], params)
    common = _common(params)
    chunks = list(
        client.chat.completions.create(messages=CHAT, stream=True, stream_options={"include_usage": True}, **common)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(pieces) == expected.text
    assert len(pieces) > 10
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == expected.completion_tokens
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert len({chunk.id for chunk in chunks}) == 1

    texts = list(client.completions.create(prompt="Once", stream=True, **common))
    assert "".join(chunk.choices[0].text for chunk in texts) == llm.generate(["Once"], params)[0].text
    assert texts[-1].choices[0].finish_reason == "length"

    there = list(remote.stream(CHAT, params))
    assert "".join(chunk.text for chunk in there) == expected.text == there[-1].completion.text
    assert len(there) > 10


def test_a_stream_gives_its_first_piece_before_the_last_is_written(llm, client):
    with Halted(llm, after=5) as engine:
        stream = client.chat.completions.create(messages=CHAT, stream=True, **_common(GREEDY))
        assert [next(stream).choices[0].delta.content for _ in range(4)][1:] != ["", "", ""]
        assert not is_free(llm)
        engine.go.set()
        assert sum(1 for _ in stream) > 10


def test_stop_texts_end_a_text_before_them(llm, client, remote):
    whole = llm.generate([CHAT], DRAWN)[0].text
    stop = whole[8:10]
    expected = whole[: whole.index(stop)]
    answer = client.chat.completions.create(messages=CHAT, stop=[stop], **_common(DRAWN))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (expected, "stop")
    alone = client.chat.completions.create(messages=CHAT, stop=stop, **_common(DRAWN))
    assert alone.choices[0].message.content == expected
    params = SamplingParams(**{**vars(DRAWN), "stop": (stop,)})
    assert remote.generate([CHAT], params)[0].text == expected


# --- several texts ----------------------------------------------------------------------------------------------------


def test_choices_of_one_prompt_differ_by_their_seeds_and_the_first_is_the_only_one_s(client):
    one = client.chat.completions.create(messages=CHAT, **_common(DRAWN)).choices[0].message.content
    answer = client.chat.completions.create(messages=CHAT, n=3, **_common(DRAWN))
    texts = [choice.message.content for choice in answer.choices]
    assert texts[0] == one
    assert len(set(texts)) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 3 * DRAWN.max_tokens


def test_choices_are_streamed_in_turn(client):
    answer = client.chat.completions.create(messages=CHAT, n=3, **_common(DRAWN))
    pieces: dict[int, str] = {}
    order = []
    for chunk in client.chat.completions.create(messages=CHAT, n=3, stream=True, **_common(DRAWN)):
        choice = chunk.choices[0]
        pieces[choice.index] = pieces.get(choice.index, "") + (choice.delta.content or "")
        order.append(choice.index)
    assert pieces == {choice.index: choice.message.content for choice in answer.choices}
    assert order != sorted(order), "one was written after the other"


def test_several_prompts_each_with_several_choices(llm, client):
    prompts = ["Once", "营业收入", "x"]
    answer = client.completions.create(prompt=prompts, n=2, **_common(DRAWN))
    texts = [choice.text for choice in answer.choices]
    assert texts[::2] == [each.text for each in llm.generate(prompts, DRAWN)]
    assert answer.usage.prompt_tokens == sum(len(llm.encode(prompt)) for prompt in prompts)


def test_remote_continues_many_prompts_in_order(llm, remote):
    prompts = [f"{index}. " for index in range(20)]
    params = [SamplingParams(max_tokens=5 + index, temperature=1.0, seed=index) for index in range(20)]
    expected = llm.generate(prompts, params)
    assert [each.text for each in remote.generate(prompts, params)] == [each.text for each in expected]


# --- structured outputs -----------------------------------------------------------------------------------------------

GRAMMARS = {
    "schema": (Grammar.json_schema(SCHEMA), {"json": SCHEMA}),
    "regex": (Grammar.regex(r"[1-9][0-9]? mm"), {"regex": r"[1-9][0-9]? mm"}),
    "choices": (Grammar.choices(["left", "right", "双侧"]), {"choice": ["left", "right", "双侧"]}),
    "lark": (Grammar.lark('start: /[0-9]/ " " ("mm" | "cm")'), {"grammar": 'start: /[0-9]/ " " ("mm" | "cm")'}),
}


@pytest.mark.parametrize("name", list(GRAMMARS))
@pytest.mark.parametrize("prompt", [CHAT, "Size: "], ids=["chat", "text"])
def test_a_grammar_holds_for_engine_client_and_remote_alike(llm, client, remote, name, prompt):
    grammar, form = GRAMMARS[name]
    params = SamplingParams(max_tokens=80, temperature=1.0, seed=2, grammar=grammar)
    [expected] = llm.generate([prompt], params)
    common = {"model": "evident", "max_tokens": 80, "temperature": 1.0, "seed": 2}
    for extra in ({"structured_outputs": form}, *({f"guided_{key}": value} for key, value in form.items())):
        if prompt is CHAT:
            answer = client.chat.completions.create(messages=CHAT, **common, extra_body=extra)
            text = answer.choices[0].message.content
        else:
            text = client.completions.create(prompt=prompt, **common, extra_body=extra).choices[0].text
        assert text == expected.text
    [there] = remote.generate([prompt], params)
    assert (there.text, there.finish_reason) == (expected.text, "stop")
    assert "".join(chunk.text for chunk in remote.stream(prompt, params)) == expected.text


def test_remote_takes_our_server_for_what_it_is(remote):
    assert (remote.name, remote.dialect) == ("evident", "evident")
    remote.check()


def test_a_schema_by_response_format_parses(client):
    described = {"name": "finding", "strict": True, "schema": SCHEMA}
    for seed in range(5):
        answer = client.chat.completions.create(
            model="evident",
            messages=CHAT,
            seed=seed,
            response_format={"type": "json_schema", "json_schema": described},
        )
        assert answer.choices[0].finish_reason == "stop"
        Finding.model_validate_json(answer.choices[0].message.content)


def test_the_client_s_own_parsing_works(client):
    answer = client.chat.completions.parse(model="evident", messages=CHAT, response_format=Finding, seed=1)
    assert isinstance(answer.choices[0].message.parsed, Finding)


def test_any_object_by_response_format_parses_even_if_the_bound_ends_it(client):
    for seed in range(3):
        answer = client.chat.completions.create(
            model="evident", messages=CHAT, seed=seed, max_tokens=30, response_format={"type": "json_object"}
        )
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_stream_under_a_grammar_is_the_whole_text_in_pieces(client):
    extra = {"structured_outputs": {"regex": "[a-z]{30}[0-9]{5}"}}
    chunks = client.chat.completions.create(model="evident", messages=CHAT, stream=True, seed=1, extra_body=extra)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert re.fullmatch("[a-z]{30}[0-9]{5}", "".join(pieces))
    assert sum(map(bool, pieces)) > 10


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_model_is_listed_and_described(client):
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("evident", "model", "evident")
    assert client.models.retrieve("evident") == model


def test_defaults_are_those_of_the_api(llm, client):
    answer = client.completions.create(model="evident", prompt="Once", temperature=0)
    assert answer.usage.completion_tokens == 16
    # A random model ends where it likes: of these, one text that is longer than what a plain prompt is given.
    drawn = {
        seed: llm.generate([CHAT], SamplingParams(temperature=1.0, seed=seed, max_tokens=1024))[0] for seed in range(9)
    }
    seed = next(seed for seed, done in drawn.items() if done.completion_tokens > 16)
    answer = client.chat.completions.create(model="evident", messages=CHAT, seed=seed)
    assert answer.choices[0].message.content == drawn[seed].text


def test_content_may_come_in_parts_and_from_a_developer(llm, client):
    parts = [{"type": "text", "text": "You read "}, {"type": "text", "text": "scans."}]
    chat = [{"role": "developer", "content": parts}, CHAT[1]]
    answer = client.chat.completions.create(model="evident", messages=chat, max_completion_tokens=24, temperature=0)
    assert answer.choices[0].message.content == llm.generate([CHAT], GREEDY)[0].text


def test_an_answer_may_be_sent_back_as_the_client_gives_it(client):
    answer = client.chat.completions.create(model="evident", messages=CHAT, max_tokens=8, temperature=0)
    again = [*CHAT, answer.choices[0].message.model_dump(), {"role": "user", "content": "Sure?"}]
    answer = client.chat.completions.create(model="evident", messages=again, max_tokens=8, temperature=0)
    assert answer.usage.completion_tokens == 8


# --- refusals, both against each other --------------------------------------------------------------------------------


def test_remote_tells_what_our_server_refuses(address, remote):
    with pytest.raises(InvalidInput, match=r"answers 400: The prompt has 400 tokens; .* Shorten it"):
        remote.generate(["x" * 400])
    other = Remote(RemoteOptions(address, model="other", dialect="vllm"))
    with pytest.raises(NotFound, match=r"The model 'other' does not exist here; this server has 'evident'"):
        other.generate([CHAT])
    with pytest.raises(InvalidInput, match="prompt is empty"):
        remote.generate([""])
