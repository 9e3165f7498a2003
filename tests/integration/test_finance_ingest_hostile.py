"""Each kind of bad file gets its own sentence; what can be read is read, and nothing hidden is."""

import importlib.util
import io
import resource
from pathlib import Path

import pytest
from PIL import Image

import hostile_pdfs as make
from evident_core.errors import (
    EvidentError,
    InvalidInput,
    MissingExtra,
    NotFound,
    NotThisService,
    PasswordNeeded,
    ResourceExceeded,
    TooLarge,
    UnsupportedMedia,
)
from evident_finance.risk_report.ingest import ingest, page_size, recognition, render_page

REFUSED = {
    "empty": (lambda: b"", InvalidInput, "empty"),
    "web page": (lambda: b"<!DOCTYPE html><html><body>10-K</body></html>", UnsupportedMedia, "web page"),
    "word file": (lambda: b"PK\x03\x04" + bytes(100), UnsupportedMedia, "Office"),
    "noise": (lambda: bytes(range(256)) * 8, UnsupportedMedia, "not a PDF"),
    "no pages": (make.without_pages, InvalidInput, "0 pages"),
    "only the header": (lambda: b"%PDF-1.7\n", InvalidInput, "cut off"),
    "truncated": (lambda: make.report()[:700], InvalidInput, "cut off"),
    "password": (lambda: make.encrypted("secret"), PasswordNeeded, "password"),
    "quarterly": (
        lambda: make.cover_only("FORM 10-Q", "Quarterly report"),
        NotThisService,
        "10-Q",
    ),
    "current": (lambda: make.cover_only("FORM 8-K", "CURRENT REPORT"), NotThisService, "8-K"),
    "half-year": (lambda: make.cover_only("Half-Year Report 2023", "Quillmere plc"), NotThisService, "half-year"),
    "slides": (make.slides, NotThisService, "slides"),
    "letter": (lambda: make.document(lambda c: make.lines(c, ("Dear Sir or Madam",))), NotThisService, "balance sheet"),
    "bomb": (make.bomb, ResourceExceeded, "unpacks"),
    "bomb in a bomb": (make.bomb_in_bomb, ResourceExceeded, "unpacks"),
    "text operators": (make.text_operators, ResourceExceeded, "pieces of text"),
    "70 m page": (make.huge_page, TooLarge, "200,000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence_of_its_own(case: str) -> None:
    build, kind, words = REFUSED[case]
    with pytest.raises(kind) as refused:
        ingest(build(), name="report.pdf")
    assert type(refused.value) is kind
    assert words in refused.value.message
    assert refused.value.message.endswith(".")


def test_the_sentences_differ() -> None:
    sentences = set()
    for case in REFUSED.keys() - {"bomb in a bomb"}:
        with pytest.raises(EvidentError) as refused:
            ingest(REFUSED[case][0](), name="report.pdf")
        sentences.add(refused.value.message)
    assert len(sentences) == len(REFUSED) - 1


def test_a_bomb_costs_little_memory() -> None:
    data = make.bomb()
    assert len(data) < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ResourceExceeded):
        ingest(data, name="bomb.pdf")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_an_encrypted_file_is_read_with_its_password_and_its_pages_rendered() -> None:
    data = make.encrypted("secret")
    with ingest(data, name="locked.pdf", password="secret") as filing:
        assert "note.encrypted" in notes(filing)
        assert filing.texts[1].startswith("CONSOLIDATED BALANCE SHEETS")
    with pytest.raises(PasswordNeeded, match="does not open"):
        ingest(data, name="locked.pdf", password="wrong")
    assert render_page(data, 1, 1.0, password="secret").startswith(b"\x89PNG")


def test_an_owner_password_is_noted_and_the_file_read() -> None:
    with ingest(make.encrypted(""), name="r.pdf") as filing:
        assert "note.owner_password" in notes(filing)
        assert filing.page_count == 3


@pytest.mark.parametrize("build", [make.bomb, make.bomb_in_bomb], ids=["once", "twice"])
def test_a_bomb_behind_an_owner_password_is_found(build) -> None:
    data = make.locked(build())
    with pytest.raises(ResourceExceeded):
        ingest(data, name="bomb.pdf")


def test_broken_cross_references_are_rebuilt() -> None:
    with ingest(make.without_cross_references(), name="r.pdf") as filing:
        assert filing.page_count == 3
        assert "Total assets 48,213" in filing.texts[1]


def test_a_long_and_heavy_report_is_read() -> None:
    data = make.many_pages()
    assert len(data) > 50_000_000
    with ingest(data, name="long.pdf") as filing:
        assert filing.page_count == 667
        assert "Page of prose 663" in filing.texts[666]
        assert "note.attachments" in notes(filing)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_boxes_of_turned_pages_are_where_the_page_shows_them(degrees: int) -> None:
    """The page is displayed upright again when its text is sideways, whoever asked for the turn."""
    data = make.turned(degrees)
    with ingest(data, name="r.pdf") as filing:
        assert_ink_is_in_boxes(filing, 2)
        assert "Total" in {word.text for word in filing.words(2).words}


def test_a_page_printed_sideways_is_shown_upright_with_its_boxes() -> None:
    data = make.sideways()
    with ingest(data, name="r.pdf") as filing:
        assert "note.turned" in notes(filing)
        assert filing.page_size(2) == pytest.approx((842, 595), abs=1)
        assert_ink_is_in_boxes(filing, 2)
        rendered = Image.open(io.BytesIO(render_page(data, 2, 1.0)))
        assert rendered.size == pytest.approx(filing.page_size(2), abs=1)
        assert page_size(data, 2) == filing.page_size(2)


def test_boxes_of_a_cropped_page_count_from_what_is_shown() -> None:
    with ingest(make.cropped(), name="r.pdf") as filing, ingest(make.report(), name="r.pdf") as whole:
        assert_ink_is_in_boxes(filing, 2)
        cut, full = filing.words(2).words[-1], whole.words(2).words[-1]
        assert cut.text == full.text
        assert full.bbox[0] - cut.bbox[0] == pytest.approx(30, abs=0.1)
        assert full.bbox[1] - cut.bbox[1] == pytest.approx(20, abs=0.1)


HIDING = (make.white_on_white, make.invisible, make.off_page, make.tiny, make.covered, make.transparent)


@pytest.mark.parametrize("hide", HIDING, ids=lambda hide: hide.__name__)
def test_hidden_text_is_quoted_in_a_note_and_read_nowhere_else(hide) -> None:
    with ingest(make.with_hidden(hide), name="r.pdf") as filing:
        [note] = [fact for fact in filing.notes if fact.name == "note.hidden_text"]
        assert note.value == make.INJECTED
        assert note.sources[0].where.page == 4
        assert "Ignore" not in filing.texts[3]
        assert "Ignore" not in {word.text for word in filing.words(4).words}
        assert "This line is printed for everybody." in filing.texts[3]


def test_white_letters_on_a_dark_head_are_read() -> None:
    with ingest(make.with_hidden(make.white_on_dark), name="r.pdf") as filing:
        assert "Amounts in the head of a table" in filing.texts[3]
        assert not [fact for fact in filing.notes if fact.name == "note.hidden_text"]


def test_a_text_layer_printed_twice_is_read_once() -> None:
    with ingest(make.doubled(), name="r.pdf") as filing, ingest(make.report(), name="r.pdf") as once:
        assert filing.texts[1].count("Total assets") == 1
        assert [word.text for word in filing.words(2).words] == [word.text for word in once.words(2).words]


def test_active_content_is_noted() -> None:
    with ingest(make.active(), name="r.pdf") as filing:
        assert {"note.javascript", "note.attachments", "note.links", "note.launch"} <= set(notes(filing))


def test_a_font_without_characters_is_said_and_its_text_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "is_installed", lambda: False)
    with ingest(make.no_unicode(), name="r.pdf") as filing:
        assert "pip install 'evident[ocr]'" in notes(filing)["note.unreadable"]
        assert filing.texts[1] == ""


