"""Hand-read line items: ``gold.jsonl`` as people write it, and the PDF that each of its documents is."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen

_SCALE_WORDS = {
    "": 1,
    "units": 1,
    "ones": 1,
    "元": 1,
    "thousands": 1_000,
    "千元": 1_000,
    "万元": 10_000,
    "millions": 1_000_000,
    "百万元": 1_000_000,
    "亿元": 100_000_000,
    "billions": 1_000_000_000,
}


class GoldItem(Frozen):
    """One line item as a person read it; both values are in ``scale``."""

    doc: str
    item: str
    value: Decimal | None
    prior_value: Decimal | None = None
    unit: str | None = None
    scale: int = 1
    fiscal_year_end: str | None = None
    page: int | None = None
    line: str | None = None
    presented: bool = True


def read_gold(path: Path) -> dict[str, list[GoldItem]]:
    """The line items of each document, in the file's order. Keys that are not known are left alone.

    Raises:
        InvalidInput: A line is not a JSON object that names a document and an item; the message gives its number.
    """
    gold: dict[str, list[GoldItem]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            entry = _entry(line, number)
            gold.setdefault(entry.doc, []).append(entry)
    return gold


def match_files(folder: Path, docs: Iterable[str]) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """The PDF of each document that has one, and the PDFs that no document claims.

    A document is the file's name without its ending (which may be an odd one, ``.pdfg``), or the start of it.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file() and re.search(r"(?i)\.pdf\w?$", file.name))
    stems = {file: re.sub(r"(?i)\.pdf\w?$", "", file.name).casefold() for file in files}
    found: dict[str, Path] = {}
    for doc in docs:
        name = re.sub(r"(?i)\.pdf\w?$", "", doc).casefold()
        whole = next((file for file in files if stems[file] == name), None)
        start = next((file for file in files if stems[file].startswith(name)), None)
        if file := whole or start:
            found[doc] = file
    claimed = set(found.values())
    return found, tuple(file for file in files if file not in claimed)


def _entry(line: str, number: int) -> GoldItem:
    try:
        raw = json.loads(line, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"Line {number} of gold.jsonl is not JSON ({error.msg}); correct it.", line=number
        ) from error
    if not isinstance(raw, Mapping) or not isinstance(raw.get("doc"), str) or not isinstance(raw.get("item"), str):
        raise InvalidInput(f"Line {number} of gold.jsonl names no document and item; give both as text.", line=number)
    value = _number(raw.get("value"), number)
    page = raw.get("page_1based", raw.get("page"))
    return GoldItem(
        doc=raw["doc"],
        item=raw["item"],
        value=value,
        prior_value=_number(raw.get("prior_value"), number),
        unit=raw.get("unit") if isinstance(raw.get("unit"), str) else None,
        scale=_scale(raw.get("scale"), number),
        fiscal_year_end=str(raw["fiscal_year_end"])[:10] if raw.get("fiscal_year_end") else None,
        page=int(page) if isinstance(page, int | Decimal | str) and str(page).strip().isdigit() else None,
        line=raw.get("evidence_line") if isinstance(raw.get("evidence_line"), str) else None,
        presented=raw.get("status", "presented" if value is not None else "not_presented") != "not_presented",
    )


def _number(raw: Any, number: int) -> Decimal | None:
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return None
    text = re.sub(r"[\s,，$€£¥]", "", str(raw))
    if match := re.fullmatch(r"[(（](.*)[)）]", text):
        text = f"-{match[1]}"
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(
            f"Line {number} of gold.jsonl gives {raw!r} as a value; give a number.", line=number
        ) from error


def _scale(raw: Any, number: int) -> int:
    if raw is None:
        return 1
    text = str(raw).strip().lower().replace(",", "")
    if text in _SCALE_WORDS or f"{text}s" in _SCALE_WORDS:
        return _SCALE_WORDS.get(text) or _SCALE_WORDS[f"{text}s"]
    try:
        return int(Decimal(text))
    except InvalidOperation as error:
        raise InvalidInput(
            f"Line {number} of gold.jsonl gives {raw!r} as a scale; give 1, 1000 or 1000000.", line=number
        ) from error
