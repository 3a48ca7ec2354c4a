"""The sink of a bare local run: events as JSON lines, checkpoints as folders.

Only for `python -m trainers train`. A run that counts as evidence has the chained journal instead.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from evidence import canonical
from evidence.records import Checkpoint, TrainingEvent


class FolderSink:
    """Appends each event to `events.jsonl` and writes each checkpoint's files below `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._events = (folder / "events.jsonl").open("ab")

    def __call__(self, event: TrainingEvent) -> None:
        """Write one event."""
        if isinstance(event, Checkpoint):
            place = self._folder / "checkpoints" / f"step_{event.record.step:06d}"
            place.mkdir(parents=True, exist_ok=True)
            for name, data in event.files.items():
                (place / name).write_bytes(data)
        record = event.record if isinstance(event, Checkpoint) else event
        self._events.write(canonical.encode(record.model_dump(mode="json")) + b"\n")
        self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()
