"""Which devices this machine can train on, found by trying. Light: the try is another process.

A driver that crashes or hangs takes only the probe's process with it.
"""

import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from evidence import canonical
from evidence.errors import DeviceMissing, InvalidInput
from trainers.config import DeviceName

NAMES: tuple[str, ...] = get_args(DeviceName)
"""Every device that a RunConfig can name."""

PREFERENCE = ("NV", "CUDA", "AMD", "METAL", "CPU")
"""What `auto` takes first."""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What a probe found."""

    device: str
    """One of NAMES."""
    usable: bool
    """Whether a kernel and a gradient ran there and agreed with numpy."""
    reason: str | None
    """Why it is not usable; None if it is."""
    details: dict[str, Any]
    """`seconds`, `largest_error`, `process` of a probe that ran; else empty."""


def probe(device: str, *, cache: Path, timeout_s: float = 120.0) -> DeviceReport:
    """Run a kernel and a gradient on `device` in a process of its own.

    Args:
        device: One of NAMES.
        cache: Folder for compiled kernels.
        timeout_s: After this many seconds the probe is ended and the device is not usable.

    Raises:
        InvalidInput: There is no such device name.
    """
    if device not in NAMES:
        raise InvalidInput(
            f"device: expected one of {', '.join(NAMES)}, found {device!r:.80}", field="device"
        )
    command = [sys.executable, "-m", "trainers", "--cache", str(cache), "probe", device]
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout_s, cwd=root, check=False
        )
    except subprocess.TimeoutExpired:
        return DeviceReport(device, False, f"no answer within {timeout_s} s", {})
    if done.returncode != 0:
        return DeviceReport(device, False, _reason(done.stderr, done.returncode), {})
    return DeviceReport(device, True, None, canonical.decode_object(done.stdout))


def resolve(device: str, available: Collection[str]) -> str:
    """Return the device to run on.

    Args:
        device: What the config asks for; `auto` takes the first of PREFERENCE that is there.
        available: Devices whose probe succeeded.

    Raises:
        DeviceMissing: It is not there; no other device is taken instead.
    """
    wanted = PREFERENCE if device == "auto" else (device,)
    for name in wanted:
        if name in available:
            return name
    raise DeviceMissing(
        f"device: expected {device}, usable here: {', '.join(sorted(available)) or 'none'}",
        expected=device,
        found=", ".join(sorted(available)) or "none",
    )


def _reason(stderr: bytes, status: int) -> str:
    """Return the detail that the probe printed, or its exit status."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        return str(canonical.decode_object(lines[-1].encode())["detail"])
    except (InvalidInput, IndexError, KeyError):
        return f"the probe ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")
