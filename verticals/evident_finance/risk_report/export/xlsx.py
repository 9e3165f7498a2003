"""The workbook: sentences, statements as printed, facts with their pages, and every ratio as a live formula.

A number that an analyst changes on the sheet ``Facts`` flows through the ratios as in the service itself: each formula
cell is translated from the formula that the fact carries.
"""

import io
from collections.abc import Callable
from decimal import Decimal

from lark import Token, Tree
from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from evident_core.errors import InvalidInput
from evident_core.evidence import Fact, Language
from evident_finance.risk_report.assess.formula import parse
from evident_finance.risk_report.export.places import Places
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Analysis, Statement

_HEAD = PatternFill("solid", fgColor="1F3A5F")
_FORMATS = {"%": "0.0%", "1": "#,##0.00", "d": "0.0"}
_VALUE = "E"
_SHEETS: dict[str, dict[Language, str]] = {
    "balance_sheet": {"en": "Balance sheet", "zh": "资产负债表"},
    "income_statement": {"en": "Income statement", "zh": "利润表"},
    "cash_flow": {"en": "Cash flow", "zh": "现金流量表"},
}


def to_xlsx(analysis: Analysis) -> bytes:
    """The analysis as an Office Open XML workbook."""
    book = Workbook()
    places = Places(analysis)
    report = book.active
    if not isinstance(report, Worksheet):  # a fresh workbook has one worksheet; this tells the type checker
        raise TypeError("a new workbook has no sheet")
    _report(report, analysis, places)
    for statement in analysis.reading.statements:
        _statement(book.create_sheet(_free_title(book, statement)), statement)
    _facts(book, analysis, places)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _report(sheet: Worksheet, analysis: Analysis, places: Places) -> None:
    sheet.title = "Report 报告"
    _head(sheet, ("Section 章节", "English", "中文", "Pages 页码"), (22, 80, 60, 14))
    for section in analysis.report.sections:
        for sentence in section.sentences:
            claims = [analysis.report.claim(each) for each in sentence.claim_ids]
            pages = {box.page for claim in claims for fact in claim.facts.values() for box in places.boxes(fact)}
            _row(
                sheet,
                (
                    f"{section.title['en']} {section.title['zh']}",
                    sentence.text.get("en", ""),
                    sentence.text.get("zh", ""),
                    ", ".join(map(str, sorted(pages))),
                ),
            )


def _statement(sheet: Worksheet, statement: Statement) -> None:
    scale = f"{statement.currency} × {statement.scale:,}"
    columns = [f"{column.period}{' (restated 重述)' if column.restated else ''}" for column in statement.columns]
    _head(
        sheet, (f"{statement.title} ({scale})", *columns, "Item 项目", "Page 页码"), (64, *[18] * len(columns), 30, 10)
    )
    for row in statement.rows:
        values = [None if cell is None else cell.value if cell.value is not None else cell.text for cell in row.cells]
        cells = _row(sheet, (row.label, *values, row.item or "", row.page))
        cells[0].alignment = Alignment(indent=row.depth, wrap_text=True, vertical="top")
        cells[0].font = Font(bold=row.heading)
        for cell in cells[1 : len(values) + 1]:
            cell.number_format = "#,##0.00##;(#,##0.00##)" if _has_fraction(cell.value) else "#,##0;(#,##0)"


def _facts(book: Workbook, analysis: Analysis, places: Places) -> None:
    items = Items.load()
    read = [fact for fact in analysis.reading.facts if fact.unit is not None or fact.value is None]
    computed = [fact for fact in analysis.assessment.facts if fact.unit is not None or fact.value is None]
    text = [fact for fact in analysis.reading.facts if fact.unit is None and fact.value is not None]
    refs: dict[str, str] = {}
    for title, facts in (("Facts", read), ("Ratios", computed)):
        refs |= {fact.id: f"{title}!${_VALUE}${row}" for row, fact in enumerate(facts, start=2)}
    for title, facts in (("Facts", read), ("Ratios", computed), ("Text", text)):
        sheet = book.create_sheet(title)
        heads = ("Id", "Item", "项目", "Period 期末", "Value 数值", "Unit 单位", "Status 状态", "Confidence 置信度")
        _head(
            sheet,
            (*heads, "Pages 页码", "Printed as 原文", "Formula 公式", "Note 备注"),
            (34, 40, 26, 12, 22, 8, 14, 10, 12, 60, 60, 40),
        )
        for fact in facts:
            boxes = places.boxes(fact.id)
            formula = places.formula(fact.id)
            cells = _row(
                sheet,
                (
                    fact.id,
                    items.label(fact.name, "en"),
                    items.label(fact.name, "zh"),
                    fact.period or "",
                    _value(fact),
                    fact.unit or "",
                    fact.status.value,
                    fact.confidence,
                    ", ".join(map(str, dict.fromkeys(box.page for box in boxes))),
                    boxes[0].quote if len(boxes) == 1 else "",
                    formula,
                    fact.note,
                ),
            )
            cells[4].number_format = _FORMATS.get(fact.unit or "", "#,##0.00" if _has_fraction(fact.value) else "#,##0")
            live = _live(formula, refs) if formula and title == "Ratios" and fact.value is not None else None
            if live:
                cells[4].value = f"={live}"


