"""The command: what it prints, where, and with which exit code."""

import json
import os
import sys
from pathlib import Path

import click
import pytest

from evident_core import checks, cli, services
from evident_core.checks import Check, State
from evident_core.errors import MissingExtra
from evident_core.services import Vertical

WORDS = {"en": "Specimen of a service", "zh": "样品"}


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIDENT_STORE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EVIDENT_CONFIG", "")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Run the command in this process; returns its exit code, output and error output."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return invoke


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Declare services that are installed instead of the real ones."""

    def declare(*verticals: Vertical) -> None:
        by_name = {vertical.name: vertical for vertical in verticals}
        for module in (services, cli, checks):
            monkeypatch.setattr(module, "installed", lambda: by_name)

    return declare


def test_help_lists_services_without_loading_them(run, installed):
    installed(Vertical("specimen", WORDS, WORDS, "no_such_module:app", "no_such_module:cli"))
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "specimen  Specimen of a service" in out
    assert "checks" in out


def test_a_service_s_commands_are_its_own(run, installed):
    installed(Vertical("specimen", WORDS, WORDS, "", f"{__name__}:greet"))
    assert run("specimen", "--name", "Li") == (0, "Hello Li\n", "")


def test_a_missing_extra_is_answered_with_the_command_that_adds_it(run, installed):
    installed(Vertical("specimen", WORDS, WORDS, "", "no_such_library.cli:group", requires=("no_such_library",)))
    code, out, err = run("specimen")
    assert (code, out) == (2, "")
    assert err == ("evident specimen needs no_such_library, which is not installed: pip install 'evident[specimen]'\n")


def test_a_defect_in_a_service_is_not_hidden(run, installed):
    installed(Vertical("specimen", WORDS, WORDS, "", "no_such_module:group"))
    with pytest.raises(ModuleNotFoundError):
        run("specimen")


@pytest.mark.parametrize("arguments", [("chekcs",), ("checks", "--nope"), ("keys", "create"), ("serve", "--port", "x")])
def test_a_wrong_command_line_is_exit_code_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: evident" in err
    assert "Error: " in err


def test_a_wrong_setting_is_one_sentence(run, monkeypatch):
    monkeypatch.setenv("EVIDENT_WEB__PROT", "1")
    assert run("store", "migrate") == (
        1,
        "",
        "The environment variable EVIDENT_WEB__PROT is not a setting; did you mean EVIDENT_WEB__PORT?\n",
    )


def test_another_settings_file(run, tmp_path, monkeypatch):
    file = tmp_path / "my.toml"
    file.write_text("[web]\nport = 'x'\n")
    code, _, err = run("--config", str(file), "store", "migrate")
    assert (code, err.startswith("The setting web.port is wrong")) == (1, True)
    code, _, err = run("--config", str(tmp_path / "absent.toml"), "store", "migrate")
    assert (code, "absent.toml does not exist" in err) == (1, True)


def test_ctrl_c_leaves_quietly(run, installed):
    installed(Vertical("specimen", WORDS, WORDS, "", f"{__name__}:interrupt"))
    assert run("specimen") == (130, "", "\n")


def test_migrate_says_where_the_tables_stand(run, tmp_path):
    code, out, _ = run("store", "migrate")
    assert code == 0
    assert out == f"sqlite:///{tmp_path}/data/evident.sqlite3 is up to date: its tables are at 0001.\n"


def test_keys_are_made_listed_and_revoked(run):
    code, key, told = run("keys", "create", "press office", "--scope", "read")
    assert (code, key.startswith("evd_")) == (0, True)
    assert "with read; it cannot be shown again" in told
    _, out, _ = run("keys", "list", "--json")
    [info] = json.loads(out)["keys"]
    assert (info["name"], info["scopes"], info["revoked"]) == ("press office", ["read"], None)
    assert key.strip() not in out
    table = run("keys", "list")[1]
    assert "press" in table
    assert info["id"] in table  # whole, however narrow the terminal
    assert run("keys", "revoke", info["id"])[:2] == (0, "The key 'press office' is revoked; what it owns stays.\n")
    assert json.loads(run("keys", "list", "--json")[1])["keys"][0]["revoked"] is not None
    code, _, err = run("keys", "revoke", "nobody")
    assert (code, "There is no key 'nobody'" in err) == (1, True)


def test_the_audit_log_is_verified(run, tmp_path):
    run("keys", "create", "a")
    run("keys", "create", "b")
    code, out, _ = run("audit", "verify")
    assert (code, out.startswith("All 2 lines hold.")) == (0, True)
    head = out.split()[-1]
    assert run("audit", "verify", "--expect", head)[0] == 0
    import sqlite3

    database = sqlite3.connect(tmp_path / "data" / "evident.sqlite3")
    database.execute("update audit set actor = 'somebody' where number = 2")
    database.commit()
    database.close()
    code, out, err = run("audit", "verify")
    assert (code, out) == (1, "")
    assert err == "Error: The audit log is broken: line 2 was changed; 1 lines before it hold.\n"


def test_a_server_that_others_reach_needs_a_key(run):
    code, _, err = run("serve", "--host", "0.0.0.0")
    assert code == 1
    assert "there are no API keys" in err


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("EVIDENT_JOBS__URL", "http://queue", "jobs.url is not the URL of a queue"),
        ("EVIDENT_STORE__URL", "mysql://host/db", "store.url names mysql"),
        ("EVIDENT_STORE__DATA_DIR", "/dev/null/evident", "The folder /dev/null/evident cannot be used"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_sentence(run, monkeypatch, setting, value, told):
    monkeypatch.setenv(setting, value)
    code, out, err = run("serve", "--port", "0")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(told)


def test_a_taken_port_is_said_so(run):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run("serve", "--port", str(port))
    assert code == 1
    assert err == f"127.0.0.1:{port} cannot be listened on (Address already in use); choose another with --port.\n"


def test_checks_print_a_line_each_and_as_json(run):
    code, out, _ = run("checks", "--json")
    found = {(each["group"], each["name"]): each for each in json.loads(out)["checks"]}
    assert code == (1 if any(each["state"] == "wrong" for each in found.values()) else 0)
    assert found["versions", "Evident"]["found"] == "0.1.0"
    assert (
        found["frame", "settings"]["state"]
        == found["frame", "store"]["state"]
        == found["frame", "queue"]["state"]
        == "ok"
    )
    assert all(each["remedy"] for each in found.values() if each["state"] != "ok")
    table = run("checks")[1]
    assert all(name in table for name in ("Python", "Chinese", "Pango", "Chromium", "c++"))


def test_checks_fail_where_something_needed_is_missing(run, installed, monkeypatch):
    installed(Vertical("specimen", WORDS, WORDS, "specimen:app", "", requires=("no_such_library",)))
    monkeypatch.setenv("EVIDENT_STORE__URL", "postgresql://u:hush@127.0.0.1:1/db")
    monkeypatch.setattr(checks, "FONT_FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    code, out, _ = run("checks", "--json")
    found = {(each["group"], each["name"]): Check(**each) for each in json.loads(out)["checks"]}
    assert code == 1
    assert found["service specimen", "libraries"].remedy == "pip install 'evident[specimen]'"
    assert found["service specimen", "libraries"].state is State.WRONG
    assert found["frame", "store"].state is State.WRONG
    assert "cannot be used" in found["frame", "store"].remedy
    assert "hush" not in out
    assert ("frame", "queue") not in found
    assert "fonts-noto-cjk" in found["fonts", "Chinese"].remedy
    assert found["kernels", "c++"].state is State.ABSENT
    assert found["programs", "Chromium"].remedy == "apt install chromium"
    # The remedy is printed as it is typed: square brackets are no markup.
    assert "[specimen]'" in run("checks")[1]


def test_weights_are_counted(run, installed, tmp_path, monkeypatch):
    package = tmp_path / "weighty"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.safetensors").write_bytes(bytes(1 << 20))
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(Vertical("weighty", WORDS, WORDS, "weighty.app:create_app", ""))
    found = [each for each in checks.run_checks() if each.name == "weights"]
    assert [each.found for each in found] == ["1 files, 1.0 MiB"]


def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    import subprocess

    command = [sys.executable, "-c", "from evident_core.cli import main; main()", "checks", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""


@click.command()
@click.option("--name")
def greet(name: str) -> None:
    click.echo(f"Hello {name}")


@click.command()
def interrupt() -> None:
    raise KeyboardInterrupt


def test_missing_extra_is_what_a_service_raises():
    with pytest.raises(MissingExtra):
        Vertical("specimen", WORDS, WORDS, "", "", requires=("no_such_library",)).load("no_such_library:x")
