"""What a run leaves on Ray's Prometheus endpoint, and the name of its trainer in the dashboard."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from cluster.gauges import exported_names
from serve.client import Client
from serve.local import LocalService

pytestmark = pytest.mark.ray

_PATIENCE_S = 60.0


def _exported(service: LocalService) -> str:
    """Return the metrics of every endpoint that Ray lists for Prometheus."""
    discovery = Path(service.temp_dir, "prom_metrics_service_discovery.json")
    targets = [one for group in json.loads(discovery.read_bytes()) for one in group["targets"]]
    texts = [httpx.get(f"http://{target}/metrics", trust_env=False).text for target in targets]
    return "\n".join(texts)


def test_every_metric_shows_up_with_its_labels(service: LocalService, client: Client) -> None:
    overrides = {"steps": 60, "optimizer": {"name": "sgd", "lr": 10.0, "momentum": 0.9}}
    run_id = client.submit({"recipe": "mnist_mlp", "overrides": overrides})["run_id"]
    for _ in client.follow(run_id):
        pass
    assert client.run(run_id)["error"]["code"] == "training_diverged"
    deadline = time.monotonic() + _PATIENCE_S
    text = ""
    while 'code="training_diverged"' not in text and time.monotonic() < deadline:
        text = _exported(service)
    found = set(re.findall(r"^(ray_zeropoint_[a-z_]+)\{", text, re.MULTILINE))
    assert found == exported_names()
    for label in ('state="running"', 'kind="metric"', 'device="CPU"', 'state="usable"'):
        assert label in text


def test_a_trainer_carries_its_run_in_the_dashboard(service: LocalService, client: Client) -> None:
    run_id = client.submit({"recipe": "mnist_mlp", "overrides": {"steps": 9000}})["run_id"]
    for event in client.follow(run_id):
        if event.kind == "metric":
            break
    token = Path(service.ray_token_file).read_text(encoding="ascii").strip()
    answer = httpx.get(
        f"{service.dashboard_url}/api/v0/actors",
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
    )
    actors = answer.json()["data"]["result"]["result"]
    client.cancel(run_id)
    assert f"trainer-{run_id}-1" in [actor["name"] for actor in actors]
