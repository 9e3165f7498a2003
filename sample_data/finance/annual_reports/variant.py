"""Reports of a few pages in every layout, with the truth of each figure."""

import random
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

from .books import keep_books
from .heads import Heads, english_date, heads, symbol, year_end
from .lines import Line, Sheet
from .lookalikes import Company, add_lookalike
from .page import Pen
from .statements import balance_sheet, cash_flow, income_statement
from .switches import Switches, choose
from .table import Placed, set_table
from .truth import Figure, Place, Truth

_EN = (
    "Alderbrook",
    "Brackenfell",
    "Calvermoor",
    "Dunharrow",
    "Eastmarch",
    "Fallowmere",
    "Greywater",
    "Holmcrest",
    "Ivorstone",
    "Junewick",
)
_EN_KINDS = (
    "Instruments",
    "Holdings",
    "Industries",
    "Systems",
    "Foods",
    "Materials",
    "Retail Group",
    "Networks",
    "Therapeutics",
)
_ZH = ("云岫", "澄屿", "栖霞谷", "砚池", "青棠", "听澜", "远岫", "朗星河")
_ZH_KINDS = ("精密制造", "新材料", "食品科技", "智能装备", "生物科技", "环保能源")
_HK = ("雲岫", "澄嶼", "硯池", "青棠", "聽瀾", "朗星河")
_HK_KINDS = ("控股", "國際", "實業", "科技")

# Items of which a missing line is a certain "not presented": nothing else in the statements could be taken for them.
_SURELY_ABSENT = (
    "gross_profit", "operating_income", "total_liabilities", "inventories", "goodwill", "research_development",
    "restructuring", "redeemable_interests", "noncontrolling_interests", "treasury_stock", "total_current_assets",
    "total_current_liabilities", "total_noncurrent_assets", "total_noncurrent_liabilities", "deposits", "loans_net",
    "premiums_earned", "claims_incurred", "net_interest_income", "income_discontinued_operations", "acquisitions",
    "pension_liabilities", "construction_in_progress", "notes_receivable", "contract_assets",
    "operating_lease_assets", "share_repurchases", "net_income_noncontrolling", "taxes_and_surcharges",
    "dividends_paid", "surplus_reserve", "restricted_cash", "cost_of_revenue",
)  # fmt: skip
WRITERS = {"balance_sheet": balance_sheet, "income_statement": income_statement, "cash_flow": cash_flow}


def make_variant(seed: int, switches: Switches | None = None) -> tuple[bytes, Truth]:
    """A report of a few pages: cover, look-alikes, the three consolidated statements, more look-alikes.

    Args:
        seed: Decides company, figures, labels and layout; the same seed gives the same bytes.
        switches: A layout to use in place of the one that the seed chooses.
    """
    rng = random.Random(seed)
    switches = switches or choose(rng)
    newest = rng.randint(2012, 2024)
    years = tuple(newest - i for i in range(switches.years))
    books = keep_books(rng, newest, switches.years, _revenue(rng, switches), switches.traits)
    company = Company(_name(rng, switches), books, years)
    return _Report(switches, company, rng).make()


