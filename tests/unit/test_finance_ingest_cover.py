"""What a report says of itself, in the wordings of 10-K, IFRS, Chinese and Hong Kong reports."""

from datetime import date
from types import SimpleNamespace

import pytest

from evident_core.errors import NotThisService
from evident_core.evidence import InputRef, Status
from evident_finance.risk_report.ingest.cover import cover_facts
from evident_finance.risk_report.ingest.dates import dates
from evident_finance.risk_report.ingest.kind import check_kind
from evident_finance.risk_report.ingest.parties import registrants
from evident_finance.risk_report.ingest.triage import Triage, is_unreadable, language_of, ranges

ROWS = "\n".join(f"Line {n} {n * 1234567:,} {n * 1134567:,}" for n in range(1, 15))


def facts(*texts: str) -> dict[str, str | None]:
    filing = SimpleNamespace(
        texts=texts,
        language=language_of(texts),
        page_count=len(texts),
        input=InputRef(sha256="0" * 64, name="2031-12-31 Wrongname Inc. 10-K.pdf"),
        page_size=lambda page: (595.0, 842.0),
        locate=lambda page, quotes: [(1.0, 1.0, 2.0, 2.0) if q in texts[page - 1] else None for q in quotes],
    )
    found = cover_facts(filing)  # type: ignore[arg-type]
    for fact in found:
        if fact.value is not None:
            where = fact.sources[0].where
            assert "".join(where.quote.split()) in "".join(texts[where.page - 1].split())
            assert where.bbox == (1.0, 1.0, 2.0, 2.0)
    return {fact.name.removeprefix("filing."): None if fact.value is None else str(fact.value) for fact in found}


def test_a_ten_k() -> None:
    cover = (
        "FORM 10-K\n(Mark One)\nx ANNUAL REPORT PURSUANT TO SECTION 13\nFor the fiscal year ended January 1, 2022 or\n"
        "For the transition period from to\n____________ QUILLMERE STORES, INC.\n(Exact name of registrant as"
    )
    balance = f"QUILLMERE STORES, INC.\nCONSOLIDATED BALANCE SHEETS\n(In thousands, except par value)\n$ {ROWS}"
    audit = (
        "Report of Independent Registered Public Accounting Firm\nTo the Shareholders\nin conformity with U.S. "
        "generally accepted accounting principles.\n/s/ Deloitte & Touche LLP\nSeattle"
    )
    assert facts(cover, balance, audit) == {
        "company": "QUILLMERE STORES, INC.",
        "form": "10-K",
        "fiscal_year_end": "2022-01-01",
        "fiscal_year": "2021",
        "standard": "US-GAAP",
        "currency": "USD",
        "scale": "1000",
        "auditor": "Deloitte & Touche LLP",
    }


def test_an_ifrs_report() -> None:
    audit = (
        "Independent auditor’s report to the members of Brackwater plc\nprepared in accordance with International "
        "Financial Reporting Standards\nKPMG LLP\n"
    )
    balance = f"Consolidated statement of financial position\nas at 31 March 2023\nNote £m 31 March 2022\n{ROWS}"
    income = f"Consolidated income statement\nfor the year ended 31 March 2023\n£m £m\n{ROWS}"
    found = facts("Brackwater plc\nAnnual Report 2023", audit, balance, income)
    assert found["company"] == "Brackwater plc"
    assert (found["form"], found["standard"]) == ("annual report", "IFRS")
    assert (found["fiscal_year_end"], found["fiscal_year"]) == ("2023-03-31", "2023")
    assert (found["currency"], found["scale"]) == ("GBP", "1000000")


def test_a_mainland_chinese_report() -> None:
    balance = f"合并资产负债表\n2023 年 12 月 31 日\n编制单位：澄屿制造股份有限公司\n单位：万元 币种：人民币\n{ROWS}"
    found = facts("澄屿制造股份有限公司\n2023 年年度报告", "按照企业会计准则的规定编制", balance + "流动资产" * 400)
    assert found["company"] == "澄屿制造股份有限公司"
    assert (found["form"], found["standard"]) == ("年度报告", "企业会计准则")
    assert (found["fiscal_year_end"], found["fiscal_year"]) == ("2023-12-31", "2023")
    assert (found["currency"], found["scale"]) == ("CNY", "10000")


