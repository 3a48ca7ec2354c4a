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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.settings import Settings, as_environment, from_environment, variable_of
from cluster.settings import require_safe_binding as _require_safe_binding
from evidence.errors import ConfigError, Conflict, Unavailable
from evidence.files import write_atomic
from serve import launch, ports, processes, tokens
from serve.ports import Claim
from serve.processes import MARK

STATE_FILE = "service.json"

_LOCK_FILE = "service.lock"
_TEMP_PREFIX = "zp-"
_RAY_FOLDER = "ray"
_START_TIMEOUT_S = 180.0
_POLL_S = 0.1
_NODE_SETTLE_S = 2.0


class LocalService(BaseModel):
    """What is known of a local service; the file holds the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    service_id: str
    """Value of MARK in the environment of each of its processes."""
    is_ready: bool
    """Whether its start came to its end: it has answered. Until then only its starter uses it."""
    head_pid: int
    """The process that holds the Ray head and its claims of ports; 0 before there is one."""
    url: str
    """Base address of the HTTP API."""
    dashboard_url: str
    """Address of the Ray dashboard."""
    ray_address: str
    """Address for `ray.init` and worker nodes."""
    home: str
    evidence_root: str
    private_dir: str
    """Folder of mode 0700 for all temporary files; removed when the service stops."""
    temp_dir: str
    """Ray's temporary folder, inside `private_dir`: Ray opens it to everyone."""
    token_file: str
    ray_token_file: str

    def processes(self) -> list[psutil.Process]:
        """Return every process of the service that lives."""
        return processes.of_service(self.service_id, head_pid=self.head_pid)

    def is_alive(self) -> bool:
        """Return whether the head still runs."""
        return processes.is_marked(self.head_pid, self.service_id)

    def is_gone(self) -> bool:
        """Return whether this service was stopped or lost its head: it will never answer again."""
        try:
            present = _read(Path(self.home))
        except ConfigError:
            return not self.is_alive()
        is_listed = present is not None and present.service_id == self.service_id
        return not is_listed or not self.is_alive()

    def token(self) -> str:
        """Return the client token."""
        return tokens.read(Path(self.home))

    def ray_environment(self) -> dict[str, str]:
        """Return what a Ray command needs in its environment to talk to this cluster."""
        return launch.ray_environment(Path(self.ray_token_file))


