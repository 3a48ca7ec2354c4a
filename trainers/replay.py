"""Replay: a window of a run done again by the same loop, and held against what was recorded.

The start of a window is a checkpoint of the pack, or the initial weights that its seed gives; data
are the auditor's own. The evaluation at each checkpoint is done again too, so that a claimed test
accuracy is covered; it is part of the time that training took.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evidence import tensors
from evidence.archive import Pack
from evidence.errors import IntegrityError, TrainingDiverged
from trainers import comparison, deviation, loop
from trainers.checkpoint import Start
from trainers.claims import Claims, files_of
from trainers.comparison import MAX_DIFFERENCES, Fact, Found, Outcome, Tensors, WindowResult
from trainers.data.load import Data
from trainers.group import ALONE, Group
from trainers.meters import Stopwatch
from trainers.windows import Window


@dataclass(frozen=True, slots=True)
class Replay:
    """A run whose windows are done again in this process, which was prepared for it.

    Args:
        claims: What is recorded of the run.
        pack: Has the bytes of its checkpoints.
        data: Its data set, verified.
        has_same_kernels: Whether this process has the kernels that the run was computed with; if
            not, a difference proves nothing.
    """

    claims: Claims
    pack: Pack
    data: Data
    has_same_kernels: bool

    def window(self, window: Window, *, group: Group = ALONE) -> WindowResult:
        """Do the steps of a window again and compare.

        Args:
            window: Between two checkpoints of the run; the first has its bytes in the pack.
            group: As many workers as the run had; each does the same window.

        Raises:
            ServiceError: This machine could not do the steps; it says nothing about the run.
        """
        found = Found()
        with Stopwatch() as watch:
            trouble = self._execute(window, found, group)
            facts = comparison.compare(self.claims, window, found)
            states = self._states(window, facts, found)
        gc.collect()  # captured graphs hold weights in cycles
        differing = [fact for fact in facts if not fact.is_equal]
        trained_s, reason = comparison.trained_seconds(self.claims, window)
        is_refused = isinstance(trouble, IntegrityError)
        is_same = self.has_same_kernels and self.claims.has_kernels_of(window)
        first = comparison.first_difference(window, facts, has_same_kernels=is_same)
        return WindowResult(
            window=window,
            outcome=_outcome(is_equal=not differing, is_refused=is_refused, is_same=is_same),
            compared=len(facts),
            differing=len(differing),
            digests=comparison.end_digests(window, facts),
            differences=tuple(differing[:MAX_DIFFERENCES]),
            first=None if is_refused else first,
            tensors=None if is_refused else states,
            refused=trouble.detail if trouble and is_refused else None,
            ended=trouble.detail if trouble and not is_refused else None,
            seconds=watch.seconds,
            trained_seconds=trained_s,
            trained_reason=reason,
        )

    def _execute(
        self, window: Window, found: Found, group: Group
    ) -> IntegrityError | TrainingDiverged | None:
        """Do the steps; return why not all of them could be done, where the run is the reason."""
        try:
            start = replace(self._start(window), until=window.end)
            loop.train(self.claims.config, self.data, start, found, group=group)
        except TrainingDiverged as error:
            return error
        except IntegrityError as error:
            if found.metrics or found.checkpoints:  # workers of this machine that differ
                raise
            return error
        return None

    def _start(self, window: Window) -> Start:
        if window.begin == 0:
            return Start.fresh()
        record = self.claims.checkpoint(window.begin)
        return Start.from_files(files_of(self.pack, window.begin), record=record)

    def _states(self, window: Window, facts: Sequence[Fact], found: Found) -> Tensors | None:
        """Return how the states at the end of a window differ, where anything does."""
        if all(fact.is_equal for fact in facts):
            return None
        reason = self._why_no_tensor(window, facts)
        if reason is not None:
            return Tensors(first=None, largest=None, differing=0, reason=reason)
        expected, actual = files_of(self.pack, window.end), found.files
        apart = list(deviation.differences(_decoded(expected), _decoded(actual)))
        measured = [one for one in apart if one.largest is not None]
        return Tensors(
            first=apart[0] if apart else None,
            largest=max(measured, key=lambda one: one.largest or 0.0, default=None),
            differing=len(apart),
        )

    def _why_no_tensor(self, window: Window, facts: Sequence[Fact]) -> str | None:
        digests = comparison.end_digests(window, facts)
        if all(fact.is_equal for fact in digests):
            return "the states at the end of the window are equal"
        if any(fact.found is None for fact in digests):
            return "the replay did not come to the end of the window"
        return None


def _outcome(*, is_equal: bool, is_refused: bool, is_same: bool) -> Outcome:
    """Equal is equal under any kernels; a start that is none of the run is wrong under all."""
    if is_refused:
        return Outcome.MISMATCH
    if is_equal:
        return Outcome.EQUAL
    return Outcome.MISMATCH if is_same else Outcome.CANNOT_TELL


def _decoded(files: Mapping[str, bytes]) -> deviation.State:
    return {name: tensors.decode(data, name=name) for name, data in files.items()}
