"""``evident finance`` as an analyst runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EVIDENT = Path(sys.executable).with_name("evident")


def run(*arguments: object, data: Path, columns: int = 160) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "XDG_DATA_HOME": str(data), "HOME": str(data), "COLUMNS": str(columns)}
    command = [str(EVIDENT), "finance", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=data, env=environment)


def test_report_prints_figures_with_pages_and_writes_files(sample_pdf: Path, tmp_path: Path) -> None:
    done = run("report", sample_pdf, "--lang", "en", data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Revenue" in done.stdout
    assert "Strengths" in done.stdout
    done = run("report", sample_pdf, "-o", "out.html", "-o", "out.xlsx", "--json", data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"]
    assert (tmp_path / "out.html").read_bytes().startswith(b"<!doctype html>")
    assert (tmp_path / "out.xlsx").read_bytes().startswith(b"PK")
    assert not list(tmp_path.glob(".*.partial"))


def test_a_narrow_terminal_shows_every_digit_and_every_word(sample_pdf: Path, tmp_path: Path) -> None:
    done = run("report", sample_pdf, data=tmp_path, columns=80)
    assert done.returncode == 0, done.stderr
    assert "USD, " in done.stdout
    figures = [line for line in done.stdout.splitlines() if "│" in line]
    assert len(figures) > 60
    assert not [line for line in figures if "…" in line]
    chinese = [line for line in done.stdout.splitlines() if "本报告的分析对象为" in line]
    assert len(chinese) == 1


def test_ask_answers_with_formula_and_pages(sample_pdf: Path, tmp_path: Path) -> None:
    done = run("ask", sample_pdf, "free cash flow", data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "operating_cash_flow@" in done.stdout
    assert "(p. " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "nowhere.pdf"), "There is no file nowhere.pdf"),
        (("report", "page.pdf"), "HTML"),
        (("report", "page.pdf", "-o", "out.odt"), "no known ending"),
        (("evaluate", "."), "gold.jsonl"),
    ],
)
def test_a_refusal_is_one_sentence_without_traceback(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "page.pdf").write_text("<!doctype html><html><body>Access denied</body></html>")
    done = run(*arguments, data=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
