"""The processes of a replay: one for all windows of an audit, or one for each worker of the run.

tinygrad reads its environment once, when it is imported; so a replay runs in processes of its own,
prepared with the kernel set, threads and search of the run. A job comes on standard input; worker 0
answers on standard output in lines of canonical JSON: the runtime first, then a result a window.

    Job          what is to be done
    results      starts the processes and yields what they answer
    work         what each of them does (`python -m trainers replay`)
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast, get_args

from evidence import canonical
from evidence.archive import open_pack
from evidence.errors import DeviceMissing, InvalidInput, NotInstalled, Unavailable, of_code
from evidence.records import Record
from trainers import runtime
from trainers.claims import Claims
from trainers.comparison import WindowResult
from trainers.config import DeviceName, KernelLibrary
from trainers.group import ALONE, Group
from trainers.kernels import library
from trainers.provenance import REPOSITORY
from trainers.shared_memory import SharedMemoryGroup
from trainers.windows import Window


class Job(Record):
    """The windows of one audit, for one process."""

    pack: Path
    """Folder or zip that holds the bytes of checkpoints."""
    claims: Claims
    windows: tuple[Window, ...]
    cache: Path
    """Root of the auditor's data sets and compiled kernels."""
    device: DeviceName
    library: KernelLibrary
    """What products and convolutions go through."""
    rank: int = 0
    """Which worker of the run this process is."""
    meeting: Path | None = None
    """Folder in which the workers meet; None for a run of one."""


class Runtime(Record):
    """What the processes compute with; see `runtime.describe`."""

    runtime: dict[str, Any]


def device_of(claims: Claims) -> DeviceName:
    """Return the device that a run was trained on.

    Raises:
        DeviceMissing: There is no such device.
    """
    if claims.device not in get_args(DeviceName):
        raise DeviceMissing(f"device: the run was trained on {claims.device!r:.80}, which is none")
    return cast("DeviceName", claims.device)


def library_for(claims: Claims, wanted: KernelLibrary) -> KernelLibrary:
    """Return the library to replay with: the auditor's choice, else the run's if it is here."""
    told = claims.runtime.get("kernels")
    backend = told.get("backend") if isinstance(told, Mapping) else None
    if wanted != "auto" or backend not in get_args(KernelLibrary):
        return wanted
    try:
        return library.choose(cast("KernelLibrary", backend)).name
    except NotInstalled:
        return "auto"


def results(job: Job, *, scratch: Path) -> Iterator[Runtime | WindowResult]:
    """Start the processes of a job and yield what they compute with, then each window's result.

    Args:
        job: Of worker 0.
        scratch: An empty folder, private to this user, its path at most 80 bytes long.

    Raises:
        ServiceError: This machine could not do it; what the process said.
    """
    workers = job.claims.config.workers
    meeting = scratch / "meet" if workers > 1 else None
    if meeting is not None:
        meeting.mkdir()
    with ExitStack() as stack:
        first, *_ = [
            stack.enter_context(
                _process(job.model_copy(update={"rank": rank, "meeting": meeting}), scratch)
            )
            for rank in range(workers)
        ]
        assert first.stdout is not None, "it has a pipe"
        for line in first.stdout:
            told = canonical.decode_object(line.strip())
            yield (Runtime if "runtime" in told else WindowResult).model_validate(told)
        if first.wait() != 0:
            raise _error_of(_log(scratch, 0).read_bytes(), first.returncode)


@contextmanager
def _process(job: Job, scratch: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the process of one worker for the block; behind it nothing of it is left."""
    command = [sys.executable, "-m", "trainers", "--cache", str(job.cache), "replay"]
    with _log(scratch, job.rank).open("wb") as log:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY
            )
        except OSError as error:
            raise Unavailable(f"the replaying process: {error}"[:300]) from error
    with process:
        try:
            _hand_over(process, job)
            yield process
        finally:
            process.kill()


def _hand_over(process: "subprocess.Popen[bytes]", job: Job) -> None:
    assert process.stdin is not None, "it has a pipe"
    try:
        process.stdin.write(job.model_dump_json().encode())
        process.stdin.close()
    except BrokenPipeError as error:
        raise Unavailable("the replaying process ended before it had its job") from error


def _log(scratch: Path, rank: int) -> Path:
    return scratch / f"worker-{rank}.log"


def _error_of(stderr: bytes, status: int) -> Exception:
    """Return the error that a process wrote before it ended."""
    last = (stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {status}"])[-1]
    try:
        told = canonical.decode_object(last.encode())
        return of_code(str(told["code"]), str(told["detail"]))
    except (InvalidInput, KeyError):
        return Unavailable(f"the replaying process ended early: {last[:300]}")


def work(job: Job) -> Iterator[Runtime | WindowResult]:
    """Do the windows of a job in this process, which has not loaded tinygrad yet.

    Raises:
        ServiceError: This machine could not do it.
    """
    config = job.claims.config
    runtime.prepare_process(
        device=job.device,
        cache=job.cache,
        threads=config.threads,
        kernels=config.kernel_set,
        library=job.library,
        beam=config.beam,
    )
    # tinygrad reads the environment when it is imported, so what uses it comes after that line.
    from trainers import kernel_probe, rehearsal  # noqa: PLC0415
    from trainers.data.load import load  # noqa: PLC0415
    from trainers.replay import Replay  # noqa: PLC0415

    kernel_probe.check(job.device)
    data = load(config.dataset, job.cache, own=config.data)
    if config.beam:
        rehearsal.rehearse(config, data)  # the description tells what the search chose
    here = runtime.describe()
    yield Runtime(runtime=here)
    with open_pack(job.pack) as pack:
        replay = Replay(job.claims, pack, data, has_same_kernels=job.claims.has_kernels(here))
        for number, window in enumerate(job.windows):
            with _group(job, number) as group:
                yield replay.window(window, group=group)


def _group(job: Job, number: int) -> AbstractContextManager[Group]:
    """Return the workers of a window; each window has its own, since each has its own sums."""
    if job.meeting is None:
        return nullcontext(ALONE)
    folder = job.meeting / str(number)
    folder.mkdir(exist_ok=True)
    return closing(SharedMemoryGroup(folder, rank=job.rank, size=job.claims.config.workers))
