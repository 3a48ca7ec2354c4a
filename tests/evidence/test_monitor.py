"""Reading a log: the tree that was signed, and what it tells twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evidence import binding, monitor, signing
from evidence.errors import BadProof
from evidence.log.note import KeyType, Signer
from evidence.log.store import Log
from evidence.log.tiles import WIDTH
from evidence.log.tree_head import SignedTreeHead, TreeHead
from evidence.monitor import Double, Told
from evidence.signing import sign_statement
from tests.evidence import genuine

KEY = genuine.fixed_key()


def entry(kind: str, run_id: str, **said: object) -> bytes:
    plain = signing.statement(
        {"x": "0" * 64}, predicate_type=kind, predicate={"run_id": run_id, **said}
    )
    return sign_statement(KEY, plain)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with Log(tmp_path / "log") as one:
        yield one


def head_of(log: Log, tmp_path: Path) -> TreeHead:
    signer = Signer.open_or_create(tmp_path / "log.key", KeyType.ED25519)
    return SignedTreeHead.parse(log.sign(signer)).head


@pytest.mark.parametrize("size", [0, 1, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH + 3])
def test_a_log_is_read_as_it_was_written(log: Log, tmp_path: Path, size: int) -> None:
    written = [b"%d" % number for number in range(size)]
    log.append_many(written)
    assert list(monitor.entries(head_of(log, tmp_path), log.tile)) == written


@pytest.mark.parametrize("spoil", [lambda data: data[:-1] + b"x", lambda data: data + b"\0\1y"])
def test_entries_that_are_not_those_of_the_tree_are_found(
    log: Log, tmp_path: Path, spoil: object
) -> None:
    log.append_many([b"a", b"b", b"c"])
    assert callable(spoil)
    with pytest.raises(BadProof):
        list(monitor.entries(head_of(log, tmp_path), lambda path: spoil(log.tile(path))))


def test_a_run_that_is_told_once_is_told_once() -> None:
    told = [
        entry(binding.COMMITMENT, "a"),
        entry(binding.CHECKPOINT, "a", step=3),
        entry(binding.CHECKPOINT, "a", step=6),
        entry(binding.CHECKPOINT, "b", step=3),
        entry(binding.SEAL, "a"),
        b"anything",
        entry("urn:zeropoint:audit:v1", "a", n=1),
        entry("urn:zeropoint:audit:v1", "a", n=2),
    ]
    assert list(monitor.doubles(told)) == []


@pytest.mark.parametrize(
    ("kind", "step", "said"),
    [
        (binding.COMMITMENT, None, "commitment"),
        (binding.CHECKPOINT, 3, "checkpoint"),
        (binding.SEAL, None, "seal"),
    ],
)
def test_what_is_told_otherwise_is_a_double(kind: str, step: int | None, said: str) -> None:
    of = {} if step is None else {"step": step}
    told = [entry(kind, "a", loss=1, **of), b"between", entry(kind, "a", loss=2, **of)]
    assert list(monitor.doubles(told)) == [Double(Told(said, "a", step), 0, 2)]


def test_the_same_entry_again_is_none() -> None:
    same = entry(binding.SEAL, "a")
    assert list(monitor.doubles([same, same])) == []
