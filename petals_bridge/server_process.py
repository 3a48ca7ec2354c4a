"""Our server of blocks as a child process: started, watched, read, ended with its children."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from evidence.errors import InvalidInput, Unavailable
from evidence.files import write_atomic
from petals_bridge.hosting import COUNTS, DENIED, STATE, Spec

_START_S = 60.0
_STOP_S = 10.0
_POLL_S = 0.1
_TAIL_BYTES = 4_000
_MOST_DENIALS = 1_000
_MULTIADDRESS = re.compile(r"/ip4/(?P<host>[0-9.]+)/tcp/(?P<port>\d+)")


class ServerProcess:
    """The server of one bridge.

    Args:
        folder: Where it writes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._reachable: dict[str, Any] | None = None
        denied = folder / DENIED
        self._read_to = denied.stat().st_size if denied.exists() else 0

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens; none while it does not run."""
        state = self._state() if self.is_running else None
        return tuple(state["addresses"]) if state else ()

    def start(self, spec: dict[str, Any]) -> None:
        """Start it, and return when it serves.

        Raises:
            Unavailable: It ended, or did not come up in time; its last words are in the message.
        """
        checked = Spec.model_validate(spec)
        (self._folder / STATE).unlink(missing_ok=True)
        path = self._folder / "server-spec.json"
        write_atomic(path, checked.model_dump_json(indent=1).encode())
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "petals_bridge.hosting", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while self._state() is None:
            if not self.is_running or time.monotonic() > deadline:
                why = self.last_words()
                self.stop()
                raise Unavailable(f"our server did not come up: {why}", cure="see server.log")
            time.sleep(_POLL_S)
        self._reachable = check_reachable(checked.announce or checked.listen)

    def stop(self) -> None:
        """End it with all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        below = _descendants(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()  # psutil knows a pid that was given to another process
        process.kill()
        process.wait()
        (self._folder / STATE).unlink(missing_ok=True)

    def view(self) -> dict[str, Any]:
        """Return what it does, as JSON."""
        state = self._state() or {}
        return {
            "running": self.is_running,
            "begin": state.get("begin"),
            "end": state.get("end"),
            "addresses": state.get("addresses", []),
            "reachable": self._reachable,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Return bytes and sessions by peer, as it counted them."""
        try:
            found: dict[str, dict[str, int]] = json.loads((self._folder / COUNTS).read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def denials(self) -> list[dict[str, Any]]:
        """Return the refusals since the last call, oldest first."""
        try:
            with (self._folder / DENIED).open("rb") as file:
                file.seek(self._read_to)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return [json.loads(line) for line in whole.splitlines()[:_MOST_DENIALS]]

    def last_words(self) -> str:
        """Return the end of its log, in a line."""
        try:
            tail = (self._folder / "server.log").read_bytes()[-_TAIL_BYTES:]
        except OSError:
            return "it has no log"
        lines = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    def _state(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self._folder / STATE).read_bytes())
        except (OSError, ValueError):
            return None
        return found


def check_reachable(address: str) -> dict[str, Any]:
    """Try whether something answers at an announced address; says why not.

    From this machine only: what a router or firewall between here and a peer does is not seen.
    """
    found = _MULTIADDRESS.match(address)
    if found is None:
        raise InvalidInput(f"address: expected /ip4/HOST/tcp/PORT, found {address[:80]!r}")
    try:
        with socket.create_connection((found["host"], int(found["port"])), timeout=3):
            return {"from": "this machine", "ok": True, "why": None}
    except OSError as error:
        return {"from": "this machine", "ok": False, "why": f"{address}: {error}"}


def _descendants(pid: int) -> list[psutil.Process]:
    """Return the processes below one; p2pd and Petals' workers are found before it ends."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
