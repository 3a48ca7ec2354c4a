"""`zpctl demo`, which is `make demo`: everything once, for real, and nothing left behind.

    compiler   found, and a kernel and a gradient compiled with it
    cluster    Ray and Serve: a service of its own beside any other
    data       MNIST fetched and verified
    train      a run over the HTTP API, followed from its event stream
    evidence   every check of its pack
    clean-up   service stopped, its folder removed

The pack stays. Data and compiled kernels stay in the cache that `make up` uses too.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import typer

from evidence.archive import open_pack
from evidence.errors import DeviceMissing, TrainerLost, of_code
from evidence.records import RunState
from evidence.report import Report, Result, Verdict, as_text
from evidence.trust import Trusted
from serve import local
from serve.cli import (
    connection,
    demo_home,
    fetching,
    follow,
    live,
    options,
    phases,
    render,
    signals,
    units,
    verify,
)
from serve.cli.demo_home import DemoHome
from serve.cli.options import ExitCode
from serve.cli.progress import Progress
from serve.cli.render import Mark
from serve.cli.terminal import Terminal
from serve.client import Client
from trainers import devices, runtime

RECIPE = "mnist_convnet"
DATASET = "mnist"
GOAL = 0.985
"""Least test accuracy, [0, 1]."""

_ABOUT = "about 2 min"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the demo showed."""

    run: Progress
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether the goal was reached and every check of the pack passed."""
        return has_reached(self.run) and self.report.verdict is Verdict.PASSED


def demo(context: typer.Context) -> int:
    """Train MNIST for real on a local Ray cluster, verify the evidence, leave nothing behind.

    Needs no service and disturbs none. Exits with 1 if a step fails or the accuracy is below the
    goal. Ctrl-C at any time is safe.
    """
    terminal = options.of(context).terminal
    with signals.stopping_once(), demo_home.held(connection.settings()) as own:
        try:
            terminal.progress(headline(terminal))
            proof = _prove(terminal, own)
        finally:
            _clean_up(terminal, own)
        pack = own.keep(proof.run.run_id)
    _print_results(terminal, pack)
    return ExitCode.GOOD if proof.is_good else ExitCode.FAILED


def headline(terminal: Terminal) -> str:
    """Return the first line."""
    dot = terminal.glyphs.dot
    return f"demo {dot} trains MNIST for real and proves it {dot} {_ABOUT}, Ctrl-C is safe"


def has_reached(run: Progress) -> bool:
    """Return whether a run's test accuracy reached the goal."""
    return run.test_accuracy is not None and run.test_accuracy >= GOAL


def _prove(terminal: Terminal, own: DemoHome) -> Proof:
    with phases.phase(terminal, "compiler", "compiling a kernel and a gradient") as this:
        this.done = _try_compiler(own.settings.cache)
    with phases.phase(terminal, "cluster", "starting Ray and Serve") as this:
        service = local.start(own.settings)
        this.done = f"Ray {version('ray')}, {_cpus()} CPUs, {service.dashboard_url}"
    with Client(service.url, token=service.token()) as client:
        with phases.phase(terminal, "data", f"asking for {DATASET}") as this:
            this.done = fetching.describe(fetching.fetch(client, DATASET, this))
        run = _train(client, terminal)
    return Proof(run, _verify(terminal, own, run.run_id))


def _try_compiler(cache: Path) -> str:
    """Run the probe on the CPU; return which compiler it had.

    Raises:
        DeviceMissing: The kernel or the gradient did not run.
        NotInstalled: There is no compiler.
    """
    found = runtime.find_compiler(cache)
    report = devices.probe("CPU", cache=cache)
    if not report.usable:
        raise DeviceMissing(report.reason or "the probe failed", cure="zpctl doctor")
    name = str(report.details["process"]["compiler"]).replace(" version", "")
    origin = "$CC" if os.environ.get("CC") else "PATH"
    if found is not None and Path(found).parent == cache:
        origin = "pip"
    return f"{name} from {origin}; kernel and gradient compiled"


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _train(client: Client, terminal: Terminal) -> Progress:
    """Train over the API and show it.

    Raises:
        ServiceError: The run did not succeed.
    """
    view = client.submit({"recipe": RECIPE})
    run = follow.follow(client, view, terminal)
    if run.state is not RunState.SUCCEEDED:
        fault = client.run(run.run_id)["error"] or {"code": TrainerLost.code, "detail": run.reason}
        for line in render.outcome_lines(live.frame_of(terminal), run):
            terminal.progress(line)
        raise of_code(fault["code"], fault["detail"])
    took = units.duration(run.elapsed_s or 0.0)
    reached = f"test accuracy {units.percent(run.test_accuracy or 0.0)}"
    told = f"{run.steps} steps, {reached} (goal {100 * GOAL:g} %)"
    mark = Mark.DONE if has_reached(run) else Mark.FAILED
    terminal.progress(render.phase(live.frame_of(terminal), mark, "train", told, took))
    return run


def _verify(terminal: Terminal, own: DemoHome, run_id: str) -> Report:
    """Make every check of the pack and show how many passed, or what differs."""
    path = own.settings.runs_root / run_id
    with tempfile.TemporaryDirectory(prefix="zpctl-") as scratch, open_pack(path) as pack:
        begun = time.monotonic()
        report = verify.make_checks(pack, terminal, trusted=Trusted(), scratch=Path(scratch))
        took = units.duration(time.monotonic() - begun)
        total = units.size(sum(pack.files.values()))
        passed = sum(check.result is Result.PASSED for check in report.checks)
        told = f"{passed} of {len(report.checks)} checks, {len(pack.files)} files, {total}"
    mark = Mark.VERIFIED if report.verdict is Verdict.PASSED else Mark.FAILED
    terminal.progress(render.phase(live.frame_of(terminal), mark, "evidence", told, took))
    if report.verdict is not Verdict.PASSED:
        terminal.complain(as_text(report).rstrip("\n"))
    return report


def _clean_up(terminal: Terminal, own: DemoHome) -> None:
    """Stop the service and say what is left of it."""
    left = own.stop()
    frame = live.frame_of(terminal)
    if left:
        told = f"{left} processes of the service are left"
        terminal.complain(render.phase(frame, Mark.FAILED, "clean-up", told))
    else:
        told = "service stopped, no process left"
        terminal.progress(render.phase(frame, Mark.DONE, "clean-up", told))


def _print_results(terminal: Terminal, pack: Path) -> None:
    here = Path.cwd()
    shown = pack.relative_to(here) if pack.is_relative_to(here) else pack
    terminal.result()
    terminal.result(f"  {'Pack':<11}{shown}")
    terminal.result(f"  {'Check it':<11}.venv/bin/zpctl verify {pack.name}")
    terminal.result(f"  {'Keep one':<11}make up      then open /api/docs at its address")
