"""Kinds that a specification describes: read, refused with their line, judged by their limits, told in the report."""

import pytest

from evident_core.errors import InvalidInput
from evident_core.evidence import Element, ImageRegion
from evident_core.write import verify, verify_sentence
from evident_manufacturing.inspection.assess import Assessment, Specification
from evident_manufacturing.inspection.assess.wordings import with_wordings
from evident_manufacturing.inspection.perceive.descriptions import load_descriptions
from evident_manufacturing.inspection.perceive.naming import as_detected
from evident_manufacturing.inspection.schema import KINDS, Decision, Inspection, Naming, Wording
from evident_manufacturing.inspection.write import phrasebook, vocabulary, write
from manufacturing_specimen import IMAGE, defect, inspection

HEAD = "product: p\nversion: 1\nkinds:\n"
SCRATCH = """product: p
version: 1
kinds:
  scratch:
    description: {en: a long thin line of missing copper, zh: [一条细长的缺铜线, 铜沿细线被去除]}
  crater: {}
classes:
  scratch: {rework: {length_max: 0.20 mm}, reject: {length_max: 2 mm}}
  short: {reject: {count_max: 0}}
"""
NAMING = Naming(instead_of="open", share=0.83, likeness=0.31, ordinary=-0.12)


def test_a_described_kind_is_a_kind_with_its_wordings_and_the_document_is_hashed_with_them() -> None:
    read = Specification.load(SCRATCH)
    assert read.kinds == (*KINDS, "scratch", "crater")
    assert read.descriptions == {
        "scratch": ("a long thin line of missing copper", "一条细长的缺铜线", "铜沿细线被去除")
    }
    assert read.described[0].line == 5
    assert Specification.load(SCRATCH.replace("thin", "narrow")).input.sha256 != read.input.sha256


def test_names_alone_are_read_as_before() -> None:
    read = Specification.load("product: p\nversion: 1\nkinds: [scratch, 划痕]\n")
    assert (read.kinds[-2:], read.described) == (("scratch", "划痕"), ())


