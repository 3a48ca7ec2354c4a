"""Key files of peers: only their owner may read them."""

import stat
from pathlib import Path

from evidence.errors import ConfigError


def require_private(path: Path) -> None:
    """Make a key file's mode 0600 if it was just made by hivemind, which leaves it 0400.

    Raises:
        ConfigError: Others can read or write it.
    """
    if not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{path}: a peer's key must be readable by its owner alone; found mode {mode:04o}",
            expected="mode 0600",
            found=f"mode {mode:04o}",
            cure=f"chmod 600 {path}, and make a new key if others may have read it",
        )
    path.chmod(0o600)