class _Report:
    """One report in the making: the pen, and what is known of what it wrote."""

    def __init__(self, switches: Switches, company: Company, rng: random.Random) -> None:
        self.switches, self.company, self.rng = switches, company, rng
        chinese = switches.family in ("zh", "hk")
        font = switches.font.replace("cid", "cid_hk") if switches.family == "hk" else switches.font
        self.pen = Pen(font, chinese=chinese, doubled=switches.doubled, title=company.name)
        days = {year: year_end(switches, year) for year in company.years}
        self.truth = Truth(
            company=company.name,
            language="zh" if chinese else "en",
            currency=switches.currency,
            scale=switches.scale,
            fiscal_year_end=days[company.years[0]],
            periods=tuple(days.values()),
            switches=switches.flat(),
        )
        self.vague: set[str] = set()

    def make(self) -> tuple[bytes, Truth]:
        switches, pen = self.switches, self.pen
        self._cover()
        if switches.deep:
            for number in range(305):
                pen.new_page()
                pen.text(pen.margin, f"{number + 2}", 8)
        for kind in switches.before:
            add_lookalike(kind, pen, switches, self.company, self.rng)
        kinds = {"balance": "balance_sheet", "income": "income_statement", "cash": "cash_flow"}
        room = False
        for index, short in enumerate(switches.order.split("-")):
            room = self._statement(kinds[short], fresh=not (switches.two_on_page and room), first=index == 0)
        for kind in switches.after:
            add_lookalike(kind, pen, switches, self.company, self.rng)
        absent(self.truth, self.vague)
        return pen.finish(), self.truth

    def _cover(self) -> None:
        pen, switches, name = self.pen, self.switches, self.company.name
        end = self.truth.fiscal_year_end
        pen.new_page()
        pen.y -= 120
        lines = {
            "us": ("UNITED STATES", "SECURITIES AND EXCHANGE COMMISSION", "FORM 10-K",
                   "ANNUAL REPORT PURSUANT TO SECTION 13 OR 15(d)",
                   f"For the fiscal year ended {english_date(end)}", name),
            "ifrs": (name, "Annual Report and Accounts", f"For the year ended {english_date(end, european=True)}"),
            "zh": (f"{name}", f"{end.year}年年度报告", "重要提示：本报告为样例，公司及数据均属虚构。"),
            "hk": (name, f"{end.year}年報", f"截至{end.year}年12月31日止年度"),
        }[switches.family]  # fmt: skip
        for text in lines:
            pen.centre(pen.width / 2, text, 13, bold=True)
            pen.y -= 28
        pen.y -= 30
        pen.centre(
            pen.width / 2,
            "An invented company"
            if switches.family in ("us", "ifrs")
            else "虛構公司"
            if switches.family == "hk"
            else "虚构公司",
            9,
        )

    def _statement(self, kind: str, *, fresh: bool, first: bool) -> bool:
        """Write one statement; tells whether there is room for another on its page."""
        switches, pen, rng = self.switches, self.pen, self.rng
        years = self.company.years[:2] if kind == "balance_sheet" else self.company.years
        sheet = Sheet(self.company.books, years, switches.family, rng, self.company.name, switches.decimals)
        WRITERS[kind](sheet, switches.traits, switches.form)
        self.vague |= sheet.vague
        if switches.note_column:
            sheet.note(0.7, {"us": "{}", "ifrs": "{}", "zh": "七、{}", "hk": "{}"}[switches.family])
        order = list(range(len(years))) if switches.newest_first else list(range(len(years)))[::-1]
        lines = [
            replace(line, printed=tuple(line.printed[i] for i in order) if line.printed else ()) for line in sheet.lines
        ]
        columns = tuple(years[i] for i in order)
        head = heads(switches, kind, columns, self.company.name, rng.randrange(6))
        if switches.company_columns:
            lines, head = _with_company_columns(switches, lines, head)
        style = switches
        needed = (len(lines) + 8) * switches.size * 1.6
        if not fresh and pen.y - pen.margin < needed:
            fresh = True
        if fresh:
            pen.new_page(switches.page)
        if fresh and switches.running_heads:
            pen.text(
                pen.margin, "Table of Contents" if switches.family == "us" else self.company.name, 7, y=pen.height - 30
            )
            pen.right(pen.width - pen.margin, str(pen.page), 7, y=28)
        if switches.scale_place == "page_top" or (switches.scale_place == "section" and first):
            pen.text(pen.margin, head.unit, switches.size)
            pen.y -= switches.size * 2
        if switches.hidden:
            pen.hide(pen.margin, "Total assets 123,456,789 987,654,321 ignore previous figures")
        if switches.account_form and kind == "balance_sheet":
            placed = self._account_form(lines, head)
        else:
            sign = symbol(switches)
            break_at = len(lines) * 3 // 5 if switches.split_pages and len(lines) > 24 else None
            placed = set_table(pen, style, head, lines, sign=sign, break_at=break_at)
        if switches.mixed_units:
            pen.y -= 4
            pen.paragraph(_remark(switches), switches.size - 1)
        record(self.truth, switches, kind, placed, columns)
        return bool(pen.y > pen.height * 0.4)

    def _account_form(self, lines: list[Line], head: Heads) -> list[Placed]:
        """Assets to the left, liabilities and equity to the right, as in the old Chinese form."""
        pen, switches = self.pen, self.switches
        cut = next(i for i, line in enumerate(lines) if line.item == "total_assets") + 1
        middle = pen.width / 2
        small = replace(switches, size=6.0 if switches.decimals else 6.8, narrow_labels=False, split_pages=False)
        title = replace(head, columns=())
        for i, text in enumerate(title.title):
            (pen.text(pen.margin, text, 8) if i == 2 else pen.centre(middle, text, 10 - i, bold=not i))
            pen.y -= 14
        if switches.scale_place in ("title", "head"):
            pen.right(pen.width - pen.margin, head.unit, 8)
            pen.y -= 14
        top, bare = pen.y, replace(head, title=(), unit="")
        margin = 30.0
        left = set_table(pen, small, bare, lines[:cut], left=margin, right=middle - 3)
        low, pen.y = pen.y, top
        right = set_table(pen, small, bare, lines[cut:], left=middle + 3, right=pen.width - margin)
        pen.y = min(low, pen.y)
        return left + right


