"""Run the tests: `python -m tests.run quick | all | long`; `make` calls nothing else.

quick   no cluster, nothing slow
all     the whole suite, with the coverage of every process that it starts
long    the campaigns: as many kills of the manager and of the cluster as of trainers, and what is
        marked long
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = ROOT / "var" / "coverage"
LEAST_PERCENT = 85

_PYTEST = [sys.executable, "-m", "pytest"]
_COVERAGE = [sys.executable, "-m", "coverage"]


def main() -> int:
    """Run one mode and return the exit status."""
    modes = {"quick": run_quick, "all": run_all, "long": run_long}
    if len(sys.argv) < 2 or sys.argv[1] not in modes:
        print(__doc__, file=sys.stderr)
        return 2
    mocks = os.environ.get("MOCKS_DISABLED", "1")
    if mocks != "1":
        print(
            f"error: MOCKS_DISABLED is {mocks}\n"
            "cause: there is no mock path to enable, so nothing could be tested with mocks\n"
            "help:  unset MOCKS_DISABLED",
            file=sys.stderr,
        )
        return 1
    return modes[sys.argv[1]](sys.argv[2:])


def run_quick(arguments: list[str]) -> int:
    """Run what needs no cluster and is not slow."""
    return _run([*_PYTEST, "-q", "-m", "not ray and not slow and not long", *arguments])


def run_all(arguments: list[str]) -> int:
    """Run everything and hold the coverage against the least."""
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir(parents=True)
    status = _run(
        [*_COVERAGE, "run", "-m", "pytest", "--durations=15", "-m", "not long", *arguments]
    )
    _run([*_COVERAGE, "combine", "--quiet"])
    covered = _run([*_COVERAGE, "report", "--skip-covered", f"--fail-under={LEAST_PERCENT}"])
    return status or covered


def run_long(arguments: list[str]) -> int:
    """Run the long campaigns."""
    names = ("KILLS", "MANAGER_KILLS", "CLUSTER_KILLS")
    longer = {f"ZEROPOINT_TEST_{name}": "20" for name in names}
    kills = _run([*_PYTEST, "-q", "tests/integration/test_kills.py", *arguments], **longer)
    return _run([*_PYTEST, "-q", "-m", "long", "--durations=15", *arguments]) or kills


def _run(command: list[str], **variables: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, cwd=ROOT, env={**inherited, **variables}, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
