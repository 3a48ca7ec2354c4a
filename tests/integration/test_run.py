"""The main job through the real service: submit, follow, interrupt the stream, verify the pack."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from evidence import canonical, digest
from evidence.archive import open_pack
from evidence.errors import InvalidInput
from evidence.records import MEASURES
from evidence.verify import verify
from serve.client import Client, Event
from serve.local import LocalService
from tests.service import fetch_data

pytestmark = pytest.mark.ray

SHORT: dict[str, Any] = {"recipe": "mnist_mlp", "overrides": {"steps": 60}}


@pytest.fixture(scope="module")
def finished(service: LocalService) -> tuple[str, list[Event]]:
    """A run that was followed from its first event to its last."""
    with Client(service.url, token=service.token()) as client:
        run_id = client.submit(SHORT)["run_id"]
        return run_id, list(client.follow(run_id))


def test_every_event_comes_once_and_in_order(finished: tuple[str, list[Event]]) -> None:
    _, events = finished
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].kind == "end"


def test_metric_events_are_lines_of_the_journal(
    service: LocalService, finished: tuple[str, list[Event]]
) -> None:
    run_id, events = finished
    journal = Path(service.evidence_root, "training", run_id, "events.jsonl").read_bytes()
    sent = [canonical.encode(event.data) for event in events]
    assert sent == journal.splitlines()
    steps = [e.data["step"] for e in events if e.kind == "metric" and e.data["split"] == "train"]
    assert steps == list(range(1, 61))


def test_a_run_has_at_least_three_checkpoints_each_with_an_evaluation(
    client: Client, finished: tuple[str, list[Event]]
) -> None:
    run_id, events = finished
    steps = [record["step"] for record in client.checkpoints(run_id)["checkpoints"]]
    tests = [e.data["step"] for e in events if e.kind == "metric" and e.data["split"] == "test"]
    assert len(steps) >= 3
    assert tests == steps


def test_the_downloaded_pack_verifies(
    client: Client, finished: tuple[str, list[Event]], tmp_path: Path
) -> None:
    target = tmp_path / "pack.zip"
    client.download_evidence(finished[0], target)
    with open_pack(target) as pack:
        assert verify(pack).exit_code == 0


def test_a_stream_goes_on_behind_a_forced_disconnect(
    service: LocalService, finished: tuple[str, list[Event]]
) -> None:
    run_id, events = finished
    seen: list[int] = []
    with httpx.Client(headers={"authorization": f"Bearer {service.token()}"}) as http:
        for cut_after in (1, 7, 30, 10_000):
            headers = {"last-event-id": str(seen[-1])} if seen else {}
            url = f"{service.url}/api/events/training"
            with connect_sse(
                http, "GET", url, params={"run_id": run_id}, headers=headers
            ) as source:
                for count, event in enumerate(source.iter_sse(), 1):
                    seen.append(int(event.id))
                    if count == cut_after:
                        break
    assert seen == [event.seq for event in events]


def test_metrics_page_by_sequence_number(client: Client, finished: tuple[str, list[Event]]) -> None:
    run_id, events = finished
    pages, after = [], 0
    while page := client.metrics(run_id, after=after, limit=25)["metrics"]:
        pages += page
        after = page[-1]["seq"]
    assert [record["seq"] for record in pages] == [e.seq for e in events if e.kind == "metric"]


def test_the_view_tells_what_was_done(client: Client, finished: tuple[str, list[Event]]) -> None:
    view = client.run(finished[0])
    assert view["status"] == "succeeded"
    assert view["sealed"] is True
    assert view["step"] == view["steps"] == 60
    assert view["placement"]["device"] == "CPU"
    assert view["trend"]["decreasing"] is True


def test_a_measure_without_a_meter_is_null_with_a_reason(
    finished: tuple[str, list[Event]],
) -> None:
    for event in [event for event in finished[1] if event.kind == "metric"]:
        absent = {name for name in MEASURES if event.data[name] is None}
        assert absent == set(event.data["reasons"])


def test_a_checkpoint_downloads_with_its_recorded_digest(
    client: Client, finished: tuple[str, list[Event]]
) -> None:
    record = client.checkpoints(finished[0])["checkpoints"][0]
    data = client.checkpoint(finished[0], record["step"])
    assert digest.of_bytes(data) == record["files"]["model.safetensors"]["sha256"]


def test_predictions_are_probabilities(client: Client, finished: tuple[str, list[Event]]) -> None:
    answer = client.predict(finished[0], [[[0] * 28] * 28] * 3)
    assert len(answer["predictions"]) == 3
    for prediction in answer["predictions"]:
        assert sum(prediction["probabilities"]) == pytest.approx(1.0, abs=1e-5)
        assert prediction["probabilities"][prediction["label"]] == max(prediction["probabilities"])


def test_a_vision_transformer_trains_through_the_service(client: Client) -> None:
    model = {"architecture": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 7}
    overrides = {"model": model, "steps": 30}
    run_id = client.submit({"recipe": "mnist_mlp", "overrides": overrides})["run_id"]
    *_, end = client.follow(run_id)
    assert end.data["state"] == "succeeded"
    assert client.run(run_id)["trend"]["decreasing"] is True
    assert len(client.predict(run_id, [[[0] * 28] * 28])["predictions"]) == 1


def test_a_text_trains_through_the_service(
    service: LocalService, client: Client, data_cache: Path
) -> None:
    fetch_data("tinyshakespeare", data_cache)
    model = {"architecture": "gpt", "layers": 1, "width": 16, "heads": 2, "context": 64}
    overrides = {"model": model, "steps": 30, "schedule": {"warmup_steps": 0}}
    run_id = client.submit({"recipe": "shakespeare_gpt", "overrides": overrides})["run_id"]
    metrics = [event.data for event in client.follow(run_id) if event.kind == "metric"]
    assert client.run(run_id)["trend"]["decreasing"] is True
    assert all(metric["tokens_s"] > metric["samples_s"] for metric in metrics)
    with pytest.raises(InvalidInput, match="only images are classified"):
        client.predict(run_id, [[[0] * 28] * 28])
    with open_pack(Path(service.evidence_root, "training", run_id)) as pack:
        assert verify(pack).exit_code == 0


def test_the_finished_model_is_listed(client: Client, finished: tuple[str, list[Event]]) -> None:
    listed = {model["run_id"]: model for model in client.models()["models"]}
    assert listed[finished[0]]["step"] == 60
