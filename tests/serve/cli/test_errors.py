import shlex
from pathlib import Path

import pytest

from evidence.errors import (
    ConfigError,
    IntegrityError,
    InvalidInput,
    NotFound,
    ServiceError,
    SourcesExhausted,
    Unavailable,
)
from serve.cli import failure
from serve.cli.options import ExitCode
from tests.serve.cli.running import error_cases, require_explained, zpctl

CASES = error_cases(heading="## Errors")


def test_the_document_lists_errors() -> None:
    assert len(CASES) > 15


@pytest.mark.slow
@pytest.mark.parametrize(("command", "status", "error", "cause"), CASES)
def test_each_error_of_the_document_is_as_it_says(
    tmp_path: Path, command: str, status: int, error: str, cause: str
) -> None:
    result = zpctl(*shlex.split(command), home=tmp_path)
    require_explained(result, status=status, error=error, cause=cause)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), ExitCode.WRONG_USE),
        (ConfigError("x"), ExitCode.WRONG_USE),
        (Unavailable("x"), ExitCode.UNREACHABLE),
        (SourcesExhausted("x"), ExitCode.FAILED),
        (IntegrityError("x"), ExitCode.FAILED),
        (ServiceError("x"), ExitCode.FAILED),
        (ZeroDivisionError("x"), ExitCode.FAILED),
        (FileNotFoundError(2, "No such file or directory", "x"), ExitCode.WRONG_USE),
    ],
)
def test_each_kind_of_error_has_its_exit_status(error: Exception, status: ExitCode) -> None:
    assert failure.exit_code(error) is status


def test_a_long_cause_is_cut_to_six_lines_of_eighty_columns() -> None:
    lines = failure.lines(NotFound("word " * 400, cure="one\ntwo\nthree"))
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("three")


def test_nothing_is_cut_where_there_is_room() -> None:
    lines = failure.lines(NotFound("cause " * 20, cure="help " * 20))
    assert "..." not in " ".join(lines)
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NotFound("dataset: expected one of mnist, found 'x'"), "zpctl datasets"),
        (NotFound("there is no checkpoint 7; there are: 2, 4", field="step"), "without --step"),
        (ConfigError("ZEROPOINT_PORT: wrong", field="ZEROPOINT_PORT"), "docs/settings.md"),
        (ConfigError("steps: wrong", field="steps"), "zpctl recipes --json"),
        (InvalidInput("run_id (path): wrong", field="run_id"), "zpctl logs --help"),
    ],
)
def test_the_help_fits_what_was_wrong(error: ServiceError, hint: str) -> None:
    assert hint in failure.lines(error, command="logs")[-1]


@pytest.mark.slow
def test_a_file_that_holds_no_token_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff is no token")
    given = ("--url", "http://127.0.0.1:1", "--token-file", "README.md", "runs")
    result = zpctl(*given, home=tmp_path)
    cause = "README.md: expected one token"
    require_explained(result, status=2, error="invalid configuration", cause=cause)


def test_a_defect_names_the_option_that_writes_the_trace() -> None:
    lines = failure.lines(ZeroDivisionError("division by zero"))
    assert lines[1] == "cause: ZeroDivisionError: division by zero"
    assert "--debug" in lines[2]


@pytest.mark.slow
def test_debug_writes_the_trace_to_a_file_and_names_it(tmp_path: Path) -> None:
    result = zpctl("--debug", "runs", home=tmp_path, TMPDIR=str(tmp_path))
    path = Path(result.stderr.splitlines()[-1].removeprefix("trace: "))
    assert result.returncode == ExitCode.UNREACHABLE
    assert "Traceback" not in result.stderr
    assert "Traceback" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_wrong_setting_is_wrong_use(tmp_path: Path) -> None:
    result = zpctl("runs", home=tmp_path, MOCKS_DISABLED="0")
    require_explained(
        result, status=2, error="invalid configuration", cause="MOCKS_DISABLED: expected 1"
    )
