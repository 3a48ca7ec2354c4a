"""`python -m trainers`: the trainers by hand, without Ray or HTTP. JSON on standard output.

    probe DEVICE       run a kernel and a gradient there
    describe CONFIG    print model.json and the seed's inputs
    fetch NAME         bring a data set into the cache
    train CONFIG       a bare local run: events and checkpoints into a folder
    evaluate CONFIG    loss and accuracy of a model file on the test split
    replay             windows of a pack, done again; the job comes on standard input

CONFIG is a JSON file with a full RunConfig or a recipe request, or the name of a recipe.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import KernelLibrary, RunConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 1 with a JSON error on standard error."""
    from evidence.errors import ServiceError

    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ServiceError as error:
        problem = {"code": error.code, "detail": error.detail, "cure": error.cure}
        print(json.dumps(problem), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainers", description="Trainers by hand.")
    parser.add_argument(
        "--cache", type=Path, default=Path("var/cache"), help="data, kernels (default: var/cache)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    probe = commands.add_parser("probe", help="run a kernel and a gradient on a device")
    probe.add_argument("device")
    probe.set_defaults(run=_probe)

    describe = commands.add_parser("describe", help="print model.json of a config")
    describe.add_argument("config")
    describe.set_defaults(run=_describe)

    fetch = commands.add_parser("fetch", help="bring a data set into the cache")
    fetch.add_argument("name")
    fetch.add_argument("--search-path", default=os.environ.get("ZEROPOINT_DATA_PATH", ""))
    fetch.set_defaults(run=_fetch)

    train = commands.add_parser("train", help="a bare local run")
    train.add_argument("config")
    train.add_argument("--out", type=Path, required=True, help="folder for events and checkpoints")
    train.add_argument("--resume", type=Path, help="a checkpoint folder of the same run")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="loss and accuracy on the test split")
    evaluate.add_argument("config")
    evaluate.add_argument("--model", type=Path, required=True, help="a model.safetensors")
    evaluate.set_defaults(run=_evaluate)

    replay = commands.add_parser("replay", help="do windows of a pack again (for an audit)")
    replay.set_defaults(run=_replay)
    return parser


def _config(text: str) -> "RunConfig":
    from evidence import canonical
    from evidence.errors import NotFound
    from trainers import recipes

    if text in recipes.names():
        return recipes.load(text)
    try:
        data = Path(text).read_bytes()
    except OSError as error:
        known = ", ".join(recipes.names())
        raise NotFound(f"config: expected a file or one of {known}, found {text!r}") from error
    return recipes.resolve(canonical.decode_object(data))


def _bytes_of(path: Path, option: str) -> bytes:
    from evidence.errors import NotFound

    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"{option}: {path}: {error.strerror}", field=option) from error


def _prepare(config: "RunConfig", cache: Path) -> None:
    from trainers import runtime

    device = "CPU" if config.device == "auto" else config.device
    runtime.prepare_process(
        device=device, cache=cache, threads=config.threads, kernels=config.kernel_set,
        library=_library(), beam=config.beam,
    )  # fmt: skip


def _library() -> "KernelLibrary":
    """Return the library that the environment wants."""
    from trainers.kernels import library

    return library.named(os.environ.get(library.VARIABLE, "auto"))


def _show(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def _probe(options: argparse.Namespace) -> None:
    from trainers import runtime

    runtime.prepare_process(
        device=options.device, cache=options.cache, threads=1, library=_library()
    )
    from trainers import kernel_probe

    _show(kernel_probe.check(options.device))


def _describe(options: argparse.Namespace) -> None:
    config = _config(options.config)
    _prepare(config, options.cache)
    from trainers.models import build

    _show({"config": config.as_json(), "model": build.describe(config)})


def _fetch(options: argparse.Namespace) -> None:
    import httpx

    from trainers.data import fetch

    folders = [Path(part) for part in options.search_path.split(os.pathsep) if part]
    with httpx.Client(timeout=httpx.Timeout(30, connect=5), follow_redirects=True) as client:
        report = fetch.fetch(
            options.name,
            cache=options.cache,
            search_path=folders,
            client=client,
            npm=shutil.which("npm"),
            progress=_progress,
        )
    _show(report.as_json())


def _progress(name: str, done: int, total: int | None) -> None:
    print(f"\r{name}: {done:,} of {total or 0:,} bytes", end="", file=sys.stderr)


def _train(options: argparse.Namespace) -> None:
    config = _config(options.config)
    _prepare(config, options.cache)
    from evidence.records import CHECKPOINT_FILES
    from trainers import bare_run, rehearsal, runtime
    from trainers.checkpoint import Start
    from trainers.data.load import load
    from trainers.loop import train

    start = Start.fresh()
    if options.resume:
        files = {name: _bytes_of(options.resume / name, "--resume") for name in CHECKPOINT_FILES}
        start = Start.from_files(files)
    data = load(config.dataset, options.cache, own=config.data)
    if config.beam:
        rehearsal.rehearse(config, data)
    with bare_run.FolderSink(options.out) as sink:
        outcome = train(config, data, start, sink)
    last = outcome.last.record.model_dump(mode="json") if outcome.last else None
    _show({"step": outcome.step, "seed": outcome.seed, "last": last, "on": runtime.describe()})


def _evaluate(options: argparse.Namespace) -> None:
    config = _config(options.config)
    _prepare(config, options.cache)
    from trainers import predict
    from trainers.data.load import load

    data = load(config.dataset, options.cache, own=config.data)
    model_file = _bytes_of(options.model, "--model")
    result = predict.evaluate(config, model_file, data)
    _show({"loss": result.loss, "accuracy": result.accuracy, "samples": result.samples})


def _replay(_: argparse.Namespace) -> None:
    from evidence import canonical
    from trainers import replay_job

    job = replay_job.Job.model_validate_json(sys.stdin.buffer.read())
    for answer in replay_job.work(job):
        if job.rank == 0:
            print(canonical.encode(answer.model_dump(mode="json")).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
