import json
from pathlib import Path
from typing import Any

import pytest

from evidence.errors import ConfigError
from serve.probe import progress
from serve.probe.finding import Result
from serve.probe.progress import Criterion, Sources, Standing
from serve.probe.report import Check, Facts, Report, verdict_of
from serve.probe.rules import rules

COMMIT = "c" * 40
HEALTH = Criterion(name="Health is live", checks=("health.live", "http.schema"), command="probe")
SPEED = Criterion(name="Fast", results="fanout.json", command="bench")


def report(**results: Result) -> Report:
    checks = tuple(
        Check(
            number=rule.number,
            id=rule.id,
            title=rule.title,
            result=results.get(rule.id.replace(".", "_"), Result.PASSED),
            looked_at="everything",
            discrepancies=(),
            more=0,
            seconds=0.5,
        )
        for rule in rules()
    )
    facts = Facts(
        url="http://127.0.0.1:1",
        commit=COMMIT,
        service_commit=COMMIT,
        service_version="1",
        runs=("0123456789ab",),
        begun="2026-01-01T00:00:00.000Z",
        ended="2026-01-01T00:00:30.000Z",
        seconds=30.0,
        exchanges=100,
    )
    return Report(verdict=verdict_of(checks), facts=facts, checks=checks)


def sources(folder: Path, probed: Report | None = None, **row: Any) -> Sources:
    path = folder / "report.json"
    if probed is not None:
        path.write_bytes(probed.data)
    if row:
        known = {"workload": "w", "ratio": 12.5, **row}
        held = {"commit": "a" * 40, "rows": [known]}
        (folder / "fanout.json").write_text(json.dumps(held), encoding="utf-8")
    return Sources(path, folder, COMMIT)


def test_what_was_not_run_says_why(tmp_path: Path) -> None:
    probed, measured = progress.lines([HEALTH, SPEED], sources(tmp_path))
    assert (probed.result, measured.result) == (Standing.NOT_RUN, Standing.NOT_RUN)
    assert COMMIT in probed.detail
    assert "fanout.json" in measured.detail
    assert (probed.evidence, probed.commit) == (None, None)


@pytest.mark.parametrize(
    ("result", "standing"),
    [
        (Result.PASSED, Standing.PASSED),
        (Result.FAILED, Standing.FAILED),
        (Result.CANNOT_TELL, Standing.CANNOT_TELL),
    ],
)
def test_a_criterion_stands_as_its_worst_check(
    tmp_path: Path, result: Result, standing: Standing
) -> None:
    given = sources(tmp_path, report(health_live=result))
    (line,) = progress.lines([HEALTH], given)
    assert line.result is standing
    assert (line.evidence, line.commit) == (str(given.probe), COMMIT)


def test_a_report_of_another_commit_proves_nothing(tmp_path: Path) -> None:
    given = sources(tmp_path, report())
    (line,) = progress.lines([HEALTH], Sources(given.probe, tmp_path, "d" * 40))
    assert line.result is Standing.NOT_RUN
    assert COMMIT in line.detail


def test_a_file_that_is_no_report_proves_nothing(tmp_path: Path) -> None:
    given = sources(tmp_path)
    given.probe.write_text('{"verdict": "passed"}', encoding="utf-8")
    (line,) = progress.lines([HEALTH], given)
    assert line.result is Standing.NOT_RUN


@pytest.mark.parametrize(
    ("row", "standing"),
    [
        ({"goal": "at least 10", "met": True}, Standing.PASSED),
        ({"goal": "at least 10", "met": False}, Standing.FAILED),
        ({"goal": "at least 10", "met": None, "ratio": None}, Standing.CANNOT_TELL),
        ({"goal": None, "met": None}, Standing.CANNOT_TELL),
        ({"met": True}, Standing.NOT_RUN),
    ],
)
def test_results_stand_as_their_goals(
    tmp_path: Path, row: dict[str, Any], standing: Standing
) -> None:
    (line,) = progress.lines([SPEED], sources(tmp_path, **row))
    assert line.result is standing
    if standing is not Standing.NOT_RUN:
        assert line.commit == "a" * 40


def test_the_status_is_the_same_as_the_json(tmp_path: Path) -> None:
    made = progress.lines(progress.read_criteria(), sources(tmp_path, report()))
    told = json.loads(progress.progress_json(made, commit=COMMIT))
    markdown = progress.status_markdown(made, commit=COMMIT)
    rows = [line for line in markdown.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(told["criteria"]) == len(made)
    for row, line in zip(rows, told["criteria"], strict=True):
        assert row.startswith(f"| {line['criterion']} |")
        assert f"{line['result']}: " in row


def test_every_check_of_the_probe_proves_a_criterion() -> None:
    named = [name for one in progress.read_criteria() for name in one.checks]
    assert sorted(named) == sorted(rule.id for rule in rules())


@pytest.mark.parametrize(
    "text",
    [
        '[[criterion]]\nname = "x"\ncommand = "y"\n',
        '[[criterion]]\nname = "x"\ncommand = "y"\nchecks = ["a"]\nresults = "b"\n',
        "[[criterion",
    ],
)
def test_a_criterion_without_one_source_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "criteria.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"criteria\.toml"):
        progress.read_criteria(file)
