"""Check 12 of a pack: the model of a config, built by a trainers' process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from evidence import canonical
from evidence.errors import InvalidInput, Unavailable
from evidence.subject import DescribeModel

_TIMEOUT_S = 120.0
_ROOT = Path(__file__).resolve().parents[2]


def describer(*, cache: Path, scratch: Path) -> DescribeModel:
    """Return what builds the model of a config and tells its model.json.

    Args:
        cache: Folder for compiled kernels.
        scratch: Folder for the config on its way to the process.
    """

    def describe(config: dict[str, Any]) -> dict[str, Any]:
        """Return model.json of a config.

        Raises:
            Unavailable: The process could not tell.
        """
        file = scratch / "config.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        command = [sys.executable, "-m", "trainers", "--cache", str(cache), "describe", str(file)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_TIMEOUT_S, cwd=_ROOT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the trainers' process: {error}"[:300]) from error
        if done.returncode != 0:
            raise Unavailable(f"the trainers' process says: {_last_words(done.stderr)}")
        model: dict[str, Any] = canonical.decode_object(done.stdout)["model"]
        return model

    return describe


def _last_words(stderr: bytes) -> str:
    last = (stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"])[-1]
    try:
        return str(canonical.decode_object(last.encode())["detail"])
    except (InvalidInput, KeyError):
        return last[:300]
