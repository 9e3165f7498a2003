"""The amounts of limits as people write them: a number with its unit, so that nobody has to guess which it is."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NoReturn

from evident_manufacturing.inspection.assess.document import Node

_AMOUNT: Final = re.compile(r"(?P<number>\d{1,6}(?:\.\d{1,6})?)\s*(?P<unit>\S*)")
_COMMA: Final = re.compile(r"(\d+),(\d+)(\s*\S*)")
_IN_MM: Final = (
    {"µm": "0.001", "um": "0.001", "cm": "10", "m": "1000"}
    | dict.fromkeys(("mil", "mils", "thou"), "0.0254")
    | dict.fromkeys(("inch", "inches", "in", '"'), "25.4")
)
_SMALLEST: Final = Decimal("0.000001")


def read_amount(node: Node, key: str, unit: str) -> Decimal:
    """The number of ``0.2 mm``.

    Args:
        node: Where it stands.
        key: Of the limit.
        unit: That the limit is in: ``mm``, ``mm2``, or ``1`` of a count.

    Raises:
        InvalidInput: It is none, or is in another unit; the message has it in the right one where that is exact.
    """
    text = node.text.strip()
    if unit == "1":
        return _count(node, key, text)
    found = _AMOUNT.fullmatch(text)
    if not found:
        if comma := _COMMA.fullmatch(text):
            # 1,000 may be a thousand: only what can be nothing but a fraction is written out.
            clear = len(comma[2]) != 3 or int(comma[1]) == 0
            point = f"{comma[1]}.{comma[2]}{comma[3]}" if clear else f"0.2 {unit}"
            node.refuse(
                f"{key} has a comma in {text!r}; the decimal sign is a point, {'' if clear else 'as in '}{point}, and "
                "thousands are not set apart.",
                reason="comma",
                key=key,
                value=text,
                point=point,
            )
        node.refuse(
            f"{key} is a number with its unit, such as 0.2 {unit}, not {text!r}.",
            reason="amount",
            key=key,
            value=text,
            unit=unit,
        )
    given = found["unit"].replace("²", "2").replace("μ", "µ")
    if given != unit:
        _refuse_unit(node, key, Decimal(found["number"]), given, unit)
    return Decimal(found["number"])


def _count(node: Node, key: str, text: str) -> Decimal:
    if not re.fullmatch(r"\d{1,6}(?:\.0{1,6})?", text):
        node.refuse(
            f"{key} is a whole number of defects from 0 on and has no unit, such as 3; {text!r} is not.",
            reason="count",
            key=key,
            value=text,
        )
    return Decimal(text)


def _refuse_unit(node: Node, key: str, number: Decimal, given: str, unit: str) -> NoReturn:
    right = _converted(number, given, unit)
    if right is not None:
        node.refuse(
            f"{key} is in {given}; write it in {unit}: that is {right} {unit}.",
            reason="other_unit",
            key=key,
            value=f"{number} {given}",
            right=f"{right} {unit}",
        )
    node.refuse(
        f"{key} {f'is in {given}' if given else 'has no unit'}; write it in {unit}, as a number and then {unit}.",
        reason="unknown_unit" if given else "no_unit",
        key=key,
        given=given,
        unit=unit,
    )


def _converted(number: Decimal, given: str, unit: str) -> Decimal | None:
    """The same in the right unit, exactly as a limit can be written; None where that is not known."""
    plain = given.removesuffix("2") if unit == "mm2" else given
    factor = _IN_MM.get(plain)
    if factor is None or (unit == "mm2" and plain == given):
        return None
    right = number * (Decimal(factor) ** 2 if unit == "mm2" else Decimal(factor))
    return right if right % _SMALLEST == 0 and 0 < right < 1_000_000 else None
