import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from evidence.log import cosignature, tree_head
from evidence.log.note import KeyType, Note, Signer
from evidence.log.store import Log
from evidence.log.witness import MAX_BODY_BYTES, Witness, write_submission
from serve import witness

NOW = datetime(2026, 1, 31, 12, 0, 0, 900_000, tzinfo=UTC)
ORIGIN = "example.org/log"
Content = bytes | AsyncIterator[bytes]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    folder = tmp_path_factory.mktemp("keys")
    log = Signer.open_or_create(folder / "log.key", KeyType.ED25519, name=ORIGIN)
    return log, witness.open_key(folder)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with Log(tmp_path / "log") as one:
        one.append_many([b"%d" % number for number in range(5)])
        yield one


@pytest.fixture
def app(tmp_path: Path, keys: tuple[Signer, Signer]) -> Starlette:
    one = Witness(tmp_path / "witness", keys[1], [keys[0].verifier])
    return witness.application(one, clock=lambda: NOW)


def send(app: Starlette, method: str, path: str, content: Content = b"") -> httpx.Response:
    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(exchange())


def submit(app: Starlette, body: Content) -> httpx.Response:
    return send(app, "POST", "/add-checkpoint", body)


def test_a_tree_head_is_cosigned_with_the_time(
    app: Starlette, log: Log, keys: tuple[Signer, Signer]
) -> None:
    signed = log.sign(keys[0])
    answer = submit(app, write_submission(0, [], signed))
    assert answer.status_code == 200
    note = Note.parse(signed + answer.content)
    found = cosignature.require_cosigned(note, keys[1].verifier)
    assert found == int(NOW.timestamp())
    assert cosignature.read_lines(answer.content) == list(note.signatures[1:])


def test_another_size_is_answered_with_the_right_one(
    app: Starlette, log: Log, keys: tuple[Signer, Signer]
) -> None:
    submit(app, write_submission(0, [], log.sign(keys[0])))
    log.append(b"more")
    answer = submit(app, write_submission(0, [], log.sign(keys[0])))
    assert (answer.status_code, answer.content) == (409, b"5\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"
    answer = submit(app, write_submission(5, log.consistency(5), log.sign(keys[0])))
    assert answer.status_code == 200


def test_a_fork_is_a_conflict(app: Starlette, log: Log, keys: tuple[Signer, Signer]) -> None:
    submit(app, write_submission(0, [], log.sign(keys[0])))
    fork = tree_head.sign(tree_head.TreeHead(ORIGIN, 5, bytes(32)), keys[0])
    answer = submit(app, write_submission(5, [], fork))
    assert (answer.status_code, answer.content) == (409, b"5\n")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (lambda signed: write_submission(0, [bytes(32)], signed), 422),
        (lambda signed: write_submission(6, [], signed), 400),
        (lambda signed: write_submission(0, [], signed.replace(b"\n5\n", b"\n4\n")), 403),
        (lambda signed: write_submission(0, [], signed.replace(b"/log\n5", b"/x\n5")), 404),
        (lambda signed: b"old 0\n" + signed, 400),
        (lambda _: b"", 400),
        (lambda _: b"\xff" * 100, 400),
        (lambda _: b"x" * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_each_refusal_has_the_status_of_the_protocol(
    app: Starlette, log: Log, keys: tuple[Signer, Signer], body: object, status: int
) -> None:
    assert callable(body)
    answer = submit(app, body(log.sign(keys[0])))
    assert answer.status_code == status
    assert b"\xe2\x80\x94" not in answer.content


def test_a_body_without_a_length_is_counted(app: Starlette) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 4096

    assert submit(app, endless()).status_code == 413


def test_there_is_one_route(app: Starlette) -> None:
    assert send(app, "GET", "/add-checkpoint").status_code == 405
    assert send(app, "GET", "/").status_code == 404
