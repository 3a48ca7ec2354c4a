"""Check 12 of a pack: the model of a config, built by a trainers' process of its own.

A config that the trainers refuse is an error of the config, found here by their own rules before
the process starts; only what this machine lacks is Unavailable.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from evidence import canonical
from evidence.errors import InvalidInput, ServiceError, Unavailable, of_code
from evidence.subject import DescribeModel
from trainers.config import parse

_TIMEOUT_S = 120.0
_ROOT = Path(__file__).resolve().parents[1]


def describer(*, cache: Path, scratch: Path) -> DescribeModel:
    """Return what builds the model of a config and tells its model.json.

    Args:
        cache: Folder for compiled kernels.
        scratch: Folder for the config on its way to the process.
    """

    def describe(config: dict[str, Any]) -> dict[str, Any]:
        """Return model.json of a config.

        Raises:
            InvalidInput: The trainers take no such config.
            Unavailable: The process could not tell.
        """
        full = parse(config).as_json()
        file = scratch / "config.json"
        # The device is no part of the model, and the auditor's machine may lack the run's.
        file.write_text(json.dumps({**full, "device": "CPU"}), encoding="utf-8")
        command = [sys.executable, "-m", "trainers", "--cache", str(cache), "describe", str(file)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_TIMEOUT_S, cwd=_ROOT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the trainers' process: {error}"[:300]) from error
        if done.returncode != 0:
            raise _error_of(done.stderr)
        model: dict[str, Any] = canonical.decode_object(done.stdout)["model"]
        return model

    return describe


def _error_of(stderr: bytes) -> ServiceError:
    """Return the error that the process wrote: one of the config, or else that it cannot tell."""
    last = (stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"])[-1]
    try:
        told = canonical.decode_object(last.encode())
        error = of_code(str(told["code"]), str(told["detail"]))
    except (InvalidInput, KeyError):
        return Unavailable(f"the trainers' process says: {last[:300]}")
    if isinstance(error, InvalidInput):
        return error
    return Unavailable(f"the trainers' process says: {error.detail}")
