"""The presentations between which a company may choose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """Which of the permitted presentations the company has chosen."""

    split_revenue: bool = False
    one_step: bool = False
    gross_profit: bool = True
    operating_income: bool = True
    combined_sga: bool = True
    costs_negative: bool = False
    total_liabilities: bool = True
    noncurrent_totals: bool = False
    plant_first: bool = False
    net_assets: bool = False
    unlabelled_totals: bool = False
    shares_in_full: int = 1
    other_lines: bool = True
    blank_lines: bool = False
    simple_income: bool = False
    supplemental: bool = True
