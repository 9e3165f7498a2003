"""Bytes to an open document, or the sentence that says why not. Cheap checks come before expensive ones."""

import io
import re
from dataclasses import dataclass, field

import pikepdf
import pypdfium2
from pypdfium2 import raw

from evident_core.errors import InvalidInput, PasswordNeeded, TooLarge, UnsupportedMedia
from evident_finance.risk_report.ingest.active import Remark, active_content
from evident_finance.risk_report.ingest.limits import MAX_FILE_BYTES, MAX_PAGE_POINTS, MAX_PAGES, MIB
from evident_finance.risk_report.ingest.streams import check_streams

_HEADER_REACH = 1024
_ENCRYPTED = re.compile(rb"/Encrypt\b")
_AS_THEY_ARE = {"compress_streams": False, "stream_decode_level": pikepdf.StreamDecodeLevel.none}
"""Streams are copied without being unpacked: they are checked afterwards."""

_QPDF_ERRORS = (pikepdf.PdfError, pikepdf.DataDecodingError, ValueError, RuntimeError)

_OTHER_KINDS = (
    (
        re.compile(rb"\s*(?:<!--.{0,500}-->\s*)?(?:<!doctype html|<html|<head|<body)", re.IGNORECASE | re.DOTALL),
        "a web page (HTML)",
    ),
    (re.compile(rb"\s*<\?xml"), "an XML file"),
    (re.compile(rb"PK\x03\x04"), "a ZIP or Office file"),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "an old Office file"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\x00|MM\x00\*"), "a picture"),
    (re.compile(rb"\{\\rtf"), "an RTF file"),
    (re.compile(rb"%!PS"), "a PostScript file"),
)


@dataclass
class Opened:
    """A document that passed the checks. ``data`` are its bytes as they were opened: decrypted, repaired."""

    data: bytes
    document: pypdfium2.PdfDocument
    remarks: list[Remark] = field(default_factory=list)


def open_pdf(data: bytes, password: str | None = None) -> Opened:
    """Open a PDF from bytes; a broken one is repaired, which is remarked.

    Raises:
        UnsupportedMedia: The bytes are not a PDF.
        InvalidInput: Empty, without pages, or broken beyond repair.
        PasswordNeeded: Encrypted, and the password is missing or wrong.
        TooLarge: More bytes or pages, or larger pages, than are read.
        ResourceExceeded: A part of the file unpacks to more than is read.
    """
    _check_kind(data)
    check_streams(data)
    remarks: list[Remark] = []
    if _ENCRYPTED.search(data):
        data, remark = _decrypt(data, password)
        remarks.append(remark)
        check_streams(data)
    opened = _open(data)
    try:
        _check_pages(opened.document)
    except Exception:
        opened.document.close()
        raise
    opened.remarks[:0] = remarks
    opened.remarks.extend(active_content(opened.data))
    return opened


def _check_kind(data: bytes) -> None:
    if not data:
        raise InvalidInput("The file is empty (0 bytes). Choose the report's PDF again.", bytes=0)
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(
            f"The file has {len(data) / MIB:.0f} MB; at most {MAX_FILE_BYTES // MIB} MB are read.",
            bytes=len(data),
            limit_bytes=MAX_FILE_BYTES,
        )
    if b"%PDF-" in data[:_HEADER_REACH]:
        return
    kind = next((name for pattern, name in _OTHER_KINDS if pattern.match(data[:_HEADER_REACH])), None)
    if kind:
        raise UnsupportedMedia(
            f"The file is {kind}, whatever its name says. Give the annual report as a PDF.", found=kind
        )
    raise UnsupportedMedia("The file is not a PDF: it does not start with %PDF. Give the annual report as a PDF.")


def _decrypt(data: bytes, password: str | None) -> tuple[bytes, Remark]:
    """The same file without encryption, so that its streams can be checked like any other's."""
    plain = io.BytesIO()
    try:
        with pikepdf.open(io.BytesIO(data), password=password or "", suppress_warnings=True) as locked:
            if not locked.is_encrypted:
                return data, Remark("encrypted", "The file mentions encryption and uses none.", "/Encrypt")
            locked.save(plain, encryption=False, **_AS_THEY_ARE)
    except pikepdf.PasswordError as error:
        if password:
            raise PasswordNeeded("The password given does not open the file. Check it and try again.") from error
        raise PasswordNeeded("The file is encrypted. Give its password to have it read.") from error
    except _QPDF_ERRORS as error:
        if "security" in str(error).lower() or "encrypt" in str(error).lower():
            raise InvalidInput(
                "The file is protected by a method other than a password (a certificate or a rights service). "
                "Save it without protection and give that file."
            ) from error
        raise _broken(data) from error
    if password:
        return plain.getvalue(), Remark(
            "encrypted", "The file is encrypted; it was opened with the password given.", "/Encrypt"
        )
    return plain.getvalue(), Remark(
        "owner_password", "The file carries an owner password, which restricts editing; it was only read.", "/Encrypt"
    )


def _open(data: bytes) -> Opened:
    document = _loaded(data)
    if document is not None:
        return Opened(data, document)
    rebuilt, pages = _rebuild(data)
    check_streams(rebuilt)
    document = _loaded(rebuilt)
    if document is None:
        raise _broken(data)
    remark = Remark(
        "repaired",
        f"The file was damaged and has been repaired; {pages} page(s) could be found. "
        "Compare with the original where a page seems to be missing.",
        "/Root/Pages",
    )
    return Opened(rebuilt, document, [remark])


def _loaded(data: bytes) -> pypdfium2.PdfDocument | None:
    """The document, when pdfium finds pages in it and can load the first."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        return None
    try:
        if len(document):
            document[0].close()
            return document
    except pypdfium2.PdfiumError:
        pass
    document.close()
    return None


def _rebuild(data: bytes) -> tuple[bytes, int]:
    """The file rebuilt by qpdf from the objects that can still be found, and how many pages that gave."""
    rebuilt = io.BytesIO()
    try:
        with pikepdf.open(io.BytesIO(data), suppress_warnings=True) as broken:
            pages = len(broken.pages)
            if not pages:
                raise InvalidInput("The PDF has 0 pages. Choose the report's PDF again.", pages=0)
            broken.save(rebuilt, **_AS_THEY_ARE)
    except _QPDF_ERRORS as error:
        raise _broken(data) from error
    return rebuilt.getvalue(), pages


def _broken(data: bytes) -> InvalidInput:
    cut = b"%%EOF" not in data[-2048:]
    how = f"is cut off after {len(data):,} bytes: its end is missing" if cut else "is damaged beyond repair"
    return InvalidInput(f"The PDF {how}. Download or copy it again.", truncated=cut)


def _check_pages(document: pypdfium2.PdfDocument) -> None:
    if len(document) > MAX_PAGES:
        raise TooLarge(
            f"The file has {len(document):,} pages; at most {MAX_PAGES:,} are read. Give the annual report alone.",
            pages=len(document),
            limit_pages=MAX_PAGES,
        )
    size = raw.FS_SIZEF()
    for index in range(len(document)):
        if not raw.FPDF_GetPageSizeByIndexF(document.raw, index, size):
            continue
        if max(size.width, size.height) > MAX_PAGE_POINTS:
            raise TooLarge(
                f"Page {index + 1} measures {size.width:,.0f} x {size.height:,.0f} points; PDF allows "
                f"{MAX_PAGE_POINTS:,.0f} (5 m). Print the report to paper size and give that PDF.",
                page=index + 1,
                width=size.width,
                height=size.height,
            )
