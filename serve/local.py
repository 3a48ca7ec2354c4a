"""One local service: start, find, stop. Everyone who wants a service here comes through this file.

A service is a Ray head of its own (ports, temporary folder, tokens) with Serve on it. Every process
of it carries an id in its environment, so that stopping finds all of them, and only them, even
after whoever started it was killed. What is known of it stands in `service.json` in its home.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from cluster.settings import Settings, as_environment, from_environment, variable_of
from cluster.settings import require_safe_binding as _require_safe_binding
from evidence.errors import Conflict, Unavailable
from evidence.files import write_atomic
from serve import ports, tokens

MARK = "ZEROPOINT_SERVICE_ID"
"""Environment variable that every process of a service carries."""

STATE_FILE = "service.json"

_START_TIMEOUT_S = 180.0
_KILL_GRACE_S = 10.0
_POLL_S = 0.1
_OBJECT_STORE_BYTES = 1 << 30
_NODE_SETTLE_S = 2.0
_RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block")

_CHILDREN: "list[subprocess.Popen[bytes]]" = []
"""Heads and nodes that this process started and has to reap."""


@dataclass(frozen=True, slots=True)
class LocalService:
    """What is known of a local service; the file holds the same."""

    service_id: str
    """Value of MARK in the environment of each of its processes."""
    head_pid: int
    """The process that holds the Ray head."""
    url: str
    """Base address of the HTTP API."""
    dashboard_url: str
    """Address of the Ray dashboard."""
    ray_address: str
    """Address for `ray.init` and worker nodes."""
    home: str
    evidence_root: str
    temp_dir: str
    """Ray's temporary folder; removed when the service stops."""
    token_file: str
    ray_token_file: str

    def processes(self) -> list[psutil.Process]:
        """Return every process of the service that lives."""
        return _marked(self.service_id)

    def is_alive(self) -> bool:
        """Return whether the head still runs."""
        try:
            head = psutil.Process(self.head_pid)
            return head.is_running() and head.environ().get(MARK) == self.service_id
        except psutil.Error:
            return False

    def token(self) -> str:
        """Return the client token."""
        return tokens.read(Path(self.home))

    def ray_environment(self) -> dict[str, str]:
        """Return what a Ray command needs in its environment to talk to this cluster."""
        return _ray_environment(Path(self.ray_token_file))


