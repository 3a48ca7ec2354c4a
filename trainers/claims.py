"""What a verified pack says of its run, as far as a replay needs and compares it. Light.

It travels to the process that does the steps again as JSON, so nothing but the bytes of
checkpoints, which have their recorded digests, is read from the pack a second time.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from evidence import archive
from evidence.archive import Pack
from evidence.binding import Commitment
from evidence.errors import InvalidInput
from evidence.pack import checkpoint_path
from evidence.packfiles import CheckpointLine, CodePart, LogLine, MetricLine
from evidence.records import CHECKPOINT_FILES, Beginning, CheckpointAction, Digest, Record
from evidence.subject import Subject
from trainers import config as configs
from trainers.config import RunConfig
from trainers.windows import Bounds, Window

_CHANGED = "kernels_changed"


class Claims(Record):
    """The run of a pack."""

    config: RunConfig
    files: dict[str, Digest]
    """SHA-256 of each raw data file."""
    beginning: Beginning | None
    """What the run was committed to begin with; null in packs of format 1."""
    code: CodePart
    lock_sha256: Digest | None
    runtime: dict[str, Any]
    """What the last attempt computed with, as its trainer told it."""
    runtime_since: int
    """The attempt since which that holds; before, kernels were others."""
    metrics: tuple[MetricLine, ...]
    checkpoints: tuple[CheckpointLine, ...]
    """By step, as they were written."""
    kept: frozenset[int]
    """Steps of the checkpoints with bytes."""

    @classmethod
    def of(cls, subject: Subject) -> Self:
        """Return the claims of a pack that passed every check and in which something was trained.

        Raises:
            ConfigError: config.json is none of this version of the trainers.
        """
        provenance = subject.provenance
        written = [c for c in subject.checkpoints if c.action is CheckpointAction.WRITTEN]
        changes = [
            event.attempt
            for event in subject.events
            if isinstance(event, LogLine) and event.name == _CHANGED
        ]
        return cls(
            config=configs.parse(subject.read_object("config.json")),
            files=provenance.dataset.files,
            beginning=_beginning(subject),
            code=provenance.code,
            lock_sha256=provenance.lock_sha256,
            runtime=provenance.runtime,
            runtime_since=max(changes, default=0),
            metrics=tuple(subject.metrics),
            checkpoints=tuple(sorted(written, key=lambda one: one.step)),
            kept=frozenset(c.step for c in written if _has_bytes(subject.pack, c.step)),
        )

    @property
    def bounds(self) -> Bounds:
        """Where windows can begin and end."""
        steps = {one.step for one in self.checkpoints}
        last = max((one.step for one in self.metrics), default=0)
        return Bounds(kept=self.kept, pruned=steps - self.kept, last_step=last)

    @property
    def device(self) -> str:
        """The device that it was trained on, as tinygrad calls it."""
        return str(self.runtime.get("device", "CPU"))

    def checkpoint(self, step: int) -> CheckpointLine:
        """Return the record of a checkpoint.

        Raises:
            InvalidInput: There is none at that step.
        """
        for record in self.checkpoints:
            if record.step == step:
                return record
        raise InvalidInput(f"there is no checkpoint {step}")

    def within(self, window: Window) -> tuple[list[MetricLine], list[CheckpointLine]]:
        """Return what was recorded of the steps of a window."""
        return (
            [one for one in self.metrics if window.begin < one.step <= window.end],
            [one for one in self.checkpoints if window.begin < one.step <= window.end],
        )

    def has_kernels(self, runtime: Mapping[str, Any]) -> bool:
        """Return whether a process computes with what the run was computed with."""
        expected = kernels_digest(self.runtime)
        return expected is not None and expected == kernels_digest(runtime)

    def has_kernels_of(self, window: Window) -> bool:
        """Return whether `runtime` is what all steps of a window were computed with."""
        return all(
            one.attempt >= self.runtime_since for part in self.within(window) for one in part
        )

    def only(self, windows: Iterable[Window]) -> Self:
        """Return the claims without what was recorded outside of the windows and their starts."""
        chosen = list(windows)
        starts = {one.begin for one in chosen}
        inside = [self.within(one) for one in chosen]
        records = {c.step: c for _, found in inside for c in found}
        records |= {c.step: c for c in self.checkpoints if c.step in starts}
        return self.model_copy(
            update={
                "metrics": tuple(m for found, _ in inside for m in found),
                "checkpoints": tuple(records[step] for step in sorted(records)),
            }
        )


def _beginning(subject: Subject) -> Beginning | None:
    """Return what the signed commitment says, where there is one."""
    said = subject.records[0].said if subject.records else None
    if not isinstance(said, Commitment):
        return None
    return Beginning(**{name: getattr(said, name) for name in Beginning.model_fields})


def files_of(pack: Pack, step: int) -> dict[str, bytes]:
    """Return the bytes of a checkpoint's files; whoever takes them holds them to their digests.

    Raises:
        NotFound: The pack does not have them.
        IntegrityError: The zip is damaged there.
    """
    return {name: archive.read(pack, checkpoint_path(step, name)) for name in CHECKPOINT_FILES}


def _has_bytes(pack: Pack, step: int) -> bool:
    return all(checkpoint_path(step, name) in pack.files for name in CHECKPOINT_FILES)


def kernels_digest(runtime: Mapping[str, Any]) -> str | None:
    """Return the digest over all that decides the bits of a step, or None where none is told."""
    kernels = runtime.get("kernels")
    found = kernels.get("digest") if isinstance(kernels, Mapping) else None
    return found if isinstance(found, str) else None


def kernels_name(runtime: Mapping[str, Any]) -> str:
    """Return what a runtime computes with in one line: library, instruction set, processor."""
    kernels = runtime.get("kernels")
    told = kernels if isinstance(kernels, Mapping) else {}
    parts = [str(told[name]) for name in ("backend", "version") if name in told]
    threads = f"{told['threads']} threads" if told.get("threads", 1) != 1 else "1 thread"
    digest = kernels_digest(runtime)
    words = [
        " ".join(parts) or "unknown kernels",
        *([f"instruction set {told['instruction_set']}"] if "instruction_set" in told else []),
        threads,
        str(runtime.get("device", "an unknown device")),
        str(runtime.get("cpu", "an unknown processor")),
        f"digest {digest[:16]}" if digest else "no digest",
    ]
    return ", ".join(words)
