from pathlib import Path
from shutil import copytree

import pytest

from evidence.seal import finalise
from evidence.signing import SigningKey
from tests.evidence import genuine


@pytest.fixture(scope="session")
def key_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key") / "service.key"


@pytest.fixture(scope="session")
def key(key_path: Path) -> SigningKey:
    return SigningKey.open_or_create(key_path)


@pytest.fixture(scope="session")
def sealed_once(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    root = genuine.write(tmp_path_factory.mktemp("packs") / genuine.RUN_ID)
    finalise(root, key, run_id=genuine.RUN_ID)
    return root


@pytest.fixture
def pack(sealed_once: Path, tmp_path: Path) -> Path:
    """Return a sealed genuine pack that the test may spoil."""
    return Path(copytree(sealed_once, tmp_path / genuine.RUN_ID))
