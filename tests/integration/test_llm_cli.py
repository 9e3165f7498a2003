"""The engine's commands, as a person types them, with the model that the suite ships."""

import io
import json
from pathlib import Path

import pytest

from evident_core import cli
from evident_core.moe.weights import save_model
from tiny_model import TEMPLATE, tiny_model, tiny_tokenizer

SENTENCE = "Revenue rose 8.2% to USD 12.4 million in 2023."
SCHEMA = {
    "type": "object",
    "properties": {
        "revenue": {"type": ["string", "null"]},
        "year": {"type": ["integer", "null"]},
        "auditor": {"type": ["string", "null"]},
    },
    "required": ["revenue", "year", "auditor"],
    "additionalProperties": False,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command in this process; returns its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIDENT_CONFIG", "")

    def invoke(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = 0
        try:
            cli.main([str(each) for each in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return invoke


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_model(tiny_model(vocab_size=260), folder)
    tiny_tokenizer().backend.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<eos>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_the_suites_own_model_extracts_what_a_schema_asks_for_and_null_for_what_is_not_there(run) -> None:
    code, out, err = run(
        "generate", f"Extract revenue, year and auditor from: {SENTENCE}", "--json-schema", json.dumps(SCHEMA)
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == {"revenue": "USD 12.4 million", "year": 2023, "auditor": None}


def test_a_schema_and_a_prompt_come_from_files_and_figures_go_to_programs(run, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("\ufeff" + json.dumps(SCHEMA), "utf-8")
    code, out, _ = run("generate", "-", "--json-schema", "schema.json", "--json", stdin=f"Extract year: {SENTENCE}")
    told = json.loads(out)
    assert code == 0
    assert set(json.loads(told["text"])) == {"revenue", "year", "auditor"}
    assert told["model"] == "evident-small"
    assert told["model_steps"] < told["completion_tokens"], "what the schema forces was asked of the model"


def test_constraints_by_regex_choice_terms_and_lark(run, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("pleural effusion\n胸腔积液\n\n", "utf-8")
    (tmp_path / "date.lark").write_text('start: YEAR "-" MONTH\nYEAR: /20[0-9][0-9]/\nMONTH: /0[1-9]|1[0-2]/\n')
    assert run("generate", "x", "--choice", "rise", "--choice", "fall")[1].strip() in ("rise", "fall")
    assert run("generate", "x", "--regex", "[0-9]{4}")[1].strip().isdigit()
    assert run("generate", "x", "--terms", "terms.txt")[1].strip() in ("pleural effusion", "胸腔积液")
    assert len(run("generate", "x", "--lark", "date.lark")[1].strip()) == 7


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("generate", "  "), "The prompt is empty"),
        (("generate", "x", "--regex", "a", "--choice", "b"), "--regex and --choice exclude each other"),
        (("generate", "x", "--lark", "none.lark"), "The file none.lark does not exist"),
        (("generate", "x", "--json-schema", "none.json"), "The file none.json does not exist"),
        (("generate", "x", "--json-schema", '{"type": "strin"}'), "strin"),
        (("generate", "x", "--regex", "(["), "regular expression"),
        (("generate", "x", "--model", "nothing"), "nothing"),
        (("generate", "x", "--temperature", "-1"), "temperature is -1.0"),
        (("generate", "x", "--device", "gpu"), "'gpu' is no device"),
        (("model", "inspect", "nothing"), "config.json is missing"),
        (("quantize", "nothing", "there"), "nothing"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_1(run, arguments: tuple[str, ...], reason: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert reason in err
    assert "Traceback" not in err


def test_a_text_that_max_tokens_ended_says_so(run, checkpoint: Path) -> None:
    code, out, err = run("generate", "Hello", "--model", checkpoint, "--max-tokens", "3", "--raw")
    assert code == 0
    assert out.endswith("\n")
    assert "ended at --max-tokens 3" in err


def test_inspect_tells_what_a_checkpoint_is(run, checkpoint: Path) -> None:
    code, out, _ = run("model", "inspect", checkpoint, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["family"], told["layers"], told["expert_layers"]) == ("evident", 2, 1)
    assert told["active_share"] == 0.25
    assert told["stored_bytes"] == told["bytes_by_type"]["float32"] == 4 * told["parameters"]
    assert told["fits"]["int8"] is True
    assert "2 of 8, 32 wide" in run("model", "inspect", checkpoint)[1]


@pytest.mark.parametrize("bits", ["8", "4"])
def test_a_quantised_checkpoint_is_smaller_reports_its_change_and_runs(
    run, checkpoint: Path, tmp_path: Path, bits: str
) -> None:
    (tmp_path / "text.txt").write_text("The lungs are clear.\n\nNo effusion is seen.\n\n双肺清晰。\n", "utf-8")
    options = ("--bits", bits, "--group-size", "32", "--text", "text.txt", "--force", "--json")
    code, out, _ = run("quantize", checkpoint, "small", *options)
    report = json.loads(out)
    assert code == 0
    assert report["bytes"]["quantized"] < report["bytes"]["bf16"]
    assert report["perplexity"]["before"] > 1
    assert sorted(each.name for each in (tmp_path / "small").iterdir() if "token" in each.name) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    code, out, _ = run("generate", "Hello", "--model", "small", "--max-tokens", "4", "--json")
    assert (code, json.loads(out)["completion_tokens"]) == (0, 4)
    assert run("quantize", checkpoint, "small")[0] == 1, "an existing folder is written over"
