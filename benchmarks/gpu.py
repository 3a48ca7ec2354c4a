"""Milliseconds of a training step on an NVIDIA card, ours and PyTorch's, and the share of its peak.

    python -m benchmarks.gpu [WORKLOAD ...] [--device CUDA] [--beam N] [--peer NAME] [--seconds S]
                             [--cap S] [--batches FOLDER] [--torch PYTHON] [--to FILE]

measures one workload after the other, each process alone on the card, and writes the file after
each row. Utilisation (MFU) is the floating-point operations of a step's matrix products and
convolutions, as PyTorch counts them, over the step's time, as a share of the rate at which the same
card multiplies two matrices of 8,192 in the same precision, measured in the same run. `--batches`
names a folder where `benchmarks.training.write_batches` has left its files; without it they are
made here, from the data sets.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import both_ways, outcome, peers, training
from evidence.errors import ServiceError
from trainers import config
from trainers.config import RunConfig
from trainers.provenance import describe_code

WORKLOADS: dict[str, Any] = {
    **training.WORKLOADS,
    **tomllib.loads((Path(__file__).parent / "workloads_gpu.toml").read_text()),
}
_TORCH = Path(__file__).with_name("step_torch.py")
_FIRST_STEPS = 5
_PEERS = {"torch-eager": "eager", "torch-compile": "compile"}


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the result. Times are medians over the steps after the warm-up."""

    workload: str
    precision: str
    """float32 or bfloat16."""
    beam: int
    """Width of our search for kernels."""
    ours_ms: float | None
    peer: str
    peer_ms: float | None
    ratio: float | None
    """ours_ms / peer_ms."""
    samples_s: float | None
    warm_up_s: float | None
    """Of our process, the search for kernels included."""
    peer_warm_up_s: float | None
    utilisation: float | None
    """Ours: operations of a step over its time, as a share of the card's measured peak."""
    peer_utilisation: float | None
    not_run: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """How it is measured."""

    device: str
    beams: tuple[int, ...]
    seconds: float
    """Of steps, about, after the warm-up of each process."""
    cap_s: float
    """Most seconds of a process."""
    batches: Path | None
    torch: Path
    peers: tuple[str, ...]
    """Names of _PEERS."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; see the module's docstring."""
    given = _parser().parse_args(arguments)
    options = Options(
        device=given.device,
        beams=tuple(sorted({0, *given.beam})),
        seconds=given.seconds,
        cap_s=given.cap,
        batches=given.batches,
        torch=given.torch or peers.require(peers.TORCH),
        peers=tuple(given.peer or _PEERS),
    )
    before = outcome.machine()
    peaks = {form: _peak(options, form) for form in ("float32", "bfloat16")}
    rows: list[dict[str, Any]] = []
    process: dict[str, Any] = {}
    for name in given.workloads or WORKLOADS:
        for row, told in _rows(name, options, peaks):
            rows.append(asdict(row))
            process = told or process
            document = {
                "name": "gpu", **outcome.code_and_date(), "code_digest": describe_code()["digest"],
                "machine": before, "device": options.device,
                "peaks": peaks, "process": process, "rows": rows,
            }  # fmt: skip
            outcome.write(given.to, document)
            print(json.dumps(rows[-1]), flush=True)  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", choices=[[], *WORKLOADS])
    parser.add_argument("--device", default="CUDA", choices=["CUDA", "NV"])
    parser.add_argument(
        "--beam", type=int, action="append", default=[], help="also with this width"
    )
    parser.add_argument("--peer", action="append", choices=[*_PEERS], help="only this one")
    parser.add_argument("--seconds", type=float, default=2.0, help="of steps of each side")
    parser.add_argument("--cap", type=float, default=120.0, help="most seconds of a process")
    parser.add_argument("--batches", type=Path)
    parser.add_argument("--torch", type=Path, help="a Python that has PyTorch with CUDA")
    parser.add_argument("--to", type=Path, default=outcome.RESULTS / "gpu" / "nvidia.json")
    return parser


