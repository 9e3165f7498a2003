"""What a reader should know of the file, as facts ``note.<key>``: each points into the file or at a page."""

from evident_core.evidence import Element, Fact, PageBox, Source
from evident_finance.risk_report.ingest.filing import Filing
from evident_finance.risk_report.ingest.limits import MAX_HIDDEN_NOTES
from evident_finance.risk_report.ingest.opening import Opened
from evident_finance.risk_report.ingest.parties import registrants
from evident_finance.risk_report.ingest.recognition import COMMAND
from evident_finance.risk_report.ingest.triage import Triage, ranges
from evident_finance.risk_report.schema import PageWords


def notes(filing: Filing, opened: Opened, read: Triage, recognised: dict[int, PageWords]) -> tuple[Fact, ...]:
    """All remarks on the file and its pages; hidden text is quoted, with the page and the place."""
    found = [
        _fact(f"note.{remark.key}", remark.sentence, Source(input=filing.input, where=Element(path=remark.path)))
        for remark in opened.remarks
    ]
    about_pages = (
        ("turned", read.turned, "Page(s) {pages} are printed sideways; they are read and shown upright."),
        ("scanned", read.scanned, "Page(s) {pages} are scans; the text that came with them was used."),
        (
            "recognised",
            sorted(recognised),
            "Page(s) {pages} have no usable text; it was recognised in the picture: wholly on the cover and the "
            "statements, elsewhere only the page's head.",
        ),
        (
            "pictures",
            [page for page in read.pictures if page not in recognised],
            f"Page(s) {{pages}} are pictures without text, which was not read. To have it recognised: {COMMAND}",
        ),
        (
            "unreadable",
            [page for page in read.unreadable if page not in recognised],
            "The fonts of page(s) {pages} do not tell which characters they print; their text was not used. "
            f"To have it recognised in the pages' pictures: {COMMAND}",
        ),
        ("doubled", read.doubled, "Page(s) {pages} carry their text twice; it was read once."),
    )
    for key, pages, sentence in about_pages:
        if pages:
            found.append(_fact(f"note.{key}", sentence.format(pages=ranges(pages)), _page(filing, pages[0])))
    named = registrants(filing.texts)
    if len(named) > 1:
        sentence = (
            f"The file combines the reports of {len(named)} registrants ({', '.join(named)}); the statements read are "
            "those of the first unless they say otherwise."
        )
        found.append(_fact("note.combined", sentence, _page(filing, max(named.values()))))
    for number, (page, run) in enumerate(read.hidden[:MAX_HIDDEN_NOTES], start=1):
        where = PageBox(page=page, bbox=run.box, quote=run.text[:500])
        found.append(
            Fact(
                id=f"note.hidden_text#{number}",
                name="note.hidden_text",
                value=run.text[:500],
                sources=(Source(input=filing.input, where=where),),
                note=f"Text on page {page} is {run.why}: it was not read as part of the report.",
            )
        )
    if len(read.hidden) > MAX_HIDDEN_NOTES:
        pages = sorted({page for page, _ in read.hidden})
        sentence = f"{len(read.hidden)} pieces of text on page(s) {ranges(pages)} are hidden; none was read."
        found.append(_fact("note.hidden_texts", sentence, _page(filing, pages[0])))
    return tuple(found)


def _fact(key: str, sentence: str, source: Source) -> Fact:
    return Fact(id=key, name=key, value=sentence, sources=(source,))


def _page(filing: Filing, page: int) -> Source:
    width, height = filing.page_size(page)
    return Source(input=filing.input, where=PageBox(page=page, bbox=(0.0, 0.0, width, height)))
