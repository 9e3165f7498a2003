"""Judging: every cell of the decision tables, and facts that lead to where they come from."""

from datetime import date
from decimal import Decimal
from itertools import product

import pytest

from evident_core.errors import InvalidInput
from evident_core.evidence import Derived, Element, ImageRegion, Polarity
from evident_manufacturing.inspection.assess import CalibrationState, Specification, assess, calibration_state
from evident_manufacturing.inspection.assess.called import called, of_the_board
from evident_manufacturing.inspection.assess.judge import Outcome, compare, findings, verdict
from evident_manufacturing.inspection.assess.specification import DecisionRule
from evident_manufacturing.inspection.export import export
from evident_manufacturing.inspection.schema import Decision, Defect, Part, Quantity, Verdict
from manufacturing_specimen import ALIGNMENT, CALIBRATION, DAY, IMAGE, TEMPLATE, defect, inspection, size

CONFORMITY, NONCONFORMITY, SIMPLE = DecisionRule
ACCEPT, REWORK, REJECT = Decision
TWO_SPURS = (defect(1, "spur"), defect(2, "spur"))
PX = size("14.5", "6.0", "44", "7.5", unit="px", uncertainty="1.1")


def spec(body: str, **settings: str) -> Specification:
    head = "".join(f"{key}: {value}\n" for key, value in {"product": "p", "version": "1", **settings}.items())
    return Specification.load(head + body)


def decided(
    body: str, *defects: Defect, scale: tuple[float, float] | None = (1 / 48, 1 / 48), **settings: str
) -> tuple[Decision, list[tuple[str, tuple[int, ...]]]]:
    by = spec(body, **settings)
    found = findings(defects, by, width=640, height=640, alignment=None, mm_per_pixel=scale)
    made = verdict(found, by, calibration=CalibrationState.VALID, template=True)
    return made.decision, [(reason.rule, reason.defects) for reason in made.reasons if reason.decision]


# Limit 0.20 mm, U 0.01 mm; how far the value lies past the limit, and what each rule makes of it.
TABLE = [
    ("-0.02", {CONFORMITY: Outcome.KEPT, NONCONFORMITY: Outcome.KEPT, SIMPLE: Outcome.KEPT}),
    ("-0.01", {CONFORMITY: Outcome.KEPT, NONCONFORMITY: Outcome.KEPT, SIMPLE: Outcome.KEPT}),
    ("-0.009", {CONFORMITY: Outcome.UNCERTAIN, NONCONFORMITY: Outcome.UNCERTAIN, SIMPLE: Outcome.KEPT}),
    ("0", {CONFORMITY: Outcome.UNCERTAIN, NONCONFORMITY: Outcome.UNCERTAIN, SIMPLE: Outcome.KEPT}),
    ("0.01", {CONFORMITY: Outcome.UNCERTAIN, NONCONFORMITY: Outcome.UNCERTAIN, SIMPLE: Outcome.BEYOND}),
    ("0.011", {CONFORMITY: Outcome.BEYOND, NONCONFORMITY: Outcome.BEYOND, SIMPLE: Outcome.BEYOND}),
]


@pytest.mark.parametrize(("past", "outcomes"), TABLE)
@pytest.mark.parametrize("rule", list(DecisionRule))
@pytest.mark.parametrize("side", ["max", "min"])
def test_each_cell_of_the_guard_band(
    past: str, outcomes: dict[DecisionRule, Outcome], rule: DecisionRule, side: str
) -> None:
    (limit,) = spec(f"classes: {{spur: {{reject: {{gap_{side}: 0.20 mm}}}}}}").limits
    value = Decimal("0.20") + Decimal(past) * (1 if side == "max" else -1)
    quantity = Quantity(value=value, uncertainty=Decimal("0.01"), unit="mm")
    assert compare(quantity, limit, rule) is outcomes[rule]
    assert compare(quantity.model_copy(update={"unit": "px"}), limit, rule) is Outcome.UNASSESSED
    assert compare(None, limit, rule) is Outcome.UNASSESSED


@pytest.mark.parametrize(
    ("limit", "decision"),
    [
        ("gap_min: 0.90 mm", ACCEPT),
        ("gap_max: 0.90 mm", REWORK),
        ("gap_min: 1.20 mm", REWORK),
        ("gap_max: 1.20 mm", REWORK),
    ],
)
def test_a_gap_that_is_only_known_to_exceed_a_value_settles_what_that_settles(limit: str, decision: Decision) -> None:
    over = Quantity(value=Decimal("1.00"), uncertainty=Decimal("0.03"), unit="mm")
    one = defect(1, size=size().model_copy(update={"gap": None, "gap_over": over}))
    assert decided(f"classes: {{{one.kind}: {{reject: {{{limit}}}}}}}", one, unmeasured="rework")[0] is decision


