"""What readers get from a run's folder: pages by sequence number, checkpoints, the pack."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import reading, views
from cluster.run_folder import RunFolder
from cluster.sealing import seal_run
from evidence import digest
from evidence.errors import DigestMismatch, NotFound
from evidence.records import RunState
from tests.cluster import small
from tests.cluster.small import Watch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A run of 6 steps that has ended and is sealed; its oldest checkpoint was pruned."""
    made = small.running(tmp_path_factory.mktemp("runs"), keep_last=2)
    described = small.described(made.config)
    made.write_description(described["model"], views.provenance(made, described["provenance"]))
    made.log("kernels_compiled", "12 kernels in 3 s")
    small.report(made, *small.training(made.config, clock=Watch()))
    made.move(RunState.SUCCEEDED, "all steps are done")
    made.complete_end()
    seal_run(made, small.notary(made.paths.root.parent))
    yield made
    made.close()


def test_metrics_come_in_pages_and_each_once(folder: RunFolder) -> None:
    pages = [reading.metrics(folder, after=0, limit=4)]
    for _ in range(2):
        pages.append(reading.metrics(folder, after=pages[-1]["next_after"], limit=4))
    seqs = [one["seq"] for page in pages for one in page["metrics"]]
    assert seqs == sorted(set(seqs))
    assert [len(seqs), *(page["total"] for page in pages)] == [9, 9, 9, 9]


def test_a_page_holds_only_metrics(folder: RunFolder) -> None:
    page = reading.metrics(folder, after=0, limit=1000)
    assert {one["kind"] for one in page["metrics"]} == {"metric"}


def test_a_page_behind_the_last_metric_is_empty_and_stays_there(folder: RunFolder) -> None:
    page = reading.metrics(folder, after=10**6, limit=10)
    assert (page["metrics"], page["next_after"]) == ([], 10**6)


def test_metrics_show_no_field_of_the_journal(folder: RunFolder) -> None:
    one = reading.metrics(folder, after=0, limit=1)["metrics"][0]
    assert not {"v", "prev", "attempt", "n"} & one.keys()


def test_the_trend_is_over_the_evaluation_losses(folder: RunFolder) -> None:
    trend = reading.metrics(folder, after=0, limit=1)["trend"]
    assert trend["decreasing"] is True
    assert trend["values"] == folder.summary.test_losses


def test_logs_are_log_and_status_records(folder: RunFolder) -> None:
    page = reading.logs(folder, after=0, last=1000, limit=1000)
    told = [one.get("name") or one["state"] for one in page["logs"]]
    assert told == ["queued", "running", "kernels_compiled", "succeeded"]


def test_logs_are_paged_over_what_lies_between(folder: RunFolder) -> None:
    first = reading.logs(folder, after=0, last=1000, limit=3)
    second = reading.logs(folder, after=first["next_after"], last=1000, limit=3)
    assert [one["state"] for one in second["logs"]] == ["succeeded"]


def test_checkpoint_records_say_which_were_pruned(folder: RunFolder) -> None:
    records = reading.checkpoint_records(folder)
    told = [(one["step"], one["action"]) for one in records]
    assert told == [(2, "pruned"), (4, "written"), (6, "written")]


def test_a_checkpoint_file_has_its_recorded_digest(folder: RunFolder) -> None:
    data = reading.checkpoint_file(folder, 4, "optimizer.safetensors")
    recorded = folder.summary.checkpoints[4].files["optimizer.safetensors"]
    assert digest.of_bytes(data) == recorded.sha256


@pytest.mark.parametrize("name", ["config.json", "../../config.json", "model"])
def test_no_other_file_is_a_checkpoint_file(folder: RunFolder, name: str) -> None:
    with pytest.raises(NotFound, match="file: expected one of"):
        reading.checkpoint_file(folder, 4, name)


def test_a_missing_checkpoint_names_those_that_are_there(folder: RunFolder) -> None:
    with pytest.raises(NotFound, match="there is no checkpoint 5; there are: 4, 6"):
        reading.checkpoint_file(folder, 5, "model.safetensors")


