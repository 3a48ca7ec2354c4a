"""zpctl report as a process."""

import json
from pathlib import Path

import pytest

from serve.probe.progress import read_criteria
from tests.serve.cli.running import zpctl

pytestmark = pytest.mark.slow


def test_without_any_result_every_line_is_not_run_and_says_why(tmp_path: Path) -> None:
    result = zpctl("report", "--results", str(tmp_path / "none"), home=tmp_path)
    assert result.returncode == 4, result.stderr
    folder = tmp_path / "evidence" / "phase1"
    told = json.loads((folder / "progress.json").read_bytes())
    assert [line["criterion"] for line in told["criteria"]] == [one.name for one in read_criteria()]
    assert {line["result"] for line in told["criteria"]} == {"not run"}
    assert all(line["detail"] for line in told["criteria"])
    assert (folder / "STATUS.md").read_text(encoding="utf-8").count("not run: ") == len(
        told["criteria"]
    )
    held = json.loads((folder / "acknowledgements" / "response.json").read_bytes())
    assert held["acknowledgements"] == []
    assert held["reason"] == "no registered reviewer has signed"


def test_what_a_reviewer_signed_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "evidence" / "phase1" / "acknowledgements" / "response.json"
    path.parent.mkdir(parents=True)
    signed = b'{"acknowledgements":[{"reviewer":"r"}],"v":1}'
    path.write_bytes(signed)
    zpctl("report", home=tmp_path)
    assert path.read_bytes() == signed
