"""Check 7: the steps of a run, event by event, in the one order in which a service writes them.

    training metric   at each multiple of metric_every and at the last step
    evaluation        at each multiple of checkpoint_every and at the last step, once, behind the
                      training metrics up to there
    checkpoint        behind its evaluation, before anything of a later step
    pruning           of the oldest checkpoint that is kept, where keep_last newer ones are there

A step that was done again after a loss stands in the journal once: the writer compares it and
drops it. So this order holds through resumes, and a run that was cut off is the beginning of one.
"""

from collections import deque
from dataclasses import dataclass, field

from evidence.packfiles import CheckpointLine, Config, EndLine, EventLine, MetricLine
from evidence.records import CheckpointAction, RunState, Split
from evidence.subject import Difference, Differs, Good, Subject, event_place, plural


def steps(subject: Subject) -> Good:
    """(7) Every step is where the config puts it, and in order; the run ended where it says."""
    walk = _Walk(subject.config)
    for event in subject.events:
        walk.take(event)
    return Good(f"{plural(walk.trained, 'step')}, {plural(walk.checkpoints, 'checkpoint')}")


@dataclass
class _Walk:
    """Where a run is after the events so far."""

    config: Config
    trained: int = 0
    """Step of the last training metric."""
    evaluated: int = 0
    """Step of the last evaluation."""
    saved: int = 0
    """Step of the last checkpoint."""
    checkpoints: int = 0
    kept: deque[int] = field(default_factory=deque)
    """Steps of the checkpoints that were not pruned, oldest first."""

    def take(self, event: EventLine) -> None:
        match event:
            case MetricLine(split=Split.TRAIN):
                self._train(event)
            case MetricLine():
                self._evaluate(event)
            case CheckpointLine(action=CheckpointAction.WRITTEN):
                self._save(event)
            case CheckpointLine():
                self._prune(event)
            case EndLine():
                self._end(event)
            case _:  # log lines and states have no place among the steps
                pass

    def _train(self, metric: MetricLine) -> None:
        due = self._due(self.trained, self.config.metric_every)
        if metric.step != due:
            raise _out_of_place(
                metric,
                "the steps of the training metrics are not consecutive",
                expected="no further step" if due is None else str(due),
                meaning="steps are missing, repeated or beyond the "
                f"{self.config.steps} of the config",
            )
        missing = self._due(self.saved, self.config.checkpoint_every)
        if missing is not None and metric.step > missing:
            raise _out_of_place(
                metric,
                f"there is no checkpoint at step {missing} before step {metric.step}",
                expected=f"evaluation and checkpoint of step {missing}",
                meaning="records of checkpoints were removed, or moved behind later steps",
            )
        self.trained = metric.step

    def _evaluate(self, metric: MetricLine) -> None:
        due = self._due(self.saved, self.config.checkpoint_every)
        if metric.step != due or self.evaluated == due:
            raise _out_of_place(
                metric,
                f"evaluations and checkpoints do not pair at step {metric.step}",
                expected=self._awaited(due),
                meaning="a checkpoint has no evaluation, or more than one, or none of its own",
            )
        self._require_trained_up_to(metric)
        self.evaluated = metric.step

    def _require_trained_up_to(self, metric: MetricLine) -> None:
        is_last = metric.step == self.config.steps
        due = metric.step if is_last else metric.step - metric.step % self.config.metric_every
        if self.trained != due:
            raise _out_of_place(
                metric,
                f"step {metric.step} was evaluated before it was trained",
                expected=f"the training metric of step {due} before it",
                found=f"that of step {self.trained}",
                meaning="an evaluation was moved, or training metrics were removed",
            )

    def _save(self, record: CheckpointLine) -> None:
        due = self._due(self.saved, self.config.checkpoint_every)
        if record.step != due or self.evaluated != due:
            raise _out_of_place(
                record,
                f"the checkpoint of step {record.step} is out of place",
                expected=self._awaited(due),
                meaning="a checkpoint or its evaluation was removed, added or moved",
            )
        self.saved = record.step
        self.checkpoints += 1
        self.kept.append(record.step)

    def _prune(self, record: CheckpointLine) -> None:
        keep_last = self.config.keep_last
        may_go = self.kept[0] if keep_last is not None and len(self.kept) > keep_last else None
        if record.step != may_go:
            raise _out_of_place(
                record,
                f"checkpoint {record.step} was pruned against keep_last",
                expected="no pruning" if may_go is None else f"checkpoint {may_go}",
                meaning="the bytes of a checkpoint that the config keeps were taken away: it keeps "
                + ("all" if keep_last is None else f"the newest {keep_last}"),
            )
        self.kept.popleft()

    def _end(self, end: EndLine) -> None:
        reached = max(self.trained, self.saved)
        if end.state == RunState.SUCCEEDED and min(self.trained, self.saved) != self.config.steps:
            raise _out_of_place(
                end,
                "the run succeeded, but not every step was done",
                expected=f"training metric and checkpoint of step {self.config.steps}",
                found=f"the last training metric at {self.trained}, checkpoint at {self.saved}",
                meaning="fewer steps were done than the config asks for, or the last were removed",
            )
        if end.step != reached:
            raise _out_of_place(
                end,
                "the run did not end at the step that its end tells",
                expected=str(reached),
                meaning="steps were removed from the end of the run, or it claims more than it did",
            )

    def _awaited(self, due: int | None) -> str:
        """Return which half of the pair of evaluation and checkpoint comes next."""
        if due is None:
            return "no further step"
        return f"the {'checkpoint' if self.evaluated == due else 'evaluation'} of step {due}"

    def _due(self, after: int, every: int) -> int | None:
        """Return the next step behind `after` at which something is due, or None at the end."""
        if after >= self.config.steps:
            return None
        return min((after // every + 1) * every, self.config.steps)


def _out_of_place(
    event: MetricLine | CheckpointLine | EndLine,
    detail: str,
    *,
    expected: str,
    meaning: str,
    found: str | None = None,
) -> Differs:
    return Differs(
        Difference(
            detail,
            where=f"{event_place(event)}, /step",
            expected=expected,
            found=str(event.step) if found is None else found,
            meaning=meaning,
        )
    )
