import base64
import shutil
import threading
from pathlib import Path

import pytest

from evidence.errors import (
    BadProof,
    BadSignature,
    ConfigError,
    ForkedLog,
    IntegrityError,
    InvalidInput,
    NotFound,
    ServiceError,
    StaleTreeHead,
    StorageFull,
)
from evidence.log import cosignature, tree_head, witness
from evidence.log.note import KeyType, Note, Signer
from evidence.log.tree_head import TreeHead
from evidence.log.witness import Witness
from tests.evidence.disks import small_disk
from tests.evidence.log import naive
from tests.evidence.log.naive import entries_of

NOW_S = 1_700_000_000


def head_of(signer: Signer, entries: list[bytes]) -> bytes:
    head = TreeHead(signer.verifier.name, len(entries), naive.root(entries))
    return tree_head.sign(head, signer)


def body_of(signer: Signer, entries: list[bytes], *, old: int) -> bytes:
    proof = naive.proof(old, entries) if 0 < old <= len(entries) else []
    return witness.write_submission(old, proof, head_of(signer, entries))


@pytest.fixture
def one(tmp_path: Path, witness_signer: Signer, log_signer: Signer) -> Witness:
    return Witness(tmp_path, witness_signer, [log_signer.verifier])


def again(tmp_path: Path, witness_signer: Signer, log_signer: Signer) -> Witness:
    return Witness(tmp_path, witness_signer, [log_signer.verifier])


def test_what_goes_on_is_cosigned(one: Witness, log_signer: Signer, witness_signer: Signer) -> None:
    old = 0
    for size in (0, 1, 5, 5, 8, 300):
        entries = entries_of(size)
        line = one.add_checkpoint(body_of(log_signer, entries, old=old), time_s=NOW_S + size)
        signed = Note.parse(head_of(log_signer, entries) + line)
        assert cosignature.require_cosigned(signed, witness_signer.verifier) == NOW_S + size
        assert one.seen("example.org/log").size == size
        old = size


def test_the_body_is_that_of_the_specification(log_signer: Signer) -> None:
    entries = entries_of(3)
    body = body_of(log_signer, entries, old=2)
    first, second, empty, rest = body.split(b"\n", 3)
    assert (first, empty) == (b"old 2", b"")
    assert base64.b64decode(second) == naive.proof(2, entries)[0]
    assert rest == head_of(log_signer, entries)


def test_a_rollback_is_refused_after_a_restart_too(
    one: Witness, tmp_path: Path, witness_signer: Signer, log_signer: Signer
) -> None:
    one.add_checkpoint(body_of(log_signer, entries_of(9), old=0), time_s=NOW_S)
    for watching in (one, again(tmp_path, witness_signer, log_signer)):
        for old in (0, 4, 9):
            with pytest.raises((StaleTreeHead, InvalidInput)):
                watching.add_checkpoint(body_of(log_signer, entries_of(4), old=old), time_s=NOW_S)
        assert watching.seen("example.org/log").size == 9


def test_a_submission_from_another_size_is_told_the_right_one(
    one: Witness, log_signer: Signer
) -> None:
    one.add_checkpoint(body_of(log_signer, entries_of(5), old=0), time_s=NOW_S)
    for old in (0, 4, 6, 8):
        with pytest.raises(StaleTreeHead) as caught:
            one.add_checkpoint(body_of(log_signer, entries_of(8), old=old), time_s=NOW_S)
        assert caught.value.size == 5


def test_a_fork_of_one_size_is_refused_and_kept(
    one: Witness, tmp_path: Path, log_signer: Signer
) -> None:
    other = entries_of(5, mark="other")
    one.add_checkpoint(body_of(log_signer, entries_of(5), old=0), time_s=NOW_S)
    with pytest.raises(ForkedLog, match="two roots for size 5"):
        one.add_checkpoint(body_of(log_signer, other, old=5), time_s=NOW_S)
    (kept,) = (tmp_path / "heads").glob("*.fork")
    assert kept.read_bytes() == head_of(log_signer, other)
    assert one.seen("example.org/log").root == naive.root(entries_of(5))


def test_a_tree_that_left_what_was_seen_is_refused_whatever_the_proof(
    one: Witness, log_signer: Signer
) -> None:
    one.add_checkpoint(body_of(log_signer, entries_of(5), old=0), time_s=NOW_S)
    split = [*entries_of(4), b"another", *entries_of(4, mark="more")]
    honest = naive.proof(5, entries_of(9))
    for proof in (naive.proof(5, split), honest, [], honest[:-1], [*honest, honest[0]]):
        body = witness.write_submission(5, proof, head_of(log_signer, split))
        with pytest.raises(BadProof):
            one.add_checkpoint(body, time_s=NOW_S)
    assert one.seen("example.org/log").size == 5


def test_two_views_of_a_log_cannot_both_be_cosigned(one: Witness, log_signer: Signer) -> None:
    """A split view: two honest-looking histories of one log, shown in turns."""
    left, right = entries_of(6, mark="left"), entries_of(6, mark="right")
    one.add_checkpoint(body_of(log_signer, left[:3], old=0), time_s=NOW_S)
    with pytest.raises(ForkedLog):
        one.add_checkpoint(body_of(log_signer, right[:3], old=3), time_s=NOW_S)
    with pytest.raises(BadProof):
        one.add_checkpoint(body_of(log_signer, right, old=3), time_s=NOW_S)
    one.add_checkpoint(body_of(log_signer, left, old=3), time_s=NOW_S)


