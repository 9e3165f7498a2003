"""The service's own figures: what the reader got right on reports whose line items were read by hand."""

import json
import resource
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from evident_core.errors import InvalidInput
from evident_core.evidence import Fact, Frozen, PageBox, Status
from evident_core.progress import OnProgress, Progress, silent

from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive
from evident_finance.risk_report.schema import Facts

CERTAIN = 0.5


class Miss(Frozen):
    """A line item that was not read as the hand-read figures say."""

    document: str
    item: str
    expected: str
    found: str
    why: str


class Evaluation(Frozen):
    """The table of ``evident finance evaluate``: shares are of 1; ``seconds`` is CPU time of reading all documents."""

    documents: int
    items: int
    accuracy: float
    silently_wrong: float
    not_presented_honoured: float
    page_right: float
    box_right: float
    documents_right: float
    seconds: float
    peak_mib: float
    misses: tuple[Miss, ...]


def evaluate(folder: Path, on_progress: OnProgress = silent) -> Evaluation:
    """Read every PDF of the folder and compare with its ``gold.jsonl`` (one line item a line).

    Raises:
        InvalidInput: The folder has no ``gold.jsonl``, or no PDF that it speaks of.
    """
    path = folder / "gold.jsonl"
    if not path.is_file():
        raise InvalidInput(
            f"{folder} has no gold.jsonl; give a folder with PDFs and their hand-read line items.", folder=str(folder)
        )
    gold: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        gold.setdefault(entry["doc"], []).append(entry)
    files = {doc: file for doc in gold if (file := _file(folder, doc)) is not None}
    if not files:
        raise InvalidInput(
            f"{folder} has no PDF of which gold.jsonl speaks; put the reports beside it.", folder=str(folder)
        )
    tally = _Tally()
    for done, (doc, file) in enumerate(sorted(files.items())):
        on_progress(Progress(stage="perceive", done=done, total=len(files)))
        start = time.process_time()
        with ingest(file.read_bytes(), name=file.name) as filing:
            facts = Facts(perceive(filing).facts)
            tally.seconds += time.process_time() - start
            tally.document(doc, gold[doc], facts)
    return tally.evaluation()


def _file(folder: Path, doc: str) -> Path | None:
    return next((file for file in sorted(folder.glob("*.pdf*")) if file.name.startswith(doc)), None)


class _Tally:
    """Counts while documents are read."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.total = self.right = self.silent = self.absent = self.honoured = 0
        self.placed = self.pages = self.boxed = self.boxes = self.documents = self.documents_right = 0
        self.misses: list[Miss] = []

    def document(self, doc: str, entries: list[dict[str, Any]], facts: Facts) -> None:
        before = len(self.misses)
        for entry in entries:
            self._item(doc, entry, facts)
        self.documents += 1
        self.documents_right += len(self.misses) == before

    def _item(self, doc: str, entry: dict[str, Any], facts: Facts) -> None:
        self.total += 1
        end, item = entry["fiscal_year_end"], entry["item"]
        fact = facts.get(item, end)
        if entry["status"] == "not_presented":
            self.absent += 1
            good = fact is None or fact.status is not Status.PRESENTED
            self.honoured += good
            self.right += good
            if not good:
                self.silent += fact is not None and fact.confidence >= CERTAIN
                self._miss(doc, item, "not presented", fact)
            return
        prior = next((f for f in facts.named(item) if f.period and f.period < end and _year_apart(f.period, end)), None)
        wrong = [
            (expected, found)
            for expected, found in ((entry["value"], fact), (entry["prior_value"], prior))
            if expected is not None and not _equal(expected, entry["scale"], found)
        ]
        if wrong:
            expected, found = wrong[0]
            sure = found is not None and found.status is Status.PRESENTED and found.confidence >= CERTAIN
            self.silent += sure
            self._miss(doc, item, str(Decimal(str(expected)) * entry["scale"]), found)
            return
        self.right += 1
        if fact is not None:
            self._place(doc, entry, fact)

    def _place(self, doc: str, entry: dict[str, Any], fact: Fact) -> None:
        where = next((source.where for source in fact.sources if isinstance(source.where, PageBox)), None)
        self.placed += 1
        page = where is not None and where.page == entry["page_1based"]
        self.pages += page
        number = _digits(entry["value"])
        box = page and where is not None and number in _digits_of(where.quote)
        self.boxes += box
        if not (page and box):
            self._miss(doc, entry["item"], f"page {entry['page_1based']}", fact, "place")

    def _miss(self, doc: str, item: str, expected: str, found: Fact | None, why: str = "value") -> None:
        said = "nothing" if found is None else f"{found.value} ({found.status}, {found.confidence:.2f})"
        if why == "place" and found is not None:
            where = found.sources[0].where
            said = f"page {where.page}: {where.quote}" if isinstance(where, PageBox) else str(where)
        self.misses.append(Miss(document=doc, item=item, expected=expected, found=said, why=why))

    def evaluation(self) -> Evaluation:
        return Evaluation(
            documents=self.documents,
            items=self.total,
            accuracy=self.right / self.total,
            silently_wrong=self.silent / self.total,
            not_presented_honoured=self.honoured / self.absent if self.absent else 1.0,
            page_right=self.pages / self.placed if self.placed else 0.0,
            box_right=self.boxes / self.placed if self.placed else 0.0,
            documents_right=self.documents_right / self.documents,
            seconds=round(self.seconds, 2),
            peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            misses=tuple(self.misses),
        )


def _equal(expected: float, scale: int, found: Fact | None) -> bool:
    return found is not None and isinstance(found.value, Decimal) and found.value == Decimal(str(expected)) * scale


def _year_apart(period: str, end: str) -> bool:
    return int(end[:4]) * 12 + int(end[5:7]) - int(period[:4]) * 12 - int(period[5:7]) in (11, 12, 13)


def _digits(value: float) -> str:
    return "".join(c for c in f"{Decimal(str(value)).normalize():f}" if c.isdigit())


def _digits_of(quote: str) -> str:
    return "".join(c for c in quote if c.isdigit())
