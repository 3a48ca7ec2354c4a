"""Run benchmarks: `python -m benchmarks [NAME ...] [--quick]`; without a name, all of them.

Each writes benchmarks/results/NAME.json. With --quick everything is tiny, to see that it works, and
the results go to var/benchmarks/ instead. `--table` prints the table of docs/benchmarks.md.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

NAMES = (
    "service_overhead", "first_metric", "memory", "fanout", "stream_latency", "metric_logging",
    "training", "time_to_accuracy", "workers", "transparency_log", "evidence_cost",
    "audit", "console",
)  # fmt: skip
"""Every benchmark: a module with `measure`, FULL and QUICK; `document` where rows are its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print their table; return 0, or 1 where one could not run."""
    options = _parser().parse_args(arguments)
    from benchmarks import outcome
    from trainers.provenance import REPOSITORY

    if options.table:
        print(outcome.as_markdown(outcome.read(outcome.RESULTS)), end="")
        return 0
    quick = REPOSITORY / "var" / "benchmarks"
    folder, plan = (quick, "QUICK") if options.quick else (outcome.RESULTS, "FULL")
    only = tuple(options.workload)
    failed = [name for name in options.names or NAMES if not _run(name, plan, folder, only)]
    _show(folder, options.names or NAMES)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(NAMES), choices=[[], *NAMES]
    )
    parser.add_argument("--quick", action="store_true", help="tiny, to see that everything works")
    parser.add_argument(
        "--workload", action="append", default=[], metavar="NAME",
        help="only this one, all its sides in one run; the rows of others stay as they are",
    )  # fmt: skip
    parser.add_argument("--table", action="store_true", help="only print the table of the docs")
    return parser


def _run(name: str, plan: str, folder: Path, only: tuple[str, ...]) -> bool:
    from benchmarks import outcome
    from evidence.errors import ServiceError

    module = importlib.import_module(f"benchmarks.{name}")
    before = outcome.machine()
    load = before["load_before"][0]
    print(f"{name}: {(module.__doc__ or '').splitlines()[0]} (load {load:.2f})", file=sys.stderr)
    try:
        chosen = getattr(module, plan)
        rows = module.measure(replace(chosen, workloads=only) if only else chosen)
    except ServiceError as error:
        print(f"{name}: not run: {error.detail}", file=sys.stderr)
        return False
    path = folder / f"{name}.json"
    made = getattr(module, "document", outcome.document)(name, rows, before)
    outcome.write(path, outcome.merged(path, made, only) if only else made)
    print(f"{name}: {path}", file=sys.stderr)
    return True


def _show(folder: Path, names: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchmarks import outcome

    table = Table("benchmark", *outcome.HEADINGS)
    for result in outcome.read(folder):
        if result["name"] in names:
            for row in result["rows"]:
                table.add_row(result["name"], *outcome.cells(row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
