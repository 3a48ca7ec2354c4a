"""No child outlives a process that was killed, nor does the process outlive its parent."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import subprocess, sys, time
from petals_bridge import die_together
die_together.die_together()
below = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", below])
time.sleep(600)
"""

CHILD = PARENT.replace(
    "die_together.die_together()",
    "die_together.die_together(); die_together.die_with_parent()",
)

GRANDPARENT = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {CHILD!r}])
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "below"), [(PARENT, 3), (GRANDPARENT, 4)])
def test_a_killed_process_leaves_nobody_behind(code: str, below: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    started: list[psutil.Process] = []
    while len(started) < below or "sleep" not in {one.name() for one in started}:
        assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(10)
    _, alive = psutil.wait_procs(started, timeout=15)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
