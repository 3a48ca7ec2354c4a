"""Make the virtual environment from the lock; standard library only, run by `make setup`.

    python3 deploy/environment.py .venv

Every package is pinned and its hash checked. The stamp file is written last, so that a set-up that
was interrupted is done again. Two at once wait for each other.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
STAMP = ".installed"
LOG = "install.log"
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
    try:
        venv.create(folder, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return fail(
            f"cannot make the virtual environment {folder.name}/",
            str(error),
            "install the venv module of Python (Debian: apt-get install python3-venv)",
        )
    with (folder / LOG).open("w") as log:
        if not (with_uv(folder, log) or with_pip(folder, log)):
            return fail(
                "cannot install the packages", last_error(folder / LOG), f"see {folder.name}/{LOG}"
            )
        project = ["-m", "pip", "install", *QUIET, "--no-deps", "--no-build-isolation", "-e", ROOT]
        if not run(folder, project, log):
            return fail("cannot install this project", last_error(folder / LOG), f"see {LOG}")
        run(folder, ["-m", "compileall", "-q", "-j", "0", str(folder / "lib")], log)
    (folder / STAMP).touch()
    seconds = time.monotonic() - started
    print(f"✓ environment   {count} packages from the lock, {seconds:.0f} s", file=sys.stderr)
    return 0


def with_uv(folder: Path, log: TextIO) -> bool:
    """Install the lock with uv, itself from the lock: ten times as fast as pip."""
    pinned = re.search(r"^uv==.*?(?=^\S)", LOCK.read_text() + "\nend", re.MULTILINE | re.DOTALL)
    if pinned is None:
        return False
    only_uv = folder / "uv.lock"
    only_uv.write_text(pinned.group())
    pip = ["-m", "pip", "install", *QUIET, "--require-hashes", "-r", only_uv]
    uv = ["-m", "uv", "pip", "install", "-q", "--require-hashes", "-r", LOCK]
    return run(folder, pip, log) and run(folder, uv, log)


def with_pip(folder: Path, log: TextIO) -> bool:
    """Install the lock with pip: where uv does not run or does not know the package index."""
    log.write("uv did not install the lock; trying pip\n")
    return run(folder, ["-m", "pip", "install", *QUIET, "--require-hashes", "-r", LOCK], log)


def run(folder: Path, arguments: list[str | Path], log: TextIO) -> bool:
    """Run the environment's Python; return whether it ended well.

    It has a session of its own, all of which is ended with us: pip and compileall have children,
    which would outlive a Ctrl-C.
    """
    command = [folder / "bin" / "python", *arguments]
    log.flush()
    environ = {**os.environ, "VIRTUAL_ENV": str(folder)}
    child = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=environ,
        start_new_session=True,
    )
    try:
        return child.wait() == 0
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise


def stop(number: int, _: object) -> NoReturn:
    """End what runs, then this process, as the shell expects of a signal."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


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
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        status = main()
    except SystemExit as ended:
        print("error: set-up interrupted\nhelp:  the same command goes on with it", file=sys.stderr)
        status = ended.code
    sys.exit(status)
