"""The demo as people run it: whole, interrupted, and twice at once."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from evidence.archive import open_pack
from evidence.report import Verdict
from evidence.verify import verify
from serve.cli import demo
from tests.serve.cli.running import REPOSITORY, require_explained, zpctl

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PHASES = ["compiler", "cluster", "data", "train", "evidence", "clean-up"]


@pytest.fixture
def home(tmp_path: Path, data_cache: Path) -> Path:
    """A home whose cache holds MNIST already."""
    path = tmp_path / "home"
    path.mkdir()
    (path / "cache").symlink_to(data_cache, target_is_directory=True)
    return path


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ZEROPOINT_HOME", "").startswith(str(home)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_demo_proves_what_it_says_and_leaves_only_the_pack(home: Path) -> None:
    result = zpctl("demo", home=home, cwd=REPOSITORY, CI="1")
    lines = (result.stderr + result.stdout).splitlines()
    done = [line.split()[1] for line in lines if line.startswith("\N{CHECK MARK}")]
    (pack,) = (home / "evidence" / "training").iterdir()
    with open_pack(pack) as held:
        assert verify(held).verdict is Verdict.PASSED
    assert result.returncode == 0, result.stderr
    assert done == PHASES
    assert not {"\x1b", "\r"} & set(result.stderr + result.stdout)
    assert max(len(line) for line in lines if str(home) not in line) <= 80
    assert result.stdout.split() == demo_results(pack)
    assert sorted(path.name for path in home.iterdir()) == ["cache", "demo.lock", "evidence"]
    assert processes_of(home) == []


def demo_results(pack: Path) -> list[str]:
    said = f"Pack {pack} Check it .venv/bin/zpctl verify {pack.name} "
    return (said + "Keep one make up then open /api/docs at its address").split()


@pytest.mark.parametrize(
    ("word", "number"),
    [("demo", signal.SIGINT), ("compiler", signal.SIGINT), ("cluster", signal.SIGTERM)],
)
def test_a_demo_that_is_stopped_leaves_nothing(
    home: Path, word: str, number: signal.Signals
) -> None:
    process = start_demo(home)
    assert process.stderr is not None
    while word not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "service stopped, no process left" in rest
    assert processes_of(home) == []
    assert sorted(path.name for path in home.iterdir()) == ["cache", "demo.lock"]


def start_demo(
    home: Path, *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> "subprocess.Popen[str]":
    environ = {**os.environ, "ZEROPOINT_HOME": str(home), "CI": "", "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "serve.cli", "demo"],
        env=environ,
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def test_a_second_demo_in_the_same_home_is_refused(home: Path) -> None:
    with (home / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = zpctl("demo", home=home)
    require_explained(result, status=2, error="conflict", cause="another demo is running in")


def test_the_goal_is_as_promised() -> None:
    assert demo.GOAL == 0.985


def test_a_closed_terminal_stops_the_demo_too(home: Path) -> None:
    terminal, inside = pty.openpty()
    process = start_demo(home, stdout=inside, stderr=inside)
    os.close(inside)
    while b"cluster" not in os.read(terminal, 65_536):
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    os.close(terminal)
    assert process.wait(timeout=60) == 130
    assert processes_of(home) == []
    assert sorted(path.name for path in home.iterdir()) == ["cache", "demo.lock"]
