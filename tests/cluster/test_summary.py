"""The fold: what a run is, from its events alone, live and after a restart alike."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.summary import RunSummary, body_of
from evidence.records import Placement, RunState
from tests.cluster import small
from tests.evidence import genuine


def folded(*records: dict[str, Any]) -> RunSummary:
    summary = RunSummary()
    for seq, record in enumerate(records, 1):
        base = {"v": 1, "seq": seq, "prev": "0" * 64, "attempt": 1}
        summary.fold({**base, "timestamp": f"t{seq}", **record})
    return summary


def status(state: str, **more: Any) -> dict[str, Any]:
    return {"kind": "status", "state": state, "previous": None, "reason": f"is {state}", **more}


def placed() -> dict[str, Any]:
    return status("running", placement=small.PLACED.model_dump())


def metric(step: int, *, split: str = "train", loss: float | None = 0.5) -> dict[str, Any]:
    return genuine.metric(split, step, loss, 0.5, None)


def checkpoint(step: int, action: str = "written") -> dict[str, Any]:
    record = small.checkpoint(step).record.model_dump(mode="json")
    return {**record, "action": action}


def test_the_last_status_is_the_state() -> None:
    summary = folded(status("queued"), placed())
    assert (summary.state, summary.reason) == (RunState.RUNNING, "is running")


def test_a_run_is_created_by_its_first_and_started_by_its_first_running_status() -> None:
    again = (status("interrupted"), status("queued"), placed())
    summary = folded(status("queued"), placed(), *again)
    assert (summary.created, summary.started) == ("t1", "t2")


def test_a_run_that_stopped_has_an_end_and_one_that_goes_on_has_none() -> None:
    stopped = folded(status("queued"), placed(), status("failed"))
    resumed = folded(status("queued"), placed(), status("failed"), status("queued"))
    assert (stopped.ended, resumed.ended) == ("t3", None)


def test_the_placement_outlives_the_attempt() -> None:
    summary = folded(status("queued"), placed(), status("interrupted"), status("queued"))
    assert summary.placement == Placement(node="here", device="CPU", why="a test")


def test_an_error_is_that_of_the_last_status() -> None:
    fault = {"code": "storage_full", "detail": "no space"}
    assert folded(status("failed", error=fault)).error is not None
    assert folded(status("failed", error=fault), status("queued")).error is None


def test_a_new_attempt_counts_its_events_from_the_start() -> None:
    summary = folded({**metric(1), "n": 7}, {**metric(2), "attempt": 2})
    assert (summary.attempt, summary.last_n) == (2, -1)


def test_the_last_event_of_a_trainer_is_known_by_its_number() -> None:
    assert folded({**metric(1), "n": 7}, {**metric(2), "n": 8}).last_n == 8


def test_metrics_are_counted_and_the_newest_of_each_split_kept() -> None:
    summary = folded(metric(1), metric(2), metric(2, split="test"))
    newest = {split: line["step"] for split, line in summary.last_metrics.items()}
    assert (summary.metric_count, newest) == (3, {"train": 2, "test": 2})


def test_only_evaluation_losses_that_have_a_value_make_the_trend() -> None:
    lines = (metric(1), metric(2, split="test", loss=0.25), metric(4, split="test", loss=None))
    assert folded(*lines).test_losses == [0.25]


def test_a_pruned_checkpoint_moves_from_kept_to_pruned() -> None:
    summary = folded(checkpoint(2), checkpoint(4), checkpoint(2, "pruned"))
    assert (set(summary.checkpoints), set(summary.pruned)) == ({4}, {2})


def test_steps_done_are_those_of_metrics_and_checkpoints() -> None:
    assert folded(metric(3), checkpoint(4), checkpoint(4, "pruned")).step == 4


def test_the_key_is_that_of_the_first_status() -> None:
    first = status("queued", idempotency_key_sha256="a" * 64)
    assert folded(first, placed()).idempotency_key_sha256 == "a" * 64


def test_an_end_is_remembered() -> None:
    assert folded(status("queued"), {"kind": "end", "state": "cancelled", "step": 0}).has_ended


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["v", "seq", "prev", "attempt", "n", "loss", "step"]), st.integers()
    )
)
def test_a_body_has_no_field_of_the_journal(line: dict[str, int]) -> None:
    assert body_of(line) == {name: line[name] for name in line if name in {"loss", "step"}}
