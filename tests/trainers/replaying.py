"""Windows of a pack of made-up data, done again in this process."""

from pathlib import Path

from evidence.archive import open_pack
from evidence.report import Result
from evidence.verify import Verification
from tests.trainers import tiny
from trainers.claims import Claims
from trainers.comparison import WindowResult
from trainers.replay import Replay
from trainers.windows import Window

NOT_MADE = {
    "model.rebuilt",
    "log.consistency",
    "log.witnesses",
    "log.beginning",
    "governance.verdict",  # format 2
}
"""Checks that need more than the pack."""


def claims_of(root: Path) -> Claims:
    """Return what a pack says; every check that needs nothing else was made and passed."""
    with open_pack(root) as pack:
        verification = Verification(pack)
        results = {check.id: check.result for check in verification.run()}
        made = {name: result for name, result in results.items() if name not in NOT_MADE}
        assert set(made.values()) == {Result.PASSED}, made
        return Claims.of(verification.subject)


def replayed(root: Path, *windows: tuple[int, int]) -> list[WindowResult]:
    """Return the results of windows, or of all."""
    claims = claims_of(root)
    chosen = [Window(begin=a, end=b) for a, b in windows] or claims.bounds.windows
    with open_pack(root) as pack:
        replay = Replay(claims, pack, tiny.data_of(claims.config), has_same_kernels=True)
        return [replay.window(one) for one in chosen]
