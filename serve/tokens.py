"""The client token of a service: made on first start, in a file that only its owner can read."""

import os
import secrets
import stat
from pathlib import Path

from evidence.errors import ConfigError

FILE = "token"
"""Name of the file below the service's home."""

_BYTES = 32


def path_of(home: Path) -> Path:
    """Return where the token of a service stands; the path may be shown, its content never."""
    return home / FILE


def read(home: Path) -> str:
    """Return the token.

    Raises:
        ConfigError: The file is readable by others, or empty.
        FileNotFoundError: There is none.
    """
    path = path_of(home)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: expected mode 0600, found {mode:04o}", cure=f"chmod 600 {path}")
    token = path.read_text(encoding="ascii").strip()
    if not token:
        raise ConfigError(f"{path}: expected a token, found nothing", cure=f"rm {path}")
    return token


def read_or_create(home: Path) -> str:
    """Return the token, made if there is none; two processes at once agree on one.

    Raises:
        ConfigError: As for `read`.
    """
    home.mkdir(parents=True, exist_ok=True)
    temporary = home / f".{FILE}-{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(_BYTES) + "\n")
    try:
        os.link(temporary, path_of(home))  # fails if another was first
    except FileExistsError:
        return read(home)
    finally:
        temporary.unlink()
    return read(home)