def test_a_value_on_the_limit_keeps_it_when_nothing_is_uncertain() -> None:
    (limit,) = spec("classes: {spur: {reject: {gap_max: 0.20 mm}}}").limits
    for rule in DecisionRule:
        assert compare(Quantity(value="0.20", uncertainty="0", unit="mm"), limit, rule) is Outcome.KEPT


@pytest.mark.parametrize("quantity", ["length", "width", "area", "gap"])
@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        ("0.05", CONFORMITY, ACCEPT), ("0.05", NONCONFORMITY, ACCEPT), ("0.05", SIMPLE, ACCEPT),
        ("0.095", CONFORMITY, REWORK), ("0.095", NONCONFORMITY, ACCEPT), ("0.095", SIMPLE, ACCEPT),
        ("0.105", CONFORMITY, REWORK), ("0.105", NONCONFORMITY, ACCEPT), ("0.105", SIMPLE, REWORK),
        ("0.15", CONFORMITY, REWORK), ("0.15", NONCONFORMITY, REWORK), ("0.15", SIMPLE, REWORK),
        ("0.195", CONFORMITY, REJECT), ("0.195", NONCONFORMITY, REWORK), ("0.195", SIMPLE, REWORK),
        ("0.205", CONFORMITY, REJECT), ("0.205", NONCONFORMITY, REWORK), ("0.205", SIMPLE, REJECT),
        ("0.25", CONFORMITY, REJECT), ("0.25", NONCONFORMITY, REJECT), ("0.25", SIMPLE, REJECT),
    ],
)  # fmt: skip
def test_each_cell_of_rework_and_reject(quantity: str, value: str, rule: DecisionRule, expected: Decision) -> None:
    unit = "mm2" if quantity == "area" else "mm"
    body = f"classes: {{spur: {{rework: {{{quantity}_max: 0.10 {unit}}}, reject: {{{quantity}_max: 0.20 {unit}}}}}}}"
    measured = size(**({quantity: value} | {"uncertainty": "0.01"}))
    got, reasons = decided(body, defect(1, "spur", size=measured), decision_rule=rule)
    assert got is expected
    assert reasons == ([] if expected is ACCEPT else [(f"spur.{expected}.{quantity}_max", (1,))])


@pytest.mark.parametrize("default", list(Decision))
def test_a_kind_that_is_not_listed_meets_the_default(default: Decision) -> None:
    got, reasons = decided("classes: {spur: {}}", defect(1, "short"), defect(2, "spur"), default=default)
    assert got is default
    assert reasons == ([] if default is ACCEPT else [("default", (1,))])


@pytest.mark.parametrize("unmeasured", list(Decision))
@pytest.mark.parametrize("measured", [None, PX, size(gap=None)])
def test_what_cannot_be_compared_leads_to_what_the_specification_says(unmeasured: Decision, measured: object) -> None:
    body = "classes: {spur: {rework: {gap_min: 0.1 mm}, reject: {gap_min: 0.05 mm}}}"
    scale = None if measured is PX else (1 / 48, 1 / 48)
    got, reasons = decided(body, defect(1, "spur", size=measured), scale=scale, unmeasured=unmeasured)
    assert got is unmeasured
    assert reasons == [("spur.reject.gap_min", (1,))]


@pytest.mark.parametrize(("bad", "expected"), [(0, ACCEPT), (1, ACCEPT), (2, REWORK), (3, REWORK), (4, REJECT)])
def test_counts_are_judged_over_the_defects_of_a_class_and_over_all(bad: int, expected: Decision) -> None:
    for kind in ("spur", "any"):
        body = f"classes: {{spur: {{}}, {kind}: {{rework: {{count_max: 1}}, reject: {{count_max: 3}}}}}}"
        body = body.replace("spur: {}, spur", "spur")
        got, reasons = decided(body, *(defect(number, "spur") for number in range(1, bad + 1)))
        assert got is expected
        assert reasons == ([] if expected is ACCEPT else [(f"{kind}.{expected}.count_max", tuple(range(1, bad + 1)))])


ZONED = """
zones: {edge: {rectangle: [0, 0, 60, 640]}}
classes: {spur: {rework: {length_max: 0.5 mm}, zones: {edge: {reject: {length_max: 0.1 mm}}}}}
"""


