"""Boards with defects of known size: numpy and OpenCV only, nothing of evident."""

from .flaws import ADDED, KINDS
from .others import OTHER_KINDS
from .sample import Defect, Sample, generate
from .target import dot_grid

__all__ = ["ADDED", "KINDS", "OTHER_KINDS", "Defect", "Sample", "dot_grid", "generate"]
