"""One service for the whole session; whoever breaks one starts another for itself."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from serve import local
from serve.client import Client
from serve.local import LocalService
from tests.cluster import bound, small
from tests.service import base_environment, fetch_data, stop_gently

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent

STREAM_BYTES = 200_000
"""What one event stream of a test's service may send: so little that long runs reconnect."""

MakeService = Callable[..., LocalService]


@pytest.fixture(scope="session")
def data_cache() -> Path:
    """A cache that holds MNIST; skips with the reason where it cannot be had."""
    return fetch_data("mnist", REPOSITORY / "var" / "cache")


@pytest.fixture(scope="session")
def make_service(data_cache: Path) -> Iterator[MakeService]:
    """Start services of their own: (home, cpus, variables) -> LocalService; all end with it.

    A variable that is None is left out of the environment.
    """
    started: list[LocalService] = []

    def make(home: Path, *, cpus: int = 2, **variables: str | None) -> LocalService:
        small = {"ZEROPOINT_MAX_STREAM_BYTES": str(STREAM_BYTES)}
        wanted = {**base_environment(home, data_cache), **small, **variables}
        environ = {name: value for name, value in wanted.items() if value is not None}
        service = local.start(environ=environ, cpus=cpus)
        started.append(service)
        return service

    yield make
    for service in started:
        stop_gently(service)


@pytest.fixture(scope="session")
def service(make_service: MakeService) -> Iterator[LocalService]:
    """The service that most tests share; they must leave it running."""
    home = Path(tempfile.mkdtemp(prefix="zpt-"))
    yield make_service(home, ZEROPOINT_CANARY="1")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def client(service: LocalService) -> Iterator[Client]:
    """A client of the shared service."""
    with Client(service.url, token=service.token()) as one:
        yield one


@pytest.fixture(autouse=True)
def _writers() -> Iterator[None]:
    """End what a test opened in this process: a log has one writer."""
    yield
    bound.close()
    small.close()
