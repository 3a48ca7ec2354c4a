"""A step of a workload as a trainer does it: the same update, without service, sink or evaluation.

    python -m benchmarks.step_ours CONFIG BATCHES.npz CACHE THREADS STEPS library|stock FOLDER RANK

prints JSON as `step_torch.py` does. The config names the device; `auto` is the CPU. `stock` leaves
our kernels out: tinygrad as it comes. Where the config has several workers, this is number RANK of
them, and they meet in FOLDER.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from trainers import config, runtime

_WARM_UP_STEPS = 3


def main(arguments: list[str]) -> None:
    """Measure; see the module's docstring."""
    begun = time.perf_counter()
    run = config.parse(json.loads(arguments[0]))
    batches = dict(np.load(arguments[1]))
    threads, steps = int(arguments[3]), int(arguments[4])
    runtime.prepare_process(
        device="CPU" if run.device == "auto" else run.device, cache=Path(arguments[2]),
        threads=threads, kernels=run.kernel_set, beam=run.beam,
        library="tinygrad" if arguments[5] == "stock" else "auto",
    )  # fmt: skip
    # tinygrad reads what was prepared
    from trainers.group import ALONE  # noqa: PLC0415
    from trainers.shared_memory import SharedMemoryGroup  # noqa: PLC0415
    from trainers.step import Stepper  # noqa: PLC0415

    folder, rank = Path(arguments[6]), int(arguments[7])
    group = SharedMemoryGroup(folder, rank=rank, size=run.workers) if run.workers > 1 else ALONE
    stepper = Stepper(run, seed="0" * 16, group=group)

    def step(i: int) -> None:
        at = i % len(batches["inputs"])
        stepper.update(
            batches["inputs"][at], batches["targets"][at], lr=run.optimizer.lr, step=i + 1
        )

    for i in range(_WARM_UP_STEPS):
        step(i)
    warm_up_s = time.perf_counter() - begun
    took = []
    for i in range(steps):
        at = time.perf_counter()
        step(i)
        took.append((time.perf_counter() - at) * 1000)
    told = {
        "process": runtime.describe(),
        "step_ms": took,
        "warm_up_s": warm_up_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
