"""The set-up ends whole when it is interrupted, and recovers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy import environment

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import sys
from pathlib import Path
from deploy import environment

below = "import time; print(1, flush=True); time.sleep(600)"
child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"
environment.interrupt_once()
with open(sys.argv[2], "w") as log:
    environment.run([sys.executable, "-c", child], Path(sys.argv[1]), log)
"""


@pytest.mark.parametrize("number", environment.STOPPING)
def test_an_interrupted_command_ends_with_all_that_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    setup = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(log)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not log.exists() or not log.read_text():
        assert setup.poll() is None
    started = psutil.Process(setup.pid).children(recursive=True)
    assert len(started) == 2
    setup.send_signal(number)
    assert setup.wait(30) != 0
    _, alive = psutil.wait_procs(started, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
def test_an_interrupted_set_up_says_so_in_one_line_and_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    setup = subprocess.Popen(
        [sys.executable, "deploy/environment.py", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PIP_NO_INDEX": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / environment.UNFINISHED).exists():
        assert setup.poll() is None
    for number in environment.STOPPING:
        setup.send_signal(number)
    _, told = setup.communicate(timeout=30)
    assert setup.returncode == environment.INTERRUPTED
    assert told.splitlines()[1:] == [
        "error: interrupted",
        "help:  run it again; it goes on from there",
    ]
    assert not (folder / environment.STAMP).exists()


def test_what_an_interrupted_set_up_wrote_is_removed_and_the_cache_stays(tmp_path: Path) -> None:
    for name in ("bin", "lib"):
        (tmp_path / name).mkdir()
    (tmp_path / "lib64").symlink_to("lib")
    (tmp_path / environment.LOG).touch()
    environment.remove_packages(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [environment.LOG]
