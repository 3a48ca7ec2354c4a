"""The environment of the peers: `.venv-bench/`, made on demand from a lock with hashes."""

import shutil
import subprocess
import sys
from pathlib import Path

from cluster.provenance import REPOSITORY
from evidence.errors import NotInstalled

FOLDER = REPOSITORY / ".venv-bench"
LOCK = REPOSITORY / "benchmarks" / "requirements.lock"
PYTHON = FOLDER / "bin" / "python"

_STAMP = FOLDER / ".installed"
_LOG = FOLDER / "install.log"
_INSTALL_TIMEOUT_S = 900


def require() -> Path:
    """Return the peers' Python; install them if they are not here, or the lock is newer.

    Raises:
        NotInstalled: They cannot be installed; the reason is the installer's.
    """
    if _STAMP.exists() and _STAMP.stat().st_mtime >= LOCK.stat().st_mtime:
        return PYTHON
    sys.stderr.write("installing the peers (mlflow, sse-starlette) into .venv-bench/, a minute\n")
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    _run([*_installer(), "--quiet", "--require-hashes", "-r", str(LOCK)])
    _STAMP.touch()
    return PYTHON


def _installer() -> list[str]:
    """Return the command that installs: uv where the service's environment has it, else pip."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        return [str(PYTHON), "-m", "pip", "install", "--no-input"]
    return [uv, "pip", "install", "--python", str(PYTHON)]


def _run(command: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    try:
        with _LOG.open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=_INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        last = (_LOG.read_text(errors="replace").strip().splitlines() or [str(error)])[-1]
        raise NotInstalled(f"the peers cannot be installed: {last[:200]}") from error
