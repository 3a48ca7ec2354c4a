"""One worker of a group of processes without Ray: `python -m tests.cluster.part` and arguments.

    FOLDER RANK CONFIG_JSON CACHE

trains on the data of the cache and prints the three digests of each checkpoint as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evidence.records import Checkpoint, TrainingEvent
from trainers import recipes, runtime
from trainers.shared_memory import SharedMemoryGroup

ROOT = Path(__file__).parents[2]

Digests = list[list[str]]


def train_in_processes(request: dict[str, Any], cache: Path) -> list[Digests]:
    """Return the digests of all checkpoints, as each worker of the request found them."""
    size = recipes.resolve(request).workers
    with TemporaryDirectory(prefix="zpg-") as parent:
        folder = Path(parent, "group")
        folder.mkdir()
        command = [sys.executable, "-m", "tests.cluster.part", str(folder)]
        started = [
            subprocess.Popen(
                [*command, str(rank), json.dumps(request), str(cache)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        shown = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * size
    return [json.loads(text) for text in shown]


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    folder, rank, request, cache = arguments
    config = recipes.resolve(json.loads(request))
    runtime.prepare_process(device="CPU", cache=Path(cache), kernels=config.kernel_set)
    from trainers.checkpoint import Start  # noqa: PLC0415  tinygrad reads the environment first
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.loop import train  # noqa: PLC0415

    group = SharedMemoryGroup(Path(folder), rank=int(rank), size=config.workers)
    events: list[TrainingEvent] = []
    data = load(config.dataset, Path(cache))
    train(config, data, Start.fresh(), events.append, group=group)
    records = [event.record for event in events if isinstance(event, Checkpoint)]
    digests = [[r.model_digest, r.optimizer_digest, r.state_digest] for r in records]
    print(json.dumps(digests))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
