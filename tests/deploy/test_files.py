"""The files of deploy/ agree with the code and with each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.gauges import exported_names
from cluster.settings import Limits, Settings, variable_of
from serve.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
VARIABLES = {variable_of(name) for name in (*Settings.model_fields, *Limits.model_fields)}


def _serve() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "serve.yaml").read_text(encoding="utf-8"))
    return loaded


def _kuberay() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "kuberay.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def _containers() -> list[dict[str, Any]]:
    cluster = _kuberay()["RayService"]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    return [one for pod in pods for one in (*pod.get("initContainers", []), *pod["containers"])]


def _expressions(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_serve_yaml_names_the_two_applications_that_the_code_has() -> None:
    applications = {one["name"]: one for one in _serve()["applications"]}
    source = (ROOT / "serve" / "deployment.py").read_text(encoding="utf-8")
    assert {name: one["route_prefix"] for name, one in applications.items()} == {
        "api": "/",
        "events": "/api/events",
    }
    for one in applications.values():
        module, _, variable = one["import_path"].partition(":")
        assert module == "serve.deployment"
        assert re.search(rf"^{variable} = ", source, re.MULTILINE)


def test_serve_yaml_stays_on_loopback_and_on_the_head() -> None:
    assert _serve()["http_options"]["host"] == "127.0.0.1"
    assert _serve()["proxy_location"] == "HeadOnly"


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning")
def test_serve_yaml_is_a_valid_config_of_this_ray() -> None:
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - slow, and only here

    assert len(ServeDeploySchema.model_validate(_serve()).applications) == 2


def test_kuberay_deploys_the_same_applications() -> None:
    config = yaml.safe_load(_kuberay()["RayService"]["spec"]["serveConfigV2"])
    assert config["applications"] == _serve()["applications"]


def test_kuberay_never_runs_two_clusters_on_one_volume() -> None:
    documents = _kuberay()
    assert documents["RayService"]["spec"]["upgradeStrategy"]["type"] == "None"
    assert documents["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_kuberay_takes_tokens_from_secrets_and_holds_none() -> None:
    cluster = _kuberay()["RayService"]["spec"]["rayClusterConfig"]
    volumes = cluster["headGroupSpec"]["template"]["spec"]["volumes"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "zeropoint-ray"}
    assert {"secretName": "zeropoint-client"} in [one.get("secret") for one in volumes]
    assert "Secret" not in _kuberay()


def test_kuberay_sets_only_variables_that_the_service_reads() -> None:
    named = {one["name"] for container in _containers() for one in container.get("env", [])}
    assert named <= VARIABLES


def test_kuberay_runs_the_image_of_this_version_without_root() -> None:
    assert {one["image"] for one in _containers()} == {f"zeropoint:{VERSION}"}
    head = _kuberay()["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_kuberay_volumes_are_declared_where_they_are_mounted() -> None:
    cluster = _kuberay()["RayService"]["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {
            mount["name"]
            for container in (*pod.get("initContainers", []), *pod["containers"])
            for mount in container["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_kuberay_says_the_ray_version_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    version = _kuberay()["RayService"]["spec"]["rayClusterConfig"]["rayVersion"]
    assert re.search(rf"^ray(\[.*\])?=={re.escape(version)} ", lock, re.MULTILINE)


def test_the_dockerfile_copies_every_package_and_nothing_that_is_ignored() -> None:
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source
        for line in docker.splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    assert {"cluster", "evidence", "serve", "trainers", "requirements.lock"} <= copied
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_files_that_cannot_be_run_here_say_so() -> None:
    for name in ("Dockerfile", "kuberay.yaml"):
        head = "".join((DEPLOY / name).read_text(encoding="utf-8").splitlines(keepends=True)[:12])
        assert "Not run here" in head


def test_the_board_uses_only_metrics_that_exist_and_all_of_them() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    used = {name for text in _expressions(board) for name in re.findall(r"ray_[a-z_]+", text)}
    assert used == exported_names()


def test_the_boards_panels_have_titles_meanings_and_do_not_overlap() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        own = {
            (place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])
        }
        assert not own & cells
        cells |= own
