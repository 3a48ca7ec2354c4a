"""A witness of logs as a server of its own: one route, no token, no Ray. Source: C2SP tlog-witness.

Whoever can reach it may submit; what is not signed by a log that it watches gets nothing.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cluster.witnesses import PATH, SIZE_TYPE
from evidence import lock
from evidence.clock import Clock, utc_now
from evidence.errors import (
    BadProof,
    BadSignature,
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    StaleTreeHead,
    StorageFull,
    TooLarge,
)
from evidence.log.note import KeyType, Signer, Verifier
from evidence.log.witness import MAX_BODY_BYTES, Witness

KEY = "witness.key"
"""Name of the private key below the home."""

LOCK = "witness.lock"
"""Name of the file that the one witness of a home holds."""

_STATUS_OF: dict[type[ServiceError], int] = {
    InvalidInput: 400,
    BadSignature: 403,
    NotFound: 404,
    TooLarge: 413,
    BadProof: 422,
    StorageFull: 503,
}
"""The protocol's own statuses, which are not those of the API."""

_TEXT = "text/plain; charset=utf-8"
_MOST_CONNECTIONS = 64
_SHUTDOWN_S = 2


def open_key(home: Path, *, name: str | None = None) -> Signer:
    """Return the key of the witness that lives in `home`; both are made if they are not there.

    Raises:
        ConfigError: The key may not be used, or goes by another name.
        InvalidInput: The name is none.
        StorageFull: There is no space.
        OSError: A file cannot be read or made.
    """
    home.mkdir(parents=True, exist_ok=True)
    return Signer.open_or_create(home / KEY, KeyType.COSIGNATURE, name=name)


@contextmanager
def opened(home: Path, signer: Signer, logs: Iterable[Verifier]) -> Iterator[Witness]:
    """Open the witness that lives in `home`, alone.

    Raises:
        Conflict: Another one runs there.
        ConfigError: Two logs have one name, or a key is none of a log.
        IntegrityError: What it has seen is damaged.
        OSError: A file cannot be read or made.
    """
    refusal = f"another witness runs in {home}"
    with lock.hold(home / LOCK, refusal=refusal, cure="stop it, or give this one another --home"):
        yield Witness(home, signer, logs)


def application(witness: Witness, *, clock: Clock = utc_now) -> Starlette:
    """Return the application that answers for a witness."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await _body(request)
            now_s = int(clock().timestamp())
            line = await run_in_threadpool(witness.add_checkpoint, body, time_s=now_s)
        except StaleTreeHead as error:
            return _answer(409, f"{error.size}\n".encode(), kind=SIZE_TYPE)
        except ServiceError as error:
            status = next(
                (code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500
            )
            return _answer(status, f"{error.detail}\n".encode("utf-8", "replace"))
        return _answer(200, line)

    return Starlette(routes=[Route(PATH, add_checkpoint, methods=["POST"])])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free.

    Raises:
        Conflict: The port is taken, or the address is none of this machine.
    """
    try:
        return socket.create_server((host, port), family=_family(host))
    except OSError as error:
        raise Conflict(
            f"cannot listen on {host}, port {port}: {error.strerror or error}",
            cure="zpctl witness --port N    takes another port, 0 any that is free",
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the address that logs are told."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(witness: Witness, listener: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM, which is raised again at the end."""
    config = uvicorn.Config(
        application(witness),
        ws="none",
        lifespan="off",
        log_level="warning",
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


async def _body(request: Request) -> bytes:
    """Return the body of a request, which need not say its length.

    Raises:
        TooLarge: It is too long.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"body: expected at most {MAX_BODY_BYTES} bytes")
    return body


def _answer(status: int, body: bytes, *, kind: str = _TEXT) -> Response:
    return Response(body, status, headers={"content-type": kind, "cache-control": "no-store"})


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
