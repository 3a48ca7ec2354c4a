"""Checkpoint folders on the manager's disk: written whole, or not at all.

    (1) the files go to a temporary folder      (2) they are forced to the disk
    (3) they are read back and hashed           (4) the folder is renamed into place

A crash after any of them leaves either no checkpoint or a whole one; `sweep` removes the rest.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

from evidence import digest
from evidence.errors import IntegrityError, ServiceError
from evidence.files import TEMPORARY_PREFIX, fsync_folder, no_space_as_storage_full
from evidence.pack import checkpoint_name
from evidence.records import CHECKPOINT_FILES, Checkpoint, CheckpointRecord


class Phase(StrEnum):
    """What has just been done; a test may stop the process there."""

    TEMP = "temp"
    FSYNC = "fsync"
    DIGEST = "digest"
    RENAME = "rename"


def _go_on(_: Phase) -> None:
    """Do nothing between the phases."""


def write(folder: Path, checkpoint: Checkpoint, *, after: Callable[[Phase], None] = _go_on) -> Path:
    """Write one checkpoint under `folder` and return its path.

    Raises:
        IntegrityError: The files are not the ones that the record names.
        DigestMismatch: What was read back differs from the record; nothing is left of it.
        StorageFull: The disk took no more; nothing is left of it.
    """
    _require_same_files(checkpoint)
    target = folder / checkpoint_name(checkpoint.record.step)
    temporary = folder / f"{TEMPORARY_PREFIX}{target.name}"
    with no_space_as_storage_full(target.name):
        try:
            _fill(temporary, checkpoint, after=after)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            fsync_folder(folder)
        except (OSError, ServiceError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    after(Phase.RENAME)  # (4)
    return target


def _fill(temporary: Path, checkpoint: Checkpoint, *, after: Callable[[Phase], None]) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, data in checkpoint.files.items():
        (temporary / name).write_bytes(data)
    after(Phase.TEMP)  # (1)
    for name in checkpoint.files:
        _fsync(temporary / name)
    fsync_folder(temporary)
    after(Phase.FSYNC)  # (2)
    require_bytes(temporary, checkpoint.record)
    after(Phase.DIGEST)  # (3)


def read(folder: Path, record: CheckpointRecord) -> dict[str, bytes]:
    """Return the files of a checkpoint, each checked against the record before it is believed.

    Raises:
        DigestMismatch: A file has other bytes.
        IntegrityError: A file is missing.
    """
    result = {}
    for name, expected in record.files.items():
        path = folder / checkpoint_name(record.step) / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{path.parent.name}/{name}: {error}") from error
        digest.require_equal(
            f"{path.parent.name}/{name}", expected=expected.sha256, found=digest.of_bytes(data)
        )
        result[name] = data
    return result


def is_whole(folder: Path, record: CheckpointRecord) -> bool:
    """Return whether the checkpoint is there under `folder` with the bytes of its record."""
    try:
        require_bytes(folder / checkpoint_name(record.step), record)
    except (OSError, IntegrityError):
        return False
    return True


def require_bytes(folder: Path, record: CheckpointRecord) -> None:
    """Hash the files in `folder` and compare them with the record.

    Raises:
        DigestMismatch: A file has other bytes.
        OSError: A file cannot be read.
    """
    for name, expected in record.files.items():
        found = digest.of_file(folder / name)
        digest.require_equal(
            f"checkpoint {record.step}, {name}", expected=expected.sha256, found=found
        )


def sweep(folder: Path, *, keep: Iterable[int]) -> list[str]:
    """Remove every entry that is not the checkpoint of a step in `keep`; return their names."""
    wanted = {checkpoint_name(step) for step in keep}
    removed = sorted(entry.name for entry in folder.iterdir() if entry.name not in wanted)
    for name in removed:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return removed


def remove(folder: Path, step: int) -> None:
    """Delete the bytes of one checkpoint; its record stays in the journal."""
    shutil.rmtree(folder / checkpoint_name(step), ignore_errors=True)


def _require_same_files(checkpoint: Checkpoint) -> None:
    if not (set(checkpoint.files) == set(checkpoint.record.files) == set(CHECKPOINT_FILES)):
        raise IntegrityError(
            f"a checkpoint has the files {', '.join(CHECKPOINT_FILES)}; "
            f"found {sorted(checkpoint.files)}, recorded {sorted(checkpoint.record.files)}"
        )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
