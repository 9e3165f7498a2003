"""What each kind of server is sent, and what is refused because it cannot do it."""

import json
import re
from collections.abc import Iterator

import pytest

from evident_core.decode.generator import SamplingParams
from evident_core.decode.grammar import Grammar
from evident_core.decode.remote import Remote, RemoteOptions
from evident_core.decode.remote.conformance import judge
from evident_core.decode.remote.dialects import DIALECTS, dialect_of, literal_regex
from evident_core.decode.remote.transport import Limits
from evident_core.decode.terms import TermTrie
from evident_core.errors import InvalidInput, ModelNotReady
from wayward_server import Wayward, streams, wayward_server, words

CHAT = [{"role": "system", "content": "You read scans."}, {"role": "user", "content": "Size?"}]
SCHEMA = {
    "type": "object",
    "properties": {"mm": {"type": "integer"}, "side": {"enum": ["left", "right"]}},
    "required": ["mm", "side"],
    "additionalProperties": False,
}
JSON = Grammar.json_schema(SCHEMA)
REGEX = Grammar.regex(r"[0-9]+ mm")
LARK = Grammar.lark('start: NUMBER " mm"\nNUMBER: /[0-9]+/')
CHOICES = Grammar.choices(["left (L)", "right", "n/a"])
DEEPSEEK_BETA = "https://api.deepseek.com/beta"


def _body(dialect: str, grammar: Grammar | None = None, *, chat: bool = True, base: str = "", **params) -> dict:
    prompt = CHAT if chat else "Once"
    return DIALECTS[dialect].request("m", prompt, SamplingParams(grammar=grammar, **params), base)[1]


# --- structured outputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("dialect", ["vllm", "evident"])
@pytest.mark.parametrize(
    ("grammar", "sent"),
    [
        (JSON, {"json": SCHEMA}),
        (REGEX, {"regex": r"[0-9]+ mm"}),
        (LARK, {"grammar": LARK.source}),
        (CHOICES, {"choice": ["left (L)", "right", "n/a"]}),
    ],
)
def test_vllm_and_ray_serve_take_structured_outputs(dialect, grammar, sent, chat):
    body = _body(dialect, grammar, chat=chat)
    assert body["structured_outputs"] == sent
    assert not {"response_format", "guided_json", "regex"} & body.keys()


def test_sglang_takes_schemas_in_a_chat_s_response_format_and_the_rest_beside_it():
    body = _body("sglang", JSON)
    described = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": described}
    assert "json_schema" not in body, "in a chat SGLang passes over this field"
    assert json.loads(_body("sglang", JSON, chat=False)["json_schema"]) == SCHEMA
    assert _body("sglang", REGEX)["regex"] == r"[0-9]+ mm"
    assert _body("sglang", CHOICES)["regex"] == r"left \(L\)|right|n/a"


def test_openai_takes_strict_schemas_in_chats():
    body = _body("openai", JSON)
    described = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": described}


def test_deepseek_is_told_the_schema_and_asked_for_json():
    body = _body("deepseek", JSON)
    assert body["response_format"] == {"type": "json_object"}
    told = body["messages"][0]
    assert told["role"] == "system"
    assert told["content"].startswith("You read scans.\n\nAnswer with one JSON object")
    assert json.dumps(SCHEMA, ensure_ascii=False) in told["content"]
    assert body["messages"][1:] == CHAT[1:]
    assert CHAT[0]["content"] == "You read scans."
    alone = DIALECTS["deepseek"].request("m", CHAT[1:], SamplingParams(grammar=JSON))[1]["messages"]
    assert [each["role"] for each in alone] == ["system", "user"]


@pytest.mark.parametrize(
    ("dialect", "grammar", "told"),
    [
        ("openai", REGEX, "cannot do a grammar of the kind regex. It knows: json_schema."),
        ("openai", LARK, "kind lark"),
        ("openai", CHOICES, "kind choices"),
        ("deepseek", REGEX, "kind regex"),
        ("sglang", LARK, "kind lark. It knows: json_schema, regex, choices."),
        ("vllm", TermTrie(["pneumonia"]), "kind terms"),
        ("openai", Grammar.json_schema({"type": "array", "items": {"type": "integer"}}), "asks for 'array'"),
        ("deepseek", Grammar.json_schema({"type": "integer"}), "asks for 'integer'"),
    ],
)
def test_a_grammar_that_a_server_does_not_know_is_refused(dialect, grammar, told):
    with pytest.raises(InvalidInput) as caught:
        _body(dialect, grammar)
    assert told in caught.value.message
    assert caught.value.details["dialect"] == dialect


