"""Make the environment that Petals lives in; standard library only, run by `make petals`.

    python3.11 deploy/petals.py .venv-petals

Exact versions, hashes for all but PyTorch, Petals' own pins passed over (ADR 9). The stamp file is
written after an import of everything has worked; it holds the version report.
"""

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from deploy import environment

ROOT = environment.ROOT
LOCK = ROOT / "deploy" / "petals.lock"
TORCH = ROOT / "deploy" / "petals-torch.txt"
LOG = "install.log"
CHECK = ("-m", "petals_bridge.versions")
PYTHON = (3, 11)
NO_PYTHON = 3
"""Exit status where the Python is not the one that Petals runs on."""


def main() -> int:
    """Make the environment; return the exit status."""
    if sys.version_info[:2] != PYTHON:
        environment.fail(
            f"Petals needs Python 3.11, this is {sys.version.split()[0]}",
            "some of what it rests on has no build for another Python",
            "make PYTHON=python3.11 petals    with a service on Python 3.11 too",
        )
        return NO_PYTHON
    folder = ROOT / (sys.argv[1] if len(sys.argv) > 1 else ".venv-petals")
    folder.mkdir(exist_ok=True)
    with (folder / ".set-up").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / environment.STAMP
        if stamp.exists() and environment.newer(stamp, LOCK, TORCH):
            return 0
        return install(folder)


def install(folder: Path) -> int:
    """Install all of it and import it; return the exit status."""
    started = time.monotonic()
    print("● petals        PyTorch and 90 packages, one to five minutes", file=sys.stderr)
    if (folder / environment.UNFINISHED).exists():
        environment.remove_packages(folder)
    (folder / environment.UNFINISHED).touch()
    with (folder / LOG).open("w") as log:
        if not environment.run([sys.executable, "-m", "venv", "--symlinks", folder], folder, log):
            return environment.fail(
                f"cannot make the virtual environment {folder.name}/",
                environment.last_error(folder / LOG),
                "install the venv module of Python (Debian: apt-get install python3.11-venv)",
            )
        if not with_pip(folder, log):
            return environment.fail(
                "cannot install the packages of Petals",
                environment.last_error(folder / LOG),
                f"see {folder.name}/{LOG}",
            )
        report = folder / "versions.json"
        command = [folder / "bin" / "python", *CHECK, report]
        if not environment.run(command, folder, log):
            return environment.fail(
                "the packages of Petals are installed, but cannot be imported",
                environment.last_error(folder / LOG),
                f"see {folder.name}/{LOG}",
            )
    found = json.loads(report.read_text())
    (folder / environment.UNFINISHED).unlink()
    shutil.copy(report, folder / environment.STAMP)
    told = ", ".join(f"{name} {found[name]}" for name in ("petals", "hivemind", "torch", "ray"))
    seconds = time.monotonic() - started
    print(f"✓ petals        {told}, imported, {seconds:.0f} s", file=sys.stderr)
    return 0


def with_pip(folder: Path, log: TextIO) -> bool:
    """Install the lock, then PyTorch for this platform; return whether it went well."""
    pip = ["-m", "pip", "install", *environment.QUIET]
    locked = [*pip, "--no-deps", "--require-hashes", "-r", LOCK]
    torch = [*pip, "-r", TORCH]
    return environment.run_python(folder, locked, log) and environment.run_python(
        folder, torch, log
    )


if __name__ == "__main__":
    os.umask(0o022)
    environment.interrupt_once()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("error: interrupted\nhelp:  run it again; it goes on from there", file=sys.stderr)
        sys.exit(environment.INTERRUPTED)