def _value(fact: Fact) -> Decimal | str | None:
    if isinstance(fact.value, Decimal) and fact.unit == "%":
        return fact.value / 100
    return fact.value


def _live(formula: str, refs: dict[str, str]) -> str | None:
    """The formula in Excel's language, or None where it rests on something that has no cell."""
    try:
        return _excel(parse(formula), refs)
    except (InvalidInput, KeyError):
        return None


def _excel(node: Tree[Token] | Token, refs: dict[str, str]) -> str:
    if isinstance(node, Token):
        return str(node)
    children = node.children

    def each(index: int) -> str:
        return _excel(children[index], refs)

    rules: dict[str, Callable[[], str]] = {
        "start": lambda: each(0),
        "number": lambda: str(children[0]),
        "percent": lambda: f"{children[0]}%",
        "name": lambda: refs[f"{children[0]}@{children[1]}" if children[1] else str(children[0])],
        "add": lambda: f"({each(0)}+{each(1)})",
        "subtract": lambda: f"({each(0)}-{each(1)})",
        "multiply": lambda: f"({each(0)}*{each(1)})",
        "divide": lambda: f"({each(0)}/{each(1)})",
        "negative": lambda: f"(-{each(0)})",
        "comparison": lambda: f"({each(0)}{_SIGNS.get(str(children[1]), str(children[1]))}{each(2)})",
        "both": lambda: f"AND({each(0)},{each(1)})",
        "either": lambda: f"OR({each(0)},{each(1)})",
        "negated": lambda: f"NOT({each(0)})",
        "call": lambda: f"{_FUNCTIONS[str(children[0])]}({','.join(_excel(child, refs) for child in children[1:])})",
    }
    return rules[str(node.data)]()


_SIGNS = {"==": "=", "!=": "<>"}
_FUNCTIONS = {"abs": "ABS", "exp": "EXP", "ln": "LN", "indicator": "N"}


def _has_fraction(value: object) -> bool:
    return isinstance(value, Decimal) and value != value.to_integral_value()


def _free_title(book: Workbook, statement: Statement) -> str:
    title = _SHEETS[statement.kind]["en"]
    return title if title not in book.sheetnames else f"{title} {len(book.sheetnames)}"


def _head(sheet: Worksheet, titles: tuple[str, ...], widths: tuple[int, ...]) -> None:
    for cell in _row(sheet, titles):
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = _HEAD
    for index, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(index)].width = width
    sheet.freeze_panes = "B2"


def _row(sheet: Worksheet, values: tuple[object, ...]) -> list[Cell]:
    """Append a row. Text never becomes a formula, whatever a hostile filing prints ("=HYPERLINK(…)")."""
    row = sheet.max_row + (1 if sheet.max_row > 1 or sheet.cell(1, 1).value is not None else 0)
    cells = []
    for column, value in enumerate(values, start=1):
        cell = sheet.cell(row, column)
        if isinstance(value, str):
            cell.value = _printable(value)
            cell.data_type = "s"
            cell.alignment = Alignment(wrap_text=True, vertical="top")
        else:
            cell.value = value
            cell.alignment = Alignment(vertical="top")
        cells.append(cell)
    return cells


def _printable(text: str) -> str:
    """Without the control characters that XML forbids; a cell holds 32,767 characters at most."""
    return "".join(c for c in text if c >= " " or c in "\n\t")[:32767]
