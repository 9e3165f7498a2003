"""The service's own figures: what it got right on reports whose line items were read by hand, and what that cost."""

from pathlib import Path

from evident_core import sandbox
from evident_core.errors import EvidentError, InvalidInput
from evident_core.evidence import Frozen
from evident_core.progress import OnProgress, Progress, silent
from evident_core.settings import SandboxSettings
from evident_finance.risk_report.evaluate.gold import GoldItem, match_files, read_gold
from evident_finance.risk_report.evaluate.measurement import Measured, measure
from evident_finance.risk_report.evaluate.tally import Miss, Tally

__all__ = ["Evaluation", "GoldItem", "Measured", "Miss", "evaluate"]


class Evaluation(Frozen):
    """The table of ``evident finance evaluate``: shares are of 1, and None where nothing is there to measure.

    Attributes:
        documents: Documents of ``gold.jsonl`` that have a PDF.
        items: Hand-read line items of those.
        accuracy: Items right in value, sign, scale, currency and year, prior year included.
        silently_wrong: Items given as presented, with confidence of one half or more, and wrong.
        not_presented_honoured: Items that the report does not print and that were not given as printed.
        page_right: Right items whose page is that read by hand.
        box_right: Right items whose box on that page holds the words of the number and no others.
        lines_clean: Printed lines that are a row of the rebuilt statement: label, and each number a cell of its own.
        documents_right: Documents without a miss.
        identities_hold: Accounting identities tried on the statements that leave no more than rounding.
        sentences_verified: Sentences of the reports that the verifier passed; withheld ones count against.
        zh_en_parity: Sentences that stand in both languages and point to the same facts in each.
        seconds: Wall-clock time from the bytes to the verified bilingual reports, all documents.
        cpu_seconds: Processor time of the same.
        seconds_slowest: Wall-clock time of the slowest document.
        peak_mib: The most resident memory of any one document's process, interpreter and libraries included.
        pages: Pages of all documents.
        documents_missing: Documents of ``gold.jsonl`` without a PDF: not counted above.
        files_without_gold: PDFs of which ``gold.jsonl`` does not speak: not read.
        misses: Every item that was not right, or not in its place.
    """

    documents: int
    items: int
    accuracy: float
    silently_wrong: float
    not_presented_honoured: float | None
    page_right: float | None
    box_right: float | None
    lines_clean: float | None
    documents_right: float
    identities_hold: float | None
    sentences_verified: float | None
    zh_en_parity: float | None
    seconds: float
    cpu_seconds: float
    seconds_slowest: float
    peak_mib: float
    pages: int
    documents_missing: tuple[str, ...]
    files_without_gold: tuple[str, ...]
    misses: tuple[Miss, ...]


def evaluate(folder: Path, on_progress: OnProgress = silent, limits: SandboxSettings | None = None) -> Evaluation:
    """Take every PDF of the folder of which its ``gold.jsonl`` speaks down the whole road, and compare.

    Each document is read in a process of its own, so that ``peak_mib`` is one document's and a file that cannot be read
    is a miss of that file alone.

    Raises:
        InvalidInput: No ``gold.jsonl`` is there, a line of it cannot be read, or none of its PDFs is there.
    """
    path = folder / "gold.jsonl"
    if not path.is_file():
        raise InvalidInput(
            f"{folder} has no gold.jsonl; give a folder with PDFs and their hand-read line items.", folder=str(folder)
        )
    gold = read_gold(path)
    files, others = match_files(folder, gold)
    if not files:
        raise InvalidInput(
            f"{folder} has no PDF of which gold.jsonl speaks; put the reports beside it.", folder=str(folder)
        )
    sandbox.preload([__name__, "evident_finance.risk_report.tables"])
    tally, read = Tally(), list[Measured]()
    for done, (doc, file) in enumerate(sorted(files.items())):
        on_progress(Progress(stage="perceive", done=done, total=len(files)))
        names = frozenset(entry.item for entry in gold[doc])
        try:
            measured = sandbox.run(measure, file, names, limits=limits or SandboxSettings())
        except EvidentError as error:
            tally.unread(doc, gold[doc], error.message)
        except sandbox.Defect as defect:
            tally.unread(doc, gold[doc], f"a defect of this program: {defect}")
        else:
            tally.document(doc, gold[doc], measured)
            read.append(measured)
    return _evaluation(tally, read, tuple(sorted(gold.keys() - files.keys())), tuple(file.name for file in others))


def _evaluation(tally: Tally, read: list[Measured], missing: tuple[str, ...], others: tuple[str, ...]) -> Evaluation:
    checks = [fact for each in read for fact in each.facts if fact.name.startswith("check.")]
    sentences = sum(each.sentences for each in read)
    return Evaluation(
        documents=tally.documents,
        items=tally.items,
        accuracy=tally.right / tally.items,
        silently_wrong=tally.silent / tally.items,
        not_presented_honoured=_share(tally.honoured, tally.absent),
        page_right=_share(tally.pages, tally.placed),
        box_right=_share(tally.boxes, tally.placed),
        lines_clean=_share(tally.clean_lines, tally.lines),
        documents_right=tally.documents_right / tally.documents,
        identities_hold=_share(sum(fact.note.startswith("holds") for fact in checks), len(checks)),
        sentences_verified=_share(sum(each.sentences_verified for each in read), sentences),
        zh_en_parity=_share(sum(each.sentences_equal for each in read), sentences),
        seconds=round(sum(each.seconds for each in read), 2),
        cpu_seconds=round(sum(each.cpu_seconds for each in read), 2),
        seconds_slowest=round(max((each.seconds for each in read), default=0.0), 2),
        peak_mib=round(max((each.peak_mib for each in read), default=0.0), 1),
        pages=sum(each.pages for each in read),
        documents_missing=missing,
        files_without_gold=others,
        misses=tuple(tally.misses),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
