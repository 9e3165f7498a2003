"""The two whole sample reports, a US 10-K and a mainland 年度报告: a text with figures out of the books."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar

from .books import Books, Traits, keep_books
from .exhibits import Exhibits, percent
from .form import Form
from .heads import Heads, heads
from .lines import Line, Sheet
from .page import Pen
from .statements import balance_sheet, cash_flow, income_statement
from .switches import Switches
from .table import set_table
from .truth import Truth
from .variant import WRITERS, absent, record

Language = Literal["en", "zh"]
T = TypeVar("T")

YEAR = 2023
NAMES: dict[Language, str] = {"en": "Larkhaven Instruments, Inc.", "zh": "澄屿精密制造股份有限公司"}
FILES: dict[Language, str] = {"en": "larkhaven_2023_10k.pdf", "zh": "chengyu_2023_annual_report.pdf"}
_SEEDS = {"en": 2115, "zh": 1976}
_REVENUE = {"en": 4_317, "zh": 212_004_718_263}
_SWITCHES = {
    "en": Switches(
        family="us",
        years=3,
        heads="spanned",
        scale=1_000_000,
        font="serif",
        size=8.2,
        upper_titles=True,
        traits=Traits(noncontrolling=True, treasury=True, pension=True, restructuring=True),
        form=Form(combined_sga=True, noncurrent_totals=False),
    ),
    "zh": Switches(
        family="zh",
        years=2,
        heads="dates",
        scale=1,
        decimals=2,
        font="embedded",
        size=8.0,
        currency="CNY",
        currency_sign="none",
        negative="minus",
        dash="",
        ruled=True,
        note_column=True,
        traits=Traits(noncontrolling=True, treasury=True, statutory_reserve=True, restricted=True, bills=True),
        form=Form(blank_lines=True),
    ),
}
_FIGURE = re.compile(r"\{([$%~])(\w+)(-1)?\}")


class FirstChoice(random.Random):
    """Chooses the first of all choices: the plainest label, the usual layout."""

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[0]


def make_report(language: Language) -> tuple[bytes, Truth]:
    """The sample report in that language, and the truth of its three consolidated statements."""
    first = _Writer(language, {})
    first.write()
    second = _Writer(language, first.contents)  # the first pass found the pages for the table of contents
    return second.write(), second.truth


@dataclass
class _Parent:
    books: Books
    traits: Traits


class _Writer:
    """Writes one report from its text: lines of prose, and directives that begin with @."""

    def __init__(self, language: Language, contents: dict[str, int]) -> None:
        self.language, self.known, self.contents = language, contents, dict[str, int]()
        self.switches, self.name = _SWITCHES[language], NAMES[language]
        self.zh = language == "zh"
        years = 5
        self.books = keep_books(random.Random(_SEEDS[language]), YEAR, years, _REVENUE[language], self.switches.traits)
        own = Traits(treasury=True, statutory_reserve=self.zh, goodwill=False, bills=self.zh)
        share = _REVENUE[language] * 11 // 20
        self.parent = _Parent(keep_books(random.Random(_SEEDS[language] + 1), YEAR, years, share, own), own)
        self.years = tuple(YEAR - i for i in range(self.switches.years))
        self.pen = Pen(self.switches.font, chinese=self.zh, title=f"{self.name} {YEAR}")
        self.pen.furniture = self._furniture
        self.body, self.keep = 10.5, 0.0
        self.pen.margin, self.pen.leading = 58.0, 1.5
        self.truth = Truth(
            company=self.name,
            language=language,
            currency=self.switches.currency,
            scale=self.switches.scale,
            fiscal_year_end=date(YEAR, 12, 31),
            periods=tuple(date(year, 12, 31) for year in self.years),
            switches=self.switches.flat(),
        )
        self.vague: set[str] = set()
        sheets = {kind: self._sheet(kind, self.books, self.switches.traits) for kind in WRITERS}
        adjusted: dict[int, dict[str, int]] = {}
        for sheet in sheets.values():
            self.vague |= sheet.vague
            for year, amounts in sheet.adjust.items():
                adjusted.setdefault(year, {}).update(amounts)
        self.exhibits = Exhibits(self.books, YEAR, self.switches.decimals, self.zh, adjusted)
        self.sheets = sheets

    def write(self) -> bytes:
        """Write all; gives the PDF."""
        text = (Path(__file__).parent / "data" / f"report_{self.language}.txt").read_text("utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        for line, follower in zip(lines, [*lines[1:], ""], strict=True):
            self.keep = 190.0 if follower.startswith("@table") else 0.0  # a heading stays with its table
            if line.startswith("@"):
                name, _, rest = line[1:].partition(" ")
                getattr(self, f"_do_{name}")(self._filled(rest))
            else:
                self._room(40)
                self.pen.paragraph(self._filled(line), self.body)
        absent(self.truth, self.vague)
        return self.pen.finish()

    # Prose

    def _filled(self, text: str) -> str:
        return _FIGURE.sub(self._figure, text)

    def _figure(self, match: re.Match[str]) -> str:
        kind, name, prior = match.groups()
        year = YEAR - bool(prior)
        if kind == "%":
            new, old = self._amount(name, YEAR), self._amount(name, YEAR - 1)
            change = percent(new, old)
            word = (
                ("同比增长" if change > 0 else "同比下降") if self.zh else ("increased" if change > 0 else "decreased")
            )
            return f"{word}{abs(change)}%" if self.zh else f"{word} {abs(change).quantize(Decimal('0.1'))}%"
        amount = Decimal(self._amount(name, year)).scaleb(-self.switches.decimals)
        if kind == "~":
            return f"{(amount / 100_000_000).quantize(Decimal('0.01')):,}亿元"
        return f"{amount:,.2f}" if self.zh else f"${amount:,} million"

    def _amount(self, name: str, year: int) -> int:
        if name == "total_debt":
            return self.exhibits.total_debt(year)
        if name == "buyback_left":
            return 500 - sum(self.books[year - i]["share_repurchases"] for i in range(2))
        return self.exhibits.cash.get(year, {}).get(name, self.books[year].get(name, 0))

    def _furniture(self, pen: Pen) -> None:
        if pen.page == 1:
            return
        if self.zh:
            pen.right(pen.width - pen.margin, f"{self.name}{YEAR}年年度报告全文", 7.5, y=pen.height - 32)
            pen.rule(pen.margin, pen.width - pen.margin, pen.height - 36, 0.4)
        else:
            pen.text(pen.margin, "Table of Contents", 7.5, y=pen.height - 32)
        pen.centre(pen.width / 2, str(pen.page), 8, y=28)

    def _room(self, needed: float) -> None:
        if self.pen.page == 0 or self.pen.y < self.pen.margin + max(needed, self.keep):
            self.pen.new_page()

    def _do_page(self, _: str) -> None:
        if self.pen.y < self.pen.height - self.pen.margin:
            self.pen.new_page()

    def _do_h1(self, text: str) -> None:
        self._room(90)
        self.pen.y -= 8
        self.contents.setdefault(text, self.pen.page)
        for line in self.pen.wrap(text, self.pen.width - 2 * self.pen.margin, 12, True):
            self.pen.text(self.pen.margin, line, 12, bold=True)
            self.pen.y -= 16
        self.pen.y -= 5

    def _do_h2(self, text: str) -> None:
        self._room(60)
        self.pen.y -= 3
        self.pen.text(self.pen.margin, text, 10, bold=True)
        self.pen.y -= 15

    def _do_h3(self, text: str) -> None:
        self._room(50)
        for line in self.pen.wrap(text, self.pen.width - 2 * self.pen.margin, self.body, True):
            self.pen.text(self.pen.margin, line, self.body, bold=True)
            self.pen.y -= 13
        self.pen.y -= 2

    def _do_centre(self, text: str) -> None:
        self._room(60)
        self.pen.centre(self.pen.width / 2, text, 12, bold=True)
        self.pen.y -= 20

    def _do_sign(self, text: str) -> None:
        self._room(90)
        for line in text.split("|"):
            self.pen.text(self.pen.width / 2 if self.zh else self.pen.margin, line, self.body)
            self.pen.y -= 15
        self.pen.y -= 8

    def _do_cover(self, _: str) -> None:
        pen = self.pen
        pen.new_page()
        pen.rule(pen.margin, pen.width - pen.margin, pen.height - 60, 2)
        pen.y -= 50
        lines: tuple[tuple[str, float, float], ...]
        shares = f"{self.books[YEAR]['shares_basic'] - 1},104,220"
        if self.zh:
            lines = (
                ("公司代码：（样例）　　公司简称：澄屿精密", 10, 160),
                (self.name, 22, 44),
                (f"{YEAR}年年度报告", 22, 330),
                ("本报告为虚构样例，公司及全部数据均不存在", 9, 20),
            )
        else:
            lines = (
                ("UNITED STATES", 13, 18),
                ("SECURITIES AND EXCHANGE COMMISSION", 13, 18),
                ("Washington, D.C. 20549", 10, 34),
                ("FORM 10-K", 20, 30),
                ("ANNUAL REPORT PURSUANT TO SECTION 13 OR 15(d)", 10, 14),
                ("OF THE SECURITIES EXCHANGE ACT OF 1934", 10, 24),
                (f"For the fiscal year ended December 31, {YEAR}", 11, 18),
                ("Commission file number 000-00000 (invented)", 9, 40),
                (self.name.upper(), 22, 18),
                ("(Exact name of registrant as specified in its charter)", 8, 34),
                ("Delaware", 10, 12),
                ("(State of incorporation)", 8, 24),
                ("400 Heron Quay, Marrow Bay, Oregon 97000", 10, 12),
                ("(Address of principal executive offices)", 8, 34),
                ("Securities registered pursuant to Section 12(b) of the Act:", 9, 13),
                ("Common Stock, par value $0.01 per share", 9, 34),
                ("Large accelerated filer [x]     Accelerated filer [ ]     Non-accelerated filer [ ]", 9, 30),
                (
                    f"Shares of common stock outstanding at January 31, {YEAR + 1}: {shares}",
                    9,
                    60,
                ),
                ("An invented company. This document is sample data of the Evident project.", 9, 12),
            )
        for text, size, step in lines:
            pen.centre(pen.width / 2, text, size, bold=size > 10)
            pen.y -= step
        pen.new_page()

    def _do_contents(self, _: str) -> None:
        pen = self.pen
        for text, page in self.known.items():
            if text in ("TABLE OF CONTENTS", "目录"):
                continue
            box = pen.text(pen.margin, text[:86], 9)
            edge = pen.width - pen.margin - 24
            if box[2] < edge:
                pen.text(box[2] + 3, "." * int((edge - box[2]) / pen.measure(".", 9)), 9)
            pen.right(pen.width - pen.margin, str(page), 9)
            pen.y -= 14
        pen.y -= 8

    def _do_contents_statements(self, _: str) -> None:
        for text in (
            "Report of Independent Registered Public Accounting Firm",
            "Consolidated Statements of Income",
            "Consolidated Statements of Comprehensive Income",
            "Consolidated Balance Sheets",
            "Consolidated Statements of Cash Flows",
            "Consolidated Statements of Equity",
            "Notes to Consolidated Financial Statements",
        ):
            self.pen.text(self.pen.margin + 12, text, self.body)
            self.pen.y -= 14

    # Statements

    def _sheet(self, kind: str, books: Books, traits: Traits) -> Sheet:
        years = [YEAR - i for i in range(2 if kind == "balance_sheet" else self.switches.years)]
        sheet = Sheet(
            books, years, self.switches.family, FirstChoice(0), self.name.split(" ")[0], self.switches.decimals
        )
        sheet.issued = books[YEAR]["shares_basic"]
        {"balance_sheet": balance_sheet, "income_statement": income_statement, "cash_flow": cash_flow}[kind](
            sheet, traits, self.switches.form
        )
        if self.switches.note_column:
            sheet.note(1.0, "七、{}")
            # Totals and blank lines refer to no note.
            sheet.lines = [replace(x, note="") if "计" in x.label or not any(x.printed) else x for x in sheet.lines]
        return sheet

    def _set(self, kind: str, sheet: Sheet, title: str = "") -> None:
        head = heads(self.switches, kind, tuple(sheet.years), self.name, 0)
        if title:
            head = replace(
                head, title=tuple(title if i == (0 if self.zh else 1) else text for i, text in enumerate(head.title))
            )
        self.pen.new_page()
        sign = "" if self.zh else "$"
        placed = set_table(self.pen, self.switches, head, sheet.lines, sign=sign)
        if not title:
            record(self.truth, self.switches, kind, placed, tuple(sheet.years))
        if not self.zh:
            self.pen.centre(self.pen.width / 2, "The accompanying notes are an integral part of these statements.", 8)
            self.pen.y -= 14

    def _do_statement(self, kind: str) -> None:
        self._set(kind, self.sheets[kind])

    def _do_parent_statement(self, kind: str) -> None:
        title = {
            "balance_sheet": "母公司资产负债表",
            "income_statement": "母公司利润表",
            "cash_flow": "母公司现金流量表",
        }[kind]
        self._set(kind, self._sheet(kind, self.parent.books, self.parent.traits), title)

    def _plain(
        self, title: str, columns: Sequence[Sequence[str]], lines: Sequence[Line], *, size: float = 8.5, unit: str = ""
    ) -> None:
        style = replace(self.switches, note_column=False, size=size, ruled=self.zh)
        note = unit or ("单位：元  币种：人民币" if self.zh else "(In millions)")
        self._room((len(lines) + 5) * size * 1.6)
        head = Heads(tuple(title.split("|")), note, (), tuple(tuple(c) for c in columns))
        set_table(self.pen, style, head, lines, sign="" if self.zh else "$")

    def _do_table(self, name: str) -> None:
        exhibit = self.exhibits.make(name)
        self._plain(exhibit.title, [(c,) for c in exhibit.columns], exhibit.lines)

    def _do_comprehensive(self, _: str) -> None:
        years = self.years
        rows = [
            ("Net income", "profit_loss", "line"),
            ("Foreign currency translation, net of tax", "oci_change", "line"),
        ]
        lines = [Line(label, tuple(Decimal(self.books[y][key]) for y in years)) for label, key, _ in rows]
        total = tuple(Decimal(self.books[y]["profit_loss"] + self.books[y]["oci_change"]) for y in years)
        nci = tuple(Decimal(self.books[y]["net_income_noncontrolling"]) for y in years)
        lines.append(Line("Comprehensive income", total, role="total"))
        lines.append(Line("Less: comprehensive income attributable to noncontrolling interests", nci))
        rest = tuple(a - b for a, b in zip(total, nci, strict=True))
        lines.append(Line("Comprehensive income attributable to Larkhaven", rest, role="total"))
        self._plain("CONSOLIDATED STATEMENTS OF COMPREHENSIVE INCOME", [(str(y),) for y in years], lines)

    def _do_equity(self, _: str) -> None:
        """The statement of equity: each column rolls forward from year to year."""
        names = (
            "common_stock",
            "additional_paid_in_capital",
            "retained_earnings",
            "accumulated_oci",
            "treasury_stock",
            "noncontrolling_interests",
        )
        above = [
            "Common stock",
            "Paid-in capital",
            "Retained earnings",
            "Accumulated OCI",
            "Treasury stock",
            "NCI",
            "Total",
        ]
        lines: list[Line] = []

        def add(label: str, moved: dict[str, int], *, total: bool = False) -> None:
            cells = [-moved.get(n, 0) if n == "treasury_stock" else moved.get(n, 0) for n in names]
            lines.append(
                Line(label, tuple(Decimal(v) for v in (*cells, sum(cells))), role="total" if total else "line")
            )

        oldest = min(self.years)
        add(f"Balance at December 31, {oldest - 1}", self.books[oldest - 1], total=True)
        for year in sorted(self.years):
            b = self.books[year]
            add(
                "Net income",
                {"retained_earnings": b["net_income"], "noncontrolling_interests": b["net_income_noncontrolling"]},
            )
            add("Other comprehensive income (loss)", {"accumulated_oci": b["oci_change"]})
            add("Dividends declared", {"retained_earnings": -b["dividends_paid"]})
            add("Stock-based compensation", {"additional_paid_in_capital": b["share_based_compensation"]})
            add("Issuance of common stock", {"additional_paid_in_capital": b["shares_issued"]})
            add("Repurchases of common stock", {"treasury_stock": b["share_repurchases"]})
            add(f"Balance at December 31, {year}", b, total=True)
        self.pen.new_page()
        self._plain("CONSOLIDATED STATEMENTS OF EQUITY", [text.split() for text in above], lines, size=7.5)

    def _do_parent(self, _: str) -> None:
        """Schedule I: the registrant alone; its equity is the group's equity attributable to the parent."""
        own = []
        for year in (YEAR, YEAR - 1):
            b, p = self.books[year], self.parent.books[year]
            liabilities = p["accounts_payable"] + p["long_term_debt"] // 2
            held = b["equity_parent"] + liabilities - p["cash_and_equivalents"] - p["other_noncurrent_assets"]
            own.append(
                (p["cash_and_equivalents"], held, p["other_noncurrent_assets"], b["equity_parent"] + liabilities,
                 p["accounts_payable"], p["long_term_debt"] // 2, liabilities, b["equity_parent"],
                 b["equity_parent"] + liabilities)
            )  # fmt: skip
        labels = (
            "Cash and cash equivalents", "Investments in and advances to subsidiaries", "Other assets", "Total assets",
            "Accounts payable", "Long-term debt", "Total liabilities", "Total shareholders' equity",
            "Total liabilities and shareholders' equity",
        )  # fmt: skip
        lines = [
            Line(label, (Decimal(own[0][i]), Decimal(own[1][i])), role="total" if label.startswith("Total") else "line")
            for i, label in enumerate(labels)
        ]
        self._plain(
            "SCHEDULE I - CONDENSED FINANCIAL INFORMATION OF REGISTRANT|PARENT COMPANY BALANCE SHEETS",
            [(str(YEAR),), (str(YEAR - 1),)],
            lines,
        )
