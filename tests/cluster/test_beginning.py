"""That witnesses saw a commitment while its run went on, and when; and what is no such proof."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cluster import sealing
from cluster.notary import Notary
from cluster.run_folder import RunFolder
from cluster.settings import Limits
from cluster.witnesses import Witness as Asked
from evidence.archive import open_pack
from evidence.log import cosignature, note
from evidence.log.note import KeyType, Note, Signer
from evidence.log.proof import InclusionProof
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import PackPaths
from evidence.report import Check, Report, Result
from evidence.seal import finalise
from evidence.subject import KnownLog
from evidence.verify import verify
from tests.cluster import bound, small
from tests.cluster.here import Here, Killed, Trainer, managed, until
from tests.evidence import genuine
from tests.fraud.forge import failed
from tests.serve.witnesses import RunningWitness, running

LAPSE = timedelta(seconds=400)
"""More than a run of these tests takes and the clocks of service and witness may differ."""


@pytest.fixture
def witness(tmp_path: Path) -> Signer:
    return Signer.open_or_create(tmp_path / "witness.key", KeyType.COSIGNATURE)


def cosigned(text: bytes, witness: Signer, *, time_s: float) -> Note:
    parsed = Note.parse(text)
    return cosignature.attach(
        parsed, [cosignature.cosign(parsed.text, witness, time_s=int(time_s))]
    )


def proof_of(notary: Notary, folder: RunFolder, witness: Signer, *, time_s: float) -> bytes:
    """Return the proof of a run's commitment as a service keeps it, cosigned at a time."""
    made = InclusionProof.parse(notary.proof_of(0).encode())
    (place,) = notary.enter([folder.records.lines[0]])
    assert place == made.index
    head = SignedTreeHead.parse(cosigned(made.signed.note.data, witness, time_s=time_s).data)
    return InclusionProof(made.index, made.hashes, head).data


def now_s() -> float:
    """Return the time that the runs of these tests are dated at."""
    return small.Watch.now.timestamp()


def watched(runs: Path, witness: Signer, *, began: float, ended: float) -> Path:
    """Return a pack whose commitment and whose seal a witness cosigned at these times."""
    notary = small.notary(runs)
    folder = bound.trained(runs)
    sealing.keep_beginning(folder, proof_of(notary, folder, witness, time_s=began))
    bound.end(folder)
    sealing.seal_run(folder, notary)
    folder.close()
    path = folder.paths.seal_tree_head
    path.write_bytes(cosigned(path.read_bytes(), witness, time_s=ended).data)
    return folder.paths.root


def judge(root: Path, witness: Signer | None) -> Report:
    known = KnownLog(witnesses=[witness.verifier]) if witness else KnownLog()
    with open_pack(root) as pack:
        return verify(pack, known_log=known)


def beginning(report: Report) -> Check:
    return next(check for check in report.checks if check.id == "log.beginning")


def test_a_witness_that_saw_the_commitment_says_when(tmp_path: Path, witness: Signer) -> None:
    pack = watched(tmp_path / "runs", witness, began=now_s(), ended=now_s())
    report = judge(pack, witness)
    assert failed(report) == []
    assert beginning(report).result is Result.PASSED
    assert beginning(report).detail.endswith("dated before it")


def test_without_its_key_it_is_not_checked(tmp_path: Path, witness: Signer) -> None:
    pack = watched(tmp_path / "runs", witness, began=now_s(), ended=now_s())
    report = judge(pack, None)
    assert failed(report) == []
    assert beginning(report).detail == "no witness's key was given; 1 cosignature unchecked"


def test_a_pack_without_it_has_not_been_watched(tmp_path: Path, witness: Signer) -> None:
    pack = watched(tmp_path / "runs", witness, began=now_s(), ended=now_s())
    PackPaths(pack).seal_beginning.unlink()
    report = judge(pack, witness)
    assert failed(report) == []
    assert beginning(report).result is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("began", "ended", "found"),
    [
        (timedelta(0), -LAPSE, "log.witnesses"),  # sealed before it ended: dated in the future
        (-LAPSE, timedelta(0), "log.beginning"),  # begun before it began
        (LAPSE, LAPSE, "log.beginning"),  # trained first, committed to afterwards, dated back
    ],
)
def test_times_that_a_witness_knows_otherwise_are_found(
    tmp_path: Path, witness: Signer, began: timedelta, ended: timedelta, found: str
) -> None:
    at = now_s()
    pack = watched(
        tmp_path / "runs",
        witness,
        began=at + began.total_seconds(),
        ended=at + ended.total_seconds(),
    )
    assert failed(judge(pack, witness)) == [found]


def of_another_entry(runs: Path, pack: Path, witness: Signer) -> bytes:
    notary = small.notary(runs)
    (place,) = notary.enter([b"another record"])
    made = InclusionProof.parse(notary.proof_of(place).encode())
    head = SignedTreeHead.parse(cosigned(made.signed.note.data, witness, time_s=now_s()).data)
    assert pack.exists()
    return InclusionProof(place, made.hashes, head).data


