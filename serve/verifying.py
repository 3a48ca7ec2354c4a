"""Verification of packs within a replica: in a thread, each check told as it is made."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from evidence import canonical
from evidence.archive import open_pack
from evidence.errors import RateLimited, ServiceError, TooLarge
from evidence.report import Check, Report
from evidence.trust import Trusted
from evidence.verify import Verification
from serve import problems, rebuild

Told = Callable[[Report], Awaitable[None]]
"""Takes the report of a verification."""

MOST_AT_ONCE = 2
"""Verifications of a replica at once."""


class Desk:
    """Where packs are taken in and verified, a few at a time.

    Args:
        cache: Folder for compiled kernels.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._open = 0

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Path]:
        """Hold a place at the desk, with a folder that is gone afterwards.

        Raises:
            RateLimited: All are taken.
        """
        if self._open >= MOST_AT_ONCE:
            raise RateLimited(f"{MOST_AT_ONCE} packs are being verified; try again soon")
        self._open += 1
        try:
            with tempfile.TemporaryDirectory(prefix="zeropoint-verify-") as scratch:
                yield Path(scratch)
        finally:
            self._open -= 1

    async def checks(
        self, pack: Path, trusted: Trusted, *, scratch: Path, told: Told | None = None
    ) -> AsyncIterator[bytes]:
        """Yield an event for each check of a pack as it is made, then one for the report.

        Args:
            pack: A folder, or a zip.
            trusted: What is known from elsewhere.
            scratch: Folder for what a check needs.
            told: Is given the report before it is sent.
        """
        try:
            with open_pack(pack) as held:
                verification = Verification(
                    held,
                    public_key=trusted.public_key,
                    known_log=trusted.known_log,
                    required=trusted.required,
                    describe_model=rebuild.describer(cache=self._cache, scratch=scratch),
                )
                made = verification.run()
                while (check := await asyncio.to_thread(_next, made)) is not None:
                    yield _event("check", check.number, check.model_dump(mode="json"))
                report = verification.report()
                if told is not None:
                    await told(report)
                yield _event("report", 0, report.model_dump(mode="json"))
        except ServiceError as error:
            document = problems.of_error(error, instance="")
            yield _event("problem", 0, document)


def _next(made: object) -> Check | None:
    return next(made, None)  # type: ignore[call-overload, no-any-return]  # an iterator of checks


def _event(kind: str, number: int, data: object) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), canonical.encode(data))


async def take_in(body: AsyncIterator[bytes], target: Path, *, at_most: int) -> None:
    """Write a body to a file.

    Raises:
        TooLarge: It has more bytes than `at_most`.
    """
    taken = 0
    with target.open("wb") as file:
        async for piece in body:
            taken += len(piece)
            if taken > at_most:
                raise TooLarge(f"body: expected at most {at_most} bytes", field="body")
            await asyncio.to_thread(file.write, piece)
