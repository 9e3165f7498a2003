"""A currency is what a report states; where it states none, none is made up, whatever the language."""

from types import SimpleNamespace
from typing import Any

import pytest

from evident_finance.risk_report.perceive.statements import NO_CURRENCY, _currency


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_report_that_states_no_currency_gets_none(language: str) -> None:
    filing: Any = SimpleNamespace(language=language, facts=())
    assert _currency(filing, {}) == NO_CURRENCY
