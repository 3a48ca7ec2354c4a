from pathlib import Path

import pytest

from evidence.log.note import KeyType, Signer


@pytest.fixture(scope="session")
def log_signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("log-key") / "log.key"
    return Signer.open_or_create(path, KeyType.ED25519, name="example.org/log")


@pytest.fixture(scope="session")
def witness_signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("witness-key") / "witness.key"
    return Signer.open_or_create(path, KeyType.COSIGNATURE, name="example.org/w1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"
