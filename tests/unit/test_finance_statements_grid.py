"""Tables rebuilt from words with places: columns, wrapped labels, notes, unnamed totals, two halves of a page."""

from datetime import date
from decimal import Decimal

from evident_finance.risk_report.perceive.drafts import Draft, drafts
from evident_finance.risk_report.perceive.grid import Grid, grid_of
from evident_finance.risk_report.perceive.lines import parts_of
from evident_finance.risk_report.schema import PageWords, Word

LINE = 12.0


def page_of(*rows: tuple[tuple[float, str], ...], number: int = 1) -> PageWords:
    """A page: each row is phrases with where they begin (negative: where they end), words six points a letter."""
    words: list[Word] = []
    for line, row in enumerate(rows):
        top = 80 + line * LINE
        for place, text in row:
            left = place if place >= 0 else -place - 6.0 * len(text)
            for word in text.split(" "):
                words.append(Word(text=word, bbox=(left, top, left + 6.0 * len(word), top + 9), size=9))
                left += 6.0 * (len(word) + 0.4)
    return PageWords(page=number, width=612, height=792, words=tuple(words))


def grid(*rows: tuple[tuple[float, str], ...]) -> Grid:
    found = grid_of(parts_of(page_of(*rows))[0])
    assert found is not None
    return found


def values(grid: Grid) -> list[tuple[str, list[Decimal | None]]]:
    return [(row.label, [cell.value if cell else None for cell in row.cells]) for row in grid.rows]


def test_numbers_that_end_together_are_a_column_and_currency_signs_are_none() -> None:
    read = grid(
        ((50, "Net sales"), (340, "$"), (-400, "32,765"), (440, "$"), (-500, "31,657")),
        ((50, "Gain on sale"), (-404, "(547)"), (-504, "(586)")),
        ((50, "Other"), (-400, "—"), (-500, "144")),
    )
    assert values(read) == [
        ("Net sales", [Decimal(32765), Decimal(31657)]),
        ("Gain on sale", [Decimal(-547), Decimal(-586)]),
        ("Other", [None, Decimal(144)]),
    ]
    assert read.rows[2].cells[0] is not None


def test_a_note_column_and_numbers_inside_a_label_are_not_values() -> None:
    read = grid(
        ((260, "Note"), (-400, "2019"), (-500, "2018")),
        ((50, "Receivables net of $95 and $103"), (-280, "5"), (-400, "5,020"), (-500, "4,911")),
        ((50, "Inventories"), (-286, "12"), (-400, "4,366"), (-500, "4,034")),
        ((50, "Goodwill"), (-400, "1,000"), (-500, "1,001")),
    )
    assert [len(row.cells) for row in read.rows] == [2, 2, 2]
    assert values(read)[0] == ("Receivables net of $95 and $103", [Decimal(5020), Decimal(4911)])


def test_a_label_that_goes_on_in_the_next_line_is_one_label_wherever_its_numbers_stand() -> None:
    read = grid(
        ((50, "Additions to property, net of non-cash capital"),),
        ((50, "expenditures"), (-400, "(819)"), (-500, "(688)")),
        ((50, "Proceeds from sale of"), (-400, "1,234"), (-500, "2,345")),
        ((50, "businesses"),),
        ((50, "Total"), (-400, "3,000"), (-500, "4,000")),
    )
    assert [label for label, _ in values(read)] == [
        "Additions to property, net of non-cash capital expenditures",
        "Proceeds from sale of businesses",
        "Total",
    ]


def statement(*rows: tuple[tuple[float, str], ...]) -> Draft:
    page = page_of(*rows)
    (draft,) = drafts([1], lambda _: page, None)
    return draft


BALANCE = (
    ((200, "Consolidated Balance Sheets"),),
    ((50, "(in thousands)"), (-400, "2016"), (-500, "2017")),
    ((200, "December 31,"),),
    ((50, "Current assets:"),),
    ((60, "Cash and cash equivalents"), (-400, "100"), (-500, "200")),
    ((60, "Inventories"), (-400, "50"), (-500, "70")),
    ((-400, "150"), (-500, "270")),
    ((50, "Goodwill"), (-400, "350"), (-500, "330")),
    ((50, "Total"), (-400, "500"), (-500, "600")),
    ((50, "Current liabilities:"),),
    ((60, "Accounts payable"), (-400, "120"), (-500, "130")),
    ((50, "Retained earnings"), (-400, "380"), (-500, "470")),
    ((50, "Total"), (-400, "500"), (-500, "600")),
)


def test_oldest_first_columns_take_their_day_from_the_spanning_head() -> None:
    draft = statement(*BALANCE)
    assert draft.head.periods == (date(2016, 12, 31), date(2017, 12, 31))
    assert draft.scale == 1000


def test_totals_without_a_name_are_named_by_what_they_add_up() -> None:
    draft = statement(*BALANCE)
    found = {match.item: draft.rows[match.row].cells[1] for match in draft.matched}
    assert found["total_current_assets"] is not None
    assert found["total_current_assets"].value == 270
    assert found["total_assets"] is not None
    assert draft.rows[next(m.row for m in draft.matched if m.item == "total_assets")].bbox[1] < 200
    assert "total_liabilities_and_equity" in found


def test_the_group_is_told_from_its_parent_where_both_share_a_table() -> None:
    draft = statement(
        ((200, "合并及母公司资产负债表"),),
        ((330, "合并"), (480, "母公司")),
        ((-320, "2019年12月31日"), (-400, "2018年12月31日"), (-480, "2019年12月31日"), (-560, "2018年12月31日")),
        ((50, "货币资金"), (-320, "1,000"), (-400, "900"), (-480, "600"), (-560, "500")),
        ((50, "资产总计"), (-320, "5,000"), (-400, "4,900"), (-480, "3,600"), (-560, "3,500")),
    )
    assert draft.head.periods == (date(2019, 12, 31), date(2018, 12, 31))
    assert [cell.value if cell else None for cell in draft.rows[1].cells] == [5000, 4900]


def test_a_statement_in_two_halves_is_read_left_then_right() -> None:
    rows = [
        (
            (50, f"Asset {name}"),
            (-200, f"{n},100"),
            (-260, f"{n},200"),
            (310, f"Debt {name}"),
            (-450, f"{n},300"),
            (-510, f"{n},400"),
        )
        for n, name in enumerate("abcdefghijkl", start=1)
    ]
    left, right = parts_of(page_of(((200, "Consolidated Balance Sheets"),), *rows))
    assert left[0].text == "Consolidated Balance Sheets"
    assert [line.text.split()[0] for line in left[1:]] == ["Asset"] * 12
    assert [line.text.split()[0] for line in right] == ["Debt"] * 12
