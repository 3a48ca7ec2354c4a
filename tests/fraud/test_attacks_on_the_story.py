"""Frauds that change what a pack tells: which check of `zpctl verify` finds each, and which none.

Whoever changes a pack signs and logs it again with the service's keys, as far as the test says.
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cluster.notary import Notary
from cluster.settings import Limits
from evidence import canonical, monitor, tensors
from evidence import seed as seeds
from evidence.clock import utc_now
from evidence.log.tree_head import SignedTreeHead
from evidence.model_signature import ModelKey
from evidence.pack import PackPaths
from evidence.records import Metric, TrainingEvent
from tests.cluster import small
from tests.evidence import genuine
from tests.fraud import forge
from tests.fraud.forge import CONFIG, Objects, failed, judge
from tests.trainers import tiny
from tests.trainers.replaying import replayed
from tests.trainers.sealed import edited
from trainers.comparison import Outcome


@pytest.fixture
def pack(honest: list[TrainingEvent], tmp_path: Path) -> Path:
    return forge.write(tmp_path, honest)


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    return small.notary(tmp_path)


def lower(lines: Objects) -> None:
    for line in lines:
        if line["kind"] == "metric" and (line["step"], line["split"]) == (5, "train"):
            line["loss"] = 0.125


# -- metrics, steps, learning rates --------------------------------------------------------------


def test_a_metric_edited_in_the_file_has_another_digest(pack: Path) -> None:
    path = PackPaths(pack).metrics
    path.write_bytes(path.read_bytes().replace(b'"step":5', b'"step":6', 1))
    assert "files.digests" in failed(judge(pack))


def test_a_metric_edited_and_sealed_again_is_not_what_was_signed_with_the_checkpoint(
    pack: Path, notary: Notary
) -> None:
    genuine.rewrite_events(pack, lower)
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["records.checkpoints"]


def test_a_metric_edited_with_all_records_made_anew_stands_in_the_log_twice(
    pack: Path, notary: Notary
) -> None:
    """No check of the pack finds it; the replay does, and so does whoever reads the log."""
    forge.retell(pack, notary, lower)
    assert failed(judge(pack)) == []
    (one,) = replayed(pack, (3, 6))
    assert (one.outcome, one.first and one.first.step) == (Outcome.MISMATCH, 5)
    head = SignedTreeHead.parse(notary.head()).head
    read = monitor.entries(head, notary.tile)
    twice = {(one.told.kind, one.told.step) for one in monitor.doubles(read)}
    assert ("checkpoint", 6) in twice
    assert ("seal", None) in twice


def test_steps_that_were_not_done_and_not_told_are_missed(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    told = [one for one in honest if not (isinstance(one, Metric) and one.step == 5)]
    assert failed(judge(forge.write(tmp_path, told))) == ["run.steps"]


def test_a_run_that_ended_early_did_not_succeed(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    sixth = honest.index(tiny.checkpoints(honest)[6]) + 1
    assert failed(judge(forge.write(tmp_path, honest[:sixth]))) == ["run.steps"]


def test_another_learning_rate_that_is_told_is_not_that_of_the_schedule(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    told = edited(honest, 4, lr=float(np.float32(0.1)))
    assert failed(judge(forge.write(tmp_path, told))) == ["run.learning_rate"]


def test_another_config_than_was_committed_to(pack: Path, notary: Notary) -> None:
    forge.edit(PackPaths(pack).config, checkpoint_every=3, name="better")
    genuine.rewrite_events(pack, lambda _: None)
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["records.commitment", "records.checkpoints"]


# -- order ---------------------------------------------------------------------------------------


def swap(lines: Objects) -> None:
    at = [n for n, line in enumerate(lines) if line["kind"] == "metric" and line["step"] in (4, 5)]
    lines[at[0]], lines[at[1]] = lines[at[1]], lines[at[0]]
    for number, line in enumerate(lines, 1):
        line["seq"] = number


def test_events_in_another_order_are_no_run(pack: Path, notary: Notary) -> None:
    forge.retell(pack, notary, swap)
    assert failed(judge(pack)) == ["run.steps"]


def test_records_in_another_order_do_not_pair_with_the_checkpoints(
    pack: Path, notary: Notary
) -> None:
    forge.reforge(pack, lambda records: records.insert(1, records.pop(2)), notary)
    assert failed(judge(pack)) == ["records.checkpoints"]


def test_a_journal_that_was_cut_has_no_end(pack: Path, notary: Notary) -> None:
    genuine.rewrite_events(pack, lambda lines: lines.pop())
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["run.story"]


def test_records_that_were_cut_lack_a_checkpoint(pack: Path, notary: Notary) -> None:
    forge.reforge(pack, lambda records: records.pop(), notary)
    assert failed(judge(pack)) == ["records.checkpoints"]


# -- seeds, checkpoints, data --------------------------------------------------------------------


def test_checkpoints_of_another_seed_say_so(honest: list[TrainingEvent], tmp_path: Path) -> None:
    told = forge.seeded(honest, CONFIG.model_copy(update={"seed": 1}))
    assert failed(judge(forge.write(tmp_path, told))) == ["checkpoints.digests"]


def test_a_checkpoint_of_another_step_says_so(honest: list[TrainingEvent], tmp_path: Path) -> None:
    points = tiny.checkpoints(honest)
    states = {name: tensors.decode(data) for name, data in points[3].files.items()}
    reused = genuine.make_checkpoint(6, states, utc_now)
    told: list[TrainingEvent] = [reused if one is points[6] else one for one in honest]
    assert failed(judge(forge.write(tmp_path, told))) == ["checkpoints.digests"]


def test_other_data_than_was_committed_to_gives_another_seed(pack: Path, notary: Notary) -> None:
    path = PackPaths(pack).provenance
    told = canonical.decode_object(path.read_bytes())["dataset"]
    forge.edit(path, dataset={**told, "files": {"tiny": "0" * 64}})
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["run.story"]


def test_other_data_with_its_seed_is_not_what_was_committed_to(pack: Path, notary: Notary) -> None:
    paths, files = PackPaths(pack), {"tiny": "0" * 64}
    told = canonical.decode_object(paths.provenance.read_bytes())["dataset"]
    seed = seeds.derive(CONFIG.as_json(), files, None)
    forge.edit(paths.provenance, dataset={**told, "files": files}, seed=seed)
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["checkpoints.digests", "records.commitment"]


# -- keys and names ------------------------------------------------------------------------------


def test_a_replaced_key_is_found_by_whoever_knows_the_right_one(
    pack: Path, notary: Notary, tmp_path: Path
) -> None:
    """To everybody else it is a pack of another service, which passes."""
    with closing(Notary.open(tmp_path / "stranger", limits=Limits())) as stranger:
        forge.retell(pack, stranger)
    assert failed(judge(pack)) == []
    assert failed(judge(pack, public_key=notary.keyring.key.public)) == ["seal.signature"]


def test_a_replaced_model_key_is_not_the_sealed_one(pack: Path, tmp_path: Path) -> None:
    stranger = ModelKey.open_or_create(tmp_path / "model.key")
    PackPaths(pack).seal_model_key.write_bytes(stranger.public.pem)
    assert failed(judge(pack)) == ["model.signature"]


def test_a_pack_under_another_name_is_not_the_run_that_was_committed_to(
    pack: Path, notary: Notary
) -> None:
    named = pack.rename(pack.with_name("wanted"))
    forge.edit(PackPaths(named).provenance, run_id="wanted")
    forge.reseal(named, notary)
    assert failed(judge(named)) == ["records.commitment", "records.checkpoints"]


def test_a_pack_renamed_with_all_records_lacks_the_nonce_of_the_client(
    pack: Path, notary: Notary
) -> None:
    """Without a nonce no check finds it; with one its weights would have to be of another seed."""
    named = pack.rename(pack.with_name("wanted"))
    paths = PackPaths(named)
    forge.edit(paths.provenance, run_id="wanted")
    forge.retell(named, notary)
    assert failed(judge(named)) == []
    asked = CONFIG.model_copy(update={"nonce": "of the client"})
    forge.edit(paths.config, nonce=asked.nonce)
    told = canonical.decode_object(paths.provenance.read_bytes())
    seed = seeds.derive(asked.as_json(), told["dataset"]["files"], asked.nonce)
    forge.edit(paths.provenance, nonce=asked.nonce, seed=seed)
    forge.retell(named, notary, nonce=asked.nonce, seed=seed)
    assert failed(judge(named)) == ["checkpoints.digests"]


# -- clock ---------------------------------------------------------------------------------------


def test_a_start_before_the_journal_began_is_found(pack: Path, notary: Notary) -> None:
    forge.edit(PackPaths(pack).provenance, started="2020-01-01T00:00:00.000Z")
    forge.reseal(pack, notary)
    assert failed(judge(pack)) == ["run.story"]


def backdated() -> datetime:
    return utc_now() - timedelta(days=365)


def test_a_clock_that_is_wrong_throughout_passes_every_check(
    honest: list[TrainingEvent], tmp_path: Path
) -> None:
    """Times in a pack are claims; see the log's tests for what holds them."""
    root = forge.write(tmp_path, honest, clock=backdated)
    assert failed(judge(root)) == []
    started = canonical.decode_object(PackPaths(root).provenance.read_bytes())["started"]
    assert datetime.fromisoformat(started) < datetime.now(UTC) - timedelta(days=300)
