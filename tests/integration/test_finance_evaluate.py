"""``evaluate`` on folders as people bring them: it tells right from wrong, and one bad file or line from the rest."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from annual_reports import Truth, make_variant
from evident_core.errors import InvalidInput
from evident_core.evidence import Fact, InputRef, PageBox, Source
from evident_finance.risk_report.evaluate import Evaluation, GoldItem, Measured, evaluate
from evident_finance.risk_report.evaluate.gold import match_files, read_gold
from evident_finance.risk_report.evaluate.tally import Tally, split_line

ITEMS = ("revenue", "net_income", "total_assets", "total_current_assets", "operating_cash_flow")


def gold_lines(doc: str, truth: Truth) -> list[dict[str, Any]]:
    """The generator's truth as lines of gold.jsonl."""
    end, before = truth.periods[:2]
    lines = []
    for item in ITEMS:
        now, prior = truth.items[item][end.isoformat()], truth.items[item][before.isoformat()]
        assert now.value is not None
        assert prior.value is not None
        lines.append(
            {
                "doc": doc,
                "item": item,
                "value": str(now.value / truth.scale),
                "prior_value": float(prior.value / truth.scale),
                "unit": truth.currency,
                "scale": truth.scale,
                "fiscal_year_end": end.isoformat(),
                "page_1based": now.places[0].page,
                "evidence_line": None,
                "status": "presented",
                "read_by": "somebody",
            }
        )
    return lines


@pytest.fixture(scope="module")
def report() -> tuple[bytes, Truth]:
    return make_variant(1)


@pytest.fixture
def folder(report: tuple[bytes, Truth], tmp_path: Path) -> Path:
    (tmp_path / "ALPHA_2023.pdf").write_bytes(report[0])
    return tmp_path


def write_gold(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "gold.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")


def test_a_report_read_right_has_no_miss(folder: Path, report: tuple[bytes, Truth]) -> None:
    write_gold(folder, gold_lines("ALPHA_2023", report[1]))
    found = evaluate(folder)
    assert found.misses == ()
    assert (found.documents, found.items) == (1, len(ITEMS))
    assert found.accuracy == found.page_right == found.box_right == found.documents_right == 1
    assert found.sentences_verified == found.zh_en_parity == 1
    assert found.silently_wrong == 0
    assert found.not_presented_honoured is None, "nothing was marked as not presented"
    assert 20 < found.peak_mib < 1024
    assert found.cpu_seconds > 0


@pytest.mark.parametrize(
    ("change", "why", "silent"),
    [
        (lambda line: {"value": str(Decimal(line["value"]) + 1)}, "value", True),
        (lambda line: {"value": str(-Decimal(line["value"]))}, "value", True),
        (lambda line: {"scale": line["scale"] * 1000}, "value", True),
        (lambda line: {"prior_value": line["prior_value"] + 1}, "value", True),
        (lambda line: {"fiscal_year_end": "1999-12-31"}, "value", False),
        (lambda line: {"unit": "JPY"}, "unit", True),
        (lambda line: {"page_1based": line["page_1based"] + 1}, "place", False),
        (lambda line: {"item": "revenues"}, "item", False),
        (lambda line: {"value": None, "prior_value": None, "status": "not_presented"}, "value", True),
    ],
)
def test_whatever_differs_from_the_hand_read_line_is_a_miss(
    folder: Path, report: tuple[bytes, Truth], change: Any, why: str, silent: bool
) -> None:
    line = gold_lines("ALPHA_2023", report[1])[0]
    write_gold(folder, [line | change(line)])
    found = evaluate(folder)
    assert [miss.why for miss in found.misses] == [why]
    assert found.silently_wrong == silent
    assert found.documents_right == 0
    assert found.accuracy == (why == "place")


