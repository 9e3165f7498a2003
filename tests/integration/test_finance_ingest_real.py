"""Real annual reports: read in full, and what they say of themselves."""

from pathlib import Path

import pypdfium2
import pytest

from evident_finance.risk_report.ingest import ingest

EXPECTED = {
    "3M_2018_10K": ("3M COMPANY", "2018-12-31", "2018", "USD", "1000000", "US-GAAP"),
    "603339_2019_zh": ("四方科技集团股份有限公司", "2019-12-31", "2019", "CNY", "1", "企业会计准则"),
    "AMD_2015_10K": ("ADVANCED MICRO DEVICES, INC.", "2015-12-26", "2015", "USD", "1000000", "US-GAAP"),
    "APPLE_2022_10K": ("Apple Inc.", "2022-09-24", "2022", "USD", "1000000", "US-GAAP"),
    "BESTBUY_2019_10K": ("BEST BUY CO., INC.", "2019-02-02", "2019", "USD", "1000000", "US-GAAP"),
    "NETFLIX_2017_10K": ("Netflix, Inc.", "2017-12-31", "2017", "USD", "1000", "US-GAAP"),
    "SALESFORCE_2023_10K": ("Salesforce, Inc.", "2023-01-31", "2023", "USD", "1000000", "US-GAAP"),
}
NAMES = ("company", "fiscal_year_end", "fiscal_year", "currency", "scale", "standard")


@pytest.mark.parametrize("doc", EXPECTED)
def test_a_real_report_says_what_it_is(doc: str, real_filings: Path) -> None:
    data = (real_filings / f"{doc}.pdf").read_bytes()
    with ingest(data, name="upload.pdf") as filing:
        facts = {fact.name: fact for fact in filing.facts}
        assert tuple(str(facts[f"filing.{name}"].value) for name in NAMES) == EXPECTED[doc]
        for fact in facts.values():
            for source in fact.sources:
                words = "".join(word.text for word in filing.words(source.where.page).words)
                assert "".join(source.where.quote.split()) in words


def test_letters_that_the_engine_drops_are_there(real_filings: Path) -> None:
    """Pages that draw each letter by itself lose the second f of "effective" in pdfium's own text."""
    data = (real_filings / "AMD_2015_10K.pdf").read_bytes()
    document = pypdfium2.PdfDocument(data)
    plain = " ".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    assert "ef ect" in plain
    with ingest(data, name="upload.pdf") as filing:
        text = " ".join(filing.texts)
        assert "ef ect" not in text
        assert text.count("effect") > plain.count("effect")
