from typing import Any

import pytest

from cluster.job_report import METRIC_EVERY_S, Narrator, plain


class Ticks:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _metric(step: int, split: str = "train", **more: Any) -> dict[str, Any]:
    measured = {"loss": 0.5, "accuracy": 0.75, "lr": 0.002, "samples_s": 5200.0}
    return {"kind": "metric", "step": step, "split": split, **measured, **more}


def _narrator(ticks: Ticks) -> Narrator:
    return Narrator(steps=300, monotonic=ticks)


def test_training_metrics_come_at_a_modest_rate_and_the_last_step_always() -> None:
    ticks = Ticks()
    narrator = _narrator(ticks)
    told = []
    for step in range(1, 301):
        ticks.now += METRIC_EVERY_S / 64
        told.append(narrator.line_of(_metric(step)))
    steps = [line.split("step ")[1].split("/")[0] for line in told if line]
    assert steps == ["1", "65", "129", "193", "257", "300"]


def test_every_evaluation_is_told_and_absent_measures_are_left_out() -> None:
    narrator = _narrator(Ticks())
    lines = [narrator.line_of(_metric(step, "test", lr=None)) for step in (75, 76)]
    assert lines == [
        f"test        step {step}/300  loss 0.5000  accuracy 0.7500  5,200 samples/s"
        for step in (75, 76)
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"state": "queued", "reason": "submitted"}, "queued      submitted"),
        (
            {"state": "running", "reason": "placed", "placement": {"device": "CPU", "why": "free"}},
            "running     on CPU: free",
        ),
        (
            {
                "state": "failed",
                "reason": "x",
                "error": {"code": "training_diverged", "detail": "x"},
            },
            "failed      training_diverged: x",
        ),
    ],
)
def test_a_change_of_state_is_one_line(event: dict[str, Any], line: str) -> None:
    assert _narrator(Ticks()).line_of({"kind": "status", **event}) == line


def test_checkpoints_are_told_when_written_and_not_when_pruned() -> None:
    narrator = _narrator(Ticks())
    record = {"kind": "checkpoint", "step": 75, "model_digest": "ad4a"}
    assert narrator.line_of({**record, "action": "written"}) == "checkpoint  step 75  model ad4a"
    assert narrator.line_of({**record, "action": "pruned"}) is None


def test_no_control_character_reaches_the_terminal() -> None:
    message = {"kind": "log", "level": "info", "name": "seen", "message": "a\x1b[31m\nb\r\x9bc"}
    line = _narrator(Ticks()).line_of(message)
    assert line == "info        seen: a [31m b  c"
    assert plain("\x00\x7f") == "  "
