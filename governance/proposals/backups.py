"""Copies of the queue's files: when one is made, which are kept, and which are good."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from evidence import files

FOLDER = "backups"

_NAME = re.compile(r"proposals-(?P<first>[0-9]{8})-(?P<last>[0-9]{8})\.jsonl")


@dataclass(frozen=True, slots=True)
class Keeping:
    """When the queue's file is rotated and copied, and how many copies are kept."""

    rotate_bytes: int = 4 << 20
    """Size from which on another file is begun."""
    backups: int = 10
    """Most copies of one file."""
    backup_every_s: int = 3600
    """Age of the newest copy, in seconds, from which on the next record makes another."""
    backup_max_age_s: int = 30 * 86400
    """Age in seconds from which on a copy is deleted; the newest of each file stays."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One copy."""

    path: Path
    first: int
    """Number of its first record."""
    last: int


def listed(folder: Path) -> list[Backup]:
    """Return the copies, those with the newest records first."""
    found = []
    for path in (folder / FOLDER).glob("*.jsonl"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append(Backup(path, int(match["first"]), int(match["last"])))
    return sorted(found, key=lambda one: (one.last, one.first), reverse=True)


def make(folder: Path, data: bytes, *, first: int, last: int, now: datetime) -> Path:
    """Write a copy of records first to last, on the disk when this returns; it is of `now`.

    Raises:
        StorageFull: There is no space; nothing is left.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    path = folder / FOLDER / f"proposals-{first:08}-{last:08}.jsonl"
    files.write_atomic(path, data)
    os.utime(path, (now.timestamp(), now.timestamp()))
    return path


def is_due(folder: Path, keeping: Keeping, *, now: datetime) -> bool:
    """Return whether the newest copy is old enough for another one."""
    made = [one.path.stat().st_mtime for one in listed(folder)]
    return not made or now.timestamp() - max(made) >= keeping.backup_every_s


def prune(folder: Path, keeping: Keeping, *, now: datetime) -> list[Path]:
    """Delete copies beyond count and age, but for the newest of each file; return them."""
    gone = []
    seen: dict[int, int] = {}
    for one in listed(folder):
        rank = seen[one.first] = seen.get(one.first, 0) + 1
        age_s = now.timestamp() - one.path.stat().st_mtime
        if rank > 1 and (rank > keeping.backups or age_s >= keeping.backup_max_age_s):
            one.path.unlink()
            gone.append(one.path)
    return gone


def lines_of(one: Backup) -> Iterator[bytes]:
    """Yield the lines of a copy, without newlines; a torn last one is left out."""
    if os.path.lexists(one.path):
        yield from one.path.read_bytes().split(b"\n")[:-1]
