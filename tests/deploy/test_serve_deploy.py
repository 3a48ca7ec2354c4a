"""`serve deploy deploy/serve.yaml` puts the service on a cluster, and it takes runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from serve.client import Client
from serve.local import LocalService

pytestmark = pytest.mark.ray

CONFIG = Path(__file__).resolve().parent.parent.parent / "deploy" / "serve.yaml"
_PATIENCE_S = 120.0


def _ray_serve(service: LocalService, *arguments: str) -> str:
    program = str(Path(sys.executable).parent / "serve")
    done = subprocess.run(
        [program, arguments[0], "--address", service.dashboard_url, *arguments[1:]],
        env={**os.environ, **service.ray_environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _states(service: LocalService) -> set[str]:
    status = yaml.safe_load(_ray_serve(service, "status"))
    return {application["status"] for application in status["applications"].values()}


def test_serve_deploy_deploys_both_applications_and_a_run_trains(
    service: LocalService, client: Client, tmp_path: Path
) -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["http_options"]["port"] = int(service.url.rpartition(":")[2])
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    _ray_serve(service, "deploy", str(file))
    deadline = time.monotonic() + _PATIENCE_S
    while _states(service) != {"RUNNING"} and time.monotonic() < deadline:
        pass
    deployed = list(yaml.safe_load_all(_ray_serve(service, "config")))
    assert deployed == config["applications"]
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 9, "name": "declared"}}
    run_id = client.submit(request)["run_id"]
    kinds = [event.kind for event in client.follow(run_id)]
    assert kinds[-1] == "end"
    assert client.run(run_id)["status"] == "succeeded"
