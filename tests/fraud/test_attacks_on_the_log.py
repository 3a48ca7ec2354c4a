"""Frauds of an operator who has the key of the log: what is left to find them without a witness,
and what a witness, or somebody who kept a tree head, finds.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from cluster import witnesses
from cluster.notary import Notary
from evidence import canonical
from evidence.errors import BadProof, Conflict, ForkedLog, StaleTreeHead
from evidence.inclusion import Inclusion
from evidence.log import cosignature, tree_head
from evidence.log.note import KeyType, Note, Signer, Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.log.witness import FORK_SUFFIX, Witness, write_submission
from evidence.pack import PackPaths
from evidence.records import TrainingEvent
from evidence.subject import KnownLog
from tests.cluster import small
from tests.fraud import forge
from tests.fraud.forge import failed, judge
from tests.serve.witnesses import running

NOW_S = 1_795_000_000


@pytest.fixture
def pack(honest: list[TrainingEvent], tmp_path: Path) -> Path:
    return forge.write(tmp_path, honest)


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    return small.notary(tmp_path)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.open_or_create(tmp_path / "witness.key", KeyType.COSIGNATURE)


@pytest.fixture
def again(notary: Notary, tmp_path: Path) -> Iterator[Notary]:
    """The same keys over an empty log: the operator threw the first one away."""
    assert notary.log_view()["size"], "the first log has what is to be forgotten"
    with closing(forge.second_log(forge.home_of(tmp_path), tmp_path / "again")) as one:
        one.enter([b"what was not there before"])
        yield one


def verifier_of(notary: Notary) -> Verifier:
    return Verifier.parse(notary.log)


def head_of(notary: Notary) -> SignedTreeHead:
    return tree_head.verify(notary.head(), verifier_of(notary))


def known_by(notary: Notary, kept: SignedTreeHead, now: Notary) -> KnownLog:
    """Return what somebody knows who kept a tree head and asks the service for the proof."""
    size = now.log_view()["size"]
    older, newer = sorted((kept.head.size, size))
    proof = now.consistency(older, newer)
    return KnownLog(verifier=verifier_of(notary), head=kept, proof=proof)


def shown(witness: Witness, notary: Notary, old_size: int, *, time_s: int = NOW_S) -> Note:
    """Show the present tree head to a witness and return it cosigned."""
    head = notary.head()
    proof = notary.consistency(old_size, SignedTreeHead.parse(head).head.size)
    line = witness.add_checkpoint(write_submission(old_size, proof, head), time_s=time_s)
    return Note.parse(head + line)


# -- within one pack -----------------------------------------------------------------------------


def test_records_logged_in_another_order_are_found(pack: Path, again: Notary) -> None:
    paths = PackPaths(pack)
    again.enter(reversed(paths.records.read_bytes().splitlines()))
    forge.reseal(pack, again)
    assert failed(judge(pack)) == ["log.inclusion"]


def test_a_log_that_was_cut_has_no_proof_of_the_seal(pack: Path) -> None:
    path = PackPaths(pack).seal_inclusion
    held = canonical.decode_object(path.read_bytes())
    forge.edit(path, entries=held["entries"][:-1])
    assert failed(judge(pack)) == ["log.inclusion"]


# -- rolled back ---------------------------------------------------------------------------------


def test_a_rolled_back_log_passes_where_nobody_watched(pack: Path, again: Notary) -> None:
    forge.reseal(pack, again)
    assert failed(judge(pack)) == []


def test_a_rolled_back_log_is_found_by_whoever_kept_a_tree_head(
    pack: Path, notary: Notary, again: Notary
) -> None:
    kept = head_of(notary)
    forge.reseal(pack, again)
    known = known_by(notary, kept, again)
    assert failed(judge(pack, known_log=known)) == ["log.consistency"]


def test_a_rolled_back_log_gets_nothing_of_a_witness_that_was_killed_and_is_back(
    pack: Path, notary: Notary, again: Notary, tmp_path: Path
) -> None:
    """The witness is the process that operators run; SIGKILL takes nothing from its memory."""
    verifier = verifier_of(notary)
    home = tmp_path / "witness"
    with running(home, verifier) as before:
        assert witnesses.ask(before.url, before.verifier, notary.head(), notary.consistency)
        before.kill()
    forge.reseal(pack, again)
    with running(home, verifier) as after:
        assert after.verifier == before.verifier
        with pytest.raises((BadProof, Conflict)):
            witnesses.ask(after.url, after.verifier, again.head(), again.consistency)
        assert witnesses.ask(after.url, after.verifier, notary.head(), notary.consistency)
    known = KnownLog(witnesses=[after.verifier])
    assert failed(judge(pack, known_log=known)) == ["log.witnesses"]


@pytest.mark.usefixtures("pack")
def test_a_witness_takes_neither_a_smaller_log_nor_another_one(
    notary: Notary, again: Notary, signer: Signer, tmp_path: Path
) -> None:
    witness = Witness(tmp_path / "heads", signer, [verifier_of(notary)])
    shown(witness, notary, 0)
    size = head_of(notary).head.size
    with pytest.raises(StaleTreeHead):
        shown(witness, again, 0)
    again.enter(b"%d" % number for number in range(size))
    with pytest.raises(BadProof):
        shown(witness, again, size)
    assert witness.seen(verifier_of(notary).name).root == head_of(notary).head.root


# -- split view ----------------------------------------------------------------------------------


def test_two_auditors_with_two_roots_of_one_size_find_a_split_view(
    pack: Path, notary: Notary, again: Notary
) -> None:
    size = head_of(notary).head.size
    again.enter(b"%d" % number for number in range(size - 1))
    theirs = head_of(again)
    assert theirs.head.size == size
    known = KnownLog(verifier=verifier_of(notary), head=theirs)
    assert failed(judge(pack)) == []
    assert failed(judge(pack, known_log=known)) == ["log.consistency"]


@pytest.mark.usefixtures("pack")
def test_a_witness_keeps_the_second_of_two_views_as_proof(
    notary: Notary, again: Notary, signer: Signer, tmp_path: Path
) -> None:
    verifier = verifier_of(notary)
    witness = Witness(tmp_path / "heads", signer, [verifier])
    shown(witness, notary, 0)
    size = head_of(notary).head.size
    again.enter(b"%d" % number for number in range(size - 1))
    with pytest.raises(ForkedLog):
        shown(witness, again, size)
    (kept,) = (tmp_path / "heads").rglob(f"*{FORK_SUFFIX}")
    fork = tree_head.verify(kept.read_bytes(), verifier).head
    assert (fork.size, fork.root != head_of(notary).head.root) == (size, True)


# -- clock ---------------------------------------------------------------------------------------


def test_a_run_dated_before_a_cosigned_tree_head_must_be_in_it(
    honest: list[TrainingEvent], notary: Notary, signer: Signer, tmp_path: Path
) -> None:
    """No check compares times: it takes a tree head that was cosigned after the claimed end."""
    notary.enter([b"an earlier run"])
    witness = Witness(tmp_path / "heads", signer, [verifier_of(notary)])
    earlier = shown(witness, notary, 0, time_s=int(small.Watch.now.timestamp()) + 86_400)
    root = forge.write(tmp_path, honest, clock=small.Watch())
    assert failed(judge(root)) == []
    ended = canonical.decode_object(PackPaths(root).provenance.read_bytes())["ended"]
    cosigned_s = cosignature.require_cosigned(earlier, signer.verifier)
    assert datetime.fromisoformat(ended).timestamp() < cosigned_s
    places = Inclusion.model_validate_json(PackPaths(root).seal_inclusion.read_bytes()).entries
    assert places[0].index >= SignedTreeHead.parse(earlier.data).head.size