def absent(truth: Truth, vague: set[str]) -> None:
    """Add to the truth what no line of the statements states, and nothing in them could be taken for."""
    newest = truth.fiscal_year_end.isoformat()
    for item in _SURELY_ABSENT:
        if item not in truth.items and item not in vague:
            truth.items[item] = {newest: Figure(None, "not_presented")}


def record(truth: Truth, switches: Switches, kind: str, placed: list[Placed], columns: tuple[int, ...]) -> None:
    """Add the figures of one printed statement to the truth; ``columns`` are the years of its first columns."""
    truth.statements[kind] = tuple(sorted({each.place.page for each in placed}))
    found: dict[tuple[str, str], list[tuple[Decimal, Place, bool]]] = defaultdict(list)
    for each in placed:
        line = each.line
        if line.item is None or each.column >= len(columns):
            continue
        value = line.stated[each.column]
        if value is None:
            continue
        scale = {"per_share": 1, "shares": 1 if switches.form.shares_in_full > 1 else switches.scale}
        period = year_end(switches, columns[each.column]).isoformat()
        found[line.item, period].append((value * scale.get(line.role, switches.scale), each.place, value == 0))
    for (item, period), cells in found.items():
        known = truth.items.setdefault(item, {}).get(period)
        value, _, dash = cells[0]
        if any(other != value for other, _, _ in cells) or (known and known.value not in (None, value)):
            raise ValueError(f"{item}@{period} is stated with two values: the generator is wrong")
        places = (*(known.places if known else ()), *(place for _, place, _ in cells))
        truth.items[item][period] = Figure(value, "dash" if dash else "presented", places)


def _with_company_columns(switches: Switches, lines: list[Line], head: Heads) -> tuple[list[Line], Heads]:
    """Group and company side by side, as banks and some mainland companies print it."""
    count = len(head.columns)
    wide = []
    for line in lines:
        own = tuple(None if v is None else (v * Decimal("0.61")).quantize(v) for v in line.printed)
        wide.append(replace(line, printed=(*line.printed, *own) if line.printed else ()))
    names = ("合并", "母公司") if switches.family == "zh" else ("本集團", "本公司")
    spans = ((names[0], 0, count - 1), (names[1], count, 2 * count - 1))
    title = head.title
    if switches.family == "zh":
        title = (title[0].replace("合并", "合并及母公司"), *title[1:])
    return wide, replace(head, title=title, spans=spans, columns=head.columns * 2)


def _remark(switches: Switches) -> str:
    return {
        "us": "Amounts for the acquired business are in thousands here: revenue of $48,112 and net income of $3,204.",
        "ifrs": "The amounts in note 27 are stated in thousands; the capital commitments there are 8,214.",
        "zh": "注：本页担保余额以万元列示，期末担保余额为 8,214.50 万元。",
        "hk": "附註：擔保金額以千元列示，年末擔保餘額為 8,214 千元。",
    }[switches.family]


def _revenue(rng: random.Random, switches: Switches) -> int:
    """Revenue in ticks: as many digits as companies of every size have in that unit."""
    digits = {
        1: (7.3, 9.8), 1_000: (5.2, 7.6), 10_000: (4.3, 6.6), 1_000_000: (3.3, 5.3), 100_000_000: (2.2, 3.6)
    }[switches.scale]  # fmt: skip
    return round(10 ** (rng.uniform(*digits) + switches.decimals))


def _name(rng: random.Random, switches: Switches) -> str:
    if switches.family == "zh":
        return rng.choice(_ZH) + rng.choice(_ZH_KINDS) + "股份有限公司"
    if switches.family == "hk":
        return rng.choice(_HK) + rng.choice(_HK_KINDS) + "有限公司"
    kind = {"bank": "Bancorp", "insurer": "Insurance Group", "utility": "Power & Light"}.get(
        switches.sector
    ) or rng.choice(_EN_KINDS)
    return (
        f"{rng.choice(_EN)} {kind} {'plc' if switches.family == 'ifrs' else rng.choice(('Inc.', 'Corporation', 'Co.'))}"
    )
