"""The tables of the two sample reports beside the statements: figures out of the books, sums that hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from .books import Books
from .lines import Line, Role

Row = tuple[str, Sequence[int | Decimal | None], Role]


@dataclass(frozen=True)
class Exhibit:
    """A table: title, heads of its columns, lines."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass
class Exhibits:
    """Makes the tables for one company in one language."""

    books: Books
    newest: int
    decimals: int
    chinese: bool
    cash: dict[int, dict[str, int]] = field(default_factory=dict)

    def make(self, name: str) -> Exhibit:
        """The table of that name."""
        makers: dict[str, Callable[[], Exhibit]] = {
            "five_years": self._five_years,
            "results": self._results,
            "segment_results": self._segments,
            "segments": self._segments,
            "liquidity": self._liquidity,
            "maturities": self._maturities,
            "revenue": self._revenue,
            "inventories": self._inventories,
            "plant": self._plant,
            "goodwill": self._goodwill,
            "debt": self._debt,
            "leases": self._leases,
            "taxes": self._taxes,
            "shares": self._shares,
            "quarters": self._quarters,
            "ageing": self._ageing,
            "supplement": self._supplement,
        }
        return makers[name]()

    def _say(self, en: str, zh: str) -> str:
        return zh if self.chinese else en

    def _of(self, name: str, year: int) -> int:
        return self.cash.get(year, {}).get(name, self.books[year].get(name, 0))

    def _both(self, name: str, sign: int = 1) -> tuple[int, int]:
        return self._of(name, self.newest) * sign, self._of(name, self.newest - 1) * sign

    def _ticks(self, rows: Sequence[Row]) -> tuple[Line, ...]:
        unit = Decimal(1).scaleb(-self.decimals)
        return tuple(
            Line(
                label,
                tuple(None if v is None else v * unit if isinstance(v, int) else v for v in values),
                role=role,
                depth=int(role == "line"),
                decimals=None if any(isinstance(v, int) for v in values) else 2,
            )
            for label, values, role in rows
        )

    def _years(self, count: int = 2) -> tuple[str, ...]:
        return tuple(f"{self.newest - i}{'年' if self.chinese else ''}" for i in range(count))

    def _table(self, title: str, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Exhibit:
        return Exhibit(title, tuple(columns or self._years()), self._ticks(rows))

    def _five_years(self) -> Exhibit:
        count = 3 if self.chinese else 5
        years = [self.newest - i for i in range(count)]
        names = (
            ("Net sales", "营业收入", "revenue"),
            ("Operating income", "营业利润", "operating_income"),
            ("Net income attributable to Larkhaven", "归属于上市公司股东的净利润", "net_income"),
            ("Net cash provided by operating activities", "经营活动产生的现金流量净额", "operating_cash_flow"),
            ("Total assets", "总资产", "total_assets"),
            ("Total equity", "所有者权益合计", "total_equity"),
        )
        rows: list[Row] = [(self._say(en, zh), [self._of(key, y) for y in years], "line") for en, zh, key in names]
        shares = [Decimal(self._of("net_income", y)) / self._of("shares_diluted", y) for y in years]
        label = self._say("Diluted earnings per share", "稀释每股收益（元/股）")
        rows.append((label, [value.quantize(Decimal("0.01")) for value in shares], "line"))
        return self._table(self._say("Five-Year Summary", "主要会计数据和财务指标"), rows, self._years(count))

    def _results(self) -> Exhibit:
        names = (
            ("Net sales", "营业收入", "revenue"),
            ("Cost of sales", "营业成本", "cost_of_revenue"),
            ("Selling, general and administrative", "销售费用及管理费用", "selling_general_administrative"),
            ("Research and development", "研发费用", "research_development"),
            ("Operating income", "营业利润", "operating_income"),
            ("Income tax expense", "所得税费用", "income_tax"),
            ("Net cash from operating activities", "经营活动产生的现金流量净额", "operating_cash_flow"),
        )
        rows: list[Row] = []
        for en, zh, key in names:
            new, old = self._both(key)
            rows.append((self._say(en, zh), (new, old, percent(new, old)), "line"))
        columns = (*self._years(), self._say("% change", "变动比例（%）"))
        return self._table(self._say("Consolidated Results", "相关科目变动分析"), rows, columns)

    def _segments(self) -> Exhibit:
        names = (
            ("Process Measurement", "精密减速器", 47),
            ("Laboratory Automation", "伺服执行机构", 33),
            ("Services", "自动化检测设备及其他", 20),
        )
        rows: list[Row] = []
        for title, key in (
            (self._say("Revenue", "主营业务收入"), "revenue"),
            (self._say("Operating income", "营业利润"), "operating_income"),
        ):
            rows.append((title, (), "heading"))
            left = list(self._both(key))
            for i, (en, zh, share) in enumerate(names):
                part = [
                    left[j] if i == 2 else total * (share + (2 * j - 1) * (i - 1)) // 100
                    for j, total in enumerate(self._both(key))
                ]
                left = [a - b for a, b in zip(left, part, strict=True)]
                rows.append((self._say(en, zh), part, "line"))
            rows.append((self._say("Total", "合计"), self._both(key), "total"))
        return self._table(self._say("Segments", "分行业（分部）情况"), rows)

    def _liquidity(self) -> Exhibit:
        rows: list[Row] = [
            ("Operating activities", self._both("operating_cash_flow"), "line"),
            ("Investing activities", self._both("investing_cash_flow"), "line"),
            ("Financing activities", self._both("financing_cash_flow"), "line"),
        ]
        return self._table("Cash Flow Summary", rows)

    def total_debt(self, year: int) -> int:
        """Short-term, current and long-term debt together."""
        return sum(
            self._of(key, year) for key in ("short_term_debt", "current_portion_long_term_debt", "long_term_debt")
        )

    def _maturities(self) -> Exhibit:
        total = self.total_debt(self.newest)
        first = self._of("short_term_debt", self.newest) + self._of("current_portion_long_term_debt", self.newest)
        parts = [first]
        for share in (11, 26, 8, 31):
            parts.append((total - first) * share // 100)
        if self.chinese:
            parts = [parts[0], parts[1] + parts[2], parts[3] + parts[4]]
            labels = ["1年以内", "1至3年", "3至5年", "5年以上"]
        else:
            labels = [str(self.newest + 1 + i) for i in range(5)] + ["Thereafter"]
        rows: list[Row] = [
            (label, (part,), "line") for label, part in zip(labels, [*parts, total - sum(parts)], strict=True)
        ]
        rows.append((self._say("Total debt", "合计"), (total,), "total"))
        return self._table(self._say("Maturities of Debt", "借款到期情况"), rows, (self._say("Amount", "金额"),))

    def _revenue(self) -> Exhibit:
        rows: list[Row] = [
            ("Products", self._both("product_revenue"), "line"),
            ("Services", self._both("service_revenue"), "line"),
            ("Total", self._both("revenue"), "total"),
        ]
        return self._table("Revenue by Kind", rows)

    def _split(self, key: str, parts: Sequence[tuple[str, str, int]]) -> list[Row]:
        left = list(self._both(key))
        rows: list[Row] = []
        for i, (en, zh, share) in enumerate(parts):
            part = left if i == len(parts) - 1 else [v * share // 100 for v in self._both(key)]
            left = [a - b for a, b in zip(left, part, strict=True)]
            rows.append((self._say(en, zh), part, "line"))
        rows.append((self._say("Total", "合计"), self._both(key), "total"))
        return rows

    def _inventories(self) -> Exhibit:
        parts = (("Raw materials", "原材料", 31), ("Work in process", "在产品", 24), ("Finished goods", "库存商品", 45))
        return self._table(self._say("Inventories", "存货分类"), self._split("inventories", parts))

    def _plant(self) -> Exhibit:
        net = self._both("ppe_net")
        land, buildings, machines = ([v * share // 100 for v in net] for share in (9, 62, 118))
        depreciation = [a + b + c - d for a, b, c, d in zip(land, buildings, machines, net, strict=True)]
        rows: list[Row] = [
            (self._say("Land", "土地附着物"), land, "line"),
            (self._say("Buildings", "房屋及建筑物"), buildings, "line"),
            (self._say("Machinery and equipment", "机器设备"), machines, "line"),
            (self._say("Less: accumulated depreciation", "减：累计折旧"), [-v for v in depreciation], "line"),
            (self._say("Property, plant and equipment, net", "账面价值合计"), net, "total"),
        ]
        return self._table(self._say("Property, Plant and Equipment", "固定资产情况"), rows)

    def _goodwill(self) -> Exhibit:
        opening = tuple(self._of("goodwill", self.newest - 1 - i) for i in range(2))
        closing, impaired = self._both("goodwill"), self._both("impairment_loss")
        acquired = [c - o + i for c, o, i in zip(closing, opening, impaired, strict=True)]
        rows: list[Row] = [
            (self._say("Balance at beginning of year", "期初余额"), opening, "line"),
            (self._say("Acquisitions", "本期企业合并形成"), acquired, "line"),
            (self._say("Impairment charges", "本期计提减值"), [-v for v in impaired], "line"),
            (self._say("Balance at end of year", "期末余额"), closing, "total"),
        ]
        return self._table(self._say("Changes in Goodwill", "商誉账面价值变动"), rows)

    def _debt(self) -> Exhibit:
        current = [self._of("current_portion_long_term_debt", y) for y in (self.newest, self.newest - 1)]
        short = self._both("short_term_debt")
        long = [a + b for a, b in zip(self._both("long_term_debt"), current, strict=True)]
        notes = [v * 64 // 100 for v in long]
        loan = [a - b for a, b in zip(long, notes, strict=True)]
        fixed = self._say("Senior notes, 3.15% to 4.80%, due 2025 to 2034", "长期借款（保证借款，年利率3.15%—4.80%）")
        variable = self._say("Term loan, variable rate, due 2028", "长期借款（信用借款，浮动利率）")
        rows: list[Row] = [
            (self._say("Commercial paper", "短期借款"), short, "line"),
            (fixed, notes, "line"),
            (variable, loan, "line"),
            (self._say("Total debt", "合计"), [a + b for a, b in zip(short, long, strict=True)], "total"),
        ]  # fmt: skip
        return self._table(self._say("Debt", "借款分类"), rows)

    def _leases(self) -> Exhibit:
        rows: list[Row] = [
            ("Operating lease right-of-use assets", self._both("operating_lease_assets"), "line"),
            ("Current lease liabilities", self._both("current_lease_liabilities"), "line"),
            ("Non-current lease liabilities", self._both("lease_liabilities"), "line"),
        ]
        return self._table("Leases", rows)

    def _taxes(self) -> Exhibit:
        tax, deferred = self._both("income_tax"), self._both("deferred_taxes")
        current = [a - b for a, b in zip(tax, deferred, strict=True)]
        federal = [v * 58 // 100 for v in current]
        rows: list[Row] = [
            ("Current - United States", federal, "line"),
            ("Current - other countries", [a - b for a, b in zip(current, federal, strict=True)], "line"),
            ("Deferred", deferred, "line"),
            ("Income tax expense", tax, "total"),
        ]
        return self._table("Income Tax Expense", rows)

    def _shares(self) -> Exhibit:
        basic, diluted = self._both("shares_basic"), self._both("shares_diluted")
        rows: list[Row] = [
            ("Net income attributable to Larkhaven", self._both("net_income"), "line"),
            ("Weighted average shares - basic", basic, "shares"),
            ("Dilutive effect of stock awards", [a - b for a, b in zip(diluted, basic, strict=True)], "shares"),
            ("Weighted average shares - diluted", diluted, "shares"),
        ]
        return self._table("Earnings per Share (shares in millions)", rows)

    def _quarters(self) -> Exhibit:
        columns = (
            ("第一季度", "第二季度", "第三季度", "第四季度") if self.chinese else ("First", "Second", "Third", "Fourth")
        )
        rows: list[Row] = []
        for en, zh, key in (
            ("Net sales", "营业收入", "revenue"),
            ("Operating income", "营业利润", "operating_income"),
            ("Net income attributable to Larkhaven", "归属于上市公司股东的净利润", "net_income"),
        ):
            total = self._of(key, self.newest)
            parts = [total * share // 100 for share in (22, 25, 24)]
            rows.append((self._say(en, zh), [*parts, total - sum(parts)], "line"))
        return self._table(self._say("Quarterly Data (Unaudited)", "分季度主要财务数据"), rows, columns)

    def _ageing(self) -> Exhibit:
        net = self._both("accounts_receivable")
        allowance = [v * 6 // 100 for v in net]
        gross = [a + b for a, b in zip(net, allowance, strict=True)]
        young, middle = [v * 86 // 100 for v in gross], [v * 10 // 100 for v in gross]
        rows: list[Row] = [
            ("1年以内", young, "line"),
            ("1至2年", middle, "line"),
            ("2年以上", [g - a - b for g, a, b in zip(gross, young, middle, strict=True)], "line"),
            ("小计", gross, "total"),
            ("减：坏账准备", allowance, "line"),
            ("账面价值合计", net, "total"),
        ]
        return self._table("应收账款账龄", rows, ("期末账面余额", "期初账面余额"))

    def _supplement(self) -> Exhibit:
        names = (
            ("净利润", "profit_loss", 1),
            ("加：资产减值准备", "impairment_loss", 1),
            ("信用减值损失", "credit_loss_provision", 1),
            ("固定资产折旧、无形资产摊销", "depreciation_amortization", 1),
            ("财务费用", "interest_paid", 1),
            ("投资损失（收益以“－”号填列）", "investment_income", -1),
            ("存货的减少（增加以“－”号填列）", "change_in_inventories", 1),
            ("经营性应收项目的减少（增加以“－”号填列）", "change_in_receivables", 1),
            ("经营性应付项目的增加（减少以“－”号填列）", "change_in_payables", 1),
        )
        rows: list[Row] = [(label, self._both(key, sign), "line") for label, key, sign in names]
        sums = [sum(self._both(key, sign)[i] for _, key, sign in names) for i in range(2)]
        net = self._both("operating_cash_flow")
        rows.append(("其他", [a - b for a, b in zip(net, sums, strict=True)], "line"))
        rows.append(("经营活动产生的现金流量净额", net, "total"))
        return self._table("将净利润调节为经营活动现金流量", rows, ("本期金额", "上期金额"))


def percent(new: int, old: int) -> Decimal:
    """The change from old to new in percent."""
    return (Decimal(new - old) / abs(old) * 100).quantize(Decimal("0.01")) if old else Decimal(0)
