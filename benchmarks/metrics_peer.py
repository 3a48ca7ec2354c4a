"""MLflow's side of `metric_logging`: `python -m benchmarks.metrics_peer URI FOLDER COUNT`.

Runs in the peers' environment and prints its rates as JSON.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient  # type: ignore[import-not-found,unused-ignore]  # peer
from mlflow.entities import Metric  # type: ignore[import-not-found,unused-ignore]  # peer

_BATCH = 256
_BATCHES = 10


def main() -> None:
    """Measure and print."""
    uri, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    server = MlflowClient(tracking_uri=uri)
    store = MlflowClient(tracking_uri=f"sqlite:///{tempfile.mkdtemp(dir=folder)}/store.db")
    rates = {
        "rest": _rate(count, _single(server)),
        "sqlite": _rate(count, _single(store)),
        "rest_batch": _BATCH * _rate(_BATCHES, _batch(server)),
    }
    print(json.dumps(rates))  # noqa: T201 - what a driver is for


def _run(client: Any) -> str:
    experiment = client.create_experiment(f"benchmark-{time.time_ns()}")
    return str(client.create_run(experiment).info.run_id)


def _single(client: Any) -> Callable[[int], None]:
    run_id = _run(client)
    return lambda step: client.log_metric(run_id, "loss", 2.302585 / (step + 1), step=step)


def _batch(client: Any) -> Callable[[int], None]:
    run_id = _run(client)

    def log(i: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        steps = range(i * _BATCH, (i + 1) * _BATCH)
        metrics = [Metric("loss", 2.302585 / (step + 1), now_ms, step) for step in steps]
        client.log_batch(run_id, metrics=metrics)

    return log


def _rate(count: int, log: Callable[[int], None]) -> float:
    log(0)  # connects
    started = time.perf_counter()
    for step in range(1, count + 1):
        log(step)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