def test_limits_of_a_zone_stand_in_place_of_those_of_the_class() -> None:
    at_edge, elsewhere = defect(1, "spur"), defect(2, "spur")
    assert decided(ZONED, at_edge, elsewhere) == (REJECT, [("spur@edge.reject.length_max", (1,))])
    lenient = ZONED.replace("0.1 mm", "0.9 mm").replace("0.5 mm", "0.1 mm")
    assert decided(lenient, at_edge) == (ACCEPT, [])
    assert decided(lenient, elsewhere) == (REWORK, [("spur.rework.length_max", (2,))])


def test_a_zone_in_mm_that_cannot_be_located_counts_together_with_the_class() -> None:
    body = ZONED.replace("rectangle: [0", "unit: mm, rectangle: [0").replace("length_max: 0.1 mm", "count_max: 0")
    got, reasons = decided(body, defect(2, "spur", size=PX), scale=None)
    assert got is REJECT
    assert reasons == [("spur@edge.reject.count_max", (2,)), ("spur.rework.length_max", (2,))]


def test_a_zone_moves_with_the_alignment() -> None:
    by, one = spec(ZONED), defect(1, "spur", bbox=(70, 100, 90, 110))
    for shift, expected in ((0.0, ACCEPT), (15.0, REJECT)):
        moved = ALIGNMENT.model_copy(update={"dx": shift, "dy": 0.0, "angle": 0.0})
        found = findings([one], by, width=640, height=640, alignment=moved, mm_per_pixel=(1 / 48, 1 / 48))
        assert verdict(found, by, calibration=CalibrationState.VALID, template=True).decision is expected


def test_defects_below_the_score_are_shown_and_not_judged() -> None:
    unsure = defect(1, "short", score=0.49)
    assert decided("", unsure) == (ACCEPT, [])
    assert decided("", unsure, score="0.49") == (REJECT, [("default", (1,))])
    made = inspection(defects=(unsure,))
    assert "score_below" in {claim.predicate for claim in made.claims}


@pytest.mark.parametrize(
    ("on", "camera", "state"),
    [
        (date(2025, 2, 28), "", CalibrationState.EXPIRED),
        (date(2025, 3, 1), "", CalibrationState.VALID),
        (date(2025, 9, 1), "", CalibrationState.VALID),
        (date(2025, 9, 2), "", CalibrationState.EXPIRED),
        (DAY, "cam-1", CalibrationState.VALID),
        (DAY, "cam-2", CalibrationState.MISSING),
    ],
)
def test_a_calibration_holds_on_its_days_and_for_its_camera(on: date, camera: str, state: CalibrationState) -> None:
    of = CALIBRATION.model_copy(update={"camera": "cam-1" if camera else ""})
    assert calibration_state(of, camera, on) is state
    assert calibration_state(None, camera, on) is CalibrationState.MISSING


WEAK = list(product([True, False], [True, False], list(CalibrationState), [True, False]))


@pytest.mark.parametrize(("specified", "compared", "state", "bad"), WEAK)
def test_each_cell_of_the_strength_of_a_verdict(
    specified: bool, compared: bool, state: CalibrationState, bad: bool
) -> None:
    made: Verdict = inspection(
        specification=spec("") if specified else None,
        template=TEMPLATE if compared else None,
        calibration=None if state is CalibrationState.MISSING else CALIBRATION,
        on=DAY if state is not CalibrationState.EXPIRED else date(2030, 1, 1),
        defects=(defect(1, size=size() if state is CalibrationState.VALID else PX),) if bad else (),
    ).verdict
    rules = {reason.rule for reason in made.reasons}
    assert made.decision is (REJECT if bad else ACCEPT)
    assert made.weak is not (specified and compared and state is CalibrationState.VALID)
    assert ("specification_missing" in rules) is not specified
    assert ("template_missing" in rules) is not compared
    assert (f"calibration_{state}" in rules) is (state is not CalibrationState.VALID)


def test_millimetres_without_a_calibration_are_refused() -> None:
    for calibration, on in ((None, DAY), (CALIBRATION, date(2030, 1, 1))):
        with pytest.raises(InvalidInput, match="Defect 1 is measured in mm"):
            inspection(calibration=calibration, on=on)


