"""What the README promises: its commands are the ones that CI runs, its Python runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evident_core.cli import evident
from evident_finance.cli import finance

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found, f"README.md has no {mark} command"
    return found[1]


def test_the_two_commands_stand_on_the_first_screen() -> None:
    screen = "\n".join(README.splitlines()[:30])
    assert block("run") in screen
    assert block("test") in screen
    assert block("test").endswith("tests/check.py")
    assert "CPU or CUDA" in screen


def test_the_run_command_reads_a_file_that_is_there() -> None:
    (path,) = re.findall(r"report (\S+\.pdf)", block("run"))
    assert (ROOT / path).is_file()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    awk = re.search(r"command=\$\((awk .*?README\.md)\)", script)
    assert awk
    done = subprocess.run(awk[1], shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == block("test")


@pytest.mark.parametrize(
    ("place", "told"), [(0, "USD"), (1, '{"revenue":"USD 12.4 million","change":"8.2%","auditor":null}')]
)
def test_the_five_lines_of_python_run(place: int, told: str) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[place]
    assert len([line for line in code.splitlines() if line]) == 5
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


@pytest.mark.parametrize("command", re.findall(r"`evident ((?:finance )?[a-z-]+)", README))
def test_each_command_exists(command: str) -> None:
    service, _, name = command.rpartition(" ")
    assert name in (finance.commands if service else {**evident.commands, "finance": finance})


@pytest.mark.parametrize(
    "document",
    ["README.md", "verticals/evident_finance/README.md", "kernels/README.md", "core/evident_core/decode/README.md"],
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target
