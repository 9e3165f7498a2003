"""Income statements, from revenue to earnings per share."""

from .books import Traits
from .form import Form
from .lines import Sheet


def income_us(s: Sheet, traits: Traits, form: Form) -> None:
    """Cost by function, one step or several, as US companies print it."""
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
    # With a total of them below, either line may be called the other income.
    s.add("other_income_net", item=None)
    s.vague |= {"finance_costs", "investment_income", "other_income_net"}
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


def per_share(s: Sheet, form: Form) -> None:
    """Earnings per share and the numbers of shares."""
    s.heading("head_eps")
    s.per_share("eps_basic", "shares_basic")
    s.per_share("eps_diluted", "shares_diluted")
    s.heading("head_shares")
    s.shares("shares_basic", form.shares_in_full)
    s.shares("shares_diluted", form.shares_in_full)
    s.vague |= {"dividends_per_share"}


def income_bank(s: Sheet, traits: Traits) -> None:
    """Interest, provision, other income and cost, as a bank prints it."""
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


def income_insurer(s: Sheet, traits: Traits) -> None:
    """Premiums and claims, as an insurer prints it."""
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


def income_ifrs(s: Sheet, traits: Traits, form: Form) -> None:
    """Cost by function with the result shared out below; also the form of Hong Kong."""
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


def income_zh(s: Sheet, traits: Traits, form: Form) -> None:
    """The form that the Ministry of Finance prescribes."""
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