def test_a_board_that_a_zone_with_limits_does_not_touch_is_not_judged() -> None:
    with pytest.raises(InvalidInput, match="fingers lies outside the board: it is at x 0…640, y 560…640 px") as refused:
        inspection(height=400, defects=())
    assert "the board is 640 x 400 px (13.33 x 8.333 mm)" in refused.value.message
    assert refused.value.details["zone"] == "fingers"


def test_what_only_all_defects_together_lead_to_is_not_said_of_each() -> None:
    spurs = tuple(defect(number, "spur", size=size("0.10", gap="0.75")) for number in range(1, 8))
    made = inspection(defects=(*spurs, defect(8, "short"), defect(9, score=0.1)))
    assert made.verdict.decision is REJECT
    assert called(made) == dict.fromkeys(range(1, 8), "accept") | {8: "reject", 9: "unjudged"}
    (together,) = of_the_board(made.verdict)
    assert (together.rule, together.limit, len(together.defects)) == ("any.rework.count_max", "6", 8)


def test_a_limit_on_all_defects_in_a_zone_is_the_zones_and_not_each_defects() -> None:
    body = (
        "zones: {a.b: {rectangle: [0, 0, 600, 600]}}\n"
        "classes: {spur: {}, any: {zones: {a.b: {rework: {count_max: 2}}}}}"
    )
    made = inspection(specification=spec(body), defects=(*TWO_SPURS, defect(3, "spur")))
    assert made.verdict.decision is REWORK
    assert called(made) == dict.fromkeys((1, 2, 3), "accept")
    assert [each.rule for each in of_the_board(made.verdict)] == ["any@a.b.rework.count_max"]
    page = export(made, "html").decode()
    assert "All defects in zone “a.b” together: to be reworked (3 &gt; 2)" in page
    assert "区域“a.b”内缺陷合计：返工（3 &gt; 2）" in page
    sharp = inspection(specification=spec(body.replace("count_max: 2", "count_max: 0")), defects=TWO_SPURS)
    assert (called(sharp), of_the_board(sharp.verdict)) == ({1: "rework", 2: "rework"}, ())


def test_a_limit_that_any_single_defect_passes_is_behind_each() -> None:
    made = inspection(specification=spec("classes: {spur: {}, any: {reject: {count_max: 0}}}"), defects=TWO_SPURS)
    assert (called(made), of_the_board(made.verdict)) == ({1: "reject", 2: "reject"}, ())


def test_reasons_come_gravest_first() -> None:
    made = inspection(
        defects=(
            defect(1, size=size("0.30")),
            defect(2, "short"),
            defect(3, "mousebite", size=size("0.9")),
        )
    ).verdict
    order = [reason.decision for reason in made.reasons]
    assert order == [REJECT, REJECT, REWORK]
    assert made.reasons[0].limit == "0.50 mm"


def test_every_fact_leads_to_a_region_a_setting_or_other_facts() -> None:
    made = inspection(defects=(defect(1, bbox=(10, 570, 20, 580)), defect(2, "short")))
    facts = {fact.id: fact for fact in made.facts}
    length = facts["defect.1.length"].sources[0]
    assert length.input == IMAGE
    assert length.where == ImageRegion(bbox=(10, 570, 20, 580), mask_rle="0 288", mm_per_pixel=(1 / 48, 1 / 48))
    spread = facts["defect.1.length.uncertainty"].sources[0].where
    assert spread == Derived(
        rule="uncertainty",
        formula="expanded, k = 2",
        fact_ids=("defect.1.length", "board.calibration.residual"),
    )
    rule = facts["rule.mousebite@fingers.reject.length_max"].sources[0].where
    assert rule == Element(path="/classes/mousebite/zones/fingers/reject/length_max", quote="0.10 mm")
    for fact in made.facts:
        for source in fact.sources:
            if isinstance(source.where, Derived):
                assert set(source.where.fact_ids) <= set(facts), fact.id
    for claim in made.claims:
        assert set(claim.facts.values()) <= set(facts)


def test_kinds_that_were_looked_for_are_said_to_be_absent() -> None:
    made = inspection(defects=())
    absent = {claim.id for claim in made.claims if claim.predicate == "kind_absent"}
    assert len(absent) == 6
    assert all(claim.polarity is Polarity.ABSENT for claim in made.claims if claim.id in absent)


def test_the_same_inputs_give_the_same_judgement() -> None:
    twice = [
        assess(
            (defect(1), defect(2)), spec(ZONED), image=IMAGE, width=640, height=640, part=Part(part_id="x"), on=DAY,
            calibration=CALIBRATION, template=TEMPLATE, alignment=ALIGNMENT,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert twice[0] == twice[1]
