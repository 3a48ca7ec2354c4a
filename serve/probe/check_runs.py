"""Checks of the runs that the probe asked for, and of what their losses look like."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import fmean
from typing import Any

from evidence.derived import trend
from evidence.subject import first_difference
from serve.probe.capture import Exchange
from serve.probe.check_http import OK
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.seen import AGAIN, FIRST, OTHER, Seen, SeenRun, require
from trainers.data import catalog

CONFLICT = 409
_LEAST_FALL = 0.8
"""The last tenth of the training losses must be below this part of the first tenth."""
_RISES = (0.15, 0.85)
"""Fraction of steps at which the loss of a batch rises: batches differ, so neither few nor most."""
_LEAST_DIFFERENT = 0.9
"""Fraction of training losses that are not seen twice."""
_NEAR_WHOLE = 1e-3
_LABELS = "t10k-labels-idx1-ubyte"
_LABELS_HEADER_BYTES = 8
_SHOWN = ("model_digest", "optimizer_digest", "state_digest")


def accepted(seen: Seen) -> Finder:
    """Each run was taken in as it was asked for: its config is that of this checkout, whole."""
    ids = []
    for run in seen.runs.values():
        answer = run.submitted
        if answer.status != OK:
            yield _of(answer, "status", str(OK), str(answer.status))
            continue
        if not run.run_id:
            yield _of(answer, "/run_id", "12 hex digits", str(answer.json.get("run_id")))
            continue
        ids.append(run.run_id)
        for view in (answer, require(run.view, "the run")):
            yield from _same(view, "/config", run.asked.config, view.json["config"])
            if view.json["run_id"] != run.run_id:
                yield _of(view, "/run_id", run.run_id, view.json["run_id"])
    if len(set(ids)) != len(ids):
        yield _of(seen.runs[FIRST].submitted, "/run_id", "one for each run", ", ".join(ids))
    return f"{len(ids)} runs"


def complete(seen: Seen) -> Finder:
    """Each run succeeded, did every step that was asked for, and was evaluated on the way."""
    runs = seen.require_runs()
    for run in runs:
        view = require(run.view, "the run")
        told = view.json
        expected = {
            "status": "succeeded",
            "sealed": True,
            "step": run.asked.steps,
            "steps": run.asked.steps,
        }
        for name, value in expected.items():
            if told[name] != value:
                yield _of(view, f"/{name}", value, told[name])
        page, every = run.metrics[0], range(1, run.asked.steps + 1)
        due = every[:: run.asked.config["metric_every"]]
        yield from _steps(page, list(due), steps_of(metrics_of(run), "train"), "train")
        wanted = run.asked.checkpoint_steps
        yield from _steps(page, wanted, steps_of(metrics_of(run), "test"), "test")
        listed = require(run.checkpoints, "the checkpoints")
        found = [one["step"] for one in listed.json["checkpoints"]]
        yield from _steps(listed, wanted, found, "checkpoints")
    return f"{len(runs)} runs of {runs[0].asked.steps} steps"


def _steps(
    answer: Exchange, expected: list[int], found: list[int], what: str
) -> Iterator[Discrepancy]:
    if expected != found:
        yield _of(answer, f"/{what}/step", _steps_shown(expected), _steps_shown(found))


def _steps_shown(steps: list[int]) -> str:
    return f"{len(steps)} steps, {steps[0]} to {steps[-1]}" if steps else "none"


def idempotent(seen: Seen) -> Finder:
    """A request with the same key gives the same run; another with that key gives 409."""
    first = seen.runs[FIRST]
    again = require(seen.resubmitted, "the request once more")
    if not first.run_id:
        raise CannotTell("the first run was not taken in")
    if again.status != OK or again.json["run_id"] != first.run_id:
        found = again.json.get("run_id") if again.status == OK else f"status {again.status}"
        yield _of(again, "/run_id", first.run_id, str(found))
    reused = require(seen.reused, "another config with that key")
    if reused.status != CONFLICT:
        yield _of(reused, "status", CONFLICT, reused.status)
    return "2 requests with one key"


def same_nonce(seen: Seen) -> Finder:
    """The same config and nonce give the same states and the same losses, bit by bit."""
    first, again = _pair(seen, FIRST, AGAIN)
    listed = require(again.checkpoints, "the checkpoints")
    for one, other in zip(_states(first), _states(again), strict=False):
        yield from _same(listed, f"/checkpoints/{one['step']}", one, other)
    yield from _same(again.metrics[0], "/metrics/loss", _losses(first), _losses(again))
    return f"{len(_states(first))} checkpoints, {len(_losses(first))} losses"


def other_nonce(seen: Seen) -> Finder:
    """Another nonce gives other states and other losses."""
    first, other = _pair(seen, FIRST, OTHER)
    listed = require(other.checkpoints, "the checkpoints")
    for one, two in zip(_states(first), _states(other), strict=False):
        for name in _SHOWN:
            if one[name] == two[name]:
                field = f"/checkpoints/{two['step']}/{name}"
                why = "another seed cannot lead there: the answer is not of this run"
                yield _of(listed, field, "another digest", "the same", why=why)
    mine, theirs = _losses(first), _losses(other)
    equal = sum(a == b for a, b in zip(mine, theirs, strict=False))
    if equal > (1 - _LEAST_DIFFERENT) * max(1, len(mine)):
        yield _of(other.metrics[0], "/metrics/loss", "other losses", f"{equal} the same")
    return f"{len(_states(first))} checkpoints, {len(mine)} losses"


def _pair(seen: Seen, one: str, other: str) -> tuple[SeenRun, SeenRun]:
    pair = seen.runs[one], seen.runs[other]
    for run in pair:
        if not run.run_id:
            raise CannotTell(f"the {run.asked.name} run was not taken in")
        if not _states(run):
            raise CannotTell(f"the {run.asked.name} run has no checkpoint")
    return pair


def _states(run: SeenRun) -> list[dict[str, Any]]:
    listed = require(run.checkpoints, "the checkpoints").json["checkpoints"]
    return [{name: one[name] for name in ("step", *_SHOWN)} for one in listed]


def _losses(run: SeenRun) -> list[Any]:
    return [metric["loss"] for metric in metrics_of(run)]


def falling(seen: Seen) -> Finder:
    """Losses fall: each evaluation's, and the last tenth of training below the first."""
    runs = seen.require_runs()
    for run in runs:
        page, view = run.metrics[0], require(run.view, "the run")
        tests = [one["loss"] for one in metrics_of(run) if one["split"] == "test"]
        told = trend(tests)
        if told["decreasing"] is not True:
            yield _of(page, "/metrics/loss", "evaluation losses that fall", str(tests))
        yield from _same(view, "/trend", told, view.json["trend"])
        losses = train_losses(run)
        tenth = max(1, len(losses) // 10)
        begin, end = fmean(losses[:tenth]), fmean(losses[-tenth:])
        if not end < _LEAST_FALL * begin:
            expected = f"below {_LEAST_FALL} of the first tenth's {begin:.4f}"
            yield _of(page, "/metrics/loss", expected, f"{end:.4f} at the end")
    return f"{len(runs)} curves"


def measured(seen: Seen) -> Finder:
    """Losses look measured on batches, and accuracies are hits over a whole number of images."""
    runs = seen.require_runs()
    images = catalog.image_set("mnist").files[_LABELS].bytes - _LABELS_HEADER_BYTES
    for run in runs:
        page = run.metrics[0]
        losses = train_losses(run)
        rises = sum(later > earlier for earlier, later in pairwise(losses)) / (len(losses) - 1)
        if not _RISES[0] <= rises <= _RISES[1]:
            expected = f"rises at {_RISES[0]:.0%} to {_RISES[1]:.0%} of the steps"
            why = "losses of different batches are noisy; this is a drawn curve"
            yield _of(page, "/metrics/loss", expected, f"at {rises:.1%}", why=why)
        if len(set(losses)) < _LEAST_DIFFERENT * len(losses):
            found = f"{len(set(losses))} different ones of {len(losses)}"
            yield _of(page, "/metrics/loss", "losses that differ", found)
        over = {"train": run.asked.config["batch_size"], "test": images}
        for metric in metrics_of(run):
            hits = metric["accuracy"] * over[metric["split"]]
            if abs(hits - round(hits)) > _NEAR_WHOLE:
                expected = f"a whole number of {over[metric['split']]} images"
                field = f"/metrics/{metric['seq']}/accuracy"
                yield _of(page, field, expected, f"{hits:.4f} images")
    return f"{sum(len(metrics_of(run)) for run in runs)} metrics"


def audited(seen: Seen) -> Finder:
    """The service trains a window of the first run again, equals itself, and signs that."""
    if not seen.runs[FIRST].run_id:
        raise CannotTell("the first run was not taken in")
    answer = require(seen.audit, "an audit")
    told = answer.json
    if answer.status != OK or told["status"] != "done":
        yield _of(answer, "/status", "done", told.get("status"))
        return "an audit that was not done"
    expected = {"run_id": seen.runs[FIRST].run_id, "verdict": "passed"}
    found = {"run_id": told["run_id"], "verdict": told["report"]["verdict"]}
    yield from _same(answer, "", expected, found)
    for name in ("envelope", "log_index"):
        if told[name] is None:
            yield _of(answer, f"/{name}", "the signed statement in the log", "null")
    return f"audit {told['audit_id']}"


def metrics_of(run: SeenRun) -> list[dict[str, Any]]:
    """Return the metric records that REST gave of a run.

    Raises:
        CannotTell: It gave none.
    """
    found = [record for page in run.metrics for record in page.json["metrics"]]
    if not found:
        raise CannotTell(f"the {run.asked.name} run has no metrics")
    return found


def steps_of(metrics: list[dict[str, Any]], split: str) -> list[int]:
    """Return the steps of the metrics of a split."""
    return [metric["step"] for metric in metrics if metric["split"] == split]


def train_losses(run: SeenRun) -> list[float]:
    """Return the training losses of a run in order; raises as `metrics_of`.

    Raises:
        CannotTell: There are fewer than two.
    """
    losses = [one["loss"] for one in metrics_of(run) if one["split"] == "train"]
    if len(losses) < 2:  # noqa: PLR2004 - a curve
        raise CannotTell(f"the {run.asked.name} run has {len(losses)} training losses")
    return losses


def _same(
    answer: Exchange, field: str, expected: Any, found: Any, *, why: str = ""
) -> Iterator[Discrepancy]:
    """Yield the first difference of two JSON values."""
    if expected != found:
        pointer, wanted, actual = first_difference(_plain(expected), _plain(found))
        yield _of(answer, f"{field}{pointer}", wanted, actual, why=why)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _of(
    answer: Exchange, field: str, expected: object, found: object, *, why: str = ""
) -> Discrepancy:
    return differs(answer.place, expected, found, field=field, file=answer.file, why=why)