def start(
    settings: Settings | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cpus: int | None = None,
) -> LocalService:
    """Start a service and return when it answers.

    Args:
        settings: What it is to do; read from `environ` if None.
        environ: Base environment of its processes; this process's if None.
        cpus: CPU slots for trainers; all that this process may use if None.

    Raises:
        Conflict: One runs in this home already.
        ConfigError: The settings are wrong.
        Unavailable: It did not come up; the log's path stands in the message.
    """
    base = dict(os.environ if environ is None else environ)
    settings = settings or from_environment(base)
    _require_safe_binding(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with _lock(settings.home), ExitStack() as held:
        running = find(settings.home)
        if running is not None:
            raise Conflict(f"a service runs here already: {running.url}", cure="make down")
        http, dashboard = held.enter_context(_ports(settings.port))
        settings = settings.model_copy(update={"port": http})
        service, environment = _plan(settings, base, dashboard=dashboard)
        try:
            return _bring_up(service, settings, environment, cpus=cpus)
        except BaseException:
            stop(service)
            raise


def add_node(
    service: LocalService,
    settings: Settings,
    *,
    cpus: int,
    resources: Mapping[str, float],
    environ: Mapping[str, str] | None = None,
) -> int:
    """Join a further Ray node to a service, on this machine; it stops with the service.

    Args:
        service: The running service.
        settings: Paths of the node: its own home, evidence root and cache.
        cpus: CPU slots that it offers.
        resources: Custom resources that it offers, e.g. {"METAL": 1}.
        environ: Base environment of its processes; this process's if None.

    Returns:
        The pid of the process that holds the node.

    Raises:
        Unavailable: It ended at once; the log's path stands in the message.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    base = dict(os.environ if environ is None else environ)
    environment = _environment(service, settings, base)
    log = settings.home / "ray-node.log"
    options = {"num-cpus": cpus, "resources": json.dumps(dict(resources)), **_node_ports()}
    command = [sys.executable, "-m", "serve.loopback_node", "--block"]
    command += [f"--address={service.ray_address}", *_as_options(options)]
    node = _spawn(command, environment, log)
    time.sleep(_NODE_SETTLE_S)
    if node.poll() is not None:
        raise Unavailable(f"the Ray node did not start: {_last_line(log)}", cure=f"see {log}")
    return node.pid


def find(home: Path) -> LocalService | None:
    """Return the service of a home if it lives; what a dead one left behind is cleared away."""
    service = _read(home)
    if service is None or service.is_alive():
        return service
    stop(service)
    return None


def stop(service: LocalService) -> int:
    """End every process of a service and remove its temporary folder; return how many there were.

    Nothing is asked first: a Ray head does not heed SIGTERM, and everything that matters is in
    files that are made to survive a kill.
    """
    found = len(service.processes())
    kill(service)
    shutil.rmtree(service.temp_dir, ignore_errors=True)
    Path(service.home, STATE_FILE).unlink(missing_ok=True)
    return found


def kill(service: LocalService) -> None:
    """Kill every process of a service at once, as a power cut would; its files stay."""
    deadline = time.monotonic() + _KILL_GRACE_S
    _reap()
    while (alive := service.processes()) and time.monotonic() < deadline:
        _signal(alive, signal.SIGKILL)
        time.sleep(_POLL_S)
    _reap()


# -- starting ------------------------------------------------------------------------------------


@contextmanager
def _ports(http: int) -> Iterator[tuple[int, int]]:
    """Hold the ports of HTTP and of the dashboard until the service has bound them.

    Raises:
        Unavailable: `http` is set and something listens there.
    """
    if http and not ports.is_free(http):
        raise Unavailable(f"port {http} is in use", cure=f"unset {variable_of('port')}")
    with ExitStack() as held:
        if not http:
            http = held.enter_context(ports.preferred_or_free(ports.PREFERRED_HTTP))
        yield http, held.enter_context(ports.preferred_or_free(ports.PREFERRED_DASHBOARD))


def _plan(
    settings: Settings, base: dict[str, str], *, dashboard: int
) -> tuple[LocalService, dict[str, str]]:
    """Choose folders and tokens, and the environment of the service's processes."""
    gcs = ports.free(1)[0]
    ray_token = settings.home / "ray-token"
    _write_secret(ray_token)
    tokens.read_or_create(settings.home)
    scheme = "https" if settings.tls_certificate else "http"
    service = LocalService(
        service_id=secrets.token_hex(8),
        head_pid=0,
        url=f"{scheme}://{settings.host}:{settings.port}",
        dashboard_url=f"http://127.0.0.1:{dashboard}",
        ray_address=f"127.0.0.1:{gcs}",
        home=str(settings.home),
        evidence_root=str(settings.evidence_root),
        temp_dir=tempfile.mkdtemp(prefix="zp-", dir=_short_temp()),
        token_file=str(tokens.path_of(settings.home)),
        ray_token_file=str(ray_token),
    )
    return service, _environment(service, settings, base)


def _environment(service: LocalService, settings: Settings, base: dict[str, str]) -> dict[str, str]:
    """Return the environment of the service's processes: nothing of another Ray in it."""
    return {
        **{name: value for name, value in base.items() if not name.startswith("RAY_")},
        **as_environment(settings),
        **_ray_environment(Path(service.ray_token_file)),
        MARK: service.service_id,
        "TMPDIR": service.temp_dir,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(_root()), base.get("PYTHONPATH", "")]).rstrip(":"),
    }


