"""Share counts are in the scale with which profit over shares gives the printed earnings per share."""

from datetime import date
from decimal import Decimal

import pytest

from evident_finance.risk_report.perceive.items import catalogue
from evident_finance.risk_report.perceive.lines import GridRow, Printed
from evident_finance.risk_report.perceive.values import Value, Values, scale_shares

END, BEFORE = date(2021, 8, 29), date(2020, 8, 30)


def value(name: str, printed: str, scale: int) -> Value:
    number = Decimal(printed)
    cell = Printed(text=printed, value=number, bbox=(0, 0, 1, 1))
    row = GridRow(
        page=1, label=name, bbox=(0, 0, 1, 1), cells=[cell], indent=0.0, bold=False, label_right=0.0, lines=[]
    )
    return Value(catalogue()[name], number * scale, cell, row, scale, 0.95, [row], 0, 0)


def read(profit: str, earned: str, shares: str, scale: int, share_scale: int) -> Values:
    known = {
        "net_income": value("net_income", profit, scale),
        "eps_basic": value("eps_basic", earned, 1),
        "shares_basic": value("shares_basic", shares, share_scale),
    }
    return {END: known, BEFORE: {"shares_basic": value("shares_basic", "442297", share_scale)}}


@pytest.mark.parametrize(
    ("profit", "earned", "shares", "scale", "share_scale", "right"),
    [
        ("5007", "11.30", "443089", 1_000_000, 1_000_000, 1_000),
        ("5007", "11.30", "443.1", 1_000_000, 1_000_000, 1_000_000),
        ("-660", "-0.84", "783", 1_000_000, 1_000_000, 1_000_000),
        ("5007", "11.30", "443089213", 1_000_000, 1_000_000, 1),
        ("558929", "1.29", "431885", 1_000, 1, 1_000),
        ("5007", "77.70", "443089", 1_000_000, 1_000_000, 1_000_000),
        ("0", "0.00", "443089", 1_000_000, 1_000_000, 1_000_000),
    ],
)  # fmt: skip
def test_earnings_per_share_tell_the_scale(
    profit: str, earned: str, shares: str, scale: int, share_scale: int, right: int
) -> None:
    values = read(profit, earned, shares, scale, share_scale)
    scale_shares(values)
    for known, printed in ((values[END], shares), (values[BEFORE], "442297")):
        each = known["shares_basic"]
        assert each.scale == right
        assert each.value == Decimal(printed) * right
        assert bool(each.notes) == (right != share_scale), "a scale that the head does not give is said"
