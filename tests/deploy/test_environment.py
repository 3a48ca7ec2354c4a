"""The set-up, interrupted: nothing of it goes on, and it says so in two lines."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "deploy" / "environment.py"


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "venv")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as setting_up:
        while not (begun := descendants(setting_up.pid)):
            time.sleep(0.02)
        setting_up.send_signal(number)
        _, told = setting_up.communicate(timeout=60)
    assert setting_up.returncode == 128 + number
    assert told.splitlines()[-2].startswith("error: set-up interrupted")
    assert "Traceback" not in told
    psutil.wait_procs(begun, timeout=10)
    assert not [process for process in begun if process.is_running()]
    assert not (tmp_path / "venv" / ".installed").exists()


@pytest.mark.slow
def test_the_children_of_what_the_set_up_runs_are_ended_with_it(tmp_path: Path) -> None:
    program = (
        "import importlib.util, os, signal, sys\n"
        f"spec = importlib.util.spec_from_file_location('environment', {str(PROGRAM)!r})\n"
        "environment = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(environment)\n"
        "signal.signal(signal.SIGINT, environment.stop)\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "(folder / 'bin').mkdir()\n"
        "(folder / 'bin' / 'python').symlink_to(sys.executable)\n"
        'inner = \'import subprocess, sys; subprocess.run([sys.executable, "-c",'
        ' "import time; time.sleep(600)"])\'\n'
        "environment.run(folder, ['-c', inner], open(folder / 'log', 'w'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as running:
        while len(begun := descendants(running.pid)) < 2:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    psutil.wait_procs(begun, timeout=10)
    assert not [process for process in begun if process.is_running()]
