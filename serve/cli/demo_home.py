"""The demo's own home: beside the one of `make up`, never the same, gone afterwards.

It shares the cache and the signing key with the other home, so that the pack that stays is one of
that home's service; whichever of the two comes first makes the key. A demo that was killed left a
service and a folder; the next one clears both away. One demo a home at a time: a lock says so, and
dies with its holder.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.settings import Settings
from evidence.errors import ConfigError, Conflict
from serve import local

_NAME = "demo"
_KEYS = "keys"
_SECRETS = ("token", "ray-token", _KEYS)


@dataclass(frozen=True, slots=True)
class DemoHome:
    """Where the demo works, and where its pack goes."""

    settings: Settings
    """Of the demo's service."""
    runs_root: Path
    """Folder of run folders that the pack is moved to."""
    keys: Path
    """Folder of the signing key of the home beside."""

    def keep(self, run_id: str) -> Path:
        """Move a pack to where packs stay, and its key if there is none yet; return its path.

        Raises:
            OSError: It cannot be moved.
        """
        self.runs_root.mkdir(parents=True, exist_ok=True)
        target = self.runs_root / run_id
        shutil.move(self.settings.runs_root / run_id, target)
        if not self.keys.exists():
            shutil.move(self.settings.home / _KEYS, self.keys)
        return target

    def stop(self) -> int:
        """End the service if there is one; return how many of its processes are left."""
        try:
            service = local.find(self.settings.home)
        except ConfigError:
            local.clear(self.settings.home)
            return 0
        if service is None:
            return 0
        local.stop(service)
        return len(service.processes())


@contextmanager
def held(settings: Settings) -> Iterator[DemoHome]:
    """Hold the demo's home; afterwards it is gone. After an error its logs stay.

    Args:
        settings: Of the home beside it.

    Raises:
        Conflict: Another demo holds it.
        OSError: It cannot be made.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / f"{_NAME}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another demo is running in {settings.home}",
                cure="wait for it, or run this one in another clone",
            ) from error
        home = settings.home / _NAME
        try:
            yield _make(settings, home)
        except Exception:
            _remove_secrets(home)
            raise
        except BaseException:
            _remove(home)
            raise
        _remove(home)


def _make(settings: Settings, home: Path) -> DemoHome:
    own = DemoHome(
        settings.model_copy(
            update={
                "home": home,
                "evidence_root": home / "evidence",
                "host": "127.0.0.1",
                "port": 0,
            }
        ),
        settings.runs_root,
        settings.home / _KEYS,
    )
    own.stop()
    _remove(home)
    home.mkdir()
    if own.keys.exists():
        shutil.copytree(own.keys, home / _KEYS)
    return own


def _remove(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)


def _remove_secrets(home: Path) -> None:
    for name in _SECRETS:
        path = home / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
