"""Kinds that a specification describes, and wordings, in a whole inspection; similar defects on the command line."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from evident_core.errors import ModelNotReady
from evident_manufacturing.cli import manufacturing
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.calibration import load as certificate
from evident_manufacturing.inspection.ingest import Board, ingest
from evident_manufacturing.inspection.perceive import aligner
from evident_manufacturing.inspection.pipeline import Station, open_models
from evident_manufacturing.inspection.schema import Part
from evident_manufacturing.samples import samples
from pcb_boards import Sample, generate

SAMPLES = Path(__file__).parents[2] / "sample_data" / "manufacturing"
FILLED = """product: demo-board
version: 7
kinds:
  missing_hole:
    description:
      en: [the hole of a pad is filled with copper, an entire opening is not there; there is copper in its place]
      zh: 焊盘的孔被铜填满
classes:
  missing_hole: {rework: {length_max: 0.10 mm}}
"""


@pytest.fixture(scope="module")
def holes() -> Sample:
    """A board on which holes were not drilled, and nothing else is wrong."""
    return generate(52_000_003, kinds=("missing_hole",), defects=3)


def png(gray: np.ndarray) -> bytes:
    return cv2.imencode(".png", gray)[1].tobytes()


def board(gray: np.ndarray) -> Board:
    return ingest(png(gray), name="board.png")


def test_kinds_of_the_specification_are_named_and_judged_by_their_limits(holes: Sample) -> None:
    models, part = open_models(threads=1), Part(part_id="SN-1")
    plain, described = (
        Station(
            models, board(holes.template), Specification.load(text), certificate(SAMPLES / "calibration.json")
        ).inspect(png(holes.test), part, name="x.png", report=False)
        for text in ("product: p\nversion: 1\n", FILLED)
    )
    assert len(plain.defects) >= 3
    assert {each.kind for each in plain.defects} <= {"short", "spur"}
    assert [each.kind for each in described.defects] == ["missing_hole"] * len(plain.defects)
    assert [each.naming.instead_of for each in described.defects if each.naming] == [e.kind for e in plain.defects]
    assert (plain.verdict.decision, described.verdict.decision) == ("reject", "rework")
    assert {each.rule for each in described.verdict.reasons} == {
        "missing_hole.rework.length_max", "kind_by_description"
    }  # fmt: skip
    assert "name" in described.milliseconds
    assert "name" not in plain.milliseconds


def test_the_line_does_not_pay_for_wordings(holes: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(aligner.Aligner, "__init__", lambda *_: opened.append(1))
    aligner.open_aligner.cache_clear()
    found = Station(open_models(threads=1), board(holes.template)).inspect(
        png(holes.test), Part(part_id="a"), name="x.png", report=False
    )
    aligner.open_aligner.cache_clear()
    assert found.defects
    assert opened == []


def test_without_the_aligner_the_plain_kind_is_written(
    holes: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(_folder: Path = tmp_path) -> None:
        raise ModelNotReady("There is no aligner.")

    monkeypatch.setattr("evident_manufacturing.inspection.perceive.naming.open_aligner", missing)
    found = Station(open_models(threads=1), board(holes.template)).inspect(
        png(holes.test), Part(part_id="a"), name="x.png"
    )
    assert found.report is not None
    assert "defect_described" not in {claim.predicate for claim in found.claims}


def test_the_command_finds_the_twin_of_a_defect(tmp_path: Path) -> None:
    pair, run = samples()["board_1"], CliRunner()
    shutil.copy(pair.board, tmp_path / "the same.png")
    shutil.copy(pair.template, tmp_path / "golden.png")
    common = ["similar", str(pair.board), "--template", str(pair.template), "--among", str(tmp_path)]
    alone = run.invoke(manufacturing, common)
    assert alone.exit_code != 0
    assert "no defect on another board to compare with" in str(alone.exception) + alone.output
    other = cv2.imencode(".bmp", cv2.imread(str(pair.board), 0))[1].tobytes()  # another file of the same pixels
    (tmp_path / "旧板.bmp").write_bytes(other)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    done = run.invoke(manufacturing, [*common, "--json", "--defect", "3"], catch_exceptions=False)
    (answer,) = json.loads(done.stdout)
    assert (answer["defect"], answer["similar"][0]["image"], answer["similar"][0]["defect"]) == (3, "旧板.bmp", 3)
    assert {each["image"] for each in answer["similar"]} == {"旧板.bmp"}
    assert answer["similar"][0]["likeness"] == pytest.approx(1, abs=1e-3)
    assert "broken.png" in done.stderr
    assert run.invoke(manufacturing, [*common, "--defect", "99"]).exit_code != 0
    assert "mousebite" in run.invoke(manufacturing, common, catch_exceptions=False).output
