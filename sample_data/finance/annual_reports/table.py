"""Sets a table of amounts on pages and tells where each number came to stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from .heads import Heads
from .lines import Line
from .numerals import numeral
from .page import Pen
from .switches import Switches
from .truth import BBox, Place


@dataclass(frozen=True)
class Placed:
    """A number that was printed: which line and column, and its place."""

    line: Line
    column: int
    place: Place


@dataclass(frozen=True)
class Frame:
    """Where a table stands on the page: left and right edge, and the right edge of each column of numbers."""

    left: float
    right: float
    edges: tuple[float, ...]
    label_width: float
    note_edge: float
    column_width: float


def set_table(
    pen: Pen,
    switches: Switches,
    heads: Heads,
    lines: Sequence[Line],
    *,
    left: float | None = None,
    right: float | None = None,
    sign: str = "",
    break_at: int | None = None,
) -> list[Placed]:
    """Set title, heads and lines from the pen's height on; breaks before line ``break_at`` and where the page ends."""
    size = switches.size
    frame = _frame(pen, switches, heads, lines, left, right, sign)
    _title(pen, switches, heads, frame)
    top = _columns(pen, switches, heads, frame)
    placed: list[Placed] = []
    first_amounts = True
    step = size * (1.5 if switches.ruled else 1.38)
    for index, line in enumerate(lines):
        wrapped = _label_lines(pen, switches, line, frame)
        if pen.y - step * len(wrapped) < pen.margin or index == break_at:
            if switches.ruled:
                _grid(pen, frame, top)
            pen.new_page(switches.page)
            pen.y -= size * 2
            if switches.repeat_heads:
                again = replace(heads, title=(*heads.title[:1], f"{heads.title[1]}{_continued(switches)}"[:90])) if len(
                    heads.title
                ) > 1 else heads  # fmt: skip
                _title(pen, switches, again, frame)
                top = _columns(pen, switches, heads, frame)
            else:
                top = pen.y + size
        placed += _row(pen, switches, line, wrapped, frame, step, sign, first_amounts)
        if line.printed and line.role in ("line", "total"):
            first_amounts = False
    if switches.ruled:
        _grid(pen, frame, top)
    pen.y -= size
    return placed


def _continued(switches: Switches) -> str:
    return {"us": " (Continued)", "ifrs": " continued", "zh": "（续）", "hk": "（續）"}[switches.family]


def _frame(
    pen: Pen,
    switches: Switches,
    heads: Heads,
    lines: Sequence[Line],
    left: float | None,
    right: float | None,
    sign: str,
) -> Frame:
    size = switches.size
    left = pen.margin if left is None else left
    right = pen.width - pen.margin if right is None else right
    count = len(heads.columns)
    widest = max(
        (
            pen.measure(_text(switches, line, value, sign), size, True)
            for line in lines
            for value in line.printed
            if value is not None
        ),
        default=40.0,
    )
    widest = max(widest, *(pen.measure(part, size, True) for column in heads.columns for part in column), 30.0)
    gap = size * (2.2 if switches.currency_sign in ("own_column", "first_row") else 1.3)
    width = min(widest + gap, (right - left) * 0.72 / count)
    note = size * 5 if any(line.note for line in lines) else 0.0
    labels = right - left - width * count - note - size
    if switches.narrow_labels:
        labels = min(labels, size * (16 if switches.family in ("zh", "hk") else 17))
    edges = tuple(right - 4 - width * (count - 1 - i) for i in range(count))
    return Frame(left, right, edges, labels, left + labels + note, width)


def _text(switches: Switches, line: Line, value: Decimal, sign: str) -> str:
    decimals = switches.decimals if line.decimals is None else line.decimals
    glued = sign if switches.currency_sign == "glued" and line.role in ("total", "per_share") else ""
    return numeral(
        value, decimals, negative=switches.negative, dash=switches.dash, full_width=switches.full_width, sign=glued
    )  # fmt: skip


def _title(pen: Pen, switches: Switches, heads: Heads, frame: Frame) -> None:
    size = switches.size
    middle = (frame.left + frame.right) / 2
    for i, text in enumerate(heads.title):
        if text.startswith("编制单位"):
            pen.text(frame.left, text, size)
        elif switches.family in ("zh", "hk") or switches.years == 2:
            pen.centre(middle, text, size + (2 if i <= 1 else 0.5), bold=i <= 1)
        else:
            pen.text(frame.left, text, size + (2 if i <= 1 else 0.5), bold=i <= 1)
        pen.y -= size * 1.7
    if heads.unit and switches.scale_place == "title":
        if switches.family == "zh":
            pen.right(frame.right, heads.unit, size)
        else:
            pen.centre(middle, heads.unit, size) if switches.years == 2 else pen.text(frame.left, heads.unit, size)
        pen.y -= size * 1.9


