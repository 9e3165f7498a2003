"""From an image to a verdict with the models that ship, on the sample boards whose defects are known."""

import json
import shutil
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from evident_core.errors import InvalidInput, ModelNotReady
from evident_manufacturing.agent.sources import Unusable
from evident_manufacturing.cli import manufacturing
from evident_manufacturing.inspection import calibration as certificates
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.evaluate.metrics import overlaps
from evident_manufacturing.inspection.export import export
from evident_manufacturing.inspection.ingest import read
from evident_manufacturing.inspection.perceive.detector import FOLDER, Detector
from evident_manufacturing.inspection.pipeline import Station, open_models, written
from evident_manufacturing.inspection.schema import Decision, Inspection, Part, Seen

SAMPLES = Path(__file__).parents[2] / "sample_data" / "manufacturing"
SPECIFICATION = FOLDER.parent / "data" / "specification.yaml"
DAY = date(2026, 11, 26)


@pytest.fixture(scope="module")
def models():
    return open_models(threads=1)


def station(models, board: str = "board_1", **changes) -> Station:
    given = {
        "template": read(SAMPLES / f"{board}_template.png"),
        "specification": Specification.load(SPECIFICATION.read_bytes(), SPECIFICATION.name),
        "calibration": certificates.load(SAMPLES / "calibration.json"),
        "today": lambda: DAY,
    }
    return Station(models, **given | changes)


def inspect(models, board: str = "board_1", *, report: bool = True, **changes) -> Inspection:
    data = (SAMPLES / f"{board}_test.png").read_bytes()
    return station(models, board, **changes).inspect(data, Part(part_id=board), name=f"{board}_test.png", report=report)


@pytest.mark.parametrize("board", ["board_1", "board_2", "board_3", "board_6_displaced"])
def test_known_defects_are_found_with_their_kind_and_size(models, board):
    truth = json.loads((SAMPLES / "truth.json").read_text())[board]
    found = inspect(models, board, report=False)
    boxes = np.array([each.bbox for each in found.defects])
    errors: list[float] = []
    for defect in truth["defects"]:
        over = overlaps(np.array([defect["label_box"]], float), boxes)[0]
        mine = found.defects[int(over.argmax())]
        if over.max() < 0.33 or mine.kind != defect["kind"]:
            continue
        # A defect that only the detector sees may have no difference to be measured on.
        assert mine.size is not None or mine.seen is Seen.LEARNED
        if mine.size:
            assert mine.size.length.unit == "mm"
            errors.append(abs(float(mine.size.length.value) - defect["length_mm"]))
    assert len(errors) >= 0.75 * len(truth["defects"])
    assert np.median(errors) < 0.03
    assert found.verdict.decision is Decision.REJECT


def test_a_clean_board_is_accepted(models):
    found = inspect(models, "board_5_clean")
    assert found.defects == ()
    assert found.verdict.decision is Decision.ACCEPT
    assert not found.verdict.weak


def test_each_sentence_and_fact_leads_to_its_source(models):
    found = inspect(models)
    assert found.report is not None
    known = {fact.id for fact in found.facts}
    for claim in found.claims:
        assert set(claim.facts.values()) <= known
    for defect in found.defects:
        (length,) = (fact for fact in found.facts if fact.id == f"defect.{defect.number}.length")
        regions = [source for source in length.sources if source.where.kind == "image_region"]
        assert [source.input.sha256 for source in regions] == [found.input.sha256]
    assert {"en", "zh"} <= {
        language for section in found.report.sections for each in section.sentences for language in each.text
    }


def test_without_a_template_the_verdict_says_that_it_is_weaker(models):
    found = inspect(models, template=None)
    assert found.defects
    assert {each.seen for each in found.defects} == {Seen.LEARNED}
    assert all(each.size is None for each in found.defects)
    assert found.verdict.weak
    assert "template_missing" in {reason.rule for reason in found.verdict.reasons}


