"""What outsiders see of a run: plain JSON values, the same for HTTP, jobs and the command line."""

from typing import Any

from cluster.run_folder import RunFolder
from cluster.summary import RunSummary, body_of
from evidence import canonical
from evidence.derived import trend
from evidence.records import RunState


def run(folder: RunFolder, *, pending_reason: str | None, is_sealing: bool) -> dict[str, Any]:
    """Return the view of one run.

    Args:
        folder: The run.
        pending_reason: Why it still waits, while it is queued.
        is_sealing: Whether its pack is being sealed: it shows as running until that is done.
    """
    summary = folder.summary
    state = RunState.RUNNING if is_sealing else summary.state
    return {
        "run_id": folder.run_id,
        "name": folder.config.name,
        "recipe": folder.config.recipe,
        "status": state,
        "reason": "sealing the evidence pack" if is_sealing else summary.reason,
        "pending_reason": pending_reason,
        "last_seq": summary.last_seq,
        "step": summary.step,
        "steps": folder.config.steps,
        "attempt": summary.attempt,
        "config": folder.config.model_dump(mode="json"),
        "counts": {"metrics": summary.metric_count, "checkpoints": len(summary.checkpoints)},
        "timings": _timings(summary),
        "placement": summary.placement.model_dump() if summary.placement else None,
        "last_metrics": {
            split: body_of(line) | {"seq": line["seq"]}
            for split, line in summary.last_metrics.items()
        },
        "trend": trend(summary.test_losses),
        "error": summary.error.model_dump() if summary.error else None,
        "sealed": folder.is_sealed and not is_sealing,
        "links": links(folder.run_id),
    }


def links(run_id: str) -> dict[str, str]:
    """Return the addresses of what belongs to a run."""
    base = f"/api/training/runs/{run_id}"
    below = ("metrics", "checkpoints", "evidence", "logs", "cancel", "resume", "predict")
    return {
        "self": base,
        "events": f"/api/events/training?run_id={run_id}",
        **{name: f"{base}/{name}" for name in below},
    }


def _timings(summary: RunSummary) -> dict[str, Any]:
    return {"created": summary.created, "started": summary.started, "ended": summary.ended}


def provenance(folder: RunFolder, reported: dict[str, Any]) -> dict[str, Any]:
    """Return provenance.json as it stands before step 0 of the present attempt.

    Args:
        folder: The run.
        reported: What the trainer found: dataset, code, lock_sha256, runtime, seed, nonce.
    """
    summary, path = folder.summary, folder.paths.provenance
    assert summary.placement is not None, "an attempt was placed"
    told = canonical.decode_object(path.read_bytes())["attempts"] if path.exists() else []
    earlier = [one for one in told if one["attempt"] != summary.attempt]  # told twice is once
    attempt = {"attempt": summary.attempt, **summary.placement.model_dump()}
    return {
        "v": 1,
        "run_id": folder.run_id,
        **reported,
        "started": summary.started,
        "ended": None,
        "state": summary.state,
        "attempts": [*earlier, attempt],
    }
