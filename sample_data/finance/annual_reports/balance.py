"""Balance sheets: classified, unclassified, by net assets, and the mainland form."""

from .books import Traits
from .form import Form
from .lines import Sheet


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


def balance_us(s: Sheet, traits: Traits, form: Form) -> None:
    """Classified, most liquid first, or a utility's with its plant first."""
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
    redeemable = traits.redeemable and s.rng.random() < 0.5
    s.total("total_with_redeemable" if redeemable else "total_liabilities_and_equity", "total_liabilities_and_equity")


def balance_unclassified(s: Sheet, traits: Traits) -> None:
    """A bank's or insurer's, without current and non-current."""
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


def balance_ifrs(s: Sheet, traits: Traits, form: Form) -> None:
    """Non-current first, with assets against equity and liabilities, or down to net assets."""
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
        s.total("net_assets", "total_equity")
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
    ("head_noncurrent_assets", ("blank_debt_investments", "long_term_investments", "blank_investment_property",
     "ppe_net", "construction_in_progress", "operating_lease_assets", "intangible_assets", "blank_development",
     "goodwill", "deferred_tax_assets", "other_noncurrent_assets"), "total_noncurrent_assets"),
    ("", (), "total_assets"),
    ("head_current_liabilities", ("short_term_debt", "blank_trading_liabilities", "notes_payable", "accounts_payable",
     "contract_liabilities", "accrued_compensation", "income_taxes_payable", "accrued_liabilities",
     "current_portion_long_term_debt", "other_current_liabilities"), "total_current_liabilities"),
    ("head_noncurrent_liabilities", ("long_term_debt", "blank_bonds", "lease_liabilities", "deferred_tax_liabilities",
     "other_noncurrent_liabilities"), "total_noncurrent_liabilities"),
    ("", (), "total_liabilities"),
    ("head_equity", ("common_stock", "blank_other_equity", "additional_paid_in_capital", "treasury_stock",
     "accumulated_oci", "surplus_reserve", "retained_earnings"), ""),
)  # fmt: skip


def balance_zh(s: Sheet, form: Form) -> None:
    """The form that the Ministry of Finance prescribes."""
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
