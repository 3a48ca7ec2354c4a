"""Which service a command talks to: the one of --url, or the local one of this home."""

import os

from cluster.settings import Settings, from_environment
from evidence.errors import Conflict, Unavailable
from serve import local, tokens
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
        ConfigError: The token file holds no token.
        OSError: The token file cannot be read.
    """
    if options.url is None:
        service = require_local()
        return Client(service.url, token=service.token(), is_gone=service.is_gone)
    file = options.token_file
    return Client(options.url, token=tokens.read_file(file) if file is not None else None)