REFUSED = [
    ("  scratch: {description: }\n", 4, "empty description"),
    ("  scratch: {description: {}}\n", 4, "empty description"),
    ("  scratch: {description: {en: ''}}\n", 4, "empty description in 'en'"),
    ("  scratch: {description: {en: []}}\n", 4, "empty description"),
    ("  scratch: {description: {en: a line, zh: ' '}}\n", 4, "empty description in 'zh'"),
    ("  scratch: {description: {fr: une rayure}}\n", 4, "'fr' is not a key"),
    ("  scratch: {descripton: {en: a line}}\n", 4, "did you mean description"),
    ("  scratch: {description: a line}\n", 4, "a mapping"),
    ("  scratch: {description: {en: Scratch}}\n", 4, "its own name"),
    ("  missing_hole: {description: {en: missing hole}}\n", 4, "its own name"),
    ("  scratch: {description: {zh: a line}}\n", 4, "not in 'zh'"),
    ("  scratch: {description: {en: 划痕}}\n", 4, "not in 'en'"),
    ("  short: {description: {en: a bridge}}\n", 4, "the detector knows"),
    ("  any: {description: {en: a bridge}}\n", 4, "not 'any'"),
    ("  a b: {}\n", 4, "not a kind's name"),
    (
        "  a: {description: {en: a line}}\n  b:\n    description:\n      en: a  line\n",
        7,
        "two things (before on line 4)",
    ),
    (f"  scratch: {{description: {{en: {'x' * 256}}}}}\n", 4, "255 bytes"),
    ("".join(f"  k{n}: {{}}\n" for n in range(21)), 4, "20 of its own"),
    (f"  scratch: {{description: {{en: [{', '.join(f'line {n}' for n in range(21))}]}}}}\n", 4, "20 are enough"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_a_description_that_names_nothing_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Specification.load(HEAD + text, "board.yaml")
    assert message in refused.value.message
    assert f"board.yaml, line {line}:" in refused.value.message


def named() -> Inspection:
    return inspection(
        defects=(defect(1, "scratch", naming=NAMING), defect(2, "copper")), specification=Specification.load(SCRATCH)
    )


def test_limits_of_the_described_kind_apply_and_the_verdict_says_where_the_name_came_from() -> None:
    made = named()
    assert made.verdict.decision is Decision.REJECT  # spurious copper is under the default
    rules = {reason.rule: reason for reason in made.verdict.reasons}
    assert rules["scratch.rework.length_max"].decision is Decision.REWORK
    assert rules["kind_by_description"].defects == (1,)
    assert made.verdict.weak


def test_the_number_of_a_described_kind_is_told_and_its_absence_is_not() -> None:
    text = SCRATCH.replace("reject: {length_max: 2 mm}", "reject: {count_max: 0}")
    found = defect(1, "scratch", naming=NAMING)
    made = inspection(defects=(found,), specification=Specification.load(text))
    report = write([IMAGE], made.facts, made.claims)
    assert verify(report, vocabulary()) == []
    told = {
        claim: sentence.text
        for section in report.sections
        for sentence in section.sentences
        for claim in sentence.claim_ids
    }
    assert "The number of scratch is 1, above the limit of 0" in told["rule.scratch.reject.count_max"]["en"]
    assert "缺陷类型scratch共1处，高于限值0" in told["rule.scratch.reject.count_max"]["zh"]
    without = inspection(defects=(), specification=Specification.load(SCRATCH))
    assert "not_found.short" in {claim.id for claim in without.claims}
    assert "not_found.scratch" not in {claim.id for claim in without.claims}


def test_a_defect_below_the_threshold_does_not_weaken_the_verdict() -> None:
    low = defect(1, "scratch", naming=NAMING, score=0.2)
    made = inspection(defects=(low,), specification=Specification.load(SCRATCH))
    assert not made.verdict.weak
    assert made.verdict.decision is Decision.ACCEPT


def test_the_name_rests_on_the_picture_and_on_the_line_of_the_specification() -> None:
    made = named()
    kind = next(fact for fact in made.facts if fact.id == "defect.1.kind")
    region, element = (source.where for source in kind.sources)
    assert isinstance(region, ImageRegion)
    assert isinstance(element, Element)
    assert element.path == "/kinds/scratch/description"
    assert "缺铜线" in element.quote
    assert kind.confidence == NAMING.share
    assert verify(made.report, vocabulary()) == []
    english, chinese = (
        next(e.text[language] for s in made.report.sections for e in s.sentences if "named.1" in e.claim_ids)
        for language in ("en", "zh")
    )
    assert english == (
        "Defect 1 is called “scratch” by its description in the specification (confidence 0.83): the likeness of "
        "picture and description is 0.31, and that of nearly all ordinary open circuits at most −0.12; the detector "
        "takes it for an open circuit."
    )
    assert "（置信度0.83）：图像与描述的相似度为0.31，而绝大多数普通开路至多为−0.12；检测器视其为开路。" in chinese


def test_a_naming_can_be_taken_back() -> None:
    given = (defect(1, "scratch", naming=NAMING), defect(2, "crack", naming=NAMING), defect(3))
    assert [each.kind for each in as_detected(given)] == ["open", "open", "mousebite"]
    assert [each.kind for each in as_detected(given, but={"crack"})] == ["open", "crack", "mousebite"]
    assert all(each.naming is None for each in as_detected(given))


# --- wordings ---------------------------------------------------------------------------------------------------------


def worded(key: str) -> Inspection:
    made = inspection(defects=(defect(1), defect(2, "short")))
    said = with_wordings(
        Assessment(made.facts, made.claims, made.verdict),
        made.defects,
        {1: Wording(key=key, share=0.91)},
        image=IMAGE,
        mm_per_pixel=(1 / 48, 1 / 48),
        chosen_by="aligner-9",
    )
    report = write([IMAGE], said.facts, said.claims)
    return made.model_copy(update={"facts": said.facts, "claims": said.claims, "report": report})


@pytest.mark.parametrize(
    "key", [f"{kind}.{trait}" for kind, of in load_descriptions().kinds.items() for trait in of.remarks]
)
def test_each_remark_passes_the_verifier_in_both_languages(key: str) -> None:
    made = worded(key)
    assert verify(made.report, vocabulary()) == []
    stated = [claim for section in made.report.sections for each in section.sentences for claim in each.claim_ids]
    assert stated.index("defect.1.wording") == stated.index("defect.1") + 1
    assert "report.withheld" not in stated


def test_a_remark_names_who_chose_it_how_sure_that_is_and_the_region() -> None:
    made = worded("mousebite.round")
    fact = next(fact for fact in made.facts if fact.id == "defect.1.wording")
    assert fact.confidence == 0.91
    assert "aligner-9" in fact.note
    region, chosen = (source.where for source in fact.sources)
    assert region.bbox == made.defects[0].bbox
    assert chosen.fact_ids == ("defect.1.kind",)
    assert "aligner-9" in chosen.formula
    sentence = next(e for s in made.report.sections for e in s.sentences if "defect.1.wording" in e.claim_ids)
    assert sentence.text["en"] == (
        "By its picture defect 1 looks like a compact notch in the edge of the conductor (wording chosen by the "
        "aligner, confidence 0.91)."
    )
    spans = {span.fact_id for span in sentence.spans["zh"]}
    assert spans == {"defect.1.number", "defect.1.wording", "defect.1.wording.confidence"}


def test_a_wording_of_another_kind_or_confidence_is_refused() -> None:
    made = worded("mousebite.round")
    facts = {fact.id: fact for fact in made.facts}
    claim = next(claim for claim in made.claims if claim.id == "defect.1.wording")
    sentence = next(e for s in made.report.sections for e in s.sentences if claim.id in e.claim_ids)
    for language, old, new in (
        ("en", "a compact notch in the edge of the conductor", "a compact outgrowth on the edge of the conductor"),
        ("en", "a compact notch", "a long, narrow notch"),
        ("en", "0.91", "0.99"),
        ("zh", "长宽相近的缺口", "细长的缺口"),
    ):
        assert old in sentence.text[language]
        text = {**sentence.text, language: sentence.text[language].replace(old, new)}
        changed = sentence.model_copy(update={"text": text, "spans": {}})
        assert verify_sentence(changed, [claim], facts, vocabulary()), new


def test_remarks_hold_no_number_and_are_of_the_detectors_kinds_alone() -> None:
    kinds = load_descriptions().kinds
    assert {name for name, kind in kinds.items() if kind.remarks} == set(KINDS)
    for kind in kinds.values():
        for said in kind.remarks.values():
            assert not any(character.isdigit() for text in said.values() for character in text)
    assert set(phrasebook().words["wording"]) == {f"{kind}.{trait}" for kind in KINDS for trait in ("line", "round")}
