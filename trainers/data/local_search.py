"""Raw data files found by their bytes in folders on this machine, whatever they are called."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from evidence import digest
from evidence.records import FileDigest


def find(wanted: FileDigest, file: str, *, folders: Iterable[Path]) -> tuple[Path | None, str]:
    """Look for one raw file below `folders`.

    Only files of the right size are hashed.

    Returns:
        The path, or None and what was found in its place: a same-named file of another size or
        digest is said so, with both.
    """
    note = "no file of its size"
    for path in _files(folders):
        size = path.stat().st_size
        if size == wanted.bytes:
            found = digest.of_file(path)
            if found == wanted.sha256:
                return path, ""
            note = f"{path.name}: expected SHA-256 {wanted.sha256}, found {found}"
        elif path.name == file:
            found = digest.of_file(path)
            note = (
                f"{path.name}: expected {wanted.bytes} bytes with SHA-256 {wanted.sha256}, "
                f"found {size} bytes with SHA-256 {found}"
            )
    return None, note


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the regular files below the folders, in name order; links are not followed."""
    for folder in folders:
        if folder.is_dir():
            yield from sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
