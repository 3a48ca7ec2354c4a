"""What a step costs: time, memory, energy. What has no meter here is null, with the reason.

On a CPU, energy is Linux's running average power limit counter, read as it is, for whole processor
packages: https://docs.kernel.org/power/powercap/powercap.html. On an NVIDIA card it is the card's
own counter. There is no estimate in its place.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psutil

from evidence.errors import NotInstalled, Unavailable
from trainers import nvidia

_POWERCAP = Path("/sys/class/powercap")
_MICRO = 1e-6


class Stopwatch:
    """Wall time of a `with` block; `seconds` is set at its end."""

    seconds: float = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._started


class Meter(Protocol):
    """Something that counts energy."""

    absence: str | None
    """Why there is no reading, or None."""

    def joules(self) -> float | None:
        """Return the energy since the last call (or the start), in joules; None if unreadable."""


def meter_of(device: str) -> Meter:
    """Return the meter of what a trainer on `device` computes with."""
    return CardMeter() if device in nvidia.DEVICES else EnergyMeter()


class CardMeter:
    """Joules since the last reading, of the NVIDIA card that this process has."""

    def __init__(self) -> None:
        self.absence: str | None = None
        """Why there is no reading, or None."""
        self._card: nvidia.Card | None = None
        self._last = 0.0
        try:
            self._card = nvidia.Card()
            self._last = self._card.joules()
        except (NotInstalled, Unavailable) as error:
            self.absence = error.detail

    def joules(self) -> float | None:
        """Return the energy since the last call (or the start), in joules; None if unreadable."""
        if self._card is None or self.absence:
            return None
        try:
            now = self._card.joules()
        except Unavailable as error:
            self.absence = error.detail
            return None
        used, self._last = now - self._last, now
        return used


class EnergyMeter:
    """Joules since the last reading, over all processor packages of this machine.

    Args:
        root: Folder of the kernel's power zones.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        self._zones = sorted(root.glob("intel-rapl:?")) if root.is_dir() else []
        self.absence: str | None = None
        """Why there is no reading, or None."""
        self._last = self._read()

    def joules(self) -> float | None:
        """Return the energy since the last call (or the start), in joules; None if unreadable."""
        before, self._last = self._last, self._read()
        if before is None or self._last is None:
            return None
        used = [
            (now - then) % (span + 1)
            for (now, span), (then, _) in zip(self._last, before, strict=True)
        ]
        return sum(used) * _MICRO

    def _read(self) -> list[tuple[int, int]] | None:
        """Return counter and range of each package in microjoules, or None and say why."""
        if not self._zones:
            self.absence = "no meter: this machine has no RAPL zone"
            return None
        try:
            return [
                tuple(
                    int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
                )  # type: ignore[misc]  # two names give two numbers
                for zone in self._zones
            ]
        except OSError as error:
            self.absence = f"no meter: RAPL is not readable ({type(error).__name__})"
            return None


def resident_bytes() -> int:
    """Return the resident set size of this process, in bytes."""
    return int(psutil.Process().memory_info().rss)
