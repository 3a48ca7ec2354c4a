"""zpctl against a real service."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from serve.client import Client
from serve.local import LocalService
from tests.serve.cli.running import Result, error_cases, require_explained, zpctl

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CASES = error_cases(heading="With a service, run by")


@pytest.fixture(scope="module")
def trained(service: LocalService) -> dict[str, Any]:
    """A run that zpctl submitted and followed."""
    short = ("--set", "steps=12", "--set", "optimizer.lr=0.002", "--name", "by-zpctl")
    result = run(service, "train", "mnist_mlp", *short, "--json")
    assert result.returncode == 0, result.stderr
    view: dict[str, Any] = json.loads(result.stdout)
    return view


def run(service: LocalService, *arguments: str, cwd: Path | None = None) -> Result:
    return zpctl(*arguments, home=Path(service.home), cwd=cwd, EVIDENCE_ROOT=service.evidence_root)


def document(service: LocalService, *arguments: str) -> Any:
    result = run(service, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("command", "status", "error", "cause"), CASES)
def test_each_error_of_the_document_is_as_it_says(
    service: LocalService, command: str, status: int, error: str, cause: str
) -> None:
    result = run(service, *shlex.split(command))
    lines = [line for line in result.stderr.splitlines() if "asking for" not in line]
    result.stderr = "\n".join(lines)
    require_explained(result, status=status, error=error, cause=cause)


def test_a_run_of_the_service_is_audited_by_id_and_by_address(
    service: LocalService, trained: dict[str, Any], data_cache: Path
) -> None:
    run_id = trained["run_id"]

    def audit(*arguments: str) -> Result:
        return zpctl(
            *arguments,
            home=Path(service.home),
            EVIDENCE_ROOT=service.evidence_root,
            ZEROPOINT_CACHE=str(data_cache),
        )

    by_id = audit("audit", run_id, "--windows", "2")
    assert by_id.returncode == 0, by_id.stdout + by_id.stderr
    assert "It is the key of this service." in by_id.stdout
    address = f"{service.url}/api/training/runs/{run_id}"
    of_url = ("--url", service.url, "--token-file", service.token_file)
    fetched = audit(*of_url, "audit", address, "--to", "3", "--json")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["run_id"] == run_id


def test_status_tells_where_everything_is_but_no_token(service: LocalService) -> None:
    told = document(service, "status")
    assert told["url"] == service.url
    assert told["dashboard_url"] == service.dashboard_url
    assert told["processes"] > 3
    assert told["token_file"] == service.token_file
    assert told["mocks"] is False
    assert service.token() not in json.dumps(told)


def test_the_agents_of_ray_count_as_processes_of_the_service(service: LocalService) -> None:
    titles = {process.cmdline()[0].strip() for process in service.processes()}
    assert titles >= {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}


def test_up_beside_a_running_service_prints_where_it_is(service: LocalService) -> None:
    result = run(service, "up")
    assert result.returncode == 0
    assert f"{service.url}/api/docs" in result.stdout
    assert service.token() not in result.stdout + result.stderr


def test_a_followed_run_ends_with_its_result(trained: dict[str, Any]) -> None:
    assert trained["status"] == "succeeded"
    assert trained["sealed"] is True
    assert trained["name"] == "by-zpctl"
    assert trained["config"]["steps"] == 12


def test_a_run_verifies_by_its_id_with_all_checks(
    service: LocalService, trained: dict[str, Any]
) -> None:
    report = document(service, "verify", trained["run_id"])
    unmade = [check["id"] for check in report["checks"] if check["result"] != "passed"]
    assert unmade == ["log.witnesses", "log.beginning"]
    text = run(service, "verify", trained["run_id"]).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "PASSED, 19 of 21 checks" in text


def test_a_changed_pack_fails_verification(
    service: LocalService, trained: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "pack.zip"
    result = run(service, "evidence", trained["run_id"], "-o", str(target))
    assert result.stdout == f"{target}\n"
    assert run(service, "verify", str(target)).returncode == 0
    changed = target.read_bytes().replace(b'"lr":0.002', b'"lr":0.003')
    assert changed != target.read_bytes()
    target.write_bytes(changed)
    assert run(service, "verify", str(target)).returncode == 1


def test_another_key_than_the_named_one_fails(
    service: LocalService, trained: dict[str, Any], tmp_path: Path
) -> None:
    key = tmp_path / "other.pem"
    public = Ed25519PrivateKey.generate().public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    result = run(service, "verify", trained["run_id"], "--public-key", str(key))
    assert result.returncode == 1


def test_an_unsealed_pack_is_exit_four(service: LocalService, tmp_path: Path) -> None:
    long = ("train", "mnist_mlp", "--set", "steps=9000", "--set", "metric_every=100", "--no-follow")
    run_id = run(service, *long).stdout.strip()
    try:
        pack = tmp_path / "open.zip"
        assert run(service, "evidence", run_id, "-o", str(pack)).returncode == 0
        assert run(service, "verify", str(pack)).returncode == 4
    finally:
        cancelled = document(service, "cancel", run_id)
    assert cancelled["run_id"] == run_id
    watched = run(service, "watch", run_id)
    assert watched.returncode == 1
    assert "cancelled" in watched.stdout


def test_watch_prints_one_json_line_for_each_event(
    service: LocalService, trained: dict[str, Any]
) -> None:
    result = run(service, "watch", trained["run_id"], "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert [event["seq"] for event in events] == list(range(1, trained["last_seq"] + 1))
    assert events[-1]["kind"] == "end"


def test_watch_elsewhere_than_on_a_terminal_is_plain_and_fits(
    service: LocalService, trained: dict[str, Any]
) -> None:
    result = run(service, "watch", trained["run_id"])
    lines = (result.stdout + result.stderr).splitlines()
    assert max(map(len, lines)) <= 80
    assert not {"\x1b", "\r"} & set(result.stdout + result.stderr)
    assert "test accuracy" in result.stdout


def test_quiet_hides_progress_but_no_result(service: LocalService, trained: dict[str, Any]) -> None:
    result = run(service, "--quiet", "watch", trained["run_id"])
    assert result.stderr == ""
    assert "test accuracy" in result.stdout


def test_the_same_key_gives_the_same_run(service: LocalService) -> None:
    once = ("train", "mnist_mlp", "--set", "steps=3", "--idempotency-key", "k1", "--no-follow")
    assert run(service, *once).stdout == run(service, *once).stdout


def test_a_config_file_is_a_full_config(service: LocalService, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        'dataset = "mnist"\nsteps = 3\n[model]\narchitecture = "mlp"\nhidden = [8]\n',
        encoding="utf-8",
    )
    view = document(service, "train", "--config", str(config), "--set", "seed=7")
    assert (view["config"]["seed"], view["recipe"], view["status"]) == (7, None, "succeeded")


def test_tables_fit_and_lists_are_documents(service: LocalService, trained: dict[str, Any]) -> None:
    for command in ("runs", "recipes", "datasets", "nodes", "models", "status", "doctor"):
        text = run(service, command).stdout
        assert max(map(len, text.splitlines())) <= 80, command
    assert trained["run_id"] in {one["run_id"] for one in document(service, "runs")["runs"]}
    assert trained["run_id"] in {one["run_id"] for one in document(service, "models")["models"]}
    assert {one["name"] for one in document(service, "datasets")["datasets"]} >= {"mnist"}
    assert document(service, "doctor")["good"] is True


@pytest.mark.usefixtures("trained")
def test_the_log_is_read_and_tells_no_run_twice(service: LocalService) -> None:
    told = document(service, "log", "--read")
    assert told["doubles"] == []
    assert told["size"] >= 3
    text = run(service, "log", "--read").stdout
    assert "all entries, the tree that was signed; 0 told twice" in text


def test_logs_tell_the_states_in_order(service: LocalService, trained: dict[str, Any]) -> None:
    logs = document(service, "logs", trained["run_id"])["logs"]
    states = [record["state"] for record in logs if record["kind"] == "status"]
    assert states == ["queued", "running", "succeeded"]
    assert "status succeeded" in run(service, "logs", trained["run_id"]).stdout


def test_images_are_classified(
    service: LocalService, trained: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "images.npy"
    np.save(file, np.zeros((2, 28, 28), dtype=np.uint8))
    answer = document(service, "predict", trained["run_id"], str(file))
    assert len(answer["predictions"]) == 2
    table = run(service, "predict", trained["run_id"], str(file)).stdout
    assert len(table.splitlines()) == 3


def test_another_address_needs_the_token_file(service: LocalService, tmp_path: Path) -> None:
    without = zpctl("--url", service.url, "runs", home=tmp_path)
    given = ("--url", service.url, "--token-file", service.token_file)
    assert without.returncode == 2
    assert zpctl(*given, "runs", home=tmp_path).returncode == 0


def test_a_run_of_another_address_is_fetched_and_verified(
    service: LocalService, trained: dict[str, Any], tmp_path: Path
) -> None:
    given = ("--url", service.url, "--token-file", service.token_file)
    result = zpctl(*given, "verify", trained["run_id"], home=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_final_run_cannot_be_resumed(service: LocalService, trained: dict[str, Any]) -> None:
    result = run(service, "resume", trained["run_id"])
    assert result.returncode == 2
    assert result.stderr.startswith("error: conflict")


def test_collection_says_first_what_it_would_delete(
    service: LocalService, trained: dict[str, Any], client: Client
) -> None:
    told = document(service, "gc", "--keep-runs", "0", "--dry-run")
    assert trained["run_id"] in {one["run_id"] for one in told["deleted"]}
    assert client.run(trained["run_id"])["status"] == "succeeded"


def test_what_a_run_waits_for_is_shown_while_it_waits(service: LocalService) -> None:
    reason = "no node offers METAL for the device METAL"
    run_id = run(service, "train", "mnist_mlp", "--set", "device=METAL", "--no-follow").stdout
    run_id = run_id.strip()
    try:
        assert f"{run_id} waiting: {reason}" in run(service, "runs").stdout
    finally:
        assert run(service, "cancel", run_id).returncode == 0
    watched = run(service, "watch", run_id)
    assert "compil" not in watched.stdout + watched.stderr
    assert "cancelled" in watched.stdout
