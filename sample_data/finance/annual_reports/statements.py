"""The three statements in the forms in which companies print them: US GAAP, IFRS, mainland China, Hong Kong."""

from dataclasses import dataclass

from .books import Traits
from .lines import Sheet


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


def income_statement(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated income statement."""
    if s.family == "zh":
        _income_zh(s, traits, form)
    elif traits.sector == "bank":
        _income_bank(s, traits)
        _per_share(s, form)
    elif traits.sector == "insurer":
        _income_insurer(s, traits)
        _per_share(s, form)
    elif s.family == "us":
        _income_us(s, traits, form)
        _per_share(s, form)
    else:
        _income_ifrs(s, traits, form)


def balance_sheet(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated balance sheet (statement of financial position)."""
    if s.family == "zh":
        _balance_zh(s, form)
    elif traits.sector in ("bank", "insurer"):
        _balance_unclassified(s, traits)
    elif s.family == "us":
        _balance_us(s, traits, form)
    else:
        _balance_ifrs(s, traits, form)


def cash_flow(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated statement of cash flows: indirect, in mainland China direct."""
    if s.family == "zh":
        _cash_zh(s)
    else:
        _cash_indirect(s, traits, form)


# Income statements


def _income_us(s: Sheet, traits: Traits, form: Form) -> None:
    if form.split_revenue:
        s.heading("head_revenue")
        s.add("product_revenue")
        s.add("service_revenue")
        s.total("revenue_total", "revenue", unlabelled=form.unlabelled_totals)
    else:
        s.add("revenue", depth=0)
    cost = -1 if form.costs_negative else 1
    if form.one_step:
        s.heading("head_costs")
        s.add("cost_of_revenue", sign=cost)
        _operating_costs(s, form, cost)
        s.vague |= {"operating_expenses"}
        for year in s.years:
            s.adjust.setdefault(year, {})["total_costs"] = s.amount("cost_of_revenue", year) + s.amount(
                "operating_expenses", year
            )
        s.total("total_costs", sign=cost, item=None)
    else:
        s.add("cost_of_revenue", sign=cost, depth=0)
        if form.gross_profit:
            s.total("gross_profit")
        s.heading("head_opex")
        _operating_costs(s, form, cost)
        s.total("operating_expenses", sign=cost, unlabelled=form.unlabelled_totals)
    if form.operating_income:
        s.total("operating_income")
    s.heading("head_other")
    s.add("interest_expense", sign=-1)
    s.add("interest_income")
    s.add("other_income_net")
    s.vague |= {"finance_costs", "investment_income"}
    s.total("other_total", item=None)
    s.total("income_before_tax")
    s.add("income_tax", sign=cost, depth=0)
    _bottom(s, traits)


def _operating_costs(s: Sheet, form: Form, sign: int) -> None:
    if form.combined_sga:
        s.add("selling_general_administrative", sign=sign)
    else:
        s.add("selling_expense", sign=sign)
        s.add("general_administrative", sign=sign)
        s.vague |= {"selling_general_administrative"}
    s.add("research_development", sign=sign)
    s.add("impairment_loss", sign=sign)
    s.add("credit_loss_provision", sign=sign)
    s.add("restructuring", sign=sign)


def _bottom(s: Sheet, traits: Traits) -> None:
    if traits.discontinued:
        s.total("income_continuing_operations")
        s.add("income_discontinued_operations", depth=0)
    else:
        s.vague |= {"income_continuing_operations"}
    if traits.noncontrolling:
        s.total("profit_loss")
        s.add("net_income_noncontrolling", sign=s.rng.choice((1, -1)), depth=0)
        s.total("net_income_parent", "net_income")
    else:
        loss = all(s.amount("net_income", year) < 0 for year in s.years)
        s.vague |= {"profit_loss", "net_income_noncontrolling"}
        s.total("net_loss" if loss else "net_income", "net_income")


def _per_share(s: Sheet, form: Form) -> None:
    s.heading("head_eps")
    s.per_share("eps_basic", "shares_basic")
    s.per_share("eps_diluted", "shares_diluted")
    s.heading("head_shares")
    s.shares("shares_basic", form.shares_in_full)
    s.shares("shares_diluted", form.shares_in_full)
    s.vague |= {"dividends_per_share"}


def _income_bank(s: Sheet, traits: Traits) -> None:
    for year in s.years:
        earned, paid = s.amount("bank_interest_income", year), s.amount("bank_interest_expense", year)
        s.adjust[year] = {
            "bank_loans_interest": earned * 4 // 5,
            "bank_securities_interest": earned - earned * 4 // 5,
            "bank_deposit_interest": paid * 2 // 3,
            "bank_debt_interest": paid - paid * 2 // 3,
        }
    s.heading("bank_head_interest_income")
    s.add("bank_loans_interest")
    s.add("bank_securities_interest")
    s.total("bank_interest_income", item="interest_income")
    s.heading("bank_head_interest_expense")
    s.add("bank_deposit_interest")
    s.add("bank_debt_interest")
    s.total("bank_interest_expense", item="interest_expense")
    s.total("net_interest_income")
    s.add("credit_loss_provision", depth=0)
    for year in s.years:
        s.adjust[year]["bank_after_provision"] = s.amount("net_interest_income", year) - s.amount(
            "credit_loss_provision", year
        )
    s.total("bank_after_provision", item=None)
    s.heading("bank_head_noninterest_income")
    s.add("fees")
    s.add("trading")
    s.total("noninterest_income")
    s.heading("bank_head_noninterest_expense")
    s.add("salaries")
    s.add("occupancy")
    s.total("noninterest_expense")
    s.vague |= {
        "revenue",
        "operating_expenses",
        "investment_income",
        "finance_costs",
        "other_income_net",
        "operating_income",
    }
    s.total("income_before_tax")
    s.add("income_tax", depth=0)
    _bottom(s, traits)


def _income_insurer(s: Sheet, traits: Traits) -> None:
    s.heading("head_revenue")
    s.add("premiums_earned")
    s.add("net_investment_income", item=None)
    s.total("insurer_revenue", "revenue")
    s.heading("head_benefits")
    s.add("claims_incurred")
    s.add("acquisition_costs", item=None)
    s.add("general_administrative")
    s.add("interest_expense")
    s.add("impairment_loss")
    s.add("credit_loss_provision")
    s.total("total_costs", item=None)
    s.vague |= {"operating_expenses", "investment_income", "selling_general_administrative", "cost_of_revenue"}
    s.vague |= {"finance_costs", "other_income_net"}
    s.total("income_before_tax")
    s.add("income_tax", depth=0)
    _bottom(s, traits)


def _income_ifrs(s: Sheet, traits: Traits, form: Form) -> None:
    cost = -1 if form.costs_negative else 1
    s.add("revenue", depth=0)
    s.add("cost_of_revenue", sign=cost, depth=0)
    s.total("gross_profit")
    for year in s.years:
        s.adjust[year] = {"operating_income": s.amount("operating_income", year) + s.amount("other_income_net", year)}
    s.add("other_income_net", depth=0)
    if form.combined_sga and s.family == "ifrs":
        s.add("selling_general_administrative", sign=cost, depth=0)
    else:
        s.add("selling_expense", sign=cost, depth=0)
        s.add("general_administrative", sign=cost, depth=0)
        s.vague |= {"selling_general_administrative"}
    for name in ("research_development", "impairment_loss", "credit_loss_provision"):
        s.add(name, sign=cost, depth=0)
    if s.family == "ifrs":
        s.add("restructuring", sign=cost, depth=0)
    s.total("operating_income")
    s.vague |= {"operating_expenses", "finance_costs", "investment_income"}
    s.add("interest_income", depth=0)
    s.add("interest_expense", sign=cost, depth=0)
    s.total("income_before_tax")
    s.add("income_tax", sign=cost, depth=0)
    if traits.discontinued:
        s.total("income_continuing_operations")
        s.add("income_discontinued_operations", depth=0)
    else:
        s.vague |= {"income_continuing_operations"}
    if traits.noncontrolling:
        s.total("profit_loss")
        s.heading("head_attributable")
        s.add("net_income_parent", "net_income")
        s.add("net_income_noncontrolling")
        s.total("profit_loss", item="profit_loss", unlabelled=True)
    else:
        loss = all(s.amount("net_income", year) < 0 for year in s.years)
        s.vague |= {"profit_loss", "net_income_noncontrolling"}
        s.total("net_loss" if loss else "net_income", "net_income")
    s.heading("head_eps")
    s.per_share("eps_basic", "shares_basic")
    s.per_share("eps_diluted", "shares_diluted")


def _income_zh(s: Sheet, traits: Traits, form: Form) -> None:
    parts = (
        "cost_of_revenue",
        "taxes_and_surcharges",
        "selling_expense",
        "general_administrative",
        "research_development",
        "finance_costs",
    )
    for year in s.years:
        own = s.adjust.setdefault(year, {})
        own["finance_costs"] = (
            s.amount("interest_expense", year) - s.amount("interest_income", year) + s.amount("bank_charges", year)
        )
        own["other_income_net"] = s.amount("nonoperating_income", year) * 2
        gains = own["other_income_net"] + s.amount("investment_income", year)
        losses = s.amount("credit_loss_provision", year) + s.amount("impairment_loss", year)
        outside = s.amount("nonoperating_income", year) - s.amount("nonoperating_expense", year)
        # The books close on the pre-tax result; what this form shows apart is taken from administration.
        others = s.amount("revenue", year) - sum(s.amount(k, year) for k in parts if k != "general_administrative")
        own["general_administrative"] = others + gains - losses + outside - s.amount("income_before_tax", year)
        own["operating_expenses"] = sum(s.amount(k, year) for k in parts)
        own["operating_income"] = s.amount("revenue", year) - own["operating_expenses"] + gains - losses
        own["comprehensive_income"] = s.amount("profit_loss", year) + s.amount("oci_change", year)
        own["comprehensive_parent"] = s.amount("net_income", year) + s.amount("oci_change", year)
    if form.simple_income:
        s.add("revenue_only", "revenue", depth=0)
        s.add("cost_of_revenue_only", "cost_of_revenue")
        s.vague |= {"operating_expenses"}
    else:
        s.add("group_revenue", "revenue", depth=0)
        s.add("revenue", depth=1)
        s.add("operating_expenses", depth=0)
        s.add("cost_of_revenue", depth=1)
    for key in parts[1:]:
        s.add(key, depth=2)
    s.add("interest_expense", depth=3)
    s.add("interest_income", depth=4)
    s.add("other_income_net", item=None)
    s.add("investment_income", depth=2)
    if form.blank_lines:
        s.blank("blank_fair_value", 2)
    s.add("credit_loss_provision", sign=-1, depth=2)
    s.add("impairment_loss", sign=-1, depth=2)
    if form.blank_lines:
        s.blank("blank_disposal", 2)
    s.vague |= {"other_income_net", "selling_general_administrative", "gross_profit"}
    s.add("operating_income", depth=0)
    s.add("nonoperating_income")
    s.add("nonoperating_expense")
    s.add("income_before_tax", depth=0)
    s.add("income_tax")
    s.add("profit_loss", depth=0, item="profit_loss" if traits.noncontrolling else "net_income")
    if not traits.noncontrolling:
        s.vague |= {"profit_loss", "net_income_noncontrolling"}
    s.heading("head_continuity")
    s.add("income_continuing_operations", depth=2)
    s.add("income_discontinued_operations", depth=2)
    s.heading("head_ownership")
    s.add("net_income_parent", "net_income", depth=2)
    s.add("net_income_noncontrolling", depth=2)
    s.add("oci_after_tax", "oci_change", depth=0)
    s.add("comprehensive_income", depth=0)
    if traits.noncontrolling:
        s.add("comprehensive_parent")
        s.add("comprehensive_nci", "net_income_noncontrolling", item=None)
    s.heading("head_eps")
    s.per_share("eps_basic", "shares_basic")
    s.per_share("eps_diluted", "shares_diluted")


# Balance sheets


def _current_assets_us(s: Sheet, form: Form) -> None:
    s.heading("head_current_assets")
    for name in ("cash_and_equivalents", "restricted_cash", "short_term_investments", "notes_receivable"):
        s.add(name)
    for name in ("accounts_receivable", "other_receivables", "inventories", "contract_assets"):
        s.add(name)
    if form.other_lines:
        s.add("prepaid_expenses")
        s.add("other_current_assets")
    else:
        for year in s.years:
            s.adjust.setdefault(year, {})["prepaid_and_other"] = s.amount("prepaid_expenses", year) + s.amount(
                "other_current_assets", year
            )
        s.add("prepaid_and_other", item=None)
        s.vague |= {"prepaid_expenses", "other_current_assets"}
    s.total("total_current_assets", unlabelled=form.unlabelled_totals)


def _balance_us(s: Sheet, traits: Traits, form: Form) -> None:
    s.heading("head_assets")
    if form.plant_first:
        s.add("ppe_utility" if traits.sector == "utility" and s.family == "us" else "ppe_net", "ppe_net", depth=0)
        s.add("construction_in_progress", depth=0)
    _current_assets_us(s, form)
    if not form.plant_first:
        s.add("ppe_net", depth=0)
        s.add("construction_in_progress", depth=0)
    for name in (
        "operating_lease_assets",
        "long_term_investments",
        "goodwill",
        "intangible_assets",
        "deferred_tax_assets",
    ):
        s.add(name, depth=0)
    s.add("other_noncurrent_assets", depth=0)
    if form.noncurrent_totals and not form.plant_first:
        s.total("total_noncurrent_assets")
    s.total("total_assets")
    s.heading("head_liabilities_and_equity")
    s.heading("head_current_liabilities")
    for name in (
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
    ):
        s.add(name)
    s.total("total_current_liabilities", unlabelled=form.unlabelled_totals)
    for name in ("long_term_debt", "lease_liabilities", "deferred_tax_liabilities", "pension_liabilities"):
        s.add(name, depth=0)
    s.add("other_noncurrent_liabilities", depth=0)
    if form.noncurrent_totals:
        s.total("total_noncurrent_liabilities")
    _equity_us(s, traits, form)


def _equity_us(s: Sheet, traits: Traits, form: Form) -> None:
    if form.total_liabilities:
        s.total("total_liabilities")
    s.blank("commitments", 0)
    s.add("redeemable_interests", depth=0)
    s.heading("head_equity")
    s.add("common_stock")
    s.add("additional_paid_in_capital")
    s.add("surplus_reserve")
    deficit = all(s.amount("retained_earnings", year) < 0 for year in s.years)
    s.add("accumulated_deficit" if deficit else "retained_earnings", "retained_earnings")
    s.add("accumulated_oci")
    s.add("treasury_stock", sign=-1)
    if traits.noncontrolling:
        s.total("equity_parent")
        s.add("noncontrolling_interests", depth=0)
        s.total("total_equity_nci", "total_equity")
    else:
        s.vague |= {"equity_parent"}
        s.total("total_equity")
    s.total("total_liabilities_and_equity")


def _balance_unclassified(s: Sheet, traits: Traits) -> None:
    s.heading("head_assets")
    for name in ("cash_and_equivalents", "restricted_cash", "short_term_investments"):
        s.add(name, depth=0)
    s.add("securities", "long_term_investments", item=None, depth=0)
    s.vague |= {"long_term_investments"}
    for name in ("loans_net", "accounts_receivable", "other_receivables"):
        s.add(name, depth=0)
    s.add("ppe_bank", "ppe_net", depth=0)
    s.add("operating_lease_assets", depth=0)
    for name in ("goodwill", "intangible_assets", "deferred_tax_assets"):
        s.add(name, depth=0)
    for year in s.years:
        s.adjust.setdefault(year, {})["other_noncurrent_assets"] = s.amount("other_noncurrent_assets", year) + s.amount(
            "other_current_assets", year
        )
        s.adjust[year]["lease_liabilities"] = s.amount("lease_liabilities", year) + s.amount(
            "current_lease_liabilities", year
        )
        s.adjust[year]["long_term_debt"] = s.amount("long_term_debt", year) + s.amount(
            "current_portion_long_term_debt", year
        )
        s.adjust[year]["other_noncurrent_liabilities"] = s.amount("other_noncurrent_liabilities", year) + s.amount(
            "other_current_liabilities", year
        )
    s.add("other_noncurrent_assets", item=None, depth=0)
    s.vague |= {
        "other_noncurrent_assets",
        "other_current_assets",
        "other_noncurrent_liabilities",
        "other_current_liabilities",
    }
    s.vague |= {"current_portion_long_term_debt"}
    s.total("total_assets")
    s.heading("head_liabilities_and_equity")
    for name in ("deposits", "insurance_reserves", "short_term_debt", "accounts_payable", "accrued_liabilities"):
        s.add(name, depth=0)
    for name in (
        "income_taxes_payable",
        "long_term_debt",
        "lease_liabilities",
        "deferred_tax_liabilities",
        "pension_liabilities",
    ):
        s.add(name, depth=0)
    s.add("other_noncurrent_liabilities", item=None, depth=0)
    _equity_us(s, traits, Form(total_liabilities=True))


_IFRS_NONCURRENT = (
    "goodwill",
    "intangible_assets",
    "ppe_net",
    "construction_in_progress",
    "operating_lease_assets",
    "long_term_investments",
    "deferred_tax_assets",
    "other_noncurrent_assets",
)
_IFRS_CURRENT = (
    "inventories",
    "contract_assets",
    "accounts_receivable",
    "notes_receivable",
    "other_receivables",
    "prepaid_expenses",
    "other_current_assets",
    "short_term_investments",
    "restricted_cash",
    "cash_and_equivalents",
)
_IFRS_CURRENT_LIABILITIES = (
    "accounts_payable",
    "notes_payable",
    "accrued_compensation",
    "accrued_liabilities",
    "contract_liabilities",
    "income_taxes_payable",
    "short_term_debt",
    "current_portion_long_term_debt",
    "current_lease_liabilities",
    "other_current_liabilities",
)
_IFRS_NONCURRENT_LIABILITIES = (
    "long_term_debt",
    "lease_liabilities",
    "deferred_tax_liabilities",
    "pension_liabilities",
    "other_noncurrent_liabilities",
)


def _balance_ifrs(s: Sheet, traits: Traits, form: Form) -> None:
    if s.family == "ifrs":
        s.heading("head_assets")
    _block(s, "noncurrent_assets", _IFRS_NONCURRENT, form)
    _block(s, "current_assets", _IFRS_CURRENT, form)
    if form.net_assets:
        _block(s, "current_liabilities", _IFRS_CURRENT_LIABILITIES, form)
        if s.family == "hk":
            for year in s.years:
                own = s.adjust.setdefault(year, {})
                own["net_current_assets"] = s.amount("total_current_assets", year) - s.amount(
                    "total_current_liabilities", year
                )
                own["assets_less_current"] = own["net_current_assets"] + s.amount("total_noncurrent_assets", year)
            s.total("net_current_assets", item=None)
            s.total("assets_less_current", item=None)
        _block(s, "noncurrent_liabilities", _IFRS_NONCURRENT_LIABILITIES, form)
        s.total("net_assets", "total_equity", item=None)
        _equity_ifrs(s, traits)
        return
    s.total("total_assets")
    _equity_ifrs(s, traits)
    if s.family == "ifrs":
        s.heading("head_liabilities")
    _block(s, "noncurrent_liabilities", _IFRS_NONCURRENT_LIABILITIES, form)
    _block(s, "current_liabilities", _IFRS_CURRENT_LIABILITIES, form)
    if form.total_liabilities:
        s.total("total_liabilities")
    s.total("total_liabilities_and_equity")


def _block(s: Sheet, block: str, names: tuple[str, ...], form: Form) -> None:
    s.heading(f"head_{block}")
    for name in names:
        s.add(name)
    labelled = s.family == "hk" or form.noncurrent_totals or block.startswith("current")
    s.total(f"total_{block}", unlabelled=not labelled or form.unlabelled_totals)


def _equity_ifrs(s: Sheet, traits: Traits) -> None:
    s.heading("head_equity")
    s.add("common_stock")
    s.add("additional_paid_in_capital")
    s.add("treasury_stock", sign=-1)
    s.add("surplus_reserve")
    s.add("accumulated_oci", item=None)
    s.vague |= {"accumulated_oci"}
    deficit = all(s.amount("retained_earnings", year) < 0 for year in s.years)
    s.add("accumulated_deficit" if deficit else "retained_earnings", "retained_earnings")
    if traits.noncontrolling:
        s.total("equity_parent")
        s.add("noncontrolling_interests", depth=1)
        s.total("total_equity_nci" if s.family == "ifrs" else "total_equity", "total_equity")
    else:
        s.vague |= {"equity_parent"}
        s.total("total_equity")


_ZH_BALANCE = (
    ("head_current_assets", ("cash_and_equivalents", "blank_settlement", "blank_lent", "short_term_investments",
     "blank_derivative", "notes_receivable", "accounts_receivable", "blank_financing_receivables", "prepaid_expenses",
     "other_receivables", "blank_interest_receivable", "inventories", "contract_assets", "blank_held_for_sale",
     "other_current_assets"), "total_current_assets"),
    ("head_noncurrent_assets", ("blank_debt_investments", "long_term_investments", "blank_investment_property", "ppe_net",
     "construction_in_progress", "operating_lease_assets", "intangible_assets", "blank_development", "goodwill",
     "deferred_tax_assets", "other_noncurrent_assets"), "total_noncurrent_assets"),
    ("", (), "total_assets"),
    ("head_current_liabilities", ("short_term_debt", "blank_trading_liabilities", "notes_payable", "accounts_payable",
     "contract_liabilities", "accrued_compensation", "income_taxes_payable", "accrued_liabilities",
     "current_portion_long_term_debt", "other_current_liabilities"), "total_current_liabilities"),
    ("head_noncurrent_liabilities", ("long_term_debt", "blank_bonds", "lease_liabilities", "deferred_tax_liabilities",
     "other_noncurrent_liabilities"), "total_noncurrent_liabilities"),
    ("", (), "total_liabilities"),
    ("head_equity", ("common_stock", "blank_other_equity", "additional_paid_in_capital", "treasury_stock", "accumulated_oci",
     "surplus_reserve", "retained_earnings"), ""),
)  # fmt: skip


def _balance_zh(s: Sheet, form: Form) -> None:
    for year in s.years:
        own = s.adjust.setdefault(year, {})
        own["cash_and_equivalents"] = s.amount("cash_and_equivalents", year) + s.amount("restricted_cash", year)
        own["current_portion_long_term_debt"] = s.amount("current_portion_long_term_debt", year) + s.amount(
            "current_lease_liabilities", year
        )
    s.vague |= {"accrued_liabilities", "current_portion_long_term_debt", "current_lease_liabilities", "restricted_cash"}
    for head, names, total in _ZH_BALANCE:
        if head:
            s.heading(head)
        for name in names:
            if not name.startswith("blank"):
                s.add(name, item=None if name == "accrued_liabilities" else "")
            elif form.blank_lines:
                s.blank(name)
        if total:
            s.add(total, depth=2, role="total")
    if any(s.amount("noncontrolling_interests", year) for year in s.years):
        s.add("equity_parent", depth=2, role="total")
        s.add("noncontrolling_interests")
    else:
        s.vague |= {"equity_parent"}
    s.add("total_equity", depth=2, role="total")
    s.add("total_liabilities_and_equity", depth=2, role="total")


# Statements of cash flows


def _cash_indirect(s: Sheet, traits: Traits, form: Form) -> None:
    s.heading("head_operating")
    s.add("cf_profit", "profit_loss", item="profit_loss" if traits.noncontrolling else "net_income", depth=1)
    s.heading("head_adjustments", 1)
    for name in ("depreciation_amortization", "share_based_compensation", "deferred_taxes"):
        s.add(name, depth=2)
    s.add("cf_impairment", "impairment_loss", item=None, depth=2)
    s.add("noncash_provision", item=None, depth=2)
    if s.family != "hk":
        s.heading("head_changes", 1)
    s.add("change_in_receivables", depth=2)
    s.add("change_in_inventories", depth=2)
    s.add("change_in_other_assets", depth=2)
    s.add("change_in_payables", depth=2)
    for name in ("change_in_accrued", "change_in_other_liabilities", "change_in_reserves", "other_operating"):
        s.add(name, depth=2)
    s.total("operating_cash_flow")
    s.heading("head_investing")
    for name in ("capex", "acquisitions", "purchases_of_investments"):
        s.add(name, sign=-1)
    s.add("proceeds_from_investments")
    if s.family == "us":
        s.add("net_loans", sign=-1)
    s.total("investing_cash_flow")
    s.heading("head_financing")
    if s.family == "us":
        s.add("net_deposits")
    s.add("debt_issued")
    s.add("debt_repaid", sign=-1)
    s.add("shares_issued")
    s.add("share_repurchases", sign=-1)
    s.add("dividends_paid", sign=-1)
    s.total("financing_cash_flow")
    s.add("fx_effect_on_cash", depth=0)
    s.total("net_change_in_cash")
    s.add("cash_beginning", depth=0)
    s.total("cash_end")
    if form.supplemental and s.family in ("us", "ifrs"):
        s.heading("head_supplemental")
        s.add("interest_paid")
        s.add("income_taxes_paid")
    else:
        s.vague |= {"interest_paid", "income_taxes_paid"}


def _cash_zh(s: Sheet) -> None:
    for year in s.years:
        own = s.adjust.setdefault(year, {})
        # The mainland form puts interest under financing, investment income under investing, and keeps restricted cash out.
        interest, gains = s.amount("interest_paid", year), s.amount("investment_income", year)
        before = s.books.get(year - 1, {}).get("restricted_cash", 0)
        restricted = s.amount("restricted_cash", year) - before
        own["cash_beginning"] = s.amount("cash_beginning", year) - before
        own["cash_end"] = s.amount("cash_end", year) - s.amount("restricted_cash", year)
        own["net_change_in_cash"] = own["cash_end"] - own["cash_beginning"]
        operating = s.amount("operating_cash_flow", year) + interest - gains - restricted
        own["operating_cash_flow"] = operating
        revenue = s.amount("revenue", year)
        own["tax_refunds"], own["other_operating_receipts"] = revenue // 90, revenue // 60
        own["paid_to_employees"], own["taxes_paid"] = revenue // 9, revenue // 20
        own["other_operating_payments"] = revenue // 16
        rest = own["tax_refunds"] + own["other_operating_receipts"] - operating
        rest -= own["paid_to_employees"] + own["taxes_paid"] + own["other_operating_payments"]
        own["receipts_from_customers"] = max(revenue * 108 // 100, revenue // 3 - rest)
        own["paid_to_suppliers"] = own["receipts_from_customers"] + rest
        own["operating_inflows"] = own["receipts_from_customers"] + own["tax_refunds"] + own["other_operating_receipts"]
        own["operating_outflows"] = own["operating_inflows"] - operating
        own["investment_receipts"] = gains
        own["investing_inflows"] = s.amount("proceeds_from_investments", year) + gains
        own["investing_cash_flow"] = s.amount("investing_cash_flow", year) + gains
        own["investing_outflows"] = own["investing_inflows"] - own["investing_cash_flow"]
        own["financing_inflows"] = s.amount("shares_issued", year) + s.amount("debt_issued", year)
        own["dividends_and_interest"] = s.amount("dividends_paid", year) + interest
        own["other_financing_payments"] = s.amount("share_repurchases", year)
        own["financing_cash_flow"] = s.amount("financing_cash_flow", year) - interest
        own["financing_outflows"] = own["financing_inflows"] - own["financing_cash_flow"]
    for head, inflows, into, outflows, out, net in (
        ("head_operating", ("receipts_from_customers", "tax_refunds", "other_operating_receipts"), "operating_inflows",
         ("paid_to_suppliers", "paid_to_employees", "taxes_paid", "other_operating_payments"), "operating_outflows",
         "operating_cash_flow"),
        ("head_investing", ("proceeds_from_investments", "investment_receipts"), "investing_inflows",
         ("capex", "purchases_of_investments", "acquisitions"), "investing_outflows", "investing_cash_flow"),
        ("head_financing", ("shares_issued", "debt_issued"), "financing_inflows",
         ("debt_repaid", "dividends_and_interest", "other_financing_payments"), "financing_outflows", "financing_cash_flow"),
    ):  # fmt: skip
        s.heading(head)
        for name in inflows:
            s.add(name)
        s.add(into, depth=2)
        for name in outflows:
            s.add(name)
        s.add(out, depth=2)
        s.add(net, depth=3)
    s.add("fx_effect_on_cash", depth=0)
    s.add("net_change_in_cash", depth=0)
    s.add("cash_beginning", depth=1)
    s.add("cash_end", depth=0)
    s.vague |= {
        "dividends_paid",
        "interest_paid",
        "income_taxes_paid",
        "share_repurchases",
        "depreciation_amortization",
    }
    s.vague |= {"deferred_taxes", "change_in_receivables", "change_in_inventories", "change_in_payables"}
    s.vague |= {"share_based_compensation"}
