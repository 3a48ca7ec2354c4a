"""The tokens of a service: made on first start, in files that only their owner can read."""

import os
import secrets
import stat
from pathlib import Path

from evidence.errors import ConfigError

FILE = "token"
"""Name of the client token's file below the service's home."""

RAY_FILE = "ray-token"
"""Name of the file of the Ray token, which can run code."""

_BYTES = 32


def path_of(home: Path) -> Path:
    """Return where the token of a service stands; the path may be shown, its content never."""
    return home / FILE


def read(home: Path) -> str:
    """Return the client token.

    Raises:
        ConfigError: The file is readable by others, or holds no token.
        FileNotFoundError: There is none.
    """
    return read_private(path_of(home))


def read_private(path: Path) -> str:
    """Return the one token of a file that only its owner can read.

    Raises:
        ConfigError: The file is readable by others, or holds no token.
        OSError: It cannot be read.
    """
    _require_private(path)
    return read_file(path)


def read_file(path: Path) -> str:
    """Return the one token that a file holds.

    Raises:
        ConfigError: It holds something else.
        OSError: It cannot be read.
    """
    words = path.read_bytes().split()
    if not words:
        raise ConfigError(
            f"{path}: expected a token, found nothing",
            cure=f"rm {path}    if it is the service's own: the next start makes one",
        )
    if len(words) > 1 or not words[0].isascii() or not words[0].decode("ascii").isprintable():
        raise ConfigError(
            f"{path}: expected one token, found something else",
            cure="zpctl status    of the service names its token file",
        )
    return words[0].decode("ascii")


def read_or_create(home: Path) -> str:
    """Return the client token, made if there is none; two processes at once agree on one.

    Raises:
        ConfigError: As for `read`.
    """
    home.mkdir(parents=True, exist_ok=True)
    _create(path_of(home), secrets.token_urlsafe(_BYTES) + "\n")
    return read(home)


def ensure_ray_token(home: Path) -> Path:
    """Return the path of the Ray token, made if there is none.

    Raises:
        ConfigError: The file is readable by others, or holds no token.
    """
    path = home / RAY_FILE
    _create(path, secrets.token_hex(_BYTES))
    read_private(path)
    return path


def _create(path: Path, token: str) -> None:
    """Write a token unless there is one; another process sees it whole or not at all."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return  # another was first
    finally:
        temporary.unlink()


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: expected mode 0600, found {mode:04o}", cure=f"chmod 600 {path}")
