"""Pages that look like a primary statement and are none: summaries, copies, the parent alone, segments, notes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from .books import Books, keep_books
from .heads import Heads, english_date, heads, symbol, unit_note, year_end
from .lines import Line, Sheet
from .page import Pen
from .statements import balance_sheet, cash_flow, income_statement
from .switches import Switches
from .table import set_table


@dataclass(frozen=True)
class Company:
    """What a page needs to know of the reporting company."""

    name: str
    books: Books
    years: tuple[int, ...]


Page = Callable[[Pen, Switches, Company, random.Random], None]


def add_lookalike(kind: str, pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    """Write one such page."""
    pen.new_page()
    pen.y -= 10
    _PAGES[kind](pen, switches, company, rng)


def _en(switches: Switches) -> bool:
    return switches.family in ("us", "ifrs")


def _say(switches: Switches, en: str, zh: str, hk: str) -> str:
    return en if _en(switches) else zh if switches.family == "zh" else hk


def _plain(switches: Switches) -> Switches:
    return replace(
        switches, scale_place="title", page="portrait", restated=False, narrow_labels=False, note_column=False
    )


def parent_books(company: Company, switches: Switches, rng: random.Random) -> Books:
    """Books of the parent alone: another, smaller company that balances as well as the group does."""
    newest = company.years[0]
    revenue = round(company.books[newest]["revenue"] * rng.uniform(0.35, 0.7))
    traits = replace(switches.traits, noncontrolling=False, redeemable=False, goodwill=False, discontinued=False)
    return keep_books(rng, newest, len(company.years), max(revenue, 200), traits)


def _sheet(switches: Switches, company: Company, books: Books, years: Sequence[int], rng: random.Random) -> Sheet:
    return Sheet(books, years, switches.family, rng, company.name, switches.decimals)


def _contents(pen: Pen, switches: Switches, _company: Company, _rng: random.Random) -> None:
    pen.text(pen.margin, _say(switches, "Index to Consolidated Financial Statements", "目录", "目錄"), 12, bold=True)
    pen.y -= 26
    for i, text in enumerate(
        (
            "Report of Independent Registered Public Accounting Firm",
            "Consolidated Balance Sheets",
            "Consolidated Statements of Income",
            "Consolidated Statements of Cash Flows",
            "Notes to Consolidated Financial Statements",
        )
        if _en(switches)
        else ("审计报告", "合并资产负债表", "合并利润表", "合并现金流量表", "财务报表附注")
        if switches.family == "zh"
        else ("獨立核數師報告", "綜合財務狀況表", "綜合損益表", "綜合現金流量表", "綜合財務報表附註")
    ):
        box = pen.text(pen.margin, text, 9.5)
        pen.text(box[2] + 4, "." * int((pen.width - pen.margin - 30 - box[2]) / pen.measure(".", 9.5)), 9.5)
        pen.right(pen.width - pen.margin, str(60 + 2 * i), 9.5)
        pen.y -= 16


def _five_years(company: Company, rng: random.Random) -> tuple[list[int], Books]:
    newest = company.years[0]
    years = list(range(newest, newest - 5, -1))
    books = dict(company.books)
    for year in years:
        if "revenue" not in books.get(year, {}):
            factor = rng.uniform(0.7, 0.9)
            books[year] = {name: round(value * factor) for name, value in company.books[min(company.years)].items()}
    return years, books


def _selected(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    years, books = _five_years(company, rng)
    sheet = _sheet(switches, company, books, years, rng)
    sheet.add("revenue" if switches.family != "zh" else "revenue_only", "revenue", depth=0)
    sheet.add("net_income" if switches.family != "zh" else "net_income_parent", "net_income", depth=0)
    sheet.per_share("eps_diluted", "shares_diluted")
    sheet.add("operating_cash_flow", depth=0)
    sheet.total("total_assets")
    sheet.add("long_term_debt", depth=0)
    sheet.add("total_equity", depth=0)
    head = Heads(
        (
            company.name,
            _say(switches, "Selected Financial Data - Five-Year Summary", "主要会计数据和财务指标", "五年財務摘要"),
        ),
        unit_note(switches),
        (),
        tuple((_say(switches, str(year), f"{year}年", f"{year}年"),) for year in years),
    )
    style = replace(_plain(switches), size=7.0, currency_sign="none", ruled=True)
    set_table(pen, style, head, sheet.lines)


def _mdna(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    """The results again, with the change in percent, rounded to a larger unit."""
    years = company.years[:2]
    sheet = _sheet(switches, company, company.books, years, rng)
    sheet.add("revenue" if switches.family != "zh" else "revenue_only", "revenue", depth=0)
    sheet.add("cost_of_revenue" if switches.family != "zh" else "cost_of_revenue_only", "cost_of_revenue", depth=0)
    sheet.add("research_development", depth=0)
    sheet.add("income_tax", depth=0)
    sheet.add("net_income" if switches.family != "zh" else "net_income_parent", "net_income", depth=0)
    lines = []
    for line in sheet.lines:
        new, old = line.printed[0], line.printed[1]
        change = (new - old) / abs(old) * 100 if new is not None and old else Decimal(0)
        lines.append(replace(line, printed=(new, old, change.quantize(Decimal("0.1")))))
    pen.text(
        pen.margin,
        _say(switches, "Management's Discussion and Analysis", "管理层讨论与分析", "管理層討論及分析"),
        12,
        bold=True,
    )
    pen.y -= 24
    pen.paragraph(
        _say(
            switches,
            "The following table sets out our consolidated results of operations for the periods shown. "
            "Revenue changed mainly because of volume in our largest markets; see the consolidated "
            "statements of income for the audited figures.",
            "报告期内，公司主营业务收入变动主要系产品销量变化所致，下表列示合并口径的主要经营情况。",
            "本集團的收入變動主要由於主要市場的銷量變化。下表載列本集團綜合業績。",
        )
    )
    head = Heads(
        (_say(switches, "Results of Operations", "利润表及现金流量表相关科目变动分析表", "經營業績"), ""),
        unit_note(switches),
        (),
        (*((str(year),) for year in years), (_say(switches, "% Change", "变动比例（%）", "變動%"),)),
    )
    set_table(pen, replace(_plain(switches), currency_sign="none"), head, lines)


def _quarterly(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    newest = company.years[0]
    books = {
        q: {name: round(value * rng.uniform(0.2, 0.3)) for name, value in company.books[newest].items()}
        for q in range(1, 5)
    }
    sheet = _sheet(switches, company, books, (1, 2, 3, 4), rng)
    sheet.add("revenue" if switches.family != "zh" else "revenue_only", "revenue", depth=0)
    sheet.add("gross_profit" if switches.family != "zh" else "operating_income", depth=0)
    sheet.add("net_income" if switches.family != "zh" else "net_income_parent", "net_income", depth=0)
    sheet.per_share("eps_basic", "shares_basic")
    names = (
        ("First", "Second", "Third", "Fourth")
        if _en(switches)
        else ("第一季度", "第二季度", "第三季度", "第四季度")
    )  # fmt: skip
    head = Heads(
        (
            _say(switches, "Quarterly Results of Operations (Unaudited)", "分季度主要财务数据", "季度業績（未經審核）"),
            str(newest),
        ),
        unit_note(switches),
        (),
        tuple((name,) for name in names),
    )
    set_table(pen, replace(_plain(switches), currency_sign="none"), head, sheet.lines)


def _segments(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    newest = company.years[0]
    parts = [rng.uniform(0.2, 0.45) for _ in range(2)]
    shares = [*parts, 1 - sum(parts), 1.0]
    books = {i: {n: round(v * share) for n, v in company.books[newest].items()} for i, share in enumerate(shares)}
    sheet = _sheet(switches, company, books, (0, 1, 2, 3), rng)
    sheet.add("revenue" if switches.family != "zh" else "revenue_only", "revenue", depth=0)
    sheet.add("operating_income", depth=0)
    sheet.add("capex", depth=0)
    sheet.total("total_assets")
    names = (
        ("Americas", "Europe", "Asia", "Total")
        if _en(switches)
        else ("华东", "华南", "海外", "合计")
        if switches.family == "zh"
        else ("香港", "內地", "海外", "總計")
    )
    head = Heads(
        (_say(switches, "Note 16. Segment Information", "十六、分部信息", "附註16 分部資料"), str(newest)),
        unit_note(switches),
        (),
        tuple((n,) for n in names),
    )
    set_table(pen, replace(_plain(switches), currency_sign="none"), head, sheet.lines)


def _parent(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    """The parent alone: the same form of statement with other figures."""
    years = company.years[:2]
    style = replace(switches, form=replace(switches.form, shares_in_full=1), restated=False)
    books = parent_books(company, switches, rng)
    sheet = _sheet(switches, company, books, years, rng)
    balance_sheet(sheet, switches.traits, switches.form)
    head = heads(style, "balance_sheet", years, company.name, rng.randrange(6))
    alone = _say(switches, "Parent Company Only Balance Sheets", "母公司资产负债表", "公司財務狀況表")
    lines = list(head.title)
    lines[0 if switches.family == "zh" else 1] = alone
    if switches.family == "us":
        lines.insert(0, "Schedule I - Condensed Financial Information of Registrant")
    set_table(pen, replace(style, scale_place="title", page="portrait"), replace(head, title=tuple(lines)), sheet.lines)
    if switches.family == "zh":
        sheet = _sheet(switches, company, books, years, rng)
        income_statement(sheet, replace(switches.traits, noncontrolling=False), switches.form)
        head = heads(style, "income_statement", years, company.name, rng.randrange(6))
        lines = ["母公司利润表", *head.title[1:]]
        pen.new_page()
        set_table(
            pen, replace(style, scale_place="title", page="portrait"), replace(head, title=tuple(lines)), sheet.lines
        )


def _condensed(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    """Condensed consolidating information: parent, guarantors, others, eliminations, consolidated."""
    newest = company.years[0]
    own, guarantors, others = rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.7), rng.uniform(0.2, 0.4)
    shares = [own, guarantors, others, 1 - own - guarantors - others, 1.0]
    books = {i: {n: round(v * share) for n, v in company.books[newest].items()} for i, share in enumerate(shares)}
    sheet = _sheet(switches, company, books, range(5), rng)
    for name in ("cash_and_equivalents", "accounts_receivable", "inventories", "total_current_assets", "total_assets"):
        sheet.add(name, depth=0)
    for name in ("total_current_liabilities", "long_term_debt", "total_equity", "total_liabilities_and_equity"):
        sheet.add(name, depth=0)
    names = (
        ("Parent", "Guarantors", "Others", "Eliminations", "Consolidated")
        if _en(switches)
        else ("母公司", "子公司A", "子公司B", "抵消", "合并")
        if switches.family == "zh"
        else ("本公司", "附屬公司A", "附屬公司B", "抵銷", "綜合")
    )
    head = Heads(
        (
            _say(switches, "Condensed Consolidating Balance Sheet", "重要子公司主要财务信息", "簡明綜合資產負債資料"),
            _say(switches, english_date(year_end(switches, newest)), f"{newest}年12月31日", f"{newest}年12月31日"),
        ),
        unit_note(switches),
        (),
        tuple((n,) for n in names),
    )
    set_table(pen, replace(_plain(switches), size=7.0, currency_sign="none"), head, sheet.lines)


def _notes(pen: Pen, switches: Switches, company: Company, _rng: random.Random) -> None:
    """Notes in two columns of prose, with a table of maturities between."""
    texts = (
        (
            "Basis of presentation. The consolidated financial statements include the accounts of the Company and its "
            "subsidiaries. Intercompany balances are eliminated. Fiscal years end as stated in the balance sheet.",
            "Inventories. Inventories are stated at the lower of cost and net realizable value, first-in, "
            "first-out. "
            "Reserves for obsolete stock were 41 and 38 at the end of the two years.",
            "Debt. Borrowings bear interest at 2.75% to 4.50% and fall due from 2021 to 2029. The covenants "
            "require a ratio of debt to EBITDA below 3.5 to 1.0; the Company was in compliance.",
        )
        if _en(switches)
        else (
            "存货按照成本与可变现净值孰低计量。期末对存货进行全面清查后，按存货类别计提存货跌价准备。",
            "借款费用在发生当期计入财务费用。长期借款利率区间为3.20%至4.75%。",
            "公司对应收账款按照预期信用损失模型计提坏账准备，账龄一年以内的比例为5.00%。",
        )
        if switches.family == "zh"
        else (
            "存貨按成本與可變現淨值兩者中較低者列賬。成本採用加權平均法計算。",
            "借款按攤銷成本計量，實際年利率介乎2.10%至4.35%。",
            "貿易應收款項的信貸期一般為30至90日。",
        )
    )
    width = (pen.width - 2 * pen.margin - 20) / 2
    top = pen.y
    for column in range(2):
        pen.y = top
        for text in texts:
            pen.paragraph(text, 8.5, x=pen.margin + column * (width + 20), width=width)
    pen.y -= 10
    newest = company.years[0]
    due = [Decimal(company.books[newest]["long_term_debt"] // 6).scaleb(-switches.decimals) for _ in range(5)]
    lines = [Line(str(newest + 1 + i), (amount,), decimals=switches.decimals) for i, amount in enumerate(due)]
    lines.append(
        Line(_say(switches, "Total", "合计", "總計"), (sum(due, Decimal(0)),), role="total", decimals=switches.decimals)
    )
    head = Heads(
        (_say(switches, "Maturities of long-term debt", "长期借款到期情况", "長期借款到期情況"), ""),
        unit_note(switches),
        (),
        ((_say(switches, "Amount", "金额", "金額"),),),
    )
    set_table(pen, replace(_plain(switches), currency_sign="none"), head, lines, sign=symbol(switches))


def _index(pen: Pen, switches: Switches, company: Company, rng: random.Random) -> None:
    """Cash flows in a few lines, in the discussion of liquidity."""
    sheet = _sheet(switches, company, company.books, company.years[:2], rng)
    for name in ("operating_cash_flow", "investing_cash_flow", "financing_cash_flow"):
        sheet.add(name, depth=0)
    whole = Sheet(company.books, company.years[:2], switches.family, rng, company.name, switches.decimals)
    cash_flow(whole, switches.traits, switches.form)
    printed = {line.item: line for line in whole.lines}
    lines = [
        replace(line, printed=printed[line.item].printed) if line.item in printed else line for line in sheet.lines
    ]
    head = Heads(
        (
            _say(switches, "Liquidity and Capital Resources", "现金流", "流動資金及財務資源"),
            _say(switches, "Cash flow summary", "现金流量情况", "現金流量概要"),
        ),
        unit_note(switches),
        (),
        tuple((_say(switches, str(y), f"{y}年", f"{y}年"),) for y in company.years[:2]),
    )  # fmt: skip
    set_table(pen, replace(_plain(switches), currency_sign="none"), head, lines)


_PAGES: dict[str, Page] = {
    "contents": _contents,
    "selected": _selected,
    "mdna": _mdna,
    "quarterly": _quarterly,
    "segments": _segments,
    "parent": _parent,
    "condensed": _condensed,
    "notes": _notes,
    "index": _index,
}
