"""Each library in turn, for tests that hold for all of them."""

import pytest

from evidence.errors import NotInstalled
from trainers.config import KernelLibrary
from trainers.kernels import library


@pytest.fixture(params=["onednn", "openblas"])
def kernel_library(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> KernelLibrary:
    """The library that products and convolutions of this test go through."""
    name = library.named(request.param)
    try:
        library.choose(name)
    except NotInstalled as error:
        pytest.skip(error.detail)
    monkeypatch.setenv(library.VARIABLE, name)
    return name
