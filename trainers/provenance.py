"""Which code runs here: commit, whether the tree was clean, digests of the code and of the lock."""

import subprocess
from pathlib import Path
from typing import Any

from evidence import canonical, digest

REPOSITORY = Path(__file__).resolve().parent.parent
"""The folder that holds the packages."""

ATTESTED = ("trainers", "evidence")
"""Packages whose code decides the bits of a run."""


def describe_code() -> dict[str, Any]:
    """Return commit, cleanliness, code digest and lock digest; null where it cannot be known.

    The code digest is the SHA-256 of the canonical JSON {path: sha256} over every file of the
    attested packages but byte code.
    """
    status = _git("status", "--porcelain")
    lock = REPOSITORY / "requirements.lock"
    return {
        "commit": _git("rev-parse", "HEAD"),
        "clean": None if status is None else not status,
        "digest": _code_digest(),
        "lock_sha256": digest.of_file(lock) if lock.exists() else None,
    }


def _code_digest() -> str:
    files = {
        str(path.relative_to(REPOSITORY)): digest.of_file(path)
        for package in ATTESTED
        for path in sorted((REPOSITORY / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return digest.of_bytes(canonical.encode(files))


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
