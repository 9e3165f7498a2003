"""Which of the candidate statements are the consolidated primary ones, and which of their lines carries each item."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product

from evident_finance.risk_report.perceive.drafts import Draft
from evident_finance.risk_report.perceive.items import Match, catalogue
from evident_finance.risk_report.schema import StatementKind

_CORE = {
    StatementKind.BALANCE_SHEET: {
        "total_assets",
        "total_liabilities_and_equity",
        "cash_and_equivalents",
        "total_equity",
        "equity_parent",
        "retained_earnings",
    },
    StatementKind.INCOME_STATEMENT: {
        "revenue",
        "income_before_tax",
        "income_tax",
        "net_income",
        "profit_loss",
        "eps_basic",
    },
    StatementKind.CASH_FLOW: {
        "operating_cash_flow",
        "investing_cash_flow",
        "financing_cash_flow",
        "cash_end",
        "net_change_in_cash",
    },
}


@dataclass(frozen=True)
class Chosen:
    """A primary statement with the row of each item."""

    draft: Draft
    rows: dict[str, Match]


def choose(drafts: Sequence[Draft]) -> dict[StatementKind, Chosen]:
    """The consolidated primary statements: each the most complete of its kind, all of them together in the report."""
    able = [draft for draft in drafts if _is_statement(draft)]
    if not able:
        return {}
    latest = _latest(able)
    scored = [(draft, _score(draft, latest)) for draft in able]
    pools: list[list[tuple[Draft, float] | None]] = []
    for kind in StatementKind:
        mine = sorted(((d, s) for d, s in scored if d.kind is kind and s > 0), key=lambda each: -each[1])[:5]
        pools.append([*mine] or [None])
    best = max(product(*pools), key=_together)
    return {each[0].kind: Chosen(each[0], assign(each[0])) for each in best if each is not None}


def _is_statement(draft: Draft) -> bool:
    if draft.announced is not None and (
        draft.announced.kind is None or (draft.announced.parent and not draft.announced.consolidated)
    ):
        return False
    items = {match.item for match in draft.matched}
    core = len(items & _CORE[draft.kind])
    return core >= 2 and len(items) >= (4 if draft.announced else 6)


def _latest(drafts: Iterable[Draft]) -> date:
    """The period that most candidates end with: the reported year."""
    ends = [max(p for p in draft.head.periods if p) for draft in drafts if draft.announced]
    ends = ends or [max(p for p in draft.head.periods if p) for draft in drafts]
    return max(set(ends), key=lambda end: (ends.count(end) >= 2, end))


def _score(draft: Draft, latest: date) -> float:
    items = {match.item for match in draft.matched}
    score = min(len(items), 24) + 3.0 * len(items & _CORE[draft.kind])
    if draft.announced:
        score += 6 + 5 * draft.announced.consolidated - 9 * draft.announced.partial
    columns = len(draft.head.periods)
    score -= 3.0 * max(0, columns - 3) + (4.0 if columns == 1 else 0.0)
    if max(p for p in draft.head.periods if p) < latest:
        score -= 25
    if any(draft.head.superseded):
        score -= 4
    return score


def _together(triple: Sequence[tuple[Draft, float] | None]) -> float:
    """The sum of the scores, less what the statements lie apart in the report."""
    present = [each for each in triple if each is not None]
    pages = [each[0].pages[0] for each in present]
    apart = max(pages) - min(pages) if pages else 0
    return sum(each[1] for each in present) - (0.8 * max(0, apart - 6) if apart < 40 else 30)


def assign(draft: Draft) -> dict[str, Match]:
    """One row for each item and one item for each row: preferred names first, then the order of the statement."""
    taken: set[int] = set()
    rows: dict[str, Match] = {}
    wide = {match.row: sum(cell is not None for cell in draft.rows[match.row].cells) for match in draft.matched}
    for match in sorted(draft.matched, key=lambda m: (_preference(m), -wide[m.row], m.row)):
        if match.item not in rows and match.row not in taken:
            rows[match.item] = match
            taken.add(match.row)
    if _is_one_of_several_costs(rows.get("cost_of_revenue"), draft):
        del rows["cost_of_revenue"]
    before_tax, finance = rows.get("income_before_tax"), rows.get("finance_costs")
    if before_tax and finance and "interest_expense" not in rows and "税前" in draft.placed[before_tax.row].key:
        rows["interest_expense"] = rows.pop(
            "finance_costs"
        )  # outside of the mainland's form, 財務費用 is what debt costs
    if "profit_loss" in rows and "net_income" not in rows:
        rows["net_income"] = rows.pop("profit_loss")
    return rows


def _is_one_of_several_costs(match: Match | None, draft: Draft) -> bool:
    """Whether what was taken for the cost of revenue is one line of several (products, services) without a total."""
    if match is None or "total" in draft.placed[match.row].key:
        return False
    costs = [i for i, p in enumerate(draft.placed) if re.match(r"costs?of", p.key) and draft.rows[i].filled]
    return len(costs) > 1


def _preference(match: Match) -> float:
    item = catalogue()[match.item]
    return match.rank / len(item.names)