@pytest.mark.parametrize("dialect", ["openai", "deepseek"])
def test_plain_text_under_a_schema_is_refused_where_only_chats_have_one(dialect):
    with pytest.raises(InvalidInput, match="in chats only"):
        _body(dialect, JSON, chat=False, base=DEEPSEEK_BETA)


@pytest.mark.parametrize("text", ["a.b", "(x|y)", "[1]{2}^$\\", "two\nlines", "结节 8 mm?", "#-& ~/"])
def test_a_choice_as_an_expression_matches_itself_alone(text):
    assert re.fullmatch(literal_regex(text), text)
    assert judge(Grammar.regex(literal_regex(text)))(text) == ""
    assert not re.fullmatch(literal_regex(text), text + "x")


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "evident"])
def test_every_parameter_is_sent_so_that_none_is_the_model_s_own_default(dialect):
    body = _body(dialect)
    assert body | {"temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0} == body
    body = _body(dialect, temperature=0.7, top_p=0.9, top_k=40, min_p=0.1, repetition_penalty=1.2, seed=5, stop=("x",))
    sent = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.2, "seed": 5}
    assert body | sent | {"stop": ["x"]} == body


@pytest.mark.parametrize(
    ("dialect", "chat", "name"),
    [
        ("openai", True, "max_completion_tokens"),
        ("vllm", True, "max_completion_tokens"),
        ("sglang", True, "max_completion_tokens"),
        ("deepseek", True, "max_tokens"),
        ("vllm", False, "max_tokens"),
        ("openai", False, "max_tokens"),
    ],
)
def test_the_bound_has_the_name_that_each_knows(dialect, chat, name):
    body = _body(dialect, chat=chat, max_tokens=7)
    assert body[name] == 7
    assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1


@pytest.mark.parametrize(
    ("dialect", "params", "told"),
    [
        ("openai", {"temperature": 1.0, "top_k": 40}, "cannot do top_k=40"),
        ("deepseek", {"temperature": 1.0, "min_p": 0.1}, "cannot do min_p=0.1"),
        ("openai", {"repetition_penalty": 1.1}, "cannot do repetition_penalty=1.1"),
        ("vllm", {"no_repeat_ngram": 3}, "cannot do no_repeat_ngram=3"),
        ("sglang", {"no_repeat_ngram": 3}, "cannot do no_repeat_ngram=3"),
        ("openai", {"stop": tuple("abcde")}, "cannot do 5 stop texts (4 at most)"),
        ("deepseek", {"temperature": 1.0, "seed": 1}, "cannot do a seed"),
    ],
)
def test_a_parameter_that_a_server_does_not_know_is_refused(dialect, params, told):
    with pytest.raises(InvalidInput) as caught:
        _body(dialect, **params)
    assert told in caught.value.message


def test_greedy_is_greedy_everywhere_and_needs_neither_seed_nor_top_k():
    for dialect in DIALECTS:
        assert _body(dialect, temperature=0.9, top_k=1, seed=3)["temperature"] == 0.0
        assert "seed" not in _body(dialect, temperature=0.0, seed=3)


def test_our_own_server_knows_what_others_do_not():
    assert _body("evident", no_repeat_ngram=3)["no_repeat_ngram"] == 3
    assert dialect_of("evident") is DIALECTS["evident"]
    assert dialect_of("somebody") is DIALECTS["openai"]


@pytest.mark.parametrize("prompt", ["a\ud800", [{"role": "user", "content": "\udfff"}]])
def test_what_is_no_text_is_refused(prompt):
    with pytest.raises(InvalidInput, match="half of a surrogate pair at character"):
        DIALECTS["vllm"].request("m", prompt, SamplingParams())


