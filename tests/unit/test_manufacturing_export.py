"""Exports: all made from one inspection, and in agreement to the last digit."""

import csv
import hashlib
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from lxml import html
from PIL import Image

from evident_core.errors import InvalidInput
from evident_core.evidence import InputRef
from evident_manufacturing.inspection.export import FORMATS, export
from evident_manufacturing.inspection.schema import Inspection, Part, Quantity
from manufacturing_specimen import defect, inspection, size

SIZES = ("length", "width", "area", "gap")
HOSTILE = "=cmd|' /C calc'!A0\"><script>alert(1)</script>"
FREE = size(gap=None).model_copy(update={"gap_over": Quantity(value="1.000", uncertainty="0.012", unit="mm")})
CASES = {
    "usual": inspection,
    "clean": lambda: inspection(defects=()),
    "unmeasured": lambda: inspection(defects=(defect(1, "划痕", size=None, mask_rle=None),)),
    "nothing within reach": lambda: inspection(defects=(defect(1, size=FREE),)),
    "pixels": lambda: inspection(
        calibration=None, defects=(defect(1, size=size("14.5", "6", "44", "7", unit="px", uncertainty="1.1")),)
    ),
    "hostile": lambda: inspection(
        part=Part(part_id=HOSTILE, product=HOSTILE, lot=HOSTILE), defects=(defect(1, HOSTILE), defect(2))
    ),
}


def picture(form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.effect_noise((640, 640), 40).save(out, form)
    return out.getvalue()


def of_json(made: Inspection) -> dict[str, Any]:
    read = json.loads(export(made, "json"))
    defects = []
    for each in read["defects"]:
        given = {name: size for name, size in (each["size"] or {}).items() if size}
        sizes = {name: (Decimal(of["value"]), Decimal(of["uncertainty"]), of["unit"]) for name, of in given.items()}
        defects.append((each["number"], each["kind"], each["score"], each["seen"], tuple(each["bbox"]), sizes))
    verdict = read["verdict"]
    return {
        "verdict": (verdict["decision"], verdict["weak"], verdict["specification"]),
        "defects": defects,
    }


def of_csv(made: Inspection) -> dict[str, Any]:
    rows = list(csv.DictReader(io.StringIO(export(made, "csv").decode("utf-8-sig"), newline="")))
    return {
        "verdict": (rows[0]["decision"], rows[0]["weak"] == "true", rows[0]["specification"]),
        "defects": [
            (
                int(row["number"]), row["kind"].removeprefix("'"), float(row["score"]), row["seen"],
                tuple(float(row[each]) for each in ("x0", "y0", "x1", "y1")),
                {
                    name: (Decimal(row[name]), Decimal(row[f"{name}_uncertainty"]), row[f"{name}_unit"])
                    for name in (*SIZES, "gap_over") if row[name]
                },
            )
            for row in rows if row["number"]
        ],
    }  # fmt: skip


def of_html(made: Inspection) -> dict[str, Any]:
    page = html.document_fromstring(export(made, "html").decode())
    (shown,) = page.xpath("//*[@id='verdict']")
    specified = page.xpath("//*[@data-fact='board.specification'][ancestor::p[@lang='en']]/text()")
    boxes = {
        int(each.get("data-number")): (
            float(each.get("x")), float(each.get("y")),
            float(each.get("x")) + float(each.get("width")), float(each.get("y")) + float(each.get("height")),
        )
        for each in page.xpath("//*[local-name()='rect'][@data-number]")
    }  # fmt: skip
    rows = page.xpath("//table[@id='defects']/tbody/tr")
    for row in rows:
        box = tuple(float(each) for each in row.get("data-bbox").split())
        assert boxes[int(row.get("data-number"))] == pytest.approx(box)
    assert len(boxes) == len(rows)
    return {
        "verdict": (shown.get("data-decision"), shown.get("data-weak") == "true", specified[0].strip("“”")),
        "defects": [
            (
                int(row.get("data-number")), row.get("data-kind"), float(row.get("data-score")), row.get("data-seen"),
                tuple(float(each) for each in row.get("data-bbox").split()),
                {
                    cell.get("data-size"): (
                        Decimal(cell.get("data-value")), Decimal(cell.get("data-uncertainty")), cell.get("data-unit"),
                    )
                    for cell in row.xpath("td[@data-size]")
                },
            )
            for row in rows
        ],
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_all_formats_state_the_same(case: str) -> None:
    made = CASES[case]()
    assert of_json(made) == of_csv(made) == of_html(made)
    assert len(of_json(made)["defects"]) == len(made.defects)


@pytest.mark.parametrize("case", CASES)
def test_json_comes_back_unchanged(case: str) -> None:
    made = CASES[case]()
    assert Inspection.model_validate_json(export(made, "json")) == made


def test_the_sentences_of_the_page_are_those_of_the_report() -> None:
    made = inspection()
    page = html.document_fromstring(export(made, "html").decode())
    for section in made.report.sections:
        for sentence in section.sentences:
            english, chinese = page.xpath("//p[@data-sentence=$id]", id=sentence.id)
            assert english.text_content() == sentence.text["en"]
            assert chinese.text_content() == sentence.text["zh"]
            facts = {each.get("data-fact") for each in english.xpath(".//*[@data-fact]")}
            assert facts == {span.fact_id for span in sentence.spans["en"]}


def test_links_within_the_page_lead_somewhere_and_none_lead_out() -> None:
    page = html.document_fromstring(export(inspection(), "html").decode())
    ids = set(page.xpath("//@id"))
    links = page.xpath("//@href")
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert not page.xpath("//script | //link | //iframe | //@src")


@pytest.mark.parametrize(("form", "media"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("BMP", "image/png")])
def test_the_image_is_in_the_page_as_it_was_received(form: str, media: str) -> None:
    image = picture(form)
    made = inspection(input=InputRef(sha256=hashlib.sha256(image).hexdigest(), name="x"))
    page = html.document_fromstring(export(made, "html", image).decode())
    (link,) = page.xpath("//*[local-name()='image']/@href")
    assert link.startswith(f"data:{media};base64,")


def test_another_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not the image that was inspected"):
        export(inspection(), "html", picture())


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="json, csv, html"):
        export(inspection(), "pdf")
    assert set(FORMATS) == {"json", "csv", "html"}


def test_hostile_names_run_nowhere() -> None:
    made = CASES["hostile"]()
    assert b"<script" not in export(made, "html")
    for row in csv.reader(io.StringIO(export(made, "csv").decode("utf-8-sig"), newline="")):
        assert not [cell for cell in row if cell[:1] in ("=", "+", "-", "@", "\t")]


def test_defects_are_drawn_by_what_they_lead_to() -> None:
    page = html.document_fromstring(export(inspection(), "html").decode())
    drawn = [each.get("class") for each in page.xpath("//*[local-name()='rect']")]
    assert drawn == ["box rework", "box reject", "box unjudged"]
