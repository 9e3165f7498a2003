"""The books of an invented company: a seeded model whose statements satisfy every identity exactly.

All amounts are integers in the smallest printed unit ("ticks"). Costs and outflows are positive; a change in working
capital has the sign of its effect on cash. Balance-sheet amounts move only through flows, so assets equal liabilities
and equity by construction, and the statement of cash flows explains the change in cash.
"""

import random
from dataclasses import dataclass
from typing import Literal

Sector = Literal["industrial", "bank", "insurer", "utility"]


@dataclass(frozen=True)
class Traits:
    """What kind of company it is; each decides lines that its statements have or lack."""

    sector: Sector = "industrial"
    loss: bool = False
    negative_equity: bool = False
    noncontrolling: bool = False
    redeemable: bool = False
    discontinued: bool = False
    inventories: bool = True
    research: bool = True
    goodwill: bool = True
    leases: bool = True
    treasury: bool = False
    dividends: bool = True
    pension: bool = False
    restructuring: bool = False
    restricted: bool = False
    statutory_reserve: bool = False
    bills: bool = False
    gaps: bool = False


Books = dict[int, dict[str, int]]
"""Year to amount by name: item ids of ``items.toml`` where there is one, the project's own names otherwise."""

CURRENT_ASSETS = (
    "cash_and_equivalents",
    "restricted_cash",
    "short_term_investments",
    "notes_receivable",
    "accounts_receivable",
    "other_receivables",
    "inventories",
    "contract_assets",
    "prepaid_expenses",
    "other_current_assets",
)
NONCURRENT_ASSETS = (
    "loans_net",
    "long_term_investments",
    "ppe_net",
    "construction_in_progress",
    "operating_lease_assets",
    "goodwill",
    "intangible_assets",
    "deferred_tax_assets",
    "other_noncurrent_assets",
)
CURRENT_LIABILITIES = (
    "short_term_debt",
    "notes_payable",
    "accounts_payable",
    "accrued_compensation",
    "accrued_liabilities",
    "contract_liabilities",
    "income_taxes_payable",
    "current_portion_long_term_debt",
    "current_lease_liabilities",
    "other_current_liabilities",
)
NONCURRENT_LIABILITIES = (
    "deposits",
    "insurance_reserves",
    "long_term_debt",
    "lease_liabilities",
    "deferred_tax_liabilities",
    "pension_liabilities",
    "other_noncurrent_liabilities",
)
PARENT_EQUITY = (
    "common_stock",
    "additional_paid_in_capital",
    "surplus_reserve",
    "retained_earnings",
    "accumulated_oci",
)

# A balance is this share of revenue (low, high); those that the company lacks are left out by its traits.
_SHARES = {
    "short_term_investments": (0.01, 0.10),
    "notes_receivable": (0.01, 0.05),
    "accounts_receivable": (0.08, 0.22),
    "other_receivables": (0.005, 0.03),
    "inventories": (0.05, 0.22),
    "contract_assets": (0.01, 0.06),
    "prepaid_expenses": (0.005, 0.03),
    "other_current_assets": (0.005, 0.03),
    "long_term_investments": (0.02, 0.12),
    "construction_in_progress": (0.01, 0.08),
    "deferred_tax_assets": (0.004, 0.03),
    "other_noncurrent_assets": (0.01, 0.06),
    "notes_payable": (0.01, 0.06),
    "accounts_payable": (0.06, 0.16),
    "accrued_compensation": (0.01, 0.05),
    "accrued_liabilities": (0.02, 0.08),
    "contract_liabilities": (0.01, 0.06),
    "income_taxes_payable": (0.004, 0.02),
    "other_current_liabilities": (0.01, 0.05),
    "deferred_tax_liabilities": (0.004, 0.04),
    "pension_liabilities": (0.02, 0.10),
    "other_noncurrent_liabilities": (0.01, 0.05),
}
_OPERATING_ASSETS = (
    "notes_receivable",
    "other_receivables",
    "contract_assets",
    "prepaid_expenses",
    "other_current_assets",
)
_OPERATING_LIABILITIES = (
    "contract_liabilities",
    "income_taxes_payable",
    "other_current_liabilities",
    "accrued_compensation",
)