def test_deepseek_continues_plain_text_at_its_beta_address_alone():
    with pytest.raises(InvalidInput, match=r"https://api\.deepseek\.com/beta alone"):
        _body("deepseek", chat=False, base="https://api.deepseek.com/v1")
    assert _body("deepseek", chat=False, base=DEEPSEEK_BETA)["prompt"] == "Once"


def test_a_role_that_there_is_not_is_named():
    with pytest.raises(InvalidInput, match="Message 0 is of 'robot'; a role is one of assistant, system, tool, user"):
        DIALECTS["vllm"].request("m", [{"role": "robot", "content": "x"}], SamplingParams())  # type: ignore[typeddict-item]


# --- whether the server heeded the grammar ----------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Wayward]:
    with wayward_server() as running:
        yield running


@pytest.mark.parametrize(
    ("grammar", "text", "wrong"),
    [
        (JSON, '{"side": "left",\n "mm": 8}', ""),
        (JSON, '{"mm":8,"side":"left"}', ""),
        (JSON, '{"mm":8,"side":"both"}', "$.side does not follow the schema's 'enum'"),
        (JSON, '{"mm":8}', "$ does not follow the schema's 'required'"),
        (JSON, "8 mm", "it is not JSON"),
        (JSON, '```json\n{"mm":8,"side":"left"}\n```', "it is not JSON"),
        (JSON, "", "it is not JSON"),
        (JSON, '{"mm":NaN,"side":"left"}', "NaN is no number"),
        (JSON, "[" * 100_000, "nested too deep"),
        (REGEX, "12 mm", ""),
        (REGEX, "12 mm.", "byte 5 is not one that may stand there"),
        (REGEX, "12", "it ends too early"),
        (REGEX, "<eos>", "byte 0"),
        (LARK, "8 mm", ""),
        (LARK, "8 cm", "byte 2"),
        (CHOICES, "left (L)", ""),
        (CHOICES, "left", "none of the 3 choices"),
        (TermTrie(["肺炎", "肺气肿"]), "肺气肿", ""),
        (TermTrie(["肺炎", "肺气肿"]), "肺", "too early"),
    ],
)
def test_a_text_is_judged_by_its_grammar(grammar, text, wrong):
    verdict = judge(grammar)(text)
    assert wrong in verdict
    assert bool(verdict) == bool(wrong)


def test_without_jsonschema_the_matcher_judges(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jsonschema", None)
    verdict = judge.__wrapped__(JSON)
    assert verdict('{"mm":8,"side":"left"}') == ""
    assert verdict('{ "mm": 8,\n "side": "left" }') == ""
    assert "not JSON" in verdict("8 mm")
    assert "byte" in verdict('{"mm":8,"side":"both"}')


def test_a_text_that_does_not_conform_is_an_error_after_its_pieces(server):
    server.does(streams(*words("about ", "8")))
    with Remote(RemoteOptions(server.url, model="m", dialect="vllm")) as remote:
        chunks = remote.stream(CHAT, SamplingParams(grammar=REGEX))
        assert next(chunks).text == "about "
        assert next(chunks).text == "8"
        with pytest.raises(
            ModelNotReady, match=r"does not heed the grammar: byte 0 .*Set llm\.dialect \(vllm is taken\)"
        ):
            next(chunks)
        assert len(server.asked) == 1


def test_a_text_that_was_cut_short_names_the_bound(server):
    server.does(streams(*words('{"mm":', reason="length")))
    remote = Remote(RemoteOptions(server.url, model="m", dialect="vllm"))
    with pytest.raises(InvalidInput, match=r"max_tokens ended the text before .* Allow more"):
        remote.generate([CHAT], SamplingParams(grammar=JSON, max_tokens=2))


def test_a_wrong_grammar_is_refused_before_anything_is_sent(server):
    remote = Remote(RemoteOptions(server.url, model="m", dialect="vllm", limits=Limits(retries=0)))
    with pytest.raises(InvalidInput):
        remote.stream(CHAT, SamplingParams(grammar=Grammar.regex("(unclosed")))
    assert server.asked == []
