"""Statements of cash flows: indirect, and the direct one of the mainland."""

from .books import Traits
from .form import Form
from .lines import Sheet


def cash_indirect(s: Sheet, traits: Traits, form: Form) -> None:
    """From the result to the cash of operations, then investing and financing."""
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


def cash_zh(s: Sheet) -> None:
    """Receipts and payments of each activity."""
    for year in s.years:
        own = s.adjust.setdefault(year, {})
        # This form has interest under financing, investment income under investing, and no restricted cash.
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
         ("debt_repaid", "dividends_and_interest", "other_financing_payments"), "financing_outflows",
         "financing_cash_flow"),
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