def of_another_log(runs: Path, pack: Path, witness: Signer) -> bytes:
    other = Notary.open(runs.with_name("other"), limits=Limits())
    try:
        other.enter([PackPaths(pack).records.read_bytes().splitlines()[0]])
        made = InclusionProof.parse(other.proof_of(0).encode())
    finally:
        other.close()
    head = SignedTreeHead.parse(cosigned(made.signed.note.data, witness, time_s=now_s()).data)
    return InclusionProof(0, made.hashes, head).data


def not_cosigned(runs: Path, pack: Path, witness: Signer) -> bytes:
    assert runs.exists()
    made = InclusionProof.parse(PackPaths(pack).seal_beginning.read_bytes())
    log_only = Note(made.signed.note.text, made.signed.note.signatures[:1])
    assert not any(line.is_by(witness.verifier) for line in log_only.signatures)
    head = SignedTreeHead.parse(log_only.data)
    return InclusionProof(made.index, made.hashes, head).data


def garbage(runs: Path, pack: Path, witness: Signer) -> bytes:
    assert runs.exists()
    assert pack.exists()
    assert witness.verifier.name
    return b"c2sp.org/tlog-proof@v1\nindex 0\n\xff\n\n"


@pytest.mark.parametrize("forge", [of_another_entry, of_another_log, not_cosigned, garbage])
def test_what_is_no_proof_of_the_commitment_is_found(
    tmp_path: Path, witness: Signer, forge: Callable[[Path, Path, Signer], bytes]
) -> None:
    runs = tmp_path / "runs"
    pack = watched(runs, witness, began=now_s(), ended=now_s())
    PackPaths(pack).seal_beginning.write_bytes(forge(runs, pack, witness))
    assert failed(judge(pack, witness)) == ["log.beginning"]


def test_a_pack_of_format_1_has_no_such_file(tmp_path: Path) -> None:
    pack = genuine.write(tmp_path / "pack")
    finalise(pack, genuine.fixed_key(), run_id=pack.name)
    PackPaths(pack).seal_beginning.write_bytes(b"x")
    assert "files.complete" in failed(judge(pack, None))


# -- the witness that operators run ---------------------------------------------------------------


def test_a_service_asks_its_witnesses_when_it_commits(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    verifier = note.Verifier.parse(small.notary(runs).log)
    with running(tmp_path / "witness", verifier) as one:
        notary = small.notary(runs)
        notary._witnesses = [Asked(one.verifier, one.url)]
        folder = bound.begun(runs)
        proof = sealing.witness_beginning(folder, notary)
        assert proof is not None
        sealing.keep_beginning(folder, proof)
        assert sealing.witness_beginning(folder, notary) is None  # it is kept
        InclusionProof.parse(proof).verify(folder.records.lines[0], verifier)
        assert list(InclusionProof.parse(proof).cosigned_by([one.verifier])) == [one.verifier.name]


async def committed(trainer: Trainer) -> None:
    await trainer.describe()
    await trainer.begin()
    await trainer.train()


def test_the_pack_of_a_run_that_was_watched_has_the_proof(tmp_path: Path) -> None:
    async def test(one: RunningWitness) -> None:
        async with managed(tmp_path, Here(committed)) as manager:
            view = await manager.submit(small.request(), who="api")
            await until(manager, view["run_id"], "succeeded")
            folder = manager.registry.folder(view["run_id"])
            proof = InclusionProof.parse(folder.paths.seal_beginning.read_bytes())
            proof.verify(folder.records.lines[0], note.Verifier.parse(manager.notary.log))
            assert proof.cosigned_by([one.verifier])
            assert failed(judge(folder.paths.root, None)) == []

    notary = small.notary(tmp_path)
    with running(tmp_path / "witness", note.Verifier.parse(notary.log)) as one:
        notary._witnesses = [Asked(one.verifier, one.url)]
        asyncio.run(asyncio.wait_for(test(one), 60))


def test_an_attempt_that_goes_on_asks_again_where_nobody_cosigned(tmp_path: Path) -> None:
    notary = small.notary(tmp_path)

    async def test(one: RunningWitness) -> None:
        async def lost_once(trainer: Trainer) -> None:
            await trainer.describe()
            await trainer.begin()
            if trainer.number == 1:
                await asyncio.wait({*trainer.manager._witnessing.values()})
                notary._witnesses = [Asked(one.verifier, one.url)]
                raise Killed
            await trainer.train()

        async with managed(tmp_path, Here(lost_once)) as manager:
            view = await manager.submit(small.request(), who="api")
            await until(manager, view["run_id"], "succeeded")
            folder = manager.registry.folder(view["run_id"])
            proof = InclusionProof.parse(folder.paths.seal_beginning.read_bytes())
            assert proof.cosigned_by([one.verifier])

    with running(tmp_path / "witness", note.Verifier.parse(notary.log)) as one:
        notary._witnesses = [Asked(one.verifier, "http://127.0.0.1:9")]  # nobody listens there
        asyncio.run(asyncio.wait_for(test(one), 60))


def test_a_witness_that_is_gone_leaves_no_proof_and_no_error(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with running(tmp_path / "witness", note.Verifier.parse(small.notary(runs).log)) as one:
        gone = Asked(one.verifier, one.url)
    notary = small.notary(runs)
    notary._witnesses = [gone]
    folder = bound.begun(runs)
    assert sealing.witness_beginning(folder, notary) is None
    assert not folder.paths.seal_beginning.exists()
