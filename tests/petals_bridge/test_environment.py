"""The environment that Petals lives in: what it can import, and what is said without it."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.settings import Settings
from deploy import petals
from evidence.errors import NotInstalled
from petals_bridge import local_swarm, versions
from tests import swarm


def test_without_the_environment_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled) as caught:
        versions.require(tmp_path / "bin" / "python")
    assert caught.value.cure == "make petals"


def test_an_environment_whose_set_up_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / versions.STAMP).write_bytes(b"")
    with pytest.raises(NotInstalled):
        versions.require(tmp_path / "bin" / "python")


def test_another_python_is_told_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    with pytest.raises(NotInstalled, match=r"Python 3\.11") as caught:
        versions.require(Settings().petals_python)
    assert caught.value.found == "3.13"


def test_every_package_is_pinned_by_hash_but_pytorch_which_is_pinned() -> None:
    lines = petals.LOCK.read_text().splitlines()
    pins = [line for line in lines if line[:1].isalnum()]
    assert len(pins) > 80
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert not any(line.startswith("torch==") for line in pins)
    assert "torch==2.13.0" in petals.TORCH.read_text().splitlines()


@pytest.mark.slow
def test_the_bridge_can_import_what_it_needs_there() -> None:
    """The handle of the manager needs its class, else Ray does not know its methods."""
    python = swarm.require_python()
    done = subprocess.run(
        [python, "-W", "ignore", "-c", "import cluster.manager_actor, petals_bridge.bridge"],
        cwd=local_swarm.ROOT,
        env=local_swarm.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_empty_list_of_members_contacts_nobody(tmp_path: Path) -> None:
    """Petals' own default is the public swarm."""
    code = """
import sys
from pathlib import Path
from evidence.errors import Unavailable
from petals_bridge.client import Swarm
try:
    Swarm([], identity=Path(sys.argv[1]), prefix="x", blocks=1)
except Unavailable as error:
    print("refused:", error.cure)
"""
    told = local_swarm.run(swarm.require_python(), code, str(tmp_path / "id"))
    assert told == "refused: set ZEROPOINT_PETALS_PEERS"