def test_a_hong_kong_report() -> None:
    balance = f"綜合財務狀況表\n於二零二三年三月三十一日\n千港元 千港元\n{ROWS}"
    audit = "獨立核數師報告 根據香港財務報告準則 截至二零二三年三月三十一日止年度"
    found = facts("海澄控股有限公司\n年報 2023", audit, balance + "流動資產" * 400)
    assert found["company"] == "海澄控股有限公司"
    assert (found["form"], found["standard"]) == ("年度报告", "HKFRS")
    assert found["fiscal_year_end"] == "2023-03-31"
    assert (found["currency"], found["scale"]) == ("HKD", "1000")


def test_a_bare_dollar_is_the_one_that_the_report_names() -> None:
    balance = f"Consolidated balance sheets\n(in millions)\n$ {ROWS}"
    assert facts("Annual Report", balance)["currency"] == "USD"
    said = "All amounts are presented in Canadian dollars unless stated otherwise."
    assert facts("Annual Report", said, balance)["currency"] == "CAD"


def test_what_is_not_said_is_not_presented_whatever_the_file_is_called() -> None:
    found = facts("Annual report", "Nothing of interest")
    assert {name for name, value in found.items() if value is not None} == {"form"}


def test_millions_before_the_shares_in_thousands() -> None:
    head = "CONSOLIDATED STATEMENTS OF OPERATIONS\n(In millions, except number of shares, which are in thousands)\n"
    assert facts("FORM 10-K", head + ROWS)["scale"] == "1000000"


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("December 31, 2018", date(2018, 12, 31)),
        ("Sept. 24, 2022", date(2022, 9, 24)),
        ("31 March 2023", date(2023, 3, 31)),
        ("１２月 2019年12月31日", date(2019, 12, 31)),
        ("二〇一九年十二月三十一日", date(2019, 12, 31)),
        ("二零二二年六月三十日", date(2022, 6, 30)),
    ],
)
def test_dates(printed: str, value: date) -> None:
    assert [each.value for each in dates(f"ended {printed}.")] == [value]


def test_a_date_that_no_calendar_has_is_none() -> None:
    assert list(dates("February 30, 2020 and 2021年13月1日")) == []


def test_page_ranges() -> None:
    assert ranges([3]) == "3"
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


def test_letters_moved_along_the_alphabet_are_no_text() -> None:
    text = "The accompanying notes are an integral part of these consolidated financial statements. " * 5
    moved = "".join(chr(ord(c) - 29) if c.islower() else c for c in text)
    assert not is_unreadable(text)
    assert is_unreadable(moved) or is_unreadable("".join(chr((ord(c) - 97 + 9) % 26 + 97) for c in text if c.islower()))
    assert is_unreadable("\ue021\ue022\ue023" * 20)
    assert not is_unreadable("Die Anhangangaben sind Bestandteil des Konzernabschlusses und der Lageberichte. " * 5)
    assert not is_unreadable("合并资产负债表 货币资金 " * 50)


def test_only_what_calls_itself_something_else_is_refused() -> None:
    balance = "CONSOLIDATED BALANCE SHEETS\n" + ROWS
    for cover in (
        "FORM 10-K\nQuarterly report data inside",
        "Annual Report\nInterim report dates",
        "Quillmere in numbers",
    ):
        check_kind(Triage(texts=[cover, balance, balance], sizes=[(595, 842)] * 3))
    for cover in ("FORM 10-Q", "2023 年半年度报告", "2023年第三季度报告", "SCHEDULE 14A INFORMATION", "招股说明书"):
        with pytest.raises(NotThisService, match="seems to be"):
            check_kind(Triage(texts=[cover, balance, balance], sizes=[(595, 842)] * 3))


def test_registrants_of_a_combined_cover() -> None:
    cover = "Alder Corp.\n(Exact name of registrant)\n1-2\nBirch Power Co.\n(Exact name of registrant)"
    assert registrants([cover]) == {"Alder Corp.": 1, "Birch Power Co.": 1}


def test_not_presented_facts_have_no_source() -> None:
    filing = SimpleNamespace(texts=("x",), language="en", page_count=1, input=None)
    assert all(fact.status is Status.NOT_PRESENTED and not fact.sources for fact in cover_facts(filing))  # type: ignore[arg-type]