@pytest.mark.parametrize("expired", [False, True])
def test_without_a_calibration_that_holds_sizes_are_in_pixels(models, expired):
    certificate = certificates.load(SAMPLES / "calibration.json")
    old = certificate.model_copy(update={"valid_until": date(2026, 1, 1)}) if expired else None
    found = inspect(models, calibration=old, report=False)
    assert {each.size.length.unit for each in found.defects if each.size} == {"px"}
    assert f"calibration_{'expired' if expired else 'missing'}" in {reason.rule for reason in found.verdict.reasons}


def test_the_template_of_another_board_is_refused(models):
    with pytest.raises(InvalidInput, match="template is not of this board"):
        inspect(models, template=read(SAMPLES / "board_2_template.png"))


def test_a_report_can_be_written_later_and_is_the_same(models):
    line = station(models)
    data = (SAMPLES / "board_1_test.png").read_bytes()
    at_once, later = (line.inspect(data, Part(part_id="p"), name="a.png", report=now) for now in (True, False))
    assert later.report is None
    pictures = (read(SAMPLES / "board_1_test.png"), line.template)
    assert written(later, line.specification, pictures).report == at_once.report
    plain = written(later, line.specification)
    assert {claim.predicate for claim in at_once.claims} - {claim.predicate for claim in plain.claims} == {
        "defect_described"
    }
    with pytest.raises(InvalidInput, match="was not written"):
        export(later, "html")


def test_int8_and_fp32_see_the_same_defects(models):
    precise = open_models(precision="fp32", threads=1)
    for board in ("board_1", "board_2"):
        ours, theirs = inspect(models, board, report=False), inspect(precise, board, report=False)
        assert [(each.kind, each.number) for each in ours.defects] == [
            (each.kind, each.number) for each in theirs.defects
        ]


def test_a_model_that_is_not_the_manifests_is_refused(tmp_path):
    copied = Path(shutil.copytree(FOLDER / "fused", tmp_path / "fused"))
    manifest = json.loads((copied / "manifest.json").read_text())
    name = next(file["name"] for file in manifest["files"] if file["passed"])
    with (copied / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidInput, match="is not the file that its manifest names"):
        Detector(copied)
    (copied / name).unlink()
    with pytest.raises(ModelNotReady, match="is missing"):
        Detector(copied)


def test_an_int8_that_failed_its_gates_is_not_taken():
    detector = Detector(FOLDER / "plain", threads=1)
    failed = [file for file in detector.manifest.files if not file.passed]
    assert [file.precision for file in failed] == ["int8"]
    assert detector.version.endswith("fp32")


