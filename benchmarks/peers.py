"""The environments of the peers, made on demand.

`.venv-bench/` comes from a lock with hashes; the version of `.venv-torch/` is pinned, but its build
differs by platform.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from evidence.errors import NotInstalled
from trainers.provenance import REPOSITORY

_INSTALL_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Peers:
    """A virtual environment and what belongs into it."""

    what: str
    folder: Path
    requirements: Path
    options: tuple[str, ...]
    """Of the installer."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


_HERE = REPOSITORY / "benchmarks"
SERVERS = Peers(
    "mlflow, sse-starlette",
    REPOSITORY / ".venv-bench",
    _HERE / "requirements.lock",
    ("--require-hashes",),
)
TORCH = Peers("torch", REPOSITORY / ".venv-torch", _HERE / "requirements-torch.txt", ())


def require(peers: Peers = SERVERS) -> Path:
    """Return the peers' Python; install them if they are not here, or their list is newer.

    Raises:
        NotInstalled: They cannot be installed; the reason is the installer's.
    """
    stamp = peers.folder / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= peers.requirements.stat().st_mtime:
        return peers.python
    name = f"{peers.folder.name}/"
    sys.stderr.write(f"installing the peers ({peers.what}) into {name}, a minute\n")
    shutil.rmtree(peers.folder, ignore_errors=True)
    _run(peers, [sys.executable, "-m", "venv", str(peers.folder)])
    command = [*_installer(peers.python), "--quiet", *peers.options]
    _run(peers, [*command, "-r", str(peers.requirements)])
    stamp.touch()
    return peers.python


def _installer(python: Path) -> list[str]:
    """Return the command that installs: uv where the service's environment has it, else pip."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        return [str(python), "-m", "pip", "install", "--no-input"]
    return [uv, "pip", "install", "--python", str(python)]


def _run(peers: Peers, command: list[str]) -> None:
    peers.folder.mkdir(exist_ok=True)
    path = peers.folder / "install.log"
    try:
        with path.open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=_INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        last = (path.read_text(errors="replace").strip().splitlines() or [str(error)])[-1]
        raise NotInstalled(f"the peers cannot be installed: {last[:200]}") from error
