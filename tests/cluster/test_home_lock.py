"""One manager a home."""

from pathlib import Path

import pytest

from cluster import home_lock
from evidence.errors import Conflict


def test_a_home_has_one_manager(tmp_path: Path) -> None:
    with home_lock.hold(tmp_path), pytest.raises(Conflict, match="another manager"):
        home_lock.hold(tmp_path)


def test_a_home_whose_manager_ended_is_free(tmp_path: Path) -> None:
    home_lock.hold(tmp_path).close()
    with home_lock.hold(tmp_path) as again:
        assert not again.closed


def test_two_homes_have_two_managers(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with home_lock.hold(tmp_path) as one, home_lock.hold(tmp_path / "other") as other:
        assert one.name != other.name
