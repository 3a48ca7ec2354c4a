"""Audits from the pack to the report, with processes of their own, on MNIST."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.records import TrainingEvent
from evidence.report import Verdict
from tests.trainers import tiny
from tests.trainers.sealed import Fraud, Pack, trained, write_by_workers
from trainers import runtime
from trainers.audit import Audit, Auditor, audit
from trainers.audit_report import AuditReport
from trainers.claims import kernels_digest
from trainers.comparison import Outcome
from trainers.config import RunConfig
from trainers.data import fetch
from trainers.data.load import Data, load
from trainers.provenance import describe_code
from trainers.windows import How, Request

pytestmark = pytest.mark.slow

CONFIG = tiny.run_config(steps=9, checkpoint_every=3)
ALL = Request(everything=True)

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def data(mnist_cache: Path) -> Data:
    return load("mnist", mnist_cache)


@pytest.fixture(scope="module")
def events(data: Data) -> list[TrainingEvent]:
    return trained(CONFIG, data)


@pytest.fixture
def write(tmp_path: Path, data: Data, events: list[TrainingEvent]) -> Write:
    """Writes the pack of the honest run, or of others, with other words about it."""

    def made(*, cfg: RunConfig = CONFIG, keep_last: int | None = None, **changes: Any) -> Path:
        given = {"attempts": [events], "files": dict(data.digests), **changes}
        return Pack(cfg.model_copy(update={"keep_last": keep_last}), **given).write(
            tmp_path / "pack"
        )

    return made


@pytest.fixture
def auditor(mnist_cache: Path) -> Auditor:
    return Auditor(cache=mnist_cache, bring=lambda cfg: fetch.fetch(cfg.dataset, cache=mnist_cache))


def planned(root: Path, request: Request, auditor: Auditor) -> AuditReport:
    """Return the report of an audit in which no window was done yet."""
    one = Audit(root, request, auditor)
    for _ in one.checks():
        pass
    return one.report()


def missing(report: AuditReport) -> list[str]:
    assert (report.verdict, report.exit_code) == (Verdict.CANNOT_TELL, 4)
    return [one.what for one in report.missing]


def test_an_honest_run_passes_and_the_report_says_everything(
    write: Write, auditor: Auditor
) -> None:
    report = audit(write(), Request(count=1), auditor)
    assert (report.verdict, report.exit_code) == (Verdict.PASSED, 0)
    assert report.summary == "PASSED, 1 of 1 window equal"
    assert report.choice is not None
    assert (report.choice.how, len(report.choice.left_out)) == (How.RANDOM, 2)
    assert tuple(one.window for one in report.windows) == report.choice.windows
    assert report.has_same_kernels
    assert report.trained_with == report.replayed_with
    assert report.trained_by == report.replayed_by
    assert report.seconds.trained
    assert report.ratio == report.seconds.replay / report.seconds.trained
    assert AuditReport.model_validate_json(json.dumps(report.as_json())) == report


def test_a_fraud_fails(write: Write, auditor: Auditor, data: Data) -> None:
    lied = Fraud(skipped=(5,)).train(CONFIG, data)
    report = audit(write(attempts=[lied]), Request(begin=3), auditor)
    assert (report.verdict, report.exit_code) == (Verdict.FAILED, 1)
    assert report.summary == "FAILED in steps 3 to 6; 1 of 2 windows equal"


def test_equal_bits_under_other_kernels_pass(write: Write, auditor: Auditor) -> None:
    told = runtime.describe()
    told["kernels"]["digest"] = "0" * 64
    report = audit(write(runtime=told), Request(begin=6), auditor)
    assert (report.exit_code, report.has_same_kernels) == (0, False)
    assert report.replayed_with is not None
    assert report.replayed_with.digest == kernels_digest(runtime.describe())


def test_unequal_bits_under_other_kernels_cannot_tell(
    write: Write, auditor: Auditor, mnist_cache: Path
) -> None:
    elsewhere = Auditor(cache=mnist_cache, bring=auditor.bring, library="tinygrad")
    told = runtime.describe()
    if told["kernels"]["backend"] == "tinygrad":
        pytest.skip("no library is installed, so there are no other kernels")
    report = audit(write(), Request(begin=6), elsewhere)
    assert missing(report) == ["kernels"]
    (one,) = report.windows
    assert one.outcome is Outcome.CANNOT_TELL
    assert one.tensors is not None
    assert one.tensors.largest is not None
    assert one.tensors.largest.largest is not None
    assert 0 < one.tensors.largest.largest < 1e-3
    assert report.trained_with != report.replayed_with


def test_other_code_is_named_with_its_lock_and_nothing_is_run(
    write: Write, auditor: Auditor
) -> None:
    other = {"commit": "c" * 40, "clean": True, "digest": "d" * 64, "lock_sha256": "e" * 64}
    report = audit(write(code=other), ALL, auditor)
    assert missing(report) == ["other_code"]
    (one,) = report.missing
    assert f"commit {'c' * 40} with the requirements.lock of SHA-256 {'e' * 64}" in one.cure
    assert report.windows == ()


def test_code_that_is_not_told_cannot_be_replayed(write: Write, auditor: Auditor) -> None:
    report = audit(write(code={**describe_code(), "digest": None}), ALL, auditor)
    assert missing(report) == ["other_code"]


def test_a_range_between_pruned_checkpoints_cannot_tell(write: Write, auditor: Auditor) -> None:
    report = audit(write(keep_last=1), Request(begin=3, end=6), auditor)
    assert missing(report) == ["pruned", "pruned"]
    assert "checkpoint 3 were pruned; windows begin and end at 0, 9" in report.missing[0].detail


def test_more_windows_than_there_are_cannot_tell(write: Write, auditor: Auditor) -> None:
    report = planned(write(keep_last=2), Request(count=9), auditor)
    assert missing(report) == ["fewer_windows"]
    assert report.missing[0].detail == (
        "expected 9 windows, the pack has 2; 1 checkpoints were pruned"
    )
    assert report.choice is not None
    assert len(report.choice.windows) == 2


def test_data_that_is_not_here_cannot_tell(write: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    poor = Auditor(cache=empty, bring=lambda cfg: fetch.fetch(cfg.dataset, cache=empty))
    report = audit(write(), ALL, poor)
    assert missing(report) == ["data"]
    assert "mnist: no source had the right bytes" in report.missing[0].detail


def test_data_that_nobody_publishes_cannot_tell(write: Write, auditor: Auditor, data: Data) -> None:
    own = replace(data, digests={**data.digests, "t10k-labels-idx1-ubyte": "0" * 64})
    root = write(attempts=[trained(CONFIG, own)], files=dict(own.digests))
    report = audit(root, ALL, auditor)
    assert missing(report) == ["data"]
    assert "t10k-labels-idx1-ubyte" in report.missing[0].detail


def test_a_nonce_is_replayed(write: Write, auditor: Auditor, data: Data) -> None:
    cfg = CONFIG.model_copy(update={"nonce": "client's own"})
    report = audit(write(cfg=cfg, attempts=[trained(cfg, data)]), ALL, auditor)
    assert report.exit_code == 0, report


def test_a_run_that_is_not_sealed_cannot_tell(write: Write, auditor: Auditor) -> None:
    assert missing(audit(write(seals=False), ALL, auditor)) == ["not_sealed"]


def test_a_pack_that_does_not_verify_fails_and_nothing_is_run(
    write: Write, auditor: Auditor
) -> None:
    root = write()
    with (root / "metrics.jsonl").open("ab") as file:
        file.write(b"{}\n")
    report = audit(root, ALL, auditor)
    assert (report.exit_code, report.windows, report.choice) == (1, (), None)
    assert "files.digests" in [one.id for one in report.failed]


def test_a_device_that_is_not_here_cannot_tell(write: Write, auditor: Auditor) -> None:
    report = audit(write(runtime={**runtime.describe(), "device": "METAL"}), ALL, auditor)
    assert missing(report) == ["machine"]
    assert "METAL" in report.missing[0].detail


def test_a_run_of_two_workers_is_replayed_by_two_processes(
    tmp_path: Path, auditor: Auditor, mnist_cache: Path
) -> None:
    cfg = tiny.run_config(steps=6, checkpoint_every=2, workers=2)
    root = write_by_workers(tmp_path / "pack", cfg, cache=mnist_cache, scratch=tmp_path)
    report = audit(root, Request(begin=2, end=4), auditor)
    assert report.summary == "PASSED, 1 of 1 window equal", report.missing
