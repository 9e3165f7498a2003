"""Fixtures that every folder of tests shares."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_filings() -> Path:
    """The folder of real annual reports and their hand-read figures; the test is skipped where it is absent."""
    folder = REAL_DATA / "finance"
    if not folder.is_dir():
        pytest.skip(f"real annual reports are not here ({folder.name}/ of the measuring data is absent)")
    return folder
