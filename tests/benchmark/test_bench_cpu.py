"""The engine beside its peers: a quick run, printed; ``evident bench cpu`` makes the whole one."""

import pytest

from evident_core.bench.cpu import CONTESTANTS, run

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]


def test_engines_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(quick=True)
    with capsys.disabled():
        figures.print()
    assert {row.contestant for row in figures.rows} == {kind.name for kind in CONTESTANTS}
    assert not figures.failures
    assert not [row.note for row in figures.rows if row.state in ("failed", "wrong result")]