def keep_books(rng: random.Random, newest: int, years: int, revenue: int, traits: Traits) -> Books:
    """Simulate ``years`` years up to ``newest`` for a company with about ``revenue`` ticks of revenue in the newest.

    The year before the oldest is kept too: its balances are the opening ones of the oldest year's cash flows.
    """
    shares = {name: rng.uniform(*span) for name, span in _SHARES.items()}
    for name in _absent(traits):
        shares.pop(name, None)
    growth = [rng.uniform(-0.08, 0.22) for _ in range(years)]
    start = float(revenue)
    for each in growth:
        start /= 1 + each
    year = newest - years
    state = _open(rng, round(start), shares, traits)
    books: Books = {year: dict(state)}
    income = start
    for each in growth:
        year += 1
        income *= 1 + each
        state = _advance(rng, state, round(income), shares, traits)
        books[year] = dict(state)
    return books


def _absent(traits: Traits) -> set[str]:
    gone: set[str] = set()
    if not traits.inventories or traits.sector in ("bank", "insurer"):
        gone |= {"inventories"}
    if not traits.pension:
        gone |= {"pension_liabilities"}
    if not traits.bills:
        gone |= {"notes_receivable", "notes_payable"}
    if traits.sector in ("bank", "insurer"):
        gone |= {
            "notes_receivable",
            "contract_assets",
            "notes_payable",
            "contract_liabilities",
            "prepaid_expenses",
            "construction_in_progress",
            "accrued_compensation",
        }
    return gone


def _open(rng: random.Random, revenue: int, shares: dict[str, float], traits: Traits) -> dict[str, int]:
    s: dict[str, int] = dict.fromkeys(
        (*CURRENT_ASSETS, *NONCURRENT_ASSETS, *CURRENT_LIABILITIES, *NONCURRENT_LIABILITIES, *PARENT_EQUITY), 0
    )
    s |= {"treasury_stock": 0, "noncontrolling_interests": 0, "redeemable_interests": 0}
    for name, share in shares.items():
        s[name] = _near(rng, revenue * share)
    s["ppe_net"] = _near(rng, revenue * rng.uniform(0.15, 1.6 if traits.sector == "utility" else 0.5))
    s["intangible_assets"] = _near(rng, revenue * rng.uniform(0.02, 0.15))
    s["goodwill"] = _near(rng, revenue * rng.uniform(0.05, 0.3)) if traits.goodwill else 0
    s["restricted_cash"] = _near(rng, revenue * 0.01) if traits.restricted else 0
    if traits.leases:
        s["operating_lease_assets"] = _near(rng, revenue * rng.uniform(0.02, 0.1))
        s["current_lease_liabilities"] = s["operating_lease_assets"] // 5
        s["lease_liabilities"] = s["operating_lease_assets"] - s["current_lease_liabilities"]
    if traits.sector == "bank":
        s["loans_net"] = _near(rng, revenue * rng.uniform(8, 14))
        s["deposits"] = _near(rng, revenue * rng.uniform(9, 15))
        s["long_term_investments"] = _near(rng, revenue * rng.uniform(2, 4))
    if traits.sector == "insurer":
        s["insurance_reserves"] = _near(rng, revenue * rng.uniform(1.5, 3))
        s["long_term_investments"] = _near(rng, revenue * rng.uniform(2, 4))
    s["cash_and_equivalents"] = _near(rng, revenue * rng.uniform(0.06, 0.2))
    s["long_term_debt"] = _near(rng, revenue * rng.uniform(0.1, 0.5))
    s["current_portion_long_term_debt"] = s["long_term_debt"] // rng.randint(7, 14)
    s["short_term_debt"] = _near(rng, revenue * rng.uniform(0.01, 0.06))
    s["common_stock"] = max(2, _near(rng, revenue * rng.uniform(0.002, 0.03)))
    s["additional_paid_in_capital"] = _near(rng, revenue * rng.uniform(0.08, 0.3))
    s["surplus_reserve"] = _near(rng, revenue * rng.uniform(0.01, 0.04)) if traits.statutory_reserve else 0
    s["accumulated_oci"] = -_near(rng, revenue * rng.uniform(0.005, 0.03))
    s["treasury_stock"] = _near(rng, revenue * rng.uniform(0.03, 0.2)) if traits.treasury else 0
    s["noncontrolling_interests"] = _near(rng, revenue * rng.uniform(0.01, 0.05)) if traits.noncontrolling else 0
    s["redeemable_interests"] = _near(rng, revenue * rng.uniform(0.005, 0.02)) if traits.redeemable else 0
    # Retained earnings close the opening balance; a negative-equity company owes the difference as long-term debt.
    wanted = -round(revenue * 0.45) if traits.negative_equity else round(revenue * rng.uniform(0.1, 0.4))
    s["retained_earnings"] = wanted
    _total(s)
    gap = s["total_assets"] - s["total_liabilities_and_equity"]
    plug = {"bank": "deposits", "insurer": "insurance_reserves"}.get(traits.sector, "long_term_debt")
    if traits.sector in ("industrial", "utility") and not traits.negative_equity:
        s["retained_earnings"] += gap
        if s["retained_earnings"] < revenue // 20:
            short = revenue // 10 - s["retained_earnings"]
            s["retained_earnings"] += short
            s["ppe_net"] += short
    elif s[plug] + gap > 0:
        s[plug] += gap
    else:
        s["cash_and_equivalents"] -= gap
    _total(s)
    return s


