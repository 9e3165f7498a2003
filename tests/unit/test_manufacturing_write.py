"""The inspection report as text: each predicate phrased in both languages, hostile names held back, corruption seen."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.errors import EvidentError
from evident_core.evidence import Claim, Report
from evident_core.write import verify, verify_sentence
from evident_core.write.phrasebook import slots
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.schema import Inspection, Part, Quantity, Seen, Size
from evident_manufacturing.inspection.write import outlines, phrasebook, vocabulary
from manufacturing_specimen import defect, inspection, size

PX = size("14.5", "6.0", "44", "7.5", unit="px", uncertainty="1.1")


def everything() -> list[Inspection]:
    """Inspections that between them make every claim there is."""
    edge = (10.0, 570.0, 20.0, 580.0)
    return [
        inspection(),
        inspection(
            defects=(
                defect(1, bbox=edge, size=size("0.095")),
                defect(2, size=size(gap="0.02")),
                defect(3, size=size("0.20", gap="0.045")),
                defect(4, "scratch", size=None, seen=Seen.LEARNED, mask_rle=None),
                defect(5, "划痕", size=None, seen=Seen.GOLDEN),
                defect(6, bbox=edge, size=size("0.35")),
                *(defect(number, "copper") for number in range(7, 22)),
            )
        ),
        inspection(defects=(), specification=None, calibration=None, template=None, alignment=None),
        inspection(defects=(defect(1, size=PX), defect(2, size=PX)), on=date(2026, 1, 1)),
        inspection(height=600),  # the zone of the fingers reaches to 640
    ]


def test_every_phrase_is_used_and_no_sentence_is_held_back() -> None:
    used = set()
    for made in everything():
        assert verify(made.report, vocabulary()) == []
        stated = {claim for section in made.report.sections for each in section.sentences for claim in each.claim_ids}
        assert stated == {claim.id for claim in made.claims}
        used |= {claim.predicate for claim in made.claims}
    # What is named from a description, and wordings: test_manufacturing_described.py.
    assert used == set(phrasebook().phrases) - {"sentences_withheld", "kind_described", "defect_described"}


def test_phrases_speak_of_no_role_that_their_claims_lack() -> None:
    optional = {"product", "lot", "camera", "specification", "zone", "gap", "gap_uncertainty"}
    for made in everything():
        for claim in made.claims:
            for template in phrasebook().phrases[claim.predicate].text.values():
                assert {slot.role for slot in slots(template)} <= set(claim.facts) | optional, claim.predicate


def test_every_topic_has_a_section() -> None:
    topics = {claim.topic for made in everything() for claim in made.claims}
    assert topics == {topic for outline in outlines() for topic in outline.topics}


def sentences(made: Inspection, language: str) -> list[str]:
    return [each.text[language] for section in made.report.sections for each in section.sentences]


def test_the_report_reads_as_it_should() -> None:
    english, chinese = (sentences(inspection(), language) for language in ("en", "zh"))
    assert "The part is rejected by the specification “demo-board@1”." in english
    assert "依据规格“demo-board@1”，工件判定为拒收。" in chinese
    assert (
        "Defect 1, a mouse bite: its length of 0.30 mm is above the limit of 0.20 mm (uncertainty 0.012 mm), "
        "which calls for rework." in english
    )
    assert "缺陷1（鼠咬）的长度0.30 mm高于限值0.20 mm（不确定度0.012 mm），应返工。" in chinese
    assert "Looked for and not found: open circuits, spurs and places of spurious copper." in english


def test_a_zone_that_reaches_beyond_the_image_is_told_with_its_numbers() -> None:
    english, chinese = (sentences(inspection(height=600), language) for language in ("en", "zh"))
    assert (
        "Zone “fingers” crosses the border of the image: it goes from x 0.0 px, y 560.0 px to x 640.0 px, "
        "y 640.0 px, and the image has 640 px by 600 px; its limits hold on the part that is in the image." in english
    )
    assert any("区域“fingers”超出图像边界" in each for each in chinese)
    assert not any("border" in each for each in sentences(inspection(), "en"))


def test_a_part_without_defects_says_so() -> None:
    english = sentences(inspection(defects=()), "en")
    assert "No defect was found." in english
    assert "The part is accepted by the specification “demo-board@1”." in english


def tampered(old: str, new: str, language: str = "en") -> list[str]:
    """What the verifier says of a sentence in which something was exchanged."""
    made = inspection(defects=(defect(1),))
    facts = {fact.id: fact for fact in made.facts}
    claims = {claim.id: claim for claim in made.claims}
    for section in made.report.sections:
        for sentence in section.sentences:
            if old in sentence.text[language]:
                text = {**sentence.text, language: sentence.text[language].replace(old, new)}
                changed = sentence.model_copy(update={"text": text, "spans": {}})
                return [
                    each.kind
                    for each in verify_sentence(changed, [claims[i] for i in sentence.claim_ids], facts, vocabulary())
                ]
    raise AssertionError(f"no sentence holds {old}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("is to be reworked", "is accepted"),
        ("of 0.30 mm is above", "of 0.31 mm is above"),
        ("of 0.30 mm is above", "of 0.30 px is above"),
        ("is above the limit", "is below the limit"),
        ("calls for rework", "calls for rejection"),
        ("a mouse bite: its", "a spur: its"),
        ("length 0.30 mm", "length 0.12 mm"),
        ("length 0.30 mm", "area 0.30 mm"),
        ("seen by the template comparison together with the learned detector", "seen by the template comparison"),
        ("“CAL-2025-03”", "“CAL-2025-04”"),
        ("September 1, 2025", "September 1, 2026"),
        ("x −2.40 px", "x 2.40 px"),
        ("not found", "found"),
        ("pinholes", "mouse bites"),
        ("number of defects is 1", "number of defects is 2"),
        ("The image was compared", "The image of Quill LLP was compared"),
    ],
)
def test_a_sentence_that_was_tampered_with_is_refused(old: str, new: str) -> None:
    assert tampered(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("判定为返工", "判定为接收"),
        ("高于限值", "低于限值"),
        ("应返工", "应拒收"),
        ("（鼠咬）", "（毛刺）"),
        ("长度0.30", "长度0.12"),
    ],
)
def test_a_chinese_sentence_that_was_tampered_with_is_refused(old: str, new: str) -> None:
    assert tampered(old, new, "zh")


HOSTILE = [
    "<script>alert(1)</script>",
    "„«accepted»“ 0.00 mm",
    "{kind|word:kind}",
    "…",
    "The part is accepted. 5 mm",
    "工件判定为接收",
    "a" * 128,
    "‮dlo",
    '"',
    "\n\n",
    "-1.5%",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_break_a_report_nor_enter_it_unquoted(name: str) -> None:
    made = inspection(part=Part(part_id=name, product=name, lot=name, camera=name), defects=(defect(1, name),))
    assert verify(made.report, vocabulary()) == []
    assert made.report.title == {"en": "Inspection report", "zh": "检测报告"}
    stated = {claim for section in made.report.sections for each in section.sentences for claim in each.claim_ids}
    missing = {claim.id for claim in made.claims} - stated
    assert bool(missing) is ("report.withheld" in stated)
    assert "verdict" in stated


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "short", "mousebite", "spur", "copper", "pinhole"]),
            st.decimals("0.001", "20", places=3),
            st.decimals("0.001", "20", places=3),
            st.decimals("0", "2", places=4),
            st.floats(0, 1),
            st.booleans(),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_whatever_is_measured_is_written_without_a_sentence_held_back(
    measured: list[tuple[str, Decimal, Decimal, Decimal, float, bool]], in_mm: bool
) -> None:
    unit = "mm" if in_mm else "px"

    def of(value: Decimal, u: Decimal, squared: str = "") -> Quantity:
        return Quantity.model_validate({"value": value, "uncertainty": u, "unit": unit + squared})

    defects = tuple(
        defect(
            number,
            kind,
            score=score,
            size=Size(
                length=of(length, u),
                width=of(width, u),
                area=of(length * width, u, "2"),
                gap=of(width, u) if gap else None,
            ),
        )
        for number, (kind, length, width, u, score, gap) in enumerate(measured, 1)
    )
    made = inspection(defects=defects, **({} if in_mm else {"calibration": None}))
    assert "report.withheld" not in {claim.id for claim in made.report.claims}
    assert verify(made.report, vocabulary()) == []


def test_a_broken_phrase_is_held_back_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from evident_manufacturing.inspection import write as writer

    book = phrasebook()
    wrong = replace(book.phrases["verdict"], text={"en": ("The part is 7 mm.",), "zh": ("工件为7毫米。",)})
    monkeypatch.setattr(writer, "phrasebook", lambda: replace(book, phrases={**book.phrases, "verdict": wrong}))
    made = inspection()
    report: Report = made.report
    assert "verdict" not in {c for s in report.sections for each in s.sentences for c in each.claim_ids}
    assert report.fact("report.withheld").number == 1


def test_a_claim_without_a_phrase_is_a_defect_of_the_service() -> None:
    with pytest.raises((KeyError, EvidentError)):
        inspection(claims=(Claim(id="x", predicate="unheard_of", topic="verdict"),))


def test_limits_are_printed_as_the_specification_writes_them() -> None:
    text = "product: p\nversion: 1\nclasses: {mousebite: {reject: {length_max: 0.13 mm}}}\n"
    english = sentences(inspection(specification=Specification.load(text), defects=(defect(1),)), "en")
    assert any(re.search(r"above the limit of 0\.13 mm", each) for each in english)
