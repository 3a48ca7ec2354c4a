"""`python -m cluster submit RECIPE`: run a training from inside a Ray job.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python -m cluster submit mnist_mlp --set steps=300

It follows the run to its end; `ray job stop` cancels it. Exit status: 0 the run succeeded, 1 it
failed, was interrupted or cancelled, 2 nothing was submitted.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from cluster import job_request
from evidence.errors import ConfigError, ServiceError

_NOT_SUBMITTED = 2


def main(argv: list[str] | None = None) -> int:
    """Submit and follow one run; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        request = _request(arguments)
        _connect()
    except (ServiceError, OSError) as error:
        return _refuse(error)

    from cluster.job import JobRun, Stopped

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # after ray.init, which sets its own
        signal.signal(number, lambda *_: stopping.set())
    run = JobRun(who=_who(), say=_say, is_stopping=stopping.is_set)
    try:
        view = run.submit(request, idempotency_key=arguments.idempotency_key)
    except ServiceError as error:
        return _refuse(error)
    try:
        ended = run.follow(view)
    except Stopped:
        run.cancel(view["run_id"])
        return 1
    return _conclude(ended)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description=__doc__, formatter_class=form
    )
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit", help="submit a run and follow it to its end")
    what = submit.add_mutually_exclusive_group(required=True)
    what.add_argument("recipe", nargs="?", help="name of a recipe, e.g. mnist_mlp")
    what.add_argument("--config", type=Path, metavar="FILE", help="a run config, TOML or JSON")
    submit.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="set a field of the config, e.g. optimizer.lr=0.1; may be given again",
    )  # fmt: skip
    submit.add_argument("--name", help="name of the run, for people")
    submit.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key and config give the same run"
    )
    return parser


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = job_request.parse_settings(arguments.set)
    if arguments.name is not None:
        settings["name"] = arguments.name
    if arguments.config is not None:
        return job_request.of_file(arguments.config, settings)
    return job_request.of_recipe(arguments.recipe, settings)


def _connect() -> None:
    """Join the cluster that RAY_ADDRESS names, as it does in every job."""
    if not os.environ.get("RAY_ADDRESS"):
        raise ConfigError(
            "RAY_ADDRESS: expected the address of the cluster, found nothing",
            field="RAY_ADDRESS",
            cure="submit it with `ray job submit`, or set RAY_ADDRESS",
        )
    import logging

    import ray

    from cluster.directory import NAMESPACE

    ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)


def _who() -> str:
    """Return whom the service journal names: this Ray job, by its submission id."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    submission = config.get("metadata", {}).get("job_submission_id")
    return f"job:{submission}" if submission else "job"


def _conclude(view: dict[str, Any]) -> int:
    """Say how the run ended; return the exit status."""
    run_id, status, error = view["run_id"], view["status"], view["error"]
    if status == "succeeded":
        test = view["last_metrics"].get("test", {})
        accuracy = test.get("accuracy")
        found = f", test accuracy {accuracy:.4f}" if accuracy is not None else ""
        _say(f"succeeded   run {run_id}: {view['step']} steps{found}")
        return 0
    why = f"{error['code']}: {error['detail']}" if error else view["reason"]
    print(f"error: run {run_id} is {status} at step {view['step']}: {why}", file=sys.stderr)
    if status in {"failed", "interrupted"}:
        cure = "goes on from its last checkpoint"
        print(f"help:  zpctl resume {run_id} {cure}", file=sys.stderr)
    return 1


def _refuse(error: ServiceError | OSError) -> int:
    """Say why nothing was submitted; return the exit status."""
    cure = error.cure if isinstance(error, ServiceError) else None
    code = f"{error.code}: " if isinstance(error, ServiceError) else ""
    print(f"error: {code}{error}", file=sys.stderr)
    if cure:
        print(f"help:  {cure}", file=sys.stderr)
    return _NOT_SUBMITTED


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
