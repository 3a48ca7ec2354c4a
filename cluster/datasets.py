"""The shelf of data sets on the manager's node: what is there, what is being fetched."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx

from cluster.audit import AuditJournal, Who
from cluster.library import Library
from cluster.settings import Settings
from evidence.errors import ServiceError, Unavailable, of_code
from evidence.records import Fault
from governance.licences import NOASSERTION
from trainers.data import fetch as fetches
from trainers.data import store
from trainers.data.catalog import TextSet

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0


class DatasetShelf:
    """Fetches each data set at most once at a time, and tells how far it is.

    Args:
        settings: Cache and search path.
        audit: Where a fetch is recorded.
    """

    def __init__(self, settings: Settings, audit: AuditJournal) -> None:
        self._settings = settings
        self._audit = audit
        self.library = Library(settings.home / "datasets")
        """What is known of data sets."""
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, tuple[int, int | None]] = {}
        self._faults: dict[str, Fault] = {}
        self._statuses: dict[str, tuple[object, store.Status]] = {}

    async def views(self) -> list[dict[str, Any]]:
        """Return every data set: state, digests, licence, progress of a fetch, last error."""
        return [await self.view(name) for name in self.library.names()]

    async def view(self, name: str) -> dict[str, Any]:
        """Return one data set; hashes its files.

        Raises:
            NotFound: There is no such data set.
        """
        entry = self.library.spec(name)
        dossier = self.library.dossier(name)
        told = dossier.entry if dossier else None
        known = await asyncio.to_thread(self._status, name)
        fetching = name in self._fetching
        done, total = self._progress.get(name, (0, None))
        fault = self._faults.get(name)
        return {
            "name": name,
            "title": entry.title,
            "state": "fetching" if fetching else known.state,
            "licence": told.licence.data if told else NOASSERTION,
            "licence_note": told.licence.basis if told else "the manifest has no such data set",
            "citation": told.citation if told else "",
            "source": told.sources[0] if told else "",
            "files": {
                file: {"bytes": expected.bytes, "sha256": expected.sha256, "found": found}
                for (file, expected), found in zip(
                    entry.files.items(), known.files.values(), strict=True
                )
            },
            "fetched_bytes": done if fetching else None,
            "total_bytes": total if fetching else None,
            "error": fault.model_dump() if fault else None,
        }

    async def state(self, name: str) -> store.State:
        """Return whether a data set can be trained on.

        Raises:
            NotFound: There is no such data set.
        """
        return (await asyncio.to_thread(self._status, name)).state

    async def found(self, name: str) -> dict[str, str] | None:
        """Return the SHA-256 of each file as it is on the disk; None if not all of them are here.

        Raises:
            NotFound: There is no such data set.
        """
        known = await asyncio.to_thread(self._status, name)
        held = {file: sha256 for file, sha256 in known.files.items() if sha256 is not None}
        return held if len(held) == len(known.files) else None

    def paths(self, name: str) -> dict[str, Path]:
        """Return where each file of a data set lies once it is here.

        Raises:
            NotFound: There is no such data set.
        """
        folder = store.folder(name, self._settings.cache)
        return {file: folder / file for file in self.library.spec(name).files}

    def is_text(self, name: str) -> bool:
        """Return whether a data set is a text.

        Raises:
            NotFound: There is no such data set.
        """
        return isinstance(self.library.spec(name), TextSet)

    async def fetch(self, name: str, *, who: Who) -> dict[str, Any]:
        """Start a fetch unless one is under way or the data is here; return the view.

        Raises:
            NotFound: There is no such data set.
        """
        if (await self.view(name))["state"] != "ready":
            self._begin(name, who=who)
        return await self.view(name)

    async def require(self, name: str) -> None:
        """Return when the data set is here.

        Raises:
            SourcesExhausted: No source had it.
            Unavailable: The cache cannot be written.
            DigestMismatch: What is in the cache has other bytes than published.
        """
        if (await self.view(name))["state"] == "ready":
            return
        await asyncio.shield(self._begin(name, who="service"))
        fault = self._faults.get(name)
        if fault is not None:
            raise of_code(fault.code, fault.detail)

    async def files(self, name: str) -> dict[str, bytes]:
        """Return the raw files of a data set that is here; whoever takes them verifies them.

        Raises:
            NotFound: There is no such data set.
        """
        folder = store.folder(name, self._settings.cache)
        return {
            file: await asyncio.to_thread((folder / file).read_bytes)
            for file in self.library.spec(name).files
        }

    def _status(self, name: str) -> store.Status:
        """Return the status of a data set; its files are hashed again only when they changed."""
        folder = store.folder(name, self._settings.cache)
        files = [folder / file for file in self.library.spec(name).files]
        stamp = tuple(
            (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else None
            for file in files
        )
        known = self._statuses.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, store.status(name, self._settings.cache, own=self.library.own(name)))
            self._statuses[name] = known
        return known[1]

    def _begin(self, name: str, *, who: Who) -> asyncio.Task[None]:
        if name not in self._fetching:
            self._faults.pop(name, None)
            self._fetching[name] = asyncio.create_task(self._fetch(name, who=who))
        return self._fetching[name]

    async def _fetch(self, name: str, *, who: Who) -> None:
        try:
            report = await asyncio.to_thread(self._fetch_now, name)
            self._audit.append("dataset.fetched", who=who, dataset=name, sources=report.files)
        except ServiceError as error:
            self._faults[name] = Fault(code=error.code, detail=error.detail[:4000])
        except OSError as error:
            self._faults[name] = Fault(code=Unavailable.code, detail=f"{name}: {error}"[:4000])
        finally:
            self._fetching.pop(name, None)

    def _fetch_now(self, name: str) -> fetches.Report:
        def progress(_: str, done: int, total: int | None) -> None:
            self._progress[name] = (done, total)

        own = self.library.own(name)
        if own is not None:
            return fetches.find_own(
                name, own, cache=self._settings.cache, search_path=self._settings.search_path
            )
        timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            return fetches.fetch(
                name,
                cache=self._settings.cache,
                search_path=self._settings.search_path,
                client=client,
                npm=shutil.which("npm"),
                progress=progress,
            )