def test_hashes_in_a_proof_that_needs_none_are_refused(one: Witness, log_signer: Signer) -> None:
    for old in (0, 2):
        head = head_of(log_signer, entries_of(2))
        with pytest.raises(BadProof):
            one.add_checkpoint(witness.write_submission(old, [bytes(32)], head), time_s=NOW_S)
        one.add_checkpoint(witness.write_submission(old, [], head), time_s=NOW_S)


def test_an_unknown_log_gets_nothing(one: Witness, tmp_path: Path) -> None:
    stranger = Signer.open_or_create(tmp_path / "x.key", KeyType.ED25519, name="example.org/x")
    with pytest.raises(NotFound, match=r"example\.org/x"):
        one.add_checkpoint(body_of(stranger, entries_of(1), old=0), time_s=NOW_S)
    with pytest.raises(NotFound):
        one.seen("example.org/x")


def test_a_tree_head_of_a_stranger_under_a_known_name_gets_nothing(
    one: Witness, tmp_path: Path
) -> None:
    thief = Signer.open_or_create(tmp_path / "x.key", KeyType.ED25519, name="example.org/log")
    with pytest.raises(BadSignature):
        one.add_checkpoint(body_of(thief, entries_of(1), old=0), time_s=NOW_S)
    assert one.seen("example.org/log").size == 0


def test_a_witness_that_cannot_remember_does_not_cosign(
    tmp_path: Path, log_signer: Signer, witness_signer: Signer
) -> None:
    with small_disk(tmp_path) as disk:
        small = Witness(disk, witness_signer, [log_signer.verifier])
        small.add_checkpoint(body_of(log_signer, entries_of(2), old=0), time_s=NOW_S)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * shutil.disk_usage(disk).free)
        with pytest.raises(StorageFull):
            small.add_checkpoint(body_of(log_signer, entries_of(3), old=2), time_s=NOW_S)
        assert small.seen("example.org/log").size == 2
        ballast.unlink()
        small.add_checkpoint(body_of(log_signer, entries_of(3), old=2), time_s=NOW_S)


def test_damage_to_what_was_seen_is_refused_by_name(
    one: Witness, tmp_path: Path, witness_signer: Signer, log_signer: Signer
) -> None:
    one.add_checkpoint(body_of(log_signer, entries_of(2), old=0), time_s=NOW_S)
    (path,) = (tmp_path / "heads").iterdir()
    data = path.read_bytes()
    for spoiled in (b"", data[:-5], data.replace(b"\n2\n", b"\n1\n")):
        path.write_bytes(spoiled)
        with pytest.raises(IntegrityError, match=path.name):
            again(tmp_path, witness_signer, log_signer)
    path.write_bytes(data)
    assert again(tmp_path, witness_signer, log_signer).seen("example.org/log").size == 2


def test_submissions_at_once_never_take_the_log_back(one: Witness, log_signer: Signer) -> None:
    bodies = [body_of(log_signer, entries_of(size), old=0) for size in range(1, 25)]
    outcomes: list[str] = []
    start = threading.Barrier(len(bodies))

    def submit(body: bytes) -> None:
        start.wait()
        try:
            one.add_checkpoint(body, time_s=NOW_S)
        except ServiceError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("cosigned")

    threads = [threading.Thread(target=submit, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["StaleTreeHead"] * 23 + ["cosigned"]


def test_keys_that_are_no_logs_are_refused(
    tmp_path: Path, log_signer: Signer, witness_signer: Signer
) -> None:
    other = Signer.open_or_create(tmp_path / "x.key", KeyType.ED25519, name="example.org/log")
    with pytest.raises(ConfigError, match="found two"):
        Witness(tmp_path, witness_signer, [log_signer.verifier, other.verifier])
    with pytest.raises(ConfigError, match="type 0x01"):
        Witness(tmp_path, witness_signer, [witness_signer.verifier])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"old 0", b""), (b"old 00", b""), (b"old -1", b""), (b"old", b""), (b"old ", b""),
        (b"new 0", b""), (b" old 0", b""), (b"old 0 ", b""), (b"old\t0", b""), (b"", b""),
        (b"old 9223372036854775808", b""), (b"old 99999999999999999999999", b""),
        (b"old 0", b"AAAA\n"), (b"old 0", b"!\n"), (b"old 0", b"\xff\n"), (b"old 0\r", b""),
        (b"old 0", base64.b64encode(bytes(32)) + b"\n\n"),
        (b"old 0", (base64.b64encode(bytes(32)) + b"\n") * 64),
    ],
)  # fmt: skip
def test_a_hostile_body_is_malformed(
    one: Witness, log_signer: Signer, first: bytes, then: bytes
) -> None:
    head = head_of(log_signer, entries_of(1))
    is_right = first == b"old 0" and not then
    body = first + b"\n" + then + (b"" if is_right else b"\n") + head
    with pytest.raises(InvalidInput):
        one.add_checkpoint(body, time_s=NOW_S)
    assert one.seen("example.org/log").size == 0


def test_a_body_with_any_byte_changed_is_not_cosigned(one: Witness, log_signer: Signer) -> None:
    one.add_checkpoint(body_of(log_signer, entries_of(3), old=0), time_s=NOW_S)
    body = body_of(log_signer, entries_of(6), old=3)
    for at in range(len(body)):
        spoiled = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(ServiceError):
            one.add_checkpoint(spoiled, time_s=NOW_S)
    one.add_checkpoint(body, time_s=NOW_S)