def test_the_command_line_inspects_watches_and_measures(tmp_path):
    run = CliRunner()
    image, template = (str(SAMPLES / f"board_1_{kind}.png") for kind in ("test", "template"))
    target = tmp_path / "检测.html"
    certificate = certificates.load(SAMPLES / "calibration.json").model_copy(update={"camera": "top"})
    (tmp_path / "top.json").write_text(certificates.text_of(certificate))
    common = ["--template", template, "--spec", str(SPECIFICATION), "--calibration", str(tmp_path / "top.json")]
    common += ["--camera", "top"]
    done = run.invoke(manufacturing, ["inspect", image, *common, "--json", "-o", str(target)], catch_exceptions=False)
    found = Inspection.model_validate_json(done.output)
    assert found.verdict.decision is Decision.REJECT
    assert found.mm_per_pixel == certificate.mm_per_pixel
    assert "<svg" in target.read_text()
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(image, folder / "板1.png")
    (folder / "broken.png").write_bytes(b"nothing")
    done = run.invoke(manufacturing, ["watch", str(folder), *common, "--once"])
    assert (done.exit_code, "1 of 2 images could not be inspected" in str(done.exception)) == (1, True)
    assert "板1.png  reject" in done.output
    assert "broken.png" in done.output
    data = tmp_path / "data"
    (data / "g" / "not").mkdir(parents=True)
    for kind, name in (("test", "001_test.jpg"), ("template", "001_temp.jpg")):
        (data / "g" / name).write_bytes((SAMPLES / f"board_1_{kind}.png").read_bytes())
    known = json.loads((SAMPLES / "truth.json").read_text())["board_1"]
    kinds = ("open", "short", "mousebite", "spur", "copper", "pinhole")
    rows = [
        f"{' '.join(str(round(v)) for v in each['label_box'])} {kinds.index(each['kind']) + 1}"
        for each in known["defects"]
    ]
    (data / "g" / "not" / "001.txt").write_text("\n".join(rows))
    (data / "trainval.txt").write_text("g/001.jpg g/not/001.txt\n")
    done = run.invoke(manufacturing, ["evaluate", str(data), "--json"], catch_exceptions=False)
    figures = json.loads(done.output)
    assert figures["pairs"] == 1
    assert figures["map_iou33"] > 0.7
    assert set(figures["by_group"]) == {"g"}
    shutil.copy(data / "trainval.txt", data / "test.txt")
    told = {
        name: run.invoke(manufacturing, ["evaluate", str(data), *options], catch_exceptions=False).stdout
        for name, options in (("trainval", ()), ("test", ("--split", "test.txt")))
    }
    assert "trained on are among them" in told["trainval"]
    assert "trained on" not in told["test"]


def test_a_template_that_does_not_fit_because_it_is_transparent_is_refused_with_that(models, tmp_path):
    golden = cv2.imread(str(SAMPLES / "board_1_template.png"), cv2.IMREAD_GRAYSCALE)
    clear = np.dstack([golden, golden, golden, np.where(golden > 100, 0, 255).astype(np.uint8)])
    cv2.imwrite(str(tmp_path / "clear.png"), clear)
    with pytest.raises(InvalidInput, match=r"transparent pixels of clear\.png were laid on black") as refused:
        inspect(models, report=False, template=read(tmp_path / "clear.png", allow_blank=True), specification=None)
    assert refused.value.details["transparent"] == "clear.png"


def test_an_image_that_cannot_be_taken_is_told_of_and_the_next_is_inspected(tmp_path):
    run, image, template = CliRunner(), SAMPLES / "board_1_test.png", str(SAMPLES / "board_1_template.png")
    long = "a" * 140 + ".png"
    shutil.copy(image, tmp_path / long)
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "c.png").mkdir()
    shutil.copy(image, tmp_path / "d.png")
    done = run.invoke(manufacturing, ["watch", str(tmp_path), "--template", template, "--once"])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.message.startswith("3 of 4 images could not be inspected")
    told = done.stderr.splitlines()
    assert [line.split(": ", 1)[0] for line in told] == [long, "b.png", "c.png"]
    assert "part_id: String should have at most 128 characters" in told[0]
    assert "There is no file" in told[1]
    assert "cannot be read: Is a directory" in told[2]
    assert done.stdout.startswith("d.png  reject")
    done = run.invoke(manufacturing, ["inspect", str(tmp_path / long), "--template", template])
    assert isinstance(done.exception, Unusable)
    assert "give another part_id" in done.exception.message


def test_a_part_of_another_product_is_refused_and_one_that_does_not_say_is_of_the_specifications(models):
    data = (SAMPLES / "board_1_test.png").read_bytes()
    with pytest.raises(
        InvalidInput, match="SN-1 is of product 'gearbox', and the specification demo-board@1"
    ) as refused:
        station(models).inspect(data, Part(part_id="SN-1", product="gearbox"), name="x.png", report=False)
    assert refused.value.details["reason"] == "product"
    assert inspect(models, report=False).part.product == "demo-board"
    free = station(models, specification=None).inspect(
        data, Part(part_id="a", product="gearbox"), name="x.png", report=False
    )
    assert free.part.product == "gearbox"
