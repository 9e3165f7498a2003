"""Images and descriptions in one space: two towers, a contrastive loss, and retrieval by either.

Pure torch; safetensors only where weights are written or read. ::

    aligner = load_aligner(folder)
    names = classify_by_description(aligner, crops, {"scratch": ["a long thin line ..."], "stain": ["..."]})
    nearest = retrieve(aligner.encode(["a hole that was not drilled"]), aligner.encode(crops), top=5)
"""

from evident_core.errors import MissingExtra

try:
    import torch as torch
except ImportError as error:
    raise MissingExtra(
        "Finding by description needs torch: pip install 'evident[training]'", extra="training"
    ) from error

from evident_core.align.crops import crop_around
from evident_core.align.fit import Pairs, Schedule, fit
from evident_core.align.loss import info_nce
from evident_core.align.model import Aligner, load_aligner, save_aligner
from evident_core.align.retrieval import Named, Ranking, classify_by_description, recall_at, retrieve
from evident_core.align.towers import ImageTower, TextTower, TowerConfig, tokenise

__all__ = [
    "Aligner",
    "ImageTower",
    "Named",
    "Pairs",
    "Ranking",
    "Schedule",
    "TextTower",
    "TowerConfig",
    "classify_by_description",
    "crop_around",
    "fit",
    "info_nce",
    "load_aligner",
    "recall_at",
    "retrieve",
    "save_aligner",
    "tokenise",
]