def _rows(
    name: str, options: Options, peaks: dict[str, Any]
) -> Iterator[tuple[Measured, dict[str, Any] | None]]:
    """Return a row for each beam and peer, and what our process computed with."""
    run = config_of(name, options.device)
    batches = _batches(name, run, options.batches)
    theirs = {peer: _theirs(name, batches, mode, options) for peer, mode in _PEERS.items()}
    eager = theirs["torch-eager"]
    operations = None if isinstance(eager, str) else eager.get("operations")
    peak = peaks[run.precision]["flops_s"]
    for beam in options.beams:
        ours = _ours(run, beam, batches, options)
        for peer, found in theirs.items():
            mine, other = _milliseconds(ours), _milliseconds(found)
            row = Measured(
                workload=name,
                precision=run.precision,
                beam=beam,
                ours_ms=mine,
                peer=peer,
                peer_ms=other,
                ratio=mine / other if mine and other else None,
                samples_s=1000 * run.batch_size / mine if mine else None,
                warm_up_s=None if isinstance(ours, str) else ours["warm_up_s"],
                peer_warm_up_s=None if isinstance(found, str) else found["warm_up_s"],
                utilisation=_share(operations, mine, peak),
                peer_utilisation=_share(operations, other, peak),
                not_run="; ".join(side for side in (ours, found) if isinstance(side, str)) or None,
            )
            yield row, None if isinstance(ours, str) else ours["process"]


def config_of(name: str, device: str) -> RunConfig:
    """Return the config of a workload on a device."""
    return config.parse(
        {**WORKLOADS[name], "steps": 1000, "kernel_set": "native", "device": device}
    )


def _share(operations: int | None, step_ms: float | None, peak: float) -> float | None:
    return operations / (step_ms / 1000) / peak if operations and step_ms else None


def _milliseconds(side: dict[str, Any] | str) -> float | None:
    return None if isinstance(side, str) else statistics.median(side["step_ms"])


def _batches(name: str, run: RunConfig, folder: Path | None) -> Path:
    return folder / f"{name}.npz" if folder else training.write_batches(name, run)


def _attempted(command: list[str], at: int, options: Options) -> dict[str, Any] | str:
    """Return what a process measured in about `seconds` of steps, or why it did not.

    Args:
        command: Without the number of steps.
        at: Where in it that number belongs.
        options: How long.
    """

    def run(steps: int) -> dict[str, Any]:
        return training.answer([*command[:at], str(steps), *command[at:]], options.cap_s)

    try:
        first = run(_FIRST_STEPS)
        steps = math.ceil(options.seconds * 1000 / statistics.median(first["step_ms"]))
        return {**run(max(_FIRST_STEPS, steps)), "warm_up_s": first["warm_up_s"]}
    except ServiceError as error:
        return error.detail


def _ours(run: RunConfig, beam: int, batches: Path, options: Options) -> dict[str, Any] | str:
    searched = run.model_copy(update={"beam": beam})
    threads = len(os.sched_getaffinity(0)) if beam else 1  # they compile what the search tries
    command = [
        sys.executable, "-m", "benchmarks.step_ours", json.dumps(searched.as_json()),
        str(batches), str(both_ways.settings().cache), str(threads), "library", "", "0",
    ]  # fmt: skip
    return _attempted(command, 7, options)


def _theirs(name: str, batches: Path, mode: str, options: Options) -> dict[str, Any] | str:
    command = [
        str(options.torch), str(_TORCH), json.dumps(WORKLOADS[name]), str(batches), mode,
        "1", "cuda",
    ]  # fmt: skip
    return _attempted(command, 6, options)


def _peak(options: Options, form: str) -> dict[str, Any]:
    return training.answer([str(options.torch), str(_TORCH), "peak", "cuda", form], options.cap_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
