"""Scans of texts for personal data: done when the gate needs one, kept by the bytes scanned."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.audit import AuditJournal
from evidence import canonical, files
from evidence.clock import Clock, timestamp
from evidence.errors import IntegrityError, Unavailable
from evidence.packfiles import parse
from governance.manifest import digest_of_files
from governance.pii.report import Report

_FOLDER = "pii"
_ROOT = Path(__file__).parents[1]


class ScanDesk:
    """The reports of a service.

    Args:
        home: Of the service; reports go below it, and the key of their hashes into `keys/`.
        journal: The service journal.
        clock: Where timestamps come from.
    """

    def __init__(self, home: Path, *, journal: AuditJournal, clock: Clock) -> None:
        self._folder = home / _FOLDER
        self._key = home / "keys" / "pii.key"
        self._journal = journal
        self._clock = clock
        self._turn = asyncio.Lock()

    def report(self, digests: Mapping[str, str]) -> Report | None:
        """Return the report on exactly these bytes by the present detectors, if there is one."""
        path = self._path(digests)
        if not path.exists():
            return None
        try:
            found = parse(Report, path.read_bytes())
        except IntegrityError:  # of another version, or damaged: it is made again
            return None
        return found if found.is_fresh and found.digests == dict(digests) else None

    async def require(self, name: str, paths: Mapping[str, Path]) -> Report:
        """Return the report on the bytes of a data set; scan them if there is none yet.

        Args:
            name: Of the data set.
            paths: Its files, by name.

        Raises:
            Unavailable: The scan failed; its last word stands in the message.
            StorageFull: The disk took no more.
        """
        async with self._turn:
            made = await self._scan(name, paths)
            self._folder.mkdir(parents=True, exist_ok=True)
            files.write_atomic(
                self._path(made.digests), canonical.encode(made.model_dump(mode="json"))
            )
            counts = made.counts(least_score=0)
            self._journal.append(
                "dataset.scanned",
                who="service",
                dataset=name,
                report_sha256=made.sha256,
                findings={entity.value: count for entity, count in counts.items()},
            )
            return made

    async def _scan(self, name: str, paths: Mapping[str, Path]) -> Report:
        """Scan in a process of its own, which starts others for a large file."""
        order = {
            "name": name,
            "paths": {file: str(path) for file, path in paths.items()},
            "key_file": str(self._key),
            "now": timestamp(self._clock()),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "governance.pii",
            "--order",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=_ROOT,
        )
        try:
            out, err = await process.communicate(canonical.encode(order))
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise Unavailable(f"{name}: the scan for personal data failed: {last[0]}"[:500])
        return parse(Report, out)

    def _path(self, digests: Mapping[str, str]) -> Path:
        return self._folder / f"{digest_of_files(digests)}.json"
