import stat
from pathlib import Path

import httpx
import pytest

from cluster.witnesses import ask
from evidence.errors import Conflict
from evidence.log import tree_head
from evidence.log.note import KeyType, Signer
from evidence.log.store import Log
from evidence.log.tree_head import TreeHead
from evidence.log.witness import write_submission
from tests.serve.cli.running import require_explained, zpctl
from tests.serve.witnesses import running

pytestmark = pytest.mark.slow


def signer_of(tmp_path: Path) -> Signer:
    return Signer.open_or_create(tmp_path / "log.key", KeyType.ED25519, name="example.org/log")


def test_a_witness_that_was_killed_still_refuses_a_rollback_and_a_fork(tmp_path: Path) -> None:
    home, signer = tmp_path / "witness", signer_of(tmp_path)
    with Log(tmp_path / "log") as log:
        log.append_many([b"%d" % number for number in range(3)])
        small = log.sign(signer)
        log.append_many([b"%d" % number for number in range(9)])
        large = log.sign(signer)
        fork = tree_head.sign(TreeHead("example.org/log", 9, bytes(32)), signer)
        with running(home, signer.verifier) as witness:
            key = witness.verifier
            ask(witness.url, key, large, log.consistency)
            witness.kill()
        with running(home, signer.verifier) as witness:
            assert witness.verifier == key
            with pytest.raises(Conflict, match="has seen 9 entries, more than the 3"):
                ask(witness.url, key, small, log.consistency)
            with pytest.raises(Conflict, match="another root of 9"):
                ask(witness.url, key, fork, log.consistency)
            answer = httpx.post(
                f"{witness.url}/add-checkpoint", content=write_submission(3, [], small)
            )
            assert (answer.status_code, answer.content) == (409, b"9\n")
            assert len(ask(witness.url, key, large, log.consistency)) == 1
            status, errors = witness.interrupt()
    seen, told = errors.splitlines()
    assert (status, seen.split()) == (130, ["Log", "example.org/log,", "9", "entries", "seen"])
    assert told.startswith("fork: example.org/log: the log signed two roots for size 9")


def test_two_witnesses_in_one_home_are_refused(tmp_path: Path) -> None:
    home, signer = tmp_path / "witness", signer_of(tmp_path)
    log = signer.verifier.text
    with running(home, signer.verifier):
        second = zpctl("witness", "--home", "witness", "--log", log, "--port", "0", home=tmp_path)
    cause = "another witness runs in witness"
    require_explained(second, status=2, error="conflict", cause=cause)


def test_the_key_is_shown_alone_and_stays(tmp_path: Path) -> None:
    first = zpctl("witness", "--home", "w", "--name", "a.org/w1", "--show-key", home=tmp_path)
    again = zpctl("witness", "--home", "w", "--show-key", home=tmp_path)
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert first.stdout.startswith("a.org/w1+")
    assert (tmp_path / "w" / "witness.vkey").read_text() == first.stdout
    assert stat.S_IMODE((tmp_path / "w" / "witness.key").stat().st_mode) == 0o600


def test_a_key_in_a_file_and_a_port_that_is_taken(tmp_path: Path) -> None:
    signer = signer_of(tmp_path)
    with running(tmp_path / "one", signer.verifier) as witness:
        port = witness.url.rpartition(":")[2]
        given = ("--home", "two", "--log", "log.vkey", "--port", port)
        second = zpctl("witness", *given, home=tmp_path)
    cause = f"cannot listen on 127.0.0.1, port {port}"
    require_explained(second, status=2, error="conflict", cause=cause)
