"""zpctl audit as people run it, on a small run of MNIST."""

import io
import json
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from evidence import canonical
from evidence.errors import InvalidInput
from evidence.pack import SEAL
from serve.cli import packs
from serve.cli.options import Options
from serve.cli.terminal import of_environment
from tests.cluster import small
from tests.fraud import forge
from tests.serve.cli.running import Result, zpctl
from tests.trainers import sealed, tiny

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Path:
    """A run of nine steps, trained in a process of its own and sealed."""
    scratch = tmp_path_factory.mktemp("run")
    cfg = tiny.run_config(steps=9, checkpoint_every=3)
    return sealed.write_by_workers(scratch / "pack", cfg, cache=data_cache, scratch=scratch)


def audit(pack: Path, *arguments: str, home: Path, cache: Path) -> Result:
    given = ("audit", str(pack), *arguments)
    return zpctl(*given, home=home, ZEROPOINT_CACHE=str(cache))


@slow
def test_an_honest_run_passes_in_words_that_fit(
    pack: Path, tmp_path: Path, data_cache: Path
) -> None:
    result = audit(pack, "--windows", "1", home=tmp_path, cache=data_cache)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "equal, 17 values" in lines[0]
    assert "PASSED, 1 of 1 window equal" in result.stdout
    assert "at random by the auditor's operating system" in result.stdout
    assert "the same kernels: " in result.stdout
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout


@slow
def test_a_lie_about_a_step_is_shown_and_written_to_the_report(
    pack: Path, tmp_path: Path, data_cache: Path
) -> None:
    forged = copytree(pack, tmp_path / pack.name)
    forge.retell(forged, small.notary(tmp_path), _lower)
    file = tmp_path / "report.json"
    given = ("--from", "3", "--to", "6", "--json", "--report", str(file))
    result = audit(forged, *given, home=tmp_path, cache=data_cache)
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    assert file.read_bytes() == canonical.encode(report) == result.stdout.strip().encode()
    assert report["verdict"] == "failed"
    assert report["windows"][0]["first"]["step"] == 5
    assert report["windows"][0]["differences"][0]["expected"] == 0.125


def _lower(records: list[dict[str, Any]]) -> None:
    for record in records:
        if record["kind"] == "metric" and (record["step"], record["split"]) == (5, "train"):
            record["loss"] = 0.125


@slow
def test_what_is_missing_is_told_like_an_error(
    pack: Path, tmp_path: Path, data_cache: Path
) -> None:
    unsealed = copytree(pack, tmp_path / "unsealed")
    rmtree(unsealed / SEAL)
    result = audit(unsealed, home=tmp_path, cache=data_cache)
    assert result.returncode == 4
    assert "CANNOT TELL" in result.stdout
    assert result.stderr.splitlines() == [
        "error: cannot tell",
        "cause: the pack is not sealed: the run goes on, was interrupted, or failed",
        "help:  audit it when the run has ended",
    ]


@slow
def test_a_step_between_checkpoints_is_wrong_use(
    pack: Path, tmp_path: Path, data_cache: Path
) -> None:
    result = audit(pack, "--from", "4", home=tmp_path, cache=data_cache)
    assert (result.returncode, result.stdout) == (2, "")
    assert "from: expected 0 or the step of a checkpoint (0, 3, 6, 9)" in result.stderr


@pytest.mark.parametrize(
    ("address", "url", "message"),
    [
        ("http://127.0.0.1:1/api/health", None, "expected an address such as"),
        ("http://127.0.0.1:1/api/training/runs/xyz", None, "expected an address such as"),
        (
            "http://127.0.0.1:1/api/training/runs/0123456789ab",
            "http://127.0.0.1:2",
            "expected a run of --url http://127.0.0.1:2, found one of http://127.0.0.1:1",
        ),
    ],
)
def test_an_address_that_names_no_run_of_the_service_is_refused(
    address: str, url: str | None, message: str, tmp_path: Path
) -> None:
    terminal = of_environment({}, out=io.StringIO(), err=io.StringIO(), is_quiet=True)
    with pytest.raises(InvalidInput, match=message):
        packs.locate(Options(terminal, url, None), address, scratch=tmp_path)