def start(
    settings: Settings | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cpus: int | None = None,
) -> LocalService:
    """Start a service and return when it answers.

    What an earlier one left behind in this home is cleared away first.

    Args:
        settings: What it is to do; read from `environ` if None.
        environ: Base environment of its processes; this process's if None.
        cpus: CPU slots for trainers; all that this process may use if None.

    Raises:
        Conflict: One runs in this home already, or another process is starting one.
        ConfigError: The settings are wrong, or the port that they name is in use.
        Unavailable: It did not come up; the log's path stands in the message.
    """
    base = dict(os.environ if environ is None else environ)
    settings = settings or from_environment(base)
    _require_safe_binding(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with _lock(settings.home, doing="starting"):
        running = _make_room(settings.home)
        if running is not None:
            raise Conflict(f"a service runs here already: {running.url}", cure="make down")
        with _http_port(settings) as http, _dashboard_port() as dashboard:
            settings = settings.model_copy(update={"port": http.port})
            service, environment = _plan(settings, base, dashboard=dashboard.port)
            held = (*http.descriptors(), *dashboard.descriptors())
            try:
                return _bring_up(service, settings, environment, cpus=cpus, held=held)
            except BaseException:
                _end(service)
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
    options = {"num-cpus": cpus, "resources": json.dumps(dict(resources)), **launch.node_options()}
    command = [sys.executable, "-m", "serve.loopback_node", "--block"]
    command += [f"--address={service.ray_address}", *launch.as_options(options)]
    node = launch.spawn(command, environment, log)
    time.sleep(_NODE_SETTLE_S)
    if node.poll() is not None:
        why = launch.why(node.returncode, log)
        raise Unavailable(f"the Ray node did not start: {why}", cure=f"see {log}")
    return node.pid


def find(home: Path) -> LocalService | None:
    """Return the service of a home if it lives; what a dead one left behind is cleared away.

    A service whose start was cut off is a dead one.

    Raises:
        Conflict: Another process is starting or stopping one at this moment.
        ConfigError: `service.json` is damaged; `clear` removes what there is.
    """
    service = _read(home)
    if service is None or (service.is_ready and service.is_alive()):
        return service
    with _lock(home, doing="clearing away"):
        return _living_or_cleared(home)


def stop(service: LocalService) -> int:
    """End every process of a service and remove its temporary folder; return how many there were.

    Nothing is asked first: a Ray head does not heed SIGTERM, and everything that matters is in
    files that are made to survive a kill.
    """
    home = Path(service.home)
    if not home.is_dir():
        return _end(service)
    with _lock(home, doing="stopping"):
        return _end(service)


def clear(home: Path) -> int:
    """End whatever runs for a home and remove what is known of it; return how many it were.

    For a home whose `service.json` is damaged or gone: the processes are found by the home that
    stands in their environment.

    Raises:
        Conflict: Another process is starting or stopping a service there.
    """
    if not home.is_dir():
        return 0
    with _lock(home, doing="clearing away"):
        return _end_strays(home)


def kill(service: LocalService) -> int:
    """Kill every process of a service at once, as a power cut would; its files stay.

    Returns:
        How many there were.
    """
    launch.reap()
    killed = processes.kill(service.processes)
    launch.reap()
    return len(killed)


# -- one service a home --------------------------------------------------------------------------


def _read(home: Path) -> LocalService | None:
    """Return what stands in the file.

    Raises:
        ConfigError: It is damaged.
    """
    path = home / STATE_FILE
    try:
        return LocalService.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ConfigError(
            f"{path} is damaged: {where}: {first['msg'].lower()}",
            field=STATE_FILE,
            cure="make down    ends what runs here and clears the file away",
        ) from error


def _write(service: LocalService) -> None:
    write_atomic(Path(service.home, STATE_FILE), service.model_dump_json(indent=1).encode())


@contextmanager
def _lock(home: Path, *, doing: str) -> Iterator[None]:
    """Let one process at a time start or stop a service in this home; it dies with its holder.

    Raises:
        Conflict: Another process does; says what it is doing.
    """
    with (home / _LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Conflict(
                f"another process is {file.read() or 'starting'} a service here",
                cure="wait for it; `zpctl status` says when the service is there",
            ) from error
        file.truncate(0)
        file.write(doing)
        file.flush()
        yield


def _make_room(home: Path) -> LocalService | None:
    """Return the living service of a home, or clear away all that there is; holding the lock."""
    try:
        running = _living_or_cleared(home)
    except ConfigError:
        running = None
    if running is None:
        _end_strays(home)
    return running


def _living_or_cleared(home: Path) -> LocalService | None:
    """Return the living service of a home, or clear the dead one away; holding the lock."""
    service = _read(home)
    if service is None or (service.is_ready and service.is_alive()):
        return service
    _end(service)
    return None


def _end(service: LocalService) -> int:
    """Do what `stop` says; holding the lock."""
    ended = kill(service)
    shutil.rmtree(service.private_dir, ignore_errors=True)
    home = Path(service.home)
    with suppress(ConfigError):
        present = _read(home)
        if present is not None and present.service_id == service.service_id:
            (home / STATE_FILE).unlink()
    return ended


def _end_strays(home: Path) -> int:
    """Do what `clear` says; holding the lock."""
    ended = 0
    for mark, folders in processes.marks_of(home).items():
        living = partial(processes.of_service, mark, head_pid=0)
        ended += len(processes.kill(living))
        for folder in folders:
            if folder.parent == Path(_short_temp()) and folder.name.startswith(_TEMP_PREFIX):
                shutil.rmtree(folder, ignore_errors=True)
    (home / STATE_FILE).unlink(missing_ok=True)
    return ended


# -- starting ------------------------------------------------------------------------------------


def _http_port(settings: Settings) -> Claim:
    """Claim the port of HTTP: the one that is set, or any.

    Raises:
        ConfigError: One is set, and it is in use.
    """
    host = settings.host
    if not settings.port:
        return ports.claim_preferred(
            ports.PREFERRED_HTTP, lambda port: ports.claim_bound(port, host)
        )
    try:
        return ports.claim_bound(settings.port, host)
    except OSError as error:
        variable = variable_of("port")
        raise ConfigError(
            f"{variable}: port {settings.port} is in use",
            field=variable,
            expected="a free port",
            found=str(settings.port),
            cure=f"unset {variable}    a free port is taken",
        ) from error


def _dashboard_port() -> Claim:
    return ports.claim_preferred(ports.PREFERRED_DASHBOARD)


def _plan(
    settings: Settings, base: dict[str, str], *, dashboard: int
) -> tuple[LocalService, dict[str, str]]:
    """Choose folders and tokens, and the environment of the service's processes."""
    gcs = ports.free(1)[0]
    tokens.read_or_create(settings.home)
    ray_token = tokens.ensure_ray_token(settings.home)
    private = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=_short_temp()))
    scheme = "https" if settings.tls_certificate else "http"
    service = LocalService(
        service_id=secrets.token_hex(8),
        is_ready=False,
        head_pid=0,
        url=f"{scheme}://{settings.host}:{settings.port}",
        dashboard_url=f"http://127.0.0.1:{dashboard}",
        ray_address=f"127.0.0.1:{gcs}",
        home=str(settings.home),
        evidence_root=str(settings.evidence_root),
        private_dir=str(private),
        temp_dir=str(private / _RAY_FOLDER),
        token_file=str(tokens.path_of(settings.home)),
        ray_token_file=str(ray_token),
    )
    return service, _environment(service, settings, base)


