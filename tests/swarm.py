"""What tests do with a real private swarm beyond `petals_bridge.local_swarm`."""

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from cluster.settings import Settings
from evidence.errors import NotInstalled
from petals_bridge import versions
from petals_bridge.local_swarm import LocalSwarm, choose_model


def require_python() -> Path:
    """Return the interpreter of the Petals environment; skips with the reason without it."""
    python = Settings().petals_python
    try:
        versions.require(python)
    except NotInstalled as error:
        pytest.skip(f"{error.detail}; {error.cure}")
    return python


def search_path() -> list[Path]:
    """Return the folders of ZEROPOINT_DATA_PATH."""
    return [Path(p) for p in os.environ.get("ZEROPOINT_DATA_PATH", "").split(os.pathsep) if p]


def make(folder: Path, spans: Mapping[str, tuple[int, int]]) -> LocalSwarm:
    """Return a swarm whose members are not started; an end of 0 is the model's."""
    python = require_python()
    entry = choose_model(folder, search_path())
    swarm = LocalSwarm(python, folder, entry, search_path())
    swarm.add({name: (begin, end or entry.blocks) for name, (begin, end) in spans.items()})
    return swarm


def below(pid: int) -> list[psutil.Process]:
    """Return the processes below one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
