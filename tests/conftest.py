"""Fixtures that every folder of tests shares."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from evident_finance.risk_report import pipeline
from evident_finance.risk_report.schema import Analysis

ROOT = Path(__file__).parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


def _hide_torchvision_without_operators() -> None:
    """The registry's torchvision fails beside a CPU build of PyTorch, and transformers imports it where it is."""
    if find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]


_hide_torchvision_without_operators()


@pytest.fixture(scope="session")
def real_filings() -> Path:
    """The folder of real annual reports and their hand-read figures; the test is skipped where it is absent."""
    folder = REAL_DATA / "finance"
    if not folder.is_dir():
        pytest.skip(f"real annual reports are not here ({folder.name}/ of the measuring data is absent)")
    return folder


@pytest.fixture(scope="session")
def sample_pdf() -> Path:
    """The English annual report that the project makes itself."""
    (path,) = (ROOT / "sample_data" / "finance").glob("*_10k.pdf")
    return path


@pytest.fixture(scope="session")
def sample_analysis(sample_pdf: Path) -> Analysis:
    """The whole analysis of that report, made once a run."""
    return pipeline.analyse(sample_pdf.read_bytes(), name=sample_pdf.name)


@pytest.fixture(scope="session")
def chinese_analysis() -> Analysis:
    """The whole analysis of the Chinese annual report that the project makes itself."""
    (path,) = (ROOT / "sample_data" / "finance").glob("*_annual_report.pdf")
    return pipeline.analyse(path.read_bytes(), name=path.name)
