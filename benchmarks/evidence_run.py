"""One run of `evidence_cost` in a process of its own: `... MODE REQUEST_JSON FOLDER CACHE`.

MODE is `evidence` (run folder, signed records, log, seal) or `plain` (events are counted and thrown
away). Prints seconds behind the warm-up, and with evidence the bytes that it takes.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster import run_folder, sealing, views
from cluster.notary import Notary
from cluster.run_folder import RunFolder, folder_bytes
from cluster.settings import Limits
from evidence import seed
from evidence.clock import utc_now
from evidence.records import Checkpoint, Metric, Placement, RunState, TrainingEvent
from trainers import recipes, runtime
from trainers.config import RunConfig
from trainers.provenance import describe_code

_ROOMY = 1 << 40


class Timed:
    """A sink that notes when the first and the last training metric came."""

    def __init__(self, sink: Callable[[TrainingEvent], None]) -> None:
        self._sink = sink
        self.first = 0.0
        self.last = 0.0

    def __call__(self, event: TrainingEvent) -> None:
        """Pass an event on."""
        self._sink(event)
        if isinstance(event, Metric | Checkpoint):
            self.last = time.perf_counter()
            self.first = self.first or self.last


def main(arguments: Sequence[str]) -> None:
    """Train, and print what was measured."""
    mode, request, folder, cache = arguments
    config = recipes.resolve(json.loads(request))
    runtime.prepare_process(
        device="CPU", cache=Path(cache), threads=config.threads, kernels=config.kernel_set
    )
    # tinygrad reads the environment when it is imported, so what uses it comes after that line.
    from trainers import loop  # noqa: PLC0415
    from trainers.checkpoint import Start  # noqa: PLC0415
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.models import build  # noqa: PLC0415

    data = load(config.dataset, Path(cache))
    told: dict[str, Any] = {}
    if mode == "plain":
        sink = Timed(lambda _: None)
        loop.train(config, data, Start.fresh(), sink)
    else:
        home = Path(folder)
        notary = Notary.open(home, limits=Limits())
        run = _begun(home / "runs", config, data.digests, build.describe(config), notary)
        numbers = iter(range(1 << 30))
        sink = Timed(lambda event: run.report(event, attempt=1, n=next(numbers), max_bytes=_ROOMY))
        loop.train(config, data, Start.fresh(), sink)
        begun = time.perf_counter()
        run.move(RunState.SUCCEEDED, "all steps are done")
        run.complete_end()
        sealing.seal_run(run, notary)
        run.close()
        weights = folder_bytes(run.paths.checkpoints)
        told = {
            "seal_s": time.perf_counter() - begun,
            "evidence_bytes": folder_bytes(run.paths.root) - weights,
            "pack": str(run.paths.root),
        }
        notary.close()
    sys.stdout.write(json.dumps({"seconds": sink.last - sink.first, **told}))


def _begun(
    runs: Path, config: RunConfig, digests: Any, model: dict[str, Any], notary: Notary
) -> RunFolder:
    runs.mkdir(parents=True)
    run = run_folder.create(
        runs, "0" * 12, config, clock=utc_now, notary=notary, idempotency_key_sha256=None
    )
    run.move(RunState.RUNNING, "placed", placement=Placement(node="here", device="CPU", why="here"))
    code = describe_code()
    told = {
        "dataset": {"name": config.dataset, "files": dict(digests)},
        "lock_sha256": code.pop("lock_sha256"),
        "code": code,
        "runtime": runtime.describe(),
        "seed": seed.derive(config.as_json(), digests, config.nonce),
        "nonce": config.nonce,
    }
    run.write_description(model, views.provenance(run, told))
    return run


if __name__ == "__main__":
    main(sys.argv[1:])
