"""Whose key `zpctl verify` trusts; packs here are synthetic, so check 12 is beside the point."""

import json
from pathlib import Path
from typing import Any

import pytest

from evidence.seal import finalise
from evidence.signing import SigningKey
from tests.evidence import genuine
from tests.evidence.genuine import Run
from tests.serve.cli.running import zpctl

RUN_ID = "7f3a91c20b1d"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose service made a key."""
    (tmp_path / "keys").mkdir()
    SigningKey.open_or_create(tmp_path / "keys" / "service.key")
    return tmp_path


def sealed(home: Path, key: SigningKey) -> Path:
    root = genuine.write(home / "evidence" / "training" / RUN_ID, Run(run_id=RUN_ID))
    finalise(root, key, run_id=RUN_ID)
    return root


def signature(home: Path, *arguments: str) -> dict[str, Any]:
    """Return check 3 of what is verified."""
    result = zpctl("verify", *arguments, "--json", home=home)
    check: dict[str, Any] = json.loads(result.stdout)["checks"][2]
    return check


def test_a_run_of_this_service_must_have_its_key(home: Path) -> None:
    key = SigningKey.open_or_create(home / "keys" / "service.key")
    sealed(home, key)
    assert signature(home, RUN_ID)["result"] == "passed"
    text = zpctl("verify", RUN_ID, home=home).stdout
    assert text.endswith(f"\nSigned by key {key.key_id}\nIt is the key of this service.\n")


def test_a_run_that_a_stranger_sealed_again_is_found(home: Path) -> None:
    stranger = SigningKey.open_or_create(home / "stranger.key")
    pack = sealed(home, stranger)
    found = signature(home, RUN_ID)
    assert found["result"] == "failed"
    assert found["found"] == stranger.key_id
    text = zpctl("verify", str(pack), home=home).stdout
    assert "It is a key that nothing here vouches for" in text


def test_the_named_key_goes_before_the_one_of_this_service(home: Path) -> None:
    sealed(home, SigningKey.open_or_create(home / "stranger.key"))
    named = ("--public-key", str(home / "stranger.pub"))
    assert signature(home, RUN_ID, *named)["result"] == "passed"
    assert "It is the given key." in zpctl("verify", RUN_ID, *named, home=home).stdout
