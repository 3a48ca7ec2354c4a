"""Make the virtual environment from the lock; standard library only, run by `make setup`.

    python3 deploy/environment.py .venv

Every package is pinned and its hash checked. The stamp file is written last, so that a set-up that
was interrupted is done again, from nothing if packages were being written. Two at once wait for
each other. Each command is a process group of its own, which ends with this process.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
STAMP = ".installed"
UNFINISHED = ".installing"
LOG = "install.log"
INTERRUPTED = 130
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIET = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")


def main() -> int:
    """Make the environment; return the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file meets the machine's own Python
        return fail(
            f"Python {sys.version.split()[0]} is too old",
            "Python 3.11 or newer is needed",
            "make PYTHON=python3.11 ...",
        )
    folder = ROOT / (sys.argv[1] if len(sys.argv) > 1 else ".venv")
    folder.mkdir(exist_ok=True)
    with (folder / ".set-up").open("w") as lock:  # not `.lock`: uv waits for that one
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / STAMP).exists() and newer(folder / STAMP, LOCK, ROOT / "pyproject.toml"):
            return 0
        return install(folder)


def install(folder: Path) -> int:
    """Install every package of the lock and this project; return the exit status."""
    started = time.monotonic()
    count = len(re.findall(r"^[a-z0-9].*==", LOCK.read_text(), re.MULTILINE))
    print(f"● environment   {count} packages from the lock, a minute or two", file=sys.stderr)
    if (folder / UNFINISHED).exists():
        remove_packages(folder)
    (folder / UNFINISHED).touch()
    with (folder / LOG).open("w") as log:
        if not run([sys.executable, "-m", "venv", "--symlinks", folder], folder, log):
            return fail(
                f"cannot make the virtual environment {folder.name}/",
                last_error(folder / LOG),
                "install the venv module of Python (Debian: apt-get install python3-venv)",
            )
        if not (with_uv(folder, log) or with_pip(folder, log)):
            return fail(
                "cannot install the packages", last_error(folder / LOG), f"see {folder.name}/{LOG}"
            )
        project = ["-m", "pip", "install", *QUIET, "--no-deps", "--no-build-isolation", "-e", ROOT]
        if not run_python(folder, project, log):
            return fail("cannot install this project", last_error(folder / LOG), f"see {LOG}")
        run_python(folder, ["-m", "compileall", "-q", "-j", "0", folder / "lib"], log)
    (folder / UNFINISHED).unlink()
    (folder / STAMP).touch()
    seconds = time.monotonic() - started
    print(f"✓ environment   {count} packages from the lock, {seconds:.0f} s", file=sys.stderr)
    return 0


def remove_packages(folder: Path) -> None:
    """Remove what an interrupted set-up wrote: a package may be there in part and look whole."""
    for name in ("bin", "include", "lib", "lib64"):
        path = folder / name
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def with_uv(folder: Path, log: TextIO) -> bool:
    """Install the lock with uv, itself from the lock: ten times as fast as pip."""
    pinned = re.search(r"^uv==.*?(?=^\S)", LOCK.read_text() + "\nend", re.MULTILINE | re.DOTALL)
    if pinned is None:
        return False
    only_uv = folder / "uv.lock"
    only_uv.write_text(pinned.group())
    pip = ["-m", "pip", "install", *QUIET, "--require-hashes", "-r", only_uv]
    uv = ["-m", "uv", "pip", "install", "-q", "--require-hashes", "-r", LOCK]
    return run_python(folder, pip, log) and run_python(folder, uv, log)


def with_pip(folder: Path, log: TextIO) -> bool:
    """Install the lock with pip: where uv does not run or does not know the package index."""
    log.write("uv did not install the lock; trying pip\n")
    pip = ["-m", "pip", "install", *QUIET, "--require-hashes", "-r", LOCK]
    return run_python(folder, pip, log)


def run_python(folder: Path, arguments: Sequence[str | Path], log: TextIO) -> bool:
    """Run the environment's Python; return whether it ended well."""
    return run([folder / "bin" / "python", *arguments], folder, log)


def run(command: Sequence[str | Path], folder: Path, log: TextIO) -> bool:
    """Run a command in a process group of its own; return whether it ended well.

    If this process is interrupted meanwhile, the whole group is killed: `compileall` and pip start
    processes of their own.
    """
    log.flush()
    child = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "VIRTUAL_ENV": str(folder)},
        process_group=0,
    )
    try:
        return child.wait() == 0
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise


def interrupt_once() -> None:
    """Turn the first stopping signal into KeyboardInterrupt and pass over those that follow."""
    is_stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            raise KeyboardInterrupt

    for one in STOPPING:
        signal.signal(one, stop)


def newer(stamp: Path, *files: Path) -> bool:
    """Return whether `stamp` is newer than all files."""
    return all(stamp.stat().st_mtime >= file.stat().st_mtime for file in files)


def last_error(log: Path) -> str:
    """Return the last line of the log that says ERROR, or its last line."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])[:300]


def fail(error: str, cause: str, cure: str) -> int:
    """Say what is wrong and what to do; return 1."""
    print(f"error: {error}\ncause: {cause}\nhelp:  {cure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os.umask(0o022)
    interrupt_once()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("error: interrupted\nhelp:  run it again; it goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
