"""What CI calls, and what it refuses."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ci_refuses_to_enable_mocks_and_says_why() -> None:
    done = subprocess.run(
        ["bash", ".ci/run"],
        cwd=ROOT,
        env={**os.environ, "MOCKS_DISABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no mock path" in done.stderr


def test_ci_calls_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().endswith("exec make test")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
