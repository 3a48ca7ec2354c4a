"""The local service: one a home, on ports of its own, found and ended whole whatever befell it."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.settings import from_environment
from evidence.errors import ConfigError, Conflict
from serve import launch, local, ports, processes
from serve.local import LocalService
from tests.serve.cli.running import REPOSITORY, require_explained, zpctl
from tests.service import kill_worker

DAMAGED = [b"", b"{", b"\xff", b"[]", b"{}", b'{"service_id": "a", "bogus": 1}']


def processes_of(home: Path) -> list[psutil.Process]:
    marks = processes.marks_of(home)
    return [one for mark in marks for one in processes.of_service(mark, head_pid=0)]


def port_of(service: LocalService) -> int:
    return int(service.url.rpartition(":")[2])


# -- without a cluster ---------------------------------------------------------------------------


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_state_file_is_named_and_can_be_cleared(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / local.STATE_FILE
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file} is damaged"):
        local.find(tmp_path)
    assert local.clear(tmp_path) == 0
    assert local.find(tmp_path) is None


def test_a_port_that_is_set_and_in_use_is_a_wrong_setting(tmp_path: Path) -> None:
    with ports.claim_bound(ports.free(1)[0]) as claim:
        settings = from_environment(
            {"ZEROPOINT_HOME": str(tmp_path), "ZEROPOINT_PORT": str(claim.port)}
        )
        with pytest.raises(ConfigError, match=f"port {claim.port} is in use"):
            local.start(settings)


def test_a_ray_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ray-token").write_text("0" * 64)
    (tmp_path / "ray-token").chmod(0o644)
    with pytest.raises(ConfigError, match="ray-token: expected mode 0600, found 0644"):
        local.start(from_environment({"ZEROPOINT_HOME": str(tmp_path)}))


@pytest.fixture
def wiped() -> Iterator[tuple[int, int]]:
    """The pids of a marked process and of one in its session whose environment is empty."""
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], env={})\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], processes.MARK: "test-of-wiped"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert leader.stdout is not None
    yield leader.pid, int(leader.stdout.readline())
    leader.communicate()


def test_a_process_that_wiped_its_environment_is_found_by_its_session(
    wiped: tuple[int, int],
) -> None:
    found = {one.pid for one in processes.of_service("test-of-wiped", head_pid=0)}
    assert found == set(wiped)


def test_it_is_found_after_the_leader_of_its_session_ended(wiped: tuple[int, int]) -> None:
    leader, child = wiped
    os.kill(leader, signal.SIGKILL)
    psutil.Process(leader).wait(10)
    found = {one.pid for one in processes.of_service("test-of-wiped", head_pid=leader)}
    assert found == {child}
    killed = processes.kill(lambda: processes.of_service("test-of-wiped", head_pid=leader))
    assert killed == {child}


def test_whoever_listens_on_a_port_is_known() -> None:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        port = listener.getsockname()[1]
        assert processes.listening_on(port) == set()
        listener.listen()
        assert processes.listening_on(port) == {os.getpid()}


def test_the_reason_of_a_failure_is_its_last_error_and_no_chatter(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ValueError: no such port\nwarning: slow\n2026 INFO worker.py: Connected\n")
    assert launch.why(1, log) == "ValueError: no such port"
    assert launch.why(-9, log) == "it was ended by SIGKILL"
    log.write_text("2026 INFO worker.py: Connected\n")
    assert launch.why(1, log) == "no error in its log"


# -- with a cluster ------------------------------------------------------------------------------


@pytest.mark.ray
def test_only_its_owner_can_enter_the_temporary_folder(service: LocalService) -> None:
    private = Path(service.private_dir)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert Path(service.temp_dir).parent == private


@pytest.mark.ray
def test_a_port_stays_claimed_while_its_proxy_is_being_restarted(service: LocalService) -> None:
    kill_worker(service, "ProxyActor")
    for port in (port_of(service), int(service.dashboard_url.rpartition(":")[2])):
        with pytest.raises(OSError, match="in use"):
            ports.claim(port)
    while processes.listening_on(port_of(service)) == set():
        time.sleep(0.1)
    assert local.find(Path(service.home)) == service


@contextlib.contextmanager
def starting(home: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a service with zpctl and give the process when it has a head."""
    starter = subprocess.Popen(
        [sys.executable, "-m", "serve.cli", "up"],
        env={**os.environ, "ZEROPOINT_HOME": str(home)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not processes_of(home):
        assert starter.poll() is None
    try:
        yield starter
    finally:
        starter.send_signal(signal.SIGTERM)
        starter.communicate(timeout=60)


@pytest.mark.ray
@pytest.mark.slow
def test_a_start_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    with starting(tmp_path):
        for command in ("up", "down"):
            result = zpctl(command, home=tmp_path)
            cause = "another process is starting a service here"
            require_explained(result, status=2, error="conflict", cause=cause)
        assert zpctl("runs", home=tmp_path).returncode == 3
    assert processes_of(tmp_path) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_start_that_was_cut_off_is_no_service_and_is_cleared_away(tmp_path: Path) -> None:
    with starting(tmp_path) as starter:
        starter.kill()
        starter.wait(10)
        assert processes_of(tmp_path) != []
        assert local.find(tmp_path) is None
        assert processes_of(tmp_path) == []


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("content", [b"{", None])
def test_a_service_whose_state_is_lost_is_ended_by_its_home(
    tmp_path: Path, content: bytes | None
) -> None:
    with starting(tmp_path) as starter:
        starter.kill()
        starter.wait(10)
        file = tmp_path / local.STATE_FILE
        file.unlink()
        file.write_bytes(content) if content is not None else None
        result = zpctl("down", home=tmp_path)
        assert result.returncode == 0
        assert "processes ended" in result.stdout
        assert processes_of(tmp_path) == []
        assert not file.exists()


@pytest.mark.ray
def test_a_second_service_of_a_home_is_refused(service: LocalService) -> None:
    settings = from_environment({"ZEROPOINT_HOME": service.home})
    with pytest.raises(Conflict, match="a service runs here already"):
        local.start(settings)
