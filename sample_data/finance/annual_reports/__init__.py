"""Annual reports that the project makes itself: layout variants by the hundred, and two whole reports to look at."""

from .report import FILES, make_report
from .switches import Switches
from .truth import Figure, Place, Truth
from .variant import make_variant

__all__ = ["FILES", "Figure", "Place", "Switches", "Truth", "make_report", "make_variant"]
