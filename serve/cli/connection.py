"""Which service a command talks to: the one of --url, or the local one of this home."""

import os
from pathlib import Path

from cluster.settings import Settings, from_environment
from evidence.errors import ConfigError, Conflict, Unavailable
from serve import local
from serve.cli.options import Options
from serve.client import Client
from serve.local import LocalService

_CURE = "make up            starts it\nzpctl doctor       finds what is missing"


def settings() -> Settings:
    """Return the settings of this environment.

    Raises:
        ConfigError: A variable has a wrong value.
    """
    return from_environment(os.environ)


def require_local() -> LocalService:
    """Return the local service.

    Raises:
        Unavailable: None runs in this home, or it is still being started.
    """
    home = settings().home
    try:
        service = local.find(home)
    except Conflict as error:
        raise Unavailable(
            "the service here does not answer yet", found=error.detail, cure=error.cure
        ) from error
    if service is None:
        raise Unavailable("no service runs here", found=f"none lives in {home}", cure=_CURE)
    return service


def connect(options: Options) -> Client:
    """Return a client of the service that the options name; close it.

    Raises:
        Unavailable: No local service runs.
        ConfigError: The token file is empty.
        OSError: The token file cannot be read.
    """
    if options.url is None:
        service = require_local()
        return Client(service.url, token=service.token())
    return Client(options.url, token=_token_of(options.token_file))


def _token_of(file: Path | None) -> str | None:
    if file is None:
        return None
    token = file.read_text(encoding="ascii").strip()
    if not token:
        raise ConfigError(f"{file}: expected a token, found nothing", field="token-file")
    return token