def _columns(pen: Pen, switches: Switches, heads: Heads, frame: Frame) -> float:
    """Heads of the columns; gives the upper edge of the table."""
    size = switches.size
    top = pen.y + size * 1.2
    for text, first, last in heads.spans:
        pen.centre((frame.edges[first] + frame.edges[last] - frame.column_width) / 2, text, size, bold=True)
        pen.rule(frame.edges[first] - frame.column_width + 8, frame.edges[last], pen.y - 2)
    if heads.spans:
        pen.y -= size * 1.5
    depth = max(len(column) for column in heads.columns)
    item = {"zh": "项目", "hk": "", "us": "", "ifrs": ""}[switches.family]
    for row in range(depth):
        last = row == depth - 1
        if last and heads.unit and switches.scale_place == "head" and switches.family == "us":
            pen.text(frame.left, heads.unit, size)
        if last and item:
            pen.text(frame.left + 20, item, size, bold=True)
        if last and switches.note_column:
            word = {"zh": "附注", "hk": "附註", "us": "Notes", "ifrs": "Note"}[switches.family]
            pen.right(frame.note_edge, word, size, bold=True)
        for edge, column in zip(frame.edges, heads.columns, strict=True):
            offset = row - (depth - len(column))
            if offset >= 0:
                pen.right(edge, column[offset], size, bold=True)
                if last and not switches.ruled:
                    pen.rule(edge - frame.column_width + 8, edge, pen.y - 2.5)
        pen.y -= size * 1.4
    if heads.unit and switches.scale_place == "head" and switches.family != "us":
        pen.right(frame.right, heads.unit, size)
        pen.y -= size * 1.4
    pen.y -= 2
    return top


def _label_lines(pen: Pen, switches: Switches, line: Line, frame: Frame) -> list[str]:
    indent = switches.size * 0.9 * line.depth
    return pen.wrap(line.label, frame.label_width - indent, switches.size, line.role == "total")


def _row(
    pen: Pen,
    switches: Switches,
    line: Line,
    wrapped: list[str],
    frame: Frame,
    step: float,
    sign: str,
    first_amounts: bool,
) -> list[Placed]:
    size = switches.size
    bold = line.role in ("total", "heading")
    indent = size * 0.9 * line.depth
    base = pen.y
    value_row = 0 if switches.value_on == "first" else len(wrapped) - 1
    for i, text in enumerate(wrapped):
        box = pen.text(frame.left + 2 + indent + (size if i else 0), text, size, bold=bold, y=base - i * step)
        if i == value_row and switches.footnotes and line.role == "line" and line.printed and len(line.label) % 7 == 0:
            pen.text(box[2] + 1, "(1)", size * 0.6, y=base - i * step, rise=size * 0.35)
        if (
            i == value_row
            and switches.leaders
            and line.printed
            and not bold
            and box[2] < frame.left + frame.label_width - 12
        ):
            dots = int((frame.left + frame.label_width - box[2] - 6) / pen.measure(".", size))
            pen.text(box[2] + 3, "." * dots, size, y=base - i * step)
    y = base - value_row * step
    if line.note and switches.note_column:
        pen.right(frame.note_edge, line.note, size, y=y)
    placed = []
    for column, (edge, value) in enumerate(zip(frame.edges, line.printed, strict=False)):
        if value is None:
            continue
        if line.role == "total" and not switches.ruled:
            pen.rule(edge - frame.column_width + 8, edge, y + size * 0.95)
        text = _text(switches, line, value, sign)
        if not text:
            continue
        signed = {"own_column": line.role in ("total", "per_share") or first_amounts, "first_row": first_amounts}
        if sign and signed.get(switches.currency_sign, False) and line.role != "shares":
            pen.text(edge - frame.column_width + size * 0.9, sign, size, bold=bold, y=y)
        box = pen.right(edge, text, size, bold=bold, y=y, red=switches.negative == "red" and value < 0)
        if switches.footnotes and column == 0 and line.role == "line" and len(line.label) % 11 == 3:
            pen.text(box[2] + 0.8, "(2)", size * 0.55, y=y, rise=size * 0.38)
        placed.append(Placed(line, column, Place(pen.page, _round(box), text, line.label)))
    pen.y = base - len(wrapped) * step
    if line.role == "total" and not switches.ruled:
        pen.y -= size * 0.25
    if switches.ruled:
        pen.rule(frame.left, frame.right, pen.y + size * 0.95, 0.3)
    return placed


def _grid(pen: Pen, frame: Frame, top: float) -> None:
    bottom = pen.y + pen.margin * 0.02 + 7
    pen.rule(frame.left, frame.right, top, 0.6)
    for x in (frame.left, frame.left + frame.label_width, *(edge + 4 for edge in frame.edges)):
        pen.upright(x, bottom, top)


def _round(box: BBox) -> BBox:
    return (round(box[0], 2), round(box[1], 2), round(box[2], 2), round(box[3], 2))