def _advance(
    rng: random.Random, before: dict[str, int], revenue: int, shares: dict[str, float], traits: Traits
) -> dict[str, int]:
    s = dict(before)
    _earn(rng, s, before, revenue, traits)
    for name, share in shares.items():
        s[name] = _near(rng, revenue * share)
    if traits.sector in ("bank", "insurer"):
        for name in ("loans_net", "deposits", "insurance_reserves", "long_term_investments"):
            s[name] = round(before[name] * rng.uniform(1.0, 1.06))
    # Invest.
    s["capex"] = _near(rng, s["depreciation_amortization"] * rng.uniform(0.9, 1.5))
    amortised = min(s["intangible_assets"] // 8, s["depreciation_amortization"] // 3)
    s["acquisitions"] = _near(rng, revenue * rng.uniform(0.005, 0.04)) if traits.goodwill else 0
    if traits.gaps and rng.random() < 0.4:
        s["acquisitions"] = 0
    s["intangible_assets"] += s["acquisitions"] // 3 - amortised
    s["goodwill"] += s["acquisitions"] - s["acquisitions"] // 3 - s["impairment_loss"]
    s["ppe_net"] += (
        s["capex"]
        - (s["depreciation_amortization"] - amortised)
        - (s["construction_in_progress"] - before["construction_in_progress"])
    )
    if not traits.goodwill:
        s["ppe_net"] += s["goodwill"]
        s["goodwill"] = 0
    if traits.sector not in ("bank", "insurer"):
        s["long_term_investments"] = max(
            1, before["long_term_investments"] + _near(rng, revenue * 0.02) * rng.choice((-1, 1))
        )
    invested = sum(s[k] - before[k] for k in ("short_term_investments", "long_term_investments"))
    s["proceeds_from_investments"] = _near(rng, revenue * rng.uniform(0.04, 0.12)) + max(0, -invested)
    s["purchases_of_investments"] = s["proceeds_from_investments"] + invested
    s["net_loans"] = s["loans_net"] - before["loans_net"] + s["credit_loss_provision"] * (traits.sector == "bank")
    s["other_investing"] = 0
    s["investing_cash_flow"] = (
        s["proceeds_from_investments"] - s["purchases_of_investments"] - s["capex"] - s["acquisitions"] - s["net_loans"]
    )
    # Operate.
    if traits.leases:
        s["operating_lease_assets"] = _near(rng, before["operating_lease_assets"] * rng.uniform(0.9, 1.2))
        added = s["operating_lease_assets"] - before["operating_lease_assets"]
        s["lease_liabilities"] += added - added // 5
        s["current_lease_liabilities"] += added // 5
    s["deferred_taxes"] = (
        s["deferred_tax_liabilities"]
        - before["deferred_tax_liabilities"]
        - (s["deferred_tax_assets"] - before["deferred_tax_assets"])
    )
    s["share_based_compensation"] = _near(rng, revenue * 0.01)
    provision = s["credit_loss_provision"] if traits.sector != "bank" else 0
    s["noncash_provision"] = s["credit_loss_provision"]
    s["change_in_receivables"] = before["accounts_receivable"] - s["accounts_receivable"] - provision
    s["change_in_inventories"] = before["inventories"] - s["inventories"]
    s["change_in_other_assets"] = sum(before[k] - s[k] for k in _OPERATING_ASSETS)
    s["change_in_payables"] = sum(s[k] - before[k] for k in ("accounts_payable", "notes_payable"))
    s["change_in_accrued"] = s["accrued_liabilities"] - before["accrued_liabilities"]
    s["change_in_other_liabilities"] = sum(s[k] - before[k] for k in _OPERATING_LIABILITIES)
    s["change_in_reserves"] = s["insurance_reserves"] - before["insurance_reserves"]
    # Currency translation moves cash and other assets against accumulated OCI; it is no flow of the business.
    s["fx_effect_on_cash"] = _near(rng, revenue * 0.002) * rng.choice((-1, 1))
    oci_assets = _near(rng, revenue * 0.004) * rng.choice((-1, 1))
    s["oci_change"] = s["fx_effect_on_cash"] + oci_assets
    s["accumulated_oci"] += s["oci_change"]
    s["other_operating"] = (
        before["other_noncurrent_assets"]
        - s["other_noncurrent_assets"]
        + oci_assets
        + sum(s[k] - before[k] for k in ("pension_liabilities", "other_noncurrent_liabilities"))
    )
    s["operating_cash_flow"] = sum(
        s[k]
        for k in (
            "profit_loss",
            "depreciation_amortization",
            "share_based_compensation",
            "deferred_taxes",
            "impairment_loss",
            "noncash_provision",
            "change_in_receivables",
            "change_in_inventories",
            "change_in_other_assets",
            "change_in_payables",
            "change_in_accrued",
            "change_in_other_liabilities",
            "change_in_reserves",
            "other_operating",
        )
    )
    _finance(rng, s, before, revenue, traits)
    _total(s)
    return s


def _earn(rng: random.Random, s: dict[str, int], before: dict[str, int], revenue: int, traits: Traits) -> None:
    s["revenue"] = revenue
    s["product_revenue"] = round(revenue * rng.uniform(0.55, 0.85))
    s["service_revenue"] = revenue - s["product_revenue"]
    tight = 0.16 if traits.loss else 0.0
    s["depreciation_amortization"] = max(
        1, round((before["ppe_net"] + before["intangible_assets"]) * rng.uniform(0.08, 0.12))
    )
    s["credit_loss_provision"] = _near(rng, revenue * (0.06 if traits.sector == "bank" else 0.003))
    s["impairment_loss"] = _near(rng, before["goodwill"] * 0.03) if traits.goodwill and traits.sector != "bank" else 0
    if traits.gaps and rng.random() < 0.4:
        s["impairment_loss"] = 0
    s["restructuring"] = _near(rng, revenue * 0.008) if traits.restructuring else 0
    s["research_development"] = _near(rng, revenue * rng.uniform(0.02, 0.09)) if traits.research else 0
    s["interest_expense"] = max(
        2, round((before["long_term_debt"] + before["short_term_debt"]) * rng.uniform(0.03, 0.055))
    )
    s["interest_income"] = max(2, round(before["cash_and_equivalents"] * rng.uniform(0.01, 0.03)))
    s["investment_income"] = _near(rng, revenue * 0.006)
    s["other_income_net"] = _near(rng, revenue * 0.004) * rng.choice((-1, 1))
    s["nonoperating_income"] = _near(rng, revenue * 0.003)
    s["nonoperating_expense"] = _near(rng, revenue * 0.002)
    s["bank_charges"] = _near(rng, revenue * 0.0008)
    s["taxes_and_surcharges"] = _near(rng, revenue * 0.007)
    if traits.sector == "bank":
        s["bank_interest_income"] = round(revenue * rng.uniform(0.95, 1.05))
        s["bank_interest_expense"] = round(s["bank_interest_income"] * rng.uniform(0.2, 0.4))
        s["net_interest_income"] = s["bank_interest_income"] - s["bank_interest_expense"]
        s["fees"] = _near(rng, revenue * 0.2)
        s["trading"] = _near(rng, revenue * 0.05)
        s["noninterest_income"] = s["fees"] + s["trading"]
        s["salaries"] = _near(rng, revenue * (0.5 if not traits.loss else 0.85))
        s["occupancy"] = _near(rng, revenue * 0.08)
        s["noninterest_expense"] = s["salaries"] + s["occupancy"]
        s["revenue"] = s["net_interest_income"] + s["noninterest_income"]
        s["income_before_tax"] = s["revenue"] - s["credit_loss_provision"] - s["noninterest_expense"]
        s["cost_of_revenue"] = s["selling_expense"] = s["general_administrative"] = 0
    elif traits.sector == "insurer":
        s["premiums_earned"] = round(revenue * rng.uniform(0.82, 0.9))
        s["net_investment_income"] = revenue - s["premiums_earned"]
        s["claims_incurred"] = round(s["premiums_earned"] * (rng.uniform(0.6, 0.72) + tight))
        s["acquisition_costs"] = _near(rng, revenue * 0.15)
        s["general_administrative"] = _near(rng, revenue * 0.08)
        s["total_costs"] = (
            s["claims_incurred"]
            + s["acquisition_costs"]
            + s["general_administrative"]
            + s["interest_expense"]
            + s["impairment_loss"]
            + s["credit_loss_provision"]
        )
        s["income_before_tax"] = revenue - s["total_costs"]
        s["cost_of_revenue"] = s["selling_expense"] = 0
    else:
        s["cost_of_revenue"] = round(revenue * (rng.uniform(0.5, 0.66) + tight))
        s["selling_expense"] = _near(rng, revenue * rng.uniform(0.06, 0.1))
        s["general_administrative"] = _near(rng, revenue * rng.uniform(0.05, 0.09))
        s["income_before_tax"] = 0  # assembled by the statement, whose layout says what is above and below the line
    s["selling_general_administrative"] = s["selling_expense"] + s["general_administrative"]
    if traits.sector in ("industrial", "utility"):
        s["gross_profit"] = revenue - s["cost_of_revenue"]
        s["operating_expenses"] = (
            s["selling_general_administrative"] + s["research_development"] + s["impairment_loss"] + s["restructuring"]
        ) + s["credit_loss_provision"]
        s["operating_income"] = s["gross_profit"] - s["operating_expenses"]
        s["other_total"] = s["interest_income"] - s["interest_expense"] + s["other_income_net"]
        s["income_before_tax"] = s["operating_income"] + s["other_total"]
    pretax = s["income_before_tax"]
    s["income_tax"] = round(pretax * rng.uniform(0.17, 0.27)) if pretax > 0 else -round(-pretax * 0.1)
    s["income_continuing_operations"] = pretax - s["income_tax"]
    s["income_discontinued_operations"] = _near(rng, revenue * 0.01) * rng.choice((-1, 1)) if traits.discontinued else 0
    s["profit_loss"] = s["income_continuing_operations"] + s["income_discontinued_operations"]
    share = rng.uniform(0.02, 0.06) if traits.noncontrolling else 0.0
    s["net_income_noncontrolling"] = round(abs(s["profit_loss"]) * share) * (-1 if rng.random() < 0.15 else 1)
    s["net_income"] = s["profit_loss"] - s["net_income_noncontrolling"]
    shares = max(20, before.get("shares_basic", 0) or round(abs(revenue) / rng.uniform(15, 60)))
    s["shares_basic"] = max(20, round(shares * rng.uniform(0.98, 1.02)))
    s["shares_diluted"] = s["shares_basic"] + (0 if s["net_income"] < 0 else max(1, round(s["shares_basic"] * 0.012)))


def _finance(rng: random.Random, s: dict[str, int], before: dict[str, int], revenue: int, traits: Traits) -> None:
    pays = traits.dividends and s["net_income"] > 0
    s["dividends_paid"] = round(s["net_income"] * rng.uniform(0.15, 0.45)) if pays else 0
    s["share_repurchases"] = _near(rng, revenue * rng.uniform(0.005, 0.03)) if traits.treasury else 0
    s["shares_issued"] = _near(rng, revenue * 0.004)
    if traits.gaps and rng.random() < 0.4:
        s["shares_issued"] = s["share_repurchases"] = 0
    s["net_deposits"] = s["deposits"] - before["deposits"]
    s["debt_repaid"] = before["current_portion_long_term_debt"] + before["short_term_debt"]
    flow = s["operating_cash_flow"] + s["investing_cash_flow"] + s["fx_effect_on_cash"] + s["net_deposits"]
    flow += s["shares_issued"] - s["dividends_paid"] - s["share_repurchases"] - s["debt_repaid"]
    held = before["cash_and_equivalents"] + before["restricted_cash"]
    wanted = round(revenue * rng.uniform(0.07, 0.2)) + before["restricted_cash"]
    s["debt_issued"] = max(_near(rng, revenue * 0.02), wanted - held - flow)
    s["financing_cash_flow"] = (
        s["debt_issued"]
        - s["debt_repaid"]
        + s["shares_issued"]
        - s["dividends_paid"]
        - s["share_repurchases"]
        + s["net_deposits"]
    )
    s["net_change_in_cash"] = (
        s["operating_cash_flow"] + s["investing_cash_flow"] + s["financing_cash_flow"] + s["fx_effect_on_cash"]
    )
    s["cash_beginning"], s["cash_end"] = held, held + s["net_change_in_cash"]
    s["restricted_cash"] = _near(rng, s["cash_end"] * 0.06) if traits.restricted else 0
    s["cash_and_equivalents"] = s["cash_end"] - s["restricted_cash"]
    debt = (
        before["long_term_debt"] + before["current_portion_long_term_debt"] + before["short_term_debt"]
        + s["debt_issued"] - s["debt_repaid"]
    )  # fmt: skip
    s["short_term_debt"] = debt // rng.randint(9, 16)
    s["current_portion_long_term_debt"] = debt // rng.randint(11, 19)
    s["long_term_debt"] = debt - s["short_term_debt"] - s["current_portion_long_term_debt"]
    s["additional_paid_in_capital"] += s["share_based_compensation"] + s["shares_issued"]
    s["treasury_stock"] += s["share_repurchases"]
    s["noncontrolling_interests"] += s["net_income_noncontrolling"]
    reserve = max(0, s["net_income"]) // 20 if traits.statutory_reserve else 0
    s["surplus_reserve"] += reserve
    s["retained_earnings"] += s["net_income"] - s["dividends_paid"] - reserve
    s["interest_paid"] = max(1, s["interest_expense"] - _near(rng, s["interest_expense"] * 0.05))
    s["income_taxes_paid"] = max(1, abs(s["income_tax"] - s["deferred_taxes"]))


def _total(s: dict[str, int]) -> None:
    s["total_current_assets"] = sum(s[k] for k in CURRENT_ASSETS)
    s["total_noncurrent_assets"] = sum(s[k] for k in NONCURRENT_ASSETS)
    s["total_assets"] = s["total_current_assets"] + s["total_noncurrent_assets"]
    s["total_current_liabilities"] = sum(s[k] for k in CURRENT_LIABILITIES)
    s["total_noncurrent_liabilities"] = sum(s[k] for k in NONCURRENT_LIABILITIES)
    s["total_liabilities"] = s["total_current_liabilities"] + s["total_noncurrent_liabilities"]
    s["equity_parent"] = sum(s[k] for k in PARENT_EQUITY) - s["treasury_stock"]
    s["total_equity"] = s["equity_parent"] + s["noncontrolling_interests"]
    s["total_liabilities_and_equity"] = s["total_liabilities"] + s["redeemable_interests"] + s["total_equity"]


def _near(rng: random.Random, amount: float) -> int:
    return max(1, round(amount * rng.uniform(0.88, 1.12)))
