"""Runs zpctl as a process, as people and scripts do."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENT = REPOSITORY / "docs" / "cli.md"

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")

Result = subprocess.CompletedProcess[str]


def zpctl(*arguments: str, home: Path, cwd: Path | None = None, **variables: str) -> Result:
    """Run one command in an environment that has nothing but `variables`."""
    own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environ = {
        **own,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUTF8": "1",
        "ZEROPOINT_HOME": str(home),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "serve.cli", *arguments],
        env=environ,
        cwd=cwd or home,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def error_cases(*, heading: str) -> list[tuple[str, int, str, str]]:
    """Return the rows of the table of errors that follows `heading` in docs/cli.md."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(heading)
    rows = []
    for line in rest[rest.index("\n| ") + 1 :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        command, status, error, cause = (cell.strip(" `") for cell in line.strip("| ").split(" | "))
        rows.append((command.removeprefix("zpctl "), int(status), error, cause))
    return rows


def require_explained(result: Result, *, status: int, error: str, cause: str) -> None:
    """Fail unless the command ended as the table says, in at most six plain lines."""
    lines = result.stderr.splitlines()
    explained = [line for line in lines if line.startswith(("error: ", "cause: ", "help:  "))]
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert [line.split(":")[0] for line in explained] == ["error", "cause", "help"]
    assert explained[0].startswith(f"error: {error}")
    assert explained[1].startswith(f"cause: {cause}")
    assert len(explained[2]) > len("help:  ")
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr
