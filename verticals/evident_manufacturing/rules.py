"""The rules of a verdict in words: what a specification asks of a kind, in a zone, said of its limit's key."""

from typing import Final

from evident_core.evidence import Language
from evident_manufacturing.inspection.assess.specification import QUANTITIES, SIDES
from evident_manufacturing.inspection.schema import Decision
from evident_manufacturing.inspection.write import phrasebook
from evident_manufacturing.texts import text

_ASKED: Final = {f"{quantity}_{side}" for quantity in QUANTITIES for side in SIDES} - {"count_min"}


def in_words(rule: str, limit: str, language: Language) -> str:
    """What a rule asks for, such as "Mouse bites in zone fingers: length at most 0.10 mm."; empty for no limit's key.

    Args:
        rule: As verdicts name it (``mousebite@fingers.reject.length_max``).
        limit: As the specification writes it.
        language: Of the sentence.
    """
    place, _, asked = rule.rpartition(".")
    place, _, decision = place.rpartition(".")
    kind, _, zone = place.partition("@")
    if not kind or asked not in _ASKED or decision not in tuple(Decision):
        return ""
    known = phrasebook().words["kinds"].get(kind)
    name = str(known[language]) if known else kind
    about = text("limit.in_zone", language, kind=name, zone=zone) if zone else name
    about = about[:1].upper() + about[1:] if known else about
    return text(f"limit.{asked}", language, kind=about, limit=limit.replace("mm2", "mm²"))
