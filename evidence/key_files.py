"""Private keys in files that only their owner can read; made whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from evidence.errors import ConfigError
from evidence.files import TEMPORARY_PREFIX, fsync_folder, no_space_as_storage_full


def read_or_make(path: Path, make: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
    """Return the key at `path`; if there is none, one that is made and kept there.

    Of several processes that make it at once, one wins and all return its key.

    Raises:
        ConfigError: The file can be read by others, or holds no key.
        StorageFull: There is no space.
        OSError: The file cannot be read or made.
    """
    if not path.exists():
        _make(path, make())
    return read(path)


def read(path: Path) -> PrivateKeyTypes:
    """Return the key at `path`.

    Raises:
        ConfigError: The file can be read by others, or holds no unencrypted key in PEM.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{path}: a signing key must be readable by its owner alone; found mode {mode:04o}",
                expected="mode 0600",
                found=f"mode {mode:04o}",
                cure=f"chmod 600 {path}, and make a new key if others may have read it",
            )
        data = file.read()
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: expected an unencrypted PEM key, found: {error}") from error


def _make(path: Path, key: PrivateKeyTypes) -> None:
    """Write a key under another name, then link it, so that the file is never half."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with no_space_as_storage_full(path.name):
        # mkstemp opens with O_CREAT | O_EXCL and mode 0600.
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:  # another process made it first
            pass
        finally:
            Path(temporary).unlink()
        fsync_folder(path.parent)
