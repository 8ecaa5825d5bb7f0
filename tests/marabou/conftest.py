"""Skips where Marabou is not installed, and says so."""

import pytest

from tests.marabou.ask import missing


@pytest.fixture(autouse=True, scope="session")
def _marabou():
    if why := missing():
        pytest.skip(why)
