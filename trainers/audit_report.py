"""What an audit says: what was picked, what was done again, what follows from it. Light.

Verdicts, as those of `evidence.report`: passed, failed, cannot tell, with its exit status.
"""

from typing import Any

from evidence.packfiles import CodePart
from evidence.records import Digest, Record
from evidence.report import EXIT_CODES, Check, Verdict, Words
from trainers.comparison import Outcome, WindowResult
from trainers.windows import Choice


class Missing(Record):
    """Something without which an audit cannot tell."""

    what: str
    """Stable name: not_sealed, no_training, other_code, data, pruned, fewer_windows,
    machine, kernels."""
    detail: Words
    """The thing, what was expected, what was found."""
    cure: Words
    """What the auditor can do about it."""


class Code(Record):
    """The code that trained, or that replays."""

    code: CodePart
    lock_sha256: Digest | None
    """SHA-256 of requirements.lock."""


class Kernels(Record):
    """What steps are computed with."""

    name: Words
    """For people."""
    digest: Words | None
    """Over all that decides bits; null where the pack tells none."""


class Times(Record):
    """Where the seconds of an audit went."""

    verification: float
    preparation: float
    """Data, processes, and what is compiled before the first window."""
    replay: float
    """All windows."""
    trained: float | None
    """What training took for the same windows, by the pack's metrics; null where one cannot say."""


class AuditReport(Record):
    """One audit of one pack."""

    v: int = 1
    pack: Words
    """Name of the folder or zip."""
    run_id: str | None
    key_id: str | None
    """SHA-256 of the raw public key that signed the pack."""
    verdict: Verdict
    summary: str
    """The verdict in one line."""
    verification: str
    """What the checks of the pack gave, in one line."""
    failed: tuple[Check, ...]
    """The checks that failed; then nothing was done again."""
    missing: tuple[Missing, ...]
    """Why it cannot tell."""
    choice: Choice | None
    """Which windows, and how they were picked; null where it did not come to that."""
    trained_by: Code | None
    replayed_by: Code
    trained_with: Kernels | None
    replayed_with: Kernels | None
    """Null where no step was done."""
    has_same_kernels: bool | None
    windows: tuple[WindowResult, ...]
    seconds: Times

    @property
    def exit_code(self) -> int:
        """0 all windows equal, 1 a mismatch or a failed check, 4 cannot tell."""
        return EXIT_CODES[self.verdict]

    @property
    def ratio(self) -> float | None:
        """Seconds of replay for each second of training; None where the pack cannot say."""
        return self.seconds.replay / self.seconds.trained if self.seconds.trained else None

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return self.model_dump(mode="json")


def verdict_of(
    *, failed: bool, missing: bool, choice: Choice | None, windows: tuple[WindowResult, ...]
) -> tuple[Verdict, str]:
    """Return what follows, and in one line why.

    Args:
        failed: Whether a check of the pack failed.
        missing: Whether anything is missing.
        choice: What was picked.
        windows: What came of it.
    """
    if failed:
        return Verdict.FAILED, "FAILED: the pack does not verify; nothing was done again"
    equal = sum(one.outcome is Outcome.EQUAL for one in windows)
    wrong = [one.window for one in windows if one.outcome is Outcome.MISMATCH]
    total = len(windows) if choice is None else len(choice.windows)
    told = f"{equal} of {total} window{'' if total == 1 else 's'} equal"
    if wrong:
        return Verdict.FAILED, f"FAILED in steps {wrong[0]}; {told}"
    if missing or equal < total or not windows:
        return Verdict.CANNOT_TELL, f"CANNOT TELL; {told}" if windows else "CANNOT TELL"
    return Verdict.PASSED, f"PASSED, {told}"
