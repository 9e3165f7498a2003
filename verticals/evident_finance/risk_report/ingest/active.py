"""What a file brings besides its pages (scripts, attachments, links): counted, never run, opened or followed."""

import io
from collections import Counter
from typing import NamedTuple

import pikepdf


class Remark(NamedTuple):
    """Something a reader should know of the file: a key, a sentence, and where in the file's structure it stands."""

    key: str
    sentence: str
    path: str


_SENTENCES = {
    "/JavaScript": (
        "javascript",
        "The file carries JavaScript in {n} place(s), which was not run.",
        "/Root/Names/JavaScript",
    ),
    "/EmbeddedFiles": (
        "attachments",
        "The file carries {n} attached file(s), which were not opened.",
        "/Root/Names/EmbeddedFiles",
    ),
    "/Launch": ("launch", "The file asks {n} time(s) to start a program, which was not done.", "/Root/Pages"),
    "/URI": ("links", "The file links to {n} address(es) outside; none was followed.", "/Root/Pages"),
    "/SubmitForm": ("forms", "The file asks {n} time(s) to send a form, which was not done.", "/Root/AcroForm"),
    "/XFA": ("xfa", "The file holds an XFA form; only its printed pages were read.", "/Root/AcroForm/XFA"),
}


def active_content(data: bytes) -> list[Remark]:
    """One remark for each kind of active content in the file; none where its structure cannot be read."""
    found: Counter[str] = Counter()
    try:
        with pikepdf.open(io.BytesIO(data), suppress_warnings=True) as document:
            root = document.Root
            _count_action(root.get("/OpenAction"), found)
            _count_actions(root.get("/AA"), found)
            names = root.get("/Names")
            if isinstance(names, pikepdf.Dictionary):
                found["/JavaScript"] += _leaves(names.get("/JavaScript"))
            found["/EmbeddedFiles"] = len(document.attachments)
            form = root.get("/AcroForm")
            found["/XFA"] += isinstance(form, pikepdf.Dictionary) and "/XFA" in form
            for page in document.pages:
                _count_actions(page.obj.get("/AA"), found)
                annotations = page.obj.get("/Annots")
                if isinstance(annotations, pikepdf.Array):
                    for annotation in annotations:
                        if isinstance(annotation, pikepdf.Dictionary):
                            _count_action(annotation.get("/A"), found)
                            _count_actions(annotation.get("/AA"), found)
    except (pikepdf.PdfError, ValueError, RuntimeError, KeyError, TypeError, AttributeError):
        return []  # broken where no page is: pdfium has read the pages, and what cannot be read cannot be run
    return [
        Remark(key, sentence.format(n=found[kind]), path)
        for kind, (key, sentence, path) in _SENTENCES.items()
        if found[kind]
    ]


def _count_actions(actions: object, found: Counter[str]) -> None:
    if isinstance(actions, pikepdf.Dictionary):
        for key in actions.keys():  # noqa: SIM118 - a pikepdf dictionary iterates over its keys only by keys()
            _count_action(actions.get(key), found)


def _count_action(action: object, found: Counter[str]) -> None:
    for _ in range(100):  # /Next chains actions, possibly in a circle
        if not isinstance(action, pikepdf.Dictionary):
            return
        found[str(action.get("/S", ""))] += 1
        action = action.get("/Next")


def _leaves(tree: object, depth: int = 0) -> int:
    """The number of entries in a PDF name tree."""
    if not isinstance(tree, pikepdf.Dictionary) or depth > 20:
        return 0
    names, kids = tree.get("/Names"), tree.get("/Kids")
    here = len(names) // 2 if isinstance(names, pikepdf.Array) else 0
    below = sum(_leaves(kid, depth + 1) for kid in kids) if isinstance(kids, pikepdf.Array) else 0
    return here + below
