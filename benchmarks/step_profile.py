"""Where the time of a step goes: `python -m benchmarks.step_profile [WORKLOAD ...]`.

Prints the table of docs/profiles.md: each kernel's share of a step, from the times that tinygrad
prints with DEBUG=2, when it runs each on its own, kernels of one family together; and what is left
of a step as it is.
"""

import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmarks import training
from evidence.errors import Unavailable
from trainers.provenance import REPOSITORY

STEPS = 10
_LEAST_SHARE = 0.03
_LINE = re.compile(r"\*\*\* CPU +\d+ (\S+) .* tm +([\d.]+)(us|ms)/")
_COLOUR = re.compile(r"\x1b\[\d+m")
_FAMILIES = (
    ("onednn_conv", "convolution (oneDNN)"),
    ("onednn_affine", "affine map (oneDNN)"),
    ("onednn_matmul", "matrix product (oneDNN)"),
    ("batch_norm", "batch normalisation (C)"),
    ("layer_norm", "layer normalisation (C)"),
    ("gelu", "GELU (C)"),
    ("max_pool", "max pooling (C)"),
    ("cross_entropy", "cross-entropy (C)"),
    ("weights", "softmax of attention (C)"),
    ("softmax", "softmax of attention (C)"),
    ("update", "optimiser (C)"),
    ("copy", "copies"),
    ("r_", "reductions (tinygrad)"),
    ("E", "elementwise (tinygrad)"),
)


def main(names: Sequence[str]) -> int:
    """Print the table of the workloads, or of all."""
    print("| workload | part | ms a step | share | kernels |\n|---|---|---|---|---|")  # noqa: T201
    for name in names or tuple(training.WORKLOADS):
        for line in _lines(name):
            print(line)  # noqa: T201
    return 0


def _lines(name: str) -> list[str]:
    run = training.config_of(name, "native")
    batches = training.write_batches(name, run)
    plain = training.ours(run, batches, STEPS, "native")[0]
    step_ms = statistics.median(plain["step_ms"])
    times, calls = _kernels([*training.command(run, batches, STEPS, "native", threads=2), "", "0"])
    total = sum(times.values())
    rows = [
        f"| {name} | {family} | {ms:.2f} | {ms / step_ms:.0%} | {calls[family]} |"
        for family, ms in sorted(times.items(), key=lambda item: -item[1])
        if ms / step_ms >= _LEAST_SHARE
    ]
    left = step_ms - total
    return [
        f"| {name} | whole step | {step_ms:.1f} | 100% | {sum(calls.values())} |",
        *rows,
        f"| {name} | between kernels | {left:.2f} | {left / step_ms:.0%} | |",
    ]


def _kernels(command: list[str]) -> tuple[dict[str, float], Counter[str]]:
    """Return milliseconds and calls of a step, by family; of each kernel the median over steps."""
    environ = {**os.environ, "DEBUG": "2"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, env=environ, check=False
    )
    if done.returncode:
        raise Unavailable(f"{command[2]}: {done.stderr.strip()[-300:]}")
    return by_family((done.stdout + done.stderr).splitlines())


def by_family(printed: Sequence[str]) -> tuple[dict[str, float], Counter[str]]:
    """Return milliseconds and calls of a step, by family, from what tinygrad printed.

    Args:
        printed: Lines; the last `STEPS` steps repeat one sequence of kernels.
    """
    lines = [_COLOUR.sub("", line) for line in printed]
    found = [match for line in lines if (match := _LINE.search(line))]
    per_step = _step_length([match[1] for match in found])
    steps = [found[len(found) - (i + 1) * per_step :][:per_step] for i in range(STEPS)]
    times: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for at in range(per_step):
        same = [float(step[at][2]) * (1e-3 if step[at][3] == "us" else 1.0) for step in steps]
        family = _family(steps[0][at][1])
        times[family] += statistics.median(same)
        calls[family] += 1
    return times, calls


def _step_length(names: list[str]) -> int:
    """Return after how many kernels the sequence of names repeats, at its end."""
    return next(
        length
        for length in range(1, len(names) // 2)
        if names[-length:] == names[-2 * length : -length]
        and names[-length:] == names[-3 * length : -2 * length]
        and len(set(names[-length:])) > 1
    )


def _family(kernel: str) -> str:
    return next((text for start, text in _FAMILIES if kernel.startswith(start)), kernel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