def _bring_up(
    service: LocalService, settings: Settings, environment: dict[str, str], *, cpus: int | None
) -> LocalService:
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    head = _spawn(_head_command(service, cpus=cpus), environment, logs / "ray-head.log")
    service = LocalService(**{**asdict(service), "head_pid": head.pid})
    write_atomic(settings.home / STATE_FILE, json.dumps(asdict(service), indent=1).encode())
    _wait_for_head(service, head, logs / "ray-head.log")
    _deploy(environment, service, logs / "deploy.log")
    _wait_for_answer(service, logs / "deploy.log")
    return service


def _head_command(service: LocalService, *, cpus: int | None) -> list[str]:
    host, _, gcs = service.ray_address.rpartition(":")
    options = {
        "port": gcs,
        "ray-client-server-port": ports.free(1)[0],
        "dashboard-host": host,
        "dashboard-port": service.dashboard_url.rpartition(":")[2],
        "num-cpus": cpus or len(os.sched_getaffinity(0)),
        "temp-dir": service.temp_dir,
        **_node_ports(),
    }
    return [*_RAY_START, "--head", *_as_options(options)]


def _node_ports() -> dict[str, object]:
    """Return the options that keep two clusters on one machine out of each other's way."""
    names = (
        "dashboard-agent-grpc-port", "dashboard-agent-listen-port", "runtime-env-agent-port",
        "metrics-export-port", "node-manager-port", "object-manager-port",
    )  # fmt: skip
    chosen = dict(zip(names, ports.free(len(names)), strict=True))
    return {
        **chosen,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "log-color": "false",
    }


def _as_options(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _spawn(command: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, so that Ctrl-C in a terminal does not reach it."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=_root(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _CHILDREN.append(child)
    return child


def _reap() -> None:
    """Collect the exit status of children that ended, so that none stays a zombie."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def _wait_for_head(service: LocalService, head: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    port = int(service.ray_address.rpartition(":")[2])
    while ports.is_free(port):
        if head.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"the Ray head did not start: {_last_line(log)}", cure=f"see {log}")
        time.sleep(_POLL_S)


def _deploy(environment: dict[str, str], service: LocalService, log: Path) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "serve", "deploy", "--address", service.ray_address],
            env=environment,
            cwd=_root(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_START_TIMEOUT_S,
        )
    if done.returncode != 0:
        raise Unavailable(f"Serve did not start: {_last_line(log)}", cure=f"see {log}")


def _wait_for_answer(service: LocalService, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{service.url}/api/healthz", timeout=5, verify=False)  # noqa: S501 - own host
            if answer.status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(_POLL_S)
    raise Unavailable(f"the API does not answer at {service.url}", cure=f"see {log}")


def _ray_environment(token_file: Path) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # 15 by default: trainers would yield to everything else
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if sys.platform == "linux" else "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_DEDUP_LOGS": "0",
        # A stopped job cancels its run first; on a busy machine Ray's 3 s are too short for that.
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }


# -- files and processes -------------------------------------------------------------------------


def _root() -> Path:
    """Return the folder that holds the packages."""
    return Path(__file__).resolve().parent.parent


def _short_temp() -> str:
    """Return a temporary folder short enough for Ray's socket paths (at most 107 bytes)."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108


def _write_secret(path: Path) -> None:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))


def _read(home: Path) -> LocalService | None:
    try:
        plain: dict[str, Any] = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return LocalService(**plain)


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Let one process at a time start a service in this home."""
    with (home / "service.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("another process is starting a service here") from error
        yield


def _marked(service_id: str) -> list[psutil.Process]:
    """Return the processes that carry the mark, and Ray's agents in the sessions of these.

    The agents of a node give themselves titles so long that they wipe their environment.
    """
    found, wiped = [], []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if environ.get(MARK) == service_id and process.pid != os.getpid():
                found.append(process)
            elif not environ and "".join(process.cmdline()).startswith("ray::"):
                wiped.append(process)
        except psutil.Error:
            continue
    sessions = {_session(process) for process in found} - {os.getsid(0), None}
    return found + [process for process in wiped if _session(process) in sessions]


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no output"
