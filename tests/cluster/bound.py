"""Packs of format 2, made by the real writer, with the log and the keys of a service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import sealing, views
from cluster.notary import Notary
from cluster.run_folder import RunFolder
from evidence.records import RunState
from tests.cluster import small
from tests.cluster.small import Watch

_OPEN: list[RunFolder] = []


def keep(folder: RunFolder) -> RunFolder:
    """Return a folder that is closed when the test ends."""
    _OPEN.append(folder)
    return folder


def close() -> None:
    """Close what the test opened."""
    while _OPEN:
        _OPEN.pop().close()


def begun(runs: Path, **overrides: Any) -> RunFolder:
    """Make a run folder below `runs` that is committed to."""
    folder = keep(small.running(runs, **overrides))
    _begin(folder)
    return folder


def begin_again(folder: RunFolder, reason: str) -> None:
    """Lose the trainer of a run and start another one."""
    folder.log("trainer_lost", reason, attempt=folder.summary.attempt + 1)
    _begin(folder)


def _begin(folder: RunFolder) -> None:
    told = small.described(folder.config)
    folder.write_description(told["model"], views.provenance(folder, told["provenance"]))
    small.report(folder, small.beginning(folder.config))


def trained(runs: Path, **overrides: Any) -> RunFolder:
    """Make a run folder below `runs` with every step done."""
    folder = begun(runs, **overrides)
    small.report(folder, *small.training(folder.config, clock=Watch()), first_n=1)
    return folder


def end(folder: RunFolder) -> None:
    """Let a run succeed."""
    folder.move(RunState.SUCCEEDED, "all steps are done")
    folder.complete_end()


def sealed(
    runs: Path, *, notary: Notary | None = None, before: Callable[[RunFolder], None] | None = None,
    **overrides: Any,
) -> Path:  # fmt: skip
    """Return a sealed pack.

    Args:
        runs: Folder of run folders.
        notary: Who seals; the one of `runs` if there is none.
        before: What a test or a fraudster does before the seal.
        overrides: Fields of the config.
    """
    folder = trained(runs, **overrides)
    end(folder)
    if before is not None:
        before(folder)
    sealing.seal_run(folder, notary or small.notary(runs))
    folder.close()
    return folder.paths.root
