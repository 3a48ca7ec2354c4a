from collections.abc import Iterator

import pytest

from tests.cluster import bound, small


@pytest.fixture(autouse=True)
def _notaries() -> Iterator[None]:
    """End what a test opened: a log has one writer."""
    yield
    bound.close()
    small.close_notaries()