def test_a_combined_filing_is_noted_with_the_names() -> None:
    other = (*make.COVER[:-2], "Brackwater Power Company", make.COVER[-1])
    with ingest(make.report(lambda c: make.lines(c, other)), name="r.pdf") as filing:
        assert "Quillmere Holdings, Inc., Brackwater Power Company" in notes(filing)["note.combined"]
        [company] = [fact.value for fact in filing.facts if fact.name == "filing.company"]
        assert company == "Quillmere Holdings, Inc."
    with ingest(make.report(), name="r.pdf") as filing:
        assert "note.combined" not in notes(filing)


def test_a_name_is_for_display_only() -> None:
    for given, shown in (("../../etc/passwd", "passwd"), ("C:\\tmp\\a\x00b.pdf", "ab.pdf"), ("/", "report.pdf")):
        with ingest(make.report(), name=given) as filing:
            assert filing.input.name == shown


def test_pictures_without_the_extra_say_how_to_have_them_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "is_installed", lambda: False)
    with pytest.raises(MissingExtra, match="evident\\[ocr\\]"):
        ingest(make.picture_only([["Balance sheet", "2023", "2022"]], None), name="scan.pdf")


CJK = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
TABLE = [
    ["合并资产负债表", "2023年", "2022年"],
    ["货币资金", "905,402,299.44", "627,041,535.44"],
    ["应收账款", "35,667,317.09", "50,873,345.79"],
    ["存货", "(1,204,311.00)", "98,760.50"],
    ["资产总计", "2,464,948,703.85", "2,051,223,456.86"],
]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("rapidocr") is None, reason="the extra ocr is not installed")
@pytest.mark.skipif(not CJK.exists(), reason="Debian's fonts-noto-cjk is not installed")
def test_a_scanned_ruled_chinese_table_is_read_with_its_places() -> None:
    with ingest(make.picture_only(TABLE, str(CJK)), name="scan.pdf") as filing:
        words = filing.words(1)
        assert words.recognised
        assert [word.text for word in words.words] == [cell for row in TABLE for cell in row]
        assert filing.texts[0].splitlines()[1] == "货币资金 905,402,299.44 627,041,535.44"
        assert "note.recognised" in notes(filing)
        assert filing.locate(1, ["2,464,948,703.85"])[0] == pytest.approx((273, 171, 370, 190), abs=12)
        assert filing.language == "zh"


def test_pages_that_are_not_there() -> None:
    with ingest(make.report(), name="r.pdf") as filing, pytest.raises(NotFound, match="1 to 3"):
        filing.words(4)
    with pytest.raises(NotFound, match="1 to 3"):
        render_page(make.report(), 9, 1.0)


def notes(filing) -> dict[str, str]:
    return {fact.name: str(fact.value) for fact in filing.notes}


def assert_ink_is_in_boxes(filing, page: int) -> None:
    """Every word's box holds ink in the rendered page, and almost no ink lies outside of all boxes."""
    scale = 2
    picture = Image.open(io.BytesIO(filing.render(page, scale))).convert("L").point(lambda v: 255 if v < 128 else 0)
    total = picture.histogram()[255]
    for word in filing.words(page).words:
        box = tuple(round(side * scale) for side in word.bbox)
        assert picture.crop(box).getbbox(), f"no ink where {word.text!r} is said to stand"
        picture.paste(0, (box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2))
    assert total
    assert picture.histogram()[255] < 0.02 * total