def test_a_pruned_checkpoint_says_so(folder: RunFolder) -> None:
    with pytest.raises(NotFound, match="checkpoint 2 was pruned"):
        reading.checkpoint_file(folder, 2, "model.safetensors")


def test_the_newest_model_is_taken_unless_a_step_is_named(folder: RunFolder) -> None:
    assert reading.model_file(folder, None)[0] == 6
    assert reading.model_file(folder, 4)[0] == 4


def test_a_run_without_checkpoint_has_no_model(tmp_path: Path) -> None:
    fresh = small.running(tmp_path)
    with pytest.raises(NotFound, match="has no checkpoint yet"):
        reading.model_file(fresh, None)
    fresh.close()


def test_a_damaged_checkpoint_is_not_handed_out(tmp_path: Path) -> None:
    fresh = small.running(tmp_path)
    small.report(fresh, small.checkpoint(2))
    (fresh.paths.checkpoints / "step_000002" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        reading.model_file(fresh, None)
    fresh.close()


def test_evidence_lists_each_file_with_its_digest(folder: RunFolder) -> None:
    listed = reading.evidence(folder)
    assert listed["sealed"] is True
    assert listed["manifest_sha256"] == digest.of_file(folder.paths.manifest)
    found = {one["path"]: one["sha256"] for one in listed["files"]}
    assert found["events.jsonl"] == digest.of_file(folder.paths.events)


def test_evidence_of_a_run_that_goes_on_is_not_sealed(tmp_path: Path) -> None:
    fresh = small.running(tmp_path)
    listed = reading.evidence(fresh)
    fresh.close()
    assert (listed["sealed"], listed["manifest_sha256"]) == (False, None)


def test_the_zip_holds_the_files_of_the_list(folder: RunFolder) -> None:
    data = b"".join(reading.evidence_zip(folder))
    listed = {one["path"] for one in reading.evidence(folder)["files"]}
    with zipfile.ZipFile(io.BytesIO(data)) as pack:
        assert set(pack.namelist()) == listed


def test_a_finished_model_names_run_digest_and_accuracy(folder: RunFolder) -> None:
    model = reading.finished_model(folder)
    assert model["step"] == 6
    assert model["model_digest"] == folder.summary.checkpoints[6].model_digest
    assert model["test_accuracy"] == folder.summary.last_metrics["test"]["accuracy"]


# -- views ---------------------------------------------------------------------------------------


def test_a_view_tells_where_the_run_stands(folder: RunFolder) -> None:
    view = views.run(folder, pending_reason=None, is_sealing=False)
    told = {name: view[name] for name in ("status", "step", "steps", "attempt", "sealed", "error")}
    assert told == {
        "status": "succeeded",
        "step": 6,
        "steps": 6,
        "attempt": 1,
        "sealed": True,
        "error": None,
    }
    assert view["counts"] == {"metrics": 9, "checkpoints": 2}


def test_a_run_that_is_being_sealed_still_runs(folder: RunFolder) -> None:
    view = views.run(folder, pending_reason=None, is_sealing=True)
    told = (view["status"], view["sealed"], view["reason"])
    assert told == ("running", False, "sealing the evidence pack")


def test_links_lead_to_what_belongs_to_the_run() -> None:
    links = views.links("7f3a91c20b1d")
    assert links["self"] == "/api/training/runs/7f3a91c20b1d"
    assert links["events"] == "/api/events/training?run_id=7f3a91c20b1d"


def test_provenance_lists_every_attempt_once(tmp_path: Path) -> None:
    fresh = small.running(tmp_path)
    told = small.described(fresh.config)
    for _ in range(2):  # sent again, for the answer was lost
        fresh.write_description(told["model"], views.provenance(fresh, told["provenance"]))
    fresh.log("trainer_lost", "killed", attempt=2)
    attempts = views.provenance(fresh, told["provenance"])["attempts"]
    fresh.close()
    assert [one["attempt"] for one in attempts] == [1, 2]
