"""Runs `zpctl witness` as a process, which is killed at the end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evidence.log.note import Verifier
from tests.serve.cli.running import REPOSITORY

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


@dataclass(frozen=True, slots=True)
class RunningWitness:
    """A witness that answers."""

    process: "subprocess.Popen[str]"
    url: str
    verifier: Verifier

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C; return its exit status and what it wrote to standard error."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextmanager
def running(home: Path, *logs: Verifier) -> Iterator[RunningWitness]:
    """Start a witness of `logs` in `home` and give it when it listens."""
    own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    options = [word for log in logs for word in ("--log", log.text)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "serve.cli",
            "witness",
            "--home",
            str(home),
            "--port",
            "0",
            *options,
        ],
        env={**own, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            told = [process.stdout.readline().split() for _ in range(2)]
            (key_label, key), (address_label, url) = told
            assert (key_label, address_label) == ("Key", "Address")
            yield RunningWitness(process, url, Verifier.parse(key))
        finally:
            process.kill()
            process.communicate()