def _environment(service: LocalService, settings: Settings, base: dict[str, str]) -> dict[str, str]:
    """Return the environment of the service's processes: nothing of another Ray in it."""
    return {
        **{name: value for name, value in base.items() if not name.startswith("RAY_")},
        **as_environment(settings),
        **launch.ray_environment(Path(service.ray_token_file)),
        MARK: service.service_id,
        "TMPDIR": service.private_dir,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(launch.ROOT), base.get("PYTHONPATH", "")]).rstrip(":"),
    }


def _bring_up(
    service: LocalService,
    settings: Settings,
    environment: dict[str, str],
    *,
    cpus: int | None,
    held: tuple[int, ...],
) -> LocalService:
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    _write(service)  # before there is a process: whoever finds the file finds them all
    command = launch.head_command(
        service.ray_address,
        dashboard_port=int(service.dashboard_url.rpartition(":")[2]),
        temp_dir=service.temp_dir,
        cpus=cpus,
    )
    head = launch.spawn(command, environment, logs / "ray-head.log", held=held)
    service = service.model_copy(update={"head_pid": head.pid})
    _write(service)
    _wait_for_head(service, head, logs / "ray-head.log")
    _deploy(environment, service, logs / "deploy.log")
    _wait_for_answer(service, logs / "deploy.log")
    _require_own_listener(service)
    service = service.model_copy(update={"is_ready": True})
    _write(service)
    return service


def _wait_for_head(service: LocalService, head: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    port = int(service.ray_address.rpartition(":")[2])
    while ports.is_free(port):
        if head.poll() is not None or time.monotonic() > deadline:
            why = launch.why(head.poll(), log)
            raise Unavailable(f"the Ray head did not start: {why}", cure=f"see {log}")
        time.sleep(_POLL_S)


def _deploy(environment: dict[str, str], service: LocalService, log: Path) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "serve", "deploy", "--address", service.ray_address],
            env=environment,
            cwd=launch.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # no process of the service shares a terminal's session
            check=False,
            timeout=_START_TIMEOUT_S,
        )
    if done.returncode != 0:
        why = launch.why(done.returncode, log)
        raise Unavailable(f"Serve did not start: {why}", cure=f"see {log}")


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


def _require_own_listener(service: LocalService) -> None:
    """Make sure that what answers is this service: clients will send it their token.

    Raises:
        Unavailable: Another program listens on the port too.
    """
    port = int(service.url.rpartition(":")[2])
    try:
        listening = processes.listening_on(port)
    except psutil.AccessDenied:
        return  # macOS: there the port cannot be shared
    strangers = listening - {process.pid for process in service.processes()}
    if strangers:
        told = ", ".join(
            f"process {pid}" if pid else "a process of another user" for pid in strangers
        )
        raise Unavailable(
            f"port {port} is shared with another program: {told}",
            cure=f"end it, or set {variable_of('port')} to another port",
        )


def _short_temp() -> str:
    """Return a temporary folder short enough for Ray's socket paths (at most 107 bytes)."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108