def test_a_folder_of_somebody_else(folder: Path, report: tuple[bytes, Truth]) -> None:
    data, truth = report
    (folder / "beta.PDFG").write_bytes(data)
    (folder / "broken.pdf").write_bytes(data[: len(data) // 3] + b"\0" * 2000)
    (folder / "page.pdf").write_text("<!doctype html><html><body>Access denied</body></html>")
    (folder / "not_asked_for.pdf").write_bytes(data)
    alpha, beta, page, gone = (gold_lines(doc, truth) for doc in ("ALPHA", "Beta.pdf", "page", "gone"))
    beta[0] = {key: beta[0][key] for key in ("doc", "item", "value", "scale")}
    beta[1] |= {"prior_value": None, "value": f"{Decimal(beta[1]['value']):,}", "scale": str(truth.scale)}
    lines = [json.dumps(line) for line in (*alpha, *beta, *page, *gone)]
    (folder / "gold.jsonl").write_text("﻿" + "\r\n\r\n".join(lines) + "\r\n", encoding="utf-8")
    found = evaluate(folder)
    assert found.documents == 3
    assert found.documents_missing == ("gone",)
    assert found.files_without_gold == ("broken.pdf", "not_asked_for.pdf")
    assert {(miss.document, miss.why) for miss in found.misses} == {("page", "document")}
    assert "HTML" in found.misses[0].found
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.documents_right == pytest.approx(2 / 3)
    assert found.silently_wrong == 0


def test_a_box_around_another_number_is_not_right() -> None:
    source = Source(
        input=InputRef(sha256="0" * 64, name="a.pdf"), where=PageBox(page=3, bbox=(1, 1, 9, 9), quote="Revenue 1,234")
    )
    fact = Fact(
        id="revenue@2023-12-31", name="revenue", value=Decimal(1234), unit="USD", period="2023-12-31", sources=(source,)
    )
    entry = GoldItem(doc="a", item="revenue", value=Decimal(1234), page=3, fiscal_year_end="2023-12-31")
    boxes = {}
    for printed in ("1,234", "$ (1,234)", "１，２３４", "1,234 987", "987", "Revenue 1,234", "12,34.1", ""):
        tally = Tally()
        cost = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mib": 0.0}
        counts = dict.fromkeys(("pages", "sentences", "sentences_verified", "sentences_equal"), 0)
        measured = Measured(facts=(fact,), statements=(), printed={fact.id: printed}, **cost, **counts)
        tally.document("a", [entry], measured)
        boxes[printed] = (tally.pages, tally.boxes)
    assert [printed for printed, got in boxes.items() if got == (1, 1)] == ["1,234", "$ (1,234)", "１，２３４"]
    assert all(pages == 1 for pages, _ in boxes.values())


@pytest.mark.parametrize(
    ("line", "columns", "label", "numbers"),
    [
        ("Net sales $ 32,765 $ 31,657 $ 30,109", 3, "Net sales", ("32765", "31657", "30109")),
        ("Property, net of $19,800 18,356 14,731", 2, "Property, net of $19,800", ("18356", "14731")),
        ("Depreciation (1) 3,786 (3,298)", 2, "Depreciation (1)", ("3786", "-3298")),
        ("Total assets $117,359 — || Total 1 2", 2, "Total assets", ("117359", None)),
        ("货币资金 七、1 905,402,299.44 627,041,535.44", 2, "货币资金", ("905402299.44", "627041535.44")),
    ],
)
def test_a_printed_line_is_a_label_and_as_many_numbers_as_columns(
    line: str, columns: int, label: str, numbers: tuple[str | None, ...]
) -> None:
    expected = tuple(None if number is None else Decimal(number) for number in numbers)
    assert split_line(line, columns) == (label, expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"doc": "a", "item": "revenue", "value": 1}\n{oops', "Line 2 of gold.jsonl is not JSON"),
        ("[1, 2]", "Line 1 of gold.jsonl names no document"),
        ('{"doc": "a", "item": "revenue", "value": "some"}', "gives 'some' as a value"),
        ('{"doc": "a", "item": "revenue", "value": 1, "scale": "heaps"}', "gives 'heaps' as a scale"),
        ('{"doc": "a", "item": "revenue", "value": 1}', "no PDF of which gold.jsonl speaks"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gold.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=said):
        evaluate(tmp_path)


def test_a_document_is_the_whole_name_before_it_is_the_start_of_one(tmp_path: Path) -> None:
    for name in ("ACME_2022.pdf", "ACME_2022_amended.pdf", "acme.txt", "603339_2019_zh.pdfg"):
        (tmp_path / name).touch()
    files, others = match_files(tmp_path, ["ACME_2022", "603339", "nobody"])
    assert {doc: file.name for doc, file in files.items()} == {
        "ACME_2022": "ACME_2022.pdf",
        "603339": "603339_2019_zh.pdfg",
    }
    assert [file.name for file in others] == ["ACME_2022_amended.pdf"]


def test_numbers_are_read_as_printed_and_exactly(tmp_path: Path) -> None:
    lines = ('{"doc":"a","item":"x","value":"(1,234.50)","scale":"thousands"}', '{"doc":"a","item":"y","value":0.1}')
    (tmp_path / "gold.jsonl").write_text("\n".join(lines))
    first, second = read_gold(tmp_path / "gold.jsonl")["a"]
    assert (first.value, first.scale, first.presented) == (Decimal("-1234.50"), 1000, True)
    assert second.value == Decimal("0.1")


def test_the_command_prints_a_table_or_one_object(folder: Path, report: tuple[bytes, Truth]) -> None:
    write_gold(folder, gold_lines("ALPHA_2023", report[1]))
    command = [str(Path(sys.executable).with_name("evident")), "finance", "evaluate", str(folder)]
    table = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "100.00%" in table.stdout
    printed = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(printed.stdout)) == set(Evaluation.model_fields)
