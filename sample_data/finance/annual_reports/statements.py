"""The three statements in the forms in which companies print them: US GAAP, IFRS, mainland China, Hong Kong."""

from .balance import balance_ifrs, balance_unclassified, balance_us, balance_zh
from .books import Traits
from .flows import cash_indirect, cash_zh
from .form import Form
from .income import income_bank, income_ifrs, income_insurer, income_us, income_zh, per_share
from .lines import Sheet


def income_statement(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated income statement."""
    if s.family == "zh":
        income_zh(s, traits, form)
    elif traits.sector == "bank":
        income_bank(s, traits)
        per_share(s, form)
    elif traits.sector == "insurer":
        income_insurer(s, traits)
        per_share(s, form)
    elif s.family == "us":
        income_us(s, traits, form)
        per_share(s, form)
    else:
        income_ifrs(s, traits, form)


def balance_sheet(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated balance sheet (statement of financial position)."""
    if s.family == "zh":
        balance_zh(s, form)
    elif traits.sector in ("bank", "insurer"):
        balance_unclassified(s, traits)
    elif s.family == "us":
        balance_us(s, traits, form)
    else:
        balance_ifrs(s, traits, form)


def cash_flow(s: Sheet, traits: Traits, form: Form) -> None:
    """Write the consolidated statement of cash flows: indirect, in mainland China direct."""
    if s.family == "zh":
        cash_zh(s)
    else:
        cash_indirect(s, traits, form)
