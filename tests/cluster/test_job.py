"""Runs through the second door: real Ray jobs against the real service."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evidence import canonical
from serve.client import Client
from serve.local import LocalService
from tests.service import workers

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE_S = 180.0
_OF_RAY = re.compile(r"\x1b|\d{4}-\d\d-\d\d |$")
"""Lines that `ray job submit` adds to those of the job."""


def _ray_job(service: LocalService, command: str, *arguments: str) -> "subprocess.Popen[str]":
    program = str(Path(sys.executable).parent / "ray")
    return subprocess.Popen(
        [program, "job", command, "--address", service.dashboard_url, *arguments],
        cwd=ROOT,
        env={**os.environ, **service.ray_environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=_PATIENCE_S)
    return output


def _submit(service: LocalService, job_id: str, *arguments: str) -> tuple[int, list[str]]:
    """Run a job to its end; return the exit status of `ray job submit` and the job's lines."""
    options = ("--submission-id", job_id, "--working-dir", ".", "--")
    process = _ray_job(service, "submit", *options, "python", "-m", "cluster", *arguments)
    output = _finish(process)
    own = output.partition("Running entrypoint")[2].partition("Status message")[0].splitlines()[1:]
    return process.returncode, [line for line in own if not _OF_RAY.match(line)]


def _start(service: LocalService, job_id: str, *arguments: str) -> None:
    options = ("--submission-id", job_id, "--no-wait", "--working-dir", ".", "--")
    _finish(_ray_job(service, "submit", *options, "python", "-m", "cluster", *arguments))


def _wait_for(service: LocalService, job_id: str, text: str) -> str:
    deadline = time.monotonic() + _PATIENCE_S
    logs = ""
    while text not in logs:
        assert time.monotonic() < deadline, f"{text!r} did not come: {logs}"
        logs = _finish(_ray_job(service, "logs", job_id))
    return logs


def _run_of(logs: str) -> str:
    return logs.partition("submitted   run ")[2].split()[0]


def _named(client: Client, name: str) -> list[dict[str, Any]]:
    return [run for run in client.runs(limit=100)["runs"] if run["name"] == name]


def _who(service: LocalService, run_id: str) -> list[str]:
    lines = Path(service.home, "audit.jsonl").read_bytes().splitlines()
    records = [canonical.decode_object(line) for line in lines]
    return [record["who"] for record in records if record.get("run_id") == run_id]


def test_a_job_submits_a_run_follows_it_and_exits_0(service: LocalService, client: Client) -> None:
    status, lines = _submit(
        service, "job-good", "submit", "mnist_mlp", "--set", "steps=60", "--name", "job-good"
    )
    assert status == 0
    (run,) = _named(client, "job-good")
    phases = [line.split()[0] for line in lines]
    assert phases[:3] == ["submitted", "queued", "running"]
    assert phases[-3:] == ["succeeded", "sealed", "succeeded"]
    assert phases.count("checkpoint") == run["counts"]["checkpoints"]
    assert "\x1b" not in "".join(lines)
    assert run["status"] == "succeeded"
    assert _who(service, run["run_id"])[0] == "job:job-good"


def test_a_run_that_diverges_fails_the_job_with_the_reason(
    service: LocalService, client: Client
) -> None:
    settings = ("optimizer.name=sgd", "optimizer.lr=10", "optimizer.momentum=0.9", "steps=60")
    pairs = [part for setting in settings for part in ("--set", setting)]
    status, lines = _submit(service, "job-bad", "submit", "mnist_mlp", *pairs, "--name", "job-bad")
    (run,) = _named(client, "job-bad")
    assert status == 1
    assert run["error"]["code"] == "training_diverged"
    assert any(f"error: run {run['run_id']} is failed" in line for line in lines)
    assert any("training_diverged" in line for line in lines)


def test_a_config_over_a_limit_is_refused_as_it_is_over_http(
    service: LocalService, client: Client
) -> None:
    before = client.runs()["total"]
    status, lines = _submit(service, "job-over", "submit", "mnist_mlp", "--set", "steps=20000")
    assert status == 1  # of `ray job submit`; the entrypoint's own is 2
    assert "limit max_steps, set by ZEROPOINT_MAX_STEPS" in lines[0]
    assert client.runs()["total"] == before


def test_stopping_a_job_cancels_its_run_also_while_events_flow(
    service: LocalService, client: Client
) -> None:
    _start(service, "job-stop", "submit", "mnist_mlp", "--set", "steps=9000")
    run_id = _run_of(_wait_for(service, "job-stop", "train  "))
    _finish(_ray_job(service, "stop", "job-stop"))
    logs = _finish(_ray_job(service, "logs", "job-stop"))
    assert f"cancelled   run {run_id}, because the job was stopped" in logs
    view = client.run(run_id)
    assert (view["status"], view["reason"]) == ("cancelled", "cancelled by job:job-stop")
    assert view["sealed"]


def test_a_run_that_waits_says_why_and_can_be_stopped(
    service: LocalService, client: Client
) -> None:
    _start(service, "job-wait", "submit", "mnist_mlp", "--set", "device=AMD")
    logs = _wait_for(service, "job-wait", "waiting  ")
    assert "waiting     no node offers GPU for the device AMD" in logs
    _finish(_ray_job(service, "stop", "job-wait"))
    assert client.run(_run_of(logs))["status"] == "cancelled"


def test_a_job_follows_its_run_through_a_restart_of_the_manager(
    service: LocalService, client: Client
) -> None:
    _start(service, "job-kill", "submit", "mnist_mlp", "--set", "steps=1500", "--name", "job-kill")
    _wait_for(service, "job-kill", "train  ")
    (manager,) = workers(service, "ManagerActor")
    manager.send_signal(signal.SIGKILL)
    logs = _wait_for(service, "job-kill", "succeeded   run ")
    (run,) = _named(client, "job-kill")
    assert f"succeeded   run {run['run_id']}: 1500 steps" in logs


def test_outside_a_cluster_it_says_what_is_missing() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "submit", "mnist_mlp"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "RAY_ADDRESS: expected the address of the cluster" in done.stderr
    assert "help:  submit it with `ray job submit`" in done.stderr
