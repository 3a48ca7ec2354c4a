import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import witnesses
from cluster.witnesses import ask
from evidence.errors import (
    BadProof,
    BadSignature,
    Conflict,
    NotFound,
    ServiceError,
    Unavailable,
)
from evidence.log import cosignature
from evidence.log.note import KeyType, Note, Signer
from evidence.log.store import Log
from tests.serve.witnesses import RunningWitness, running


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    folder = tmp_path_factory.mktemp("log-key")
    return Signer.open_or_create(folder / "log.key", KeyType.ED25519, name="example.org/log")


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[RunningWitness]:
    with running(tmp_path_factory.mktemp("witness"), signer.verifier) as one:
        yield one


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """The one log that the witness sees; it only grows."""
    with Log(tmp_path_factory.mktemp("log")) as one:
        yield one


@pytest.mark.slow
def test_a_witness_that_is_elsewhere_is_asked_again_from_its_size(
    witness: RunningWitness, log: Log, signer: Signer
) -> None:
    asked = []

    def prove(old: int, size: int) -> list[bytes]:
        asked.append((old, size))
        return log.consistency(old, size)

    log.append_many([b"%d" % number for number in range(5)])
    first = log.sign(signer)
    ask(witness.url, witness.verifier, first, prove)
    log.append_many([b"%d" % number for number in range(300)])
    signed = log.sign(signer)
    lines = ask(f"{witness.url}/", witness.verifier, signed, prove, old_size=3)
    assert asked == [(0, 5), (3, 300), (5, 300)]
    whole = cosignature.attach(Note.parse(signed), lines)
    assert cosignature.require_cosigned(whole, witness.verifier) > 1_700_000_000
    log.publish(whole.data)
    with pytest.raises(Conflict, match="more than the 5"):
        ask(witness.url, witness.verifier, first, prove)


@pytest.mark.slow
def test_the_refusals_of_a_witness_are_told_apart(
    witness: RunningWitness, log: Log, signer: Signer, tmp_path: Path
) -> None:
    stranger = Signer.open_or_create(tmp_path / "x.key", KeyType.ED25519, name="example.org/x")
    thief = Signer.open_or_create(tmp_path / "y.key", KeyType.ED25519, name="example.org/log")
    for key, kind in ((stranger, NotFound), (thief, BadSignature)):
        with Log(tmp_path / key.verifier.key_id.hex()) as other:
            other.append(b"a")
            head = other.sign(key)
            with pytest.raises(kind, match=witness.url):
                ask(witness.url, witness.verifier, head, other.consistency)
    log.append(b"before a proof that is wrong")
    signed = log.sign(signer)
    with pytest.raises(BadProof):
        ask(witness.url, witness.verifier, signed, lambda _old, _size: [bytes(32)])


@pytest.mark.slow
def test_a_cosignature_by_another_key_is_not_taken(
    witness: RunningWitness, log: Log, signer: Signer, tmp_path: Path
) -> None:
    log.append(b"for another key")
    other = Signer.open_or_create(tmp_path / "w.key", KeyType.COSIGNATURE)
    with pytest.raises(BadSignature, match="no signature by"):
        ask(witness.url, other.verifier, log.sign(signer), log.consistency)


# -- what is no witness ----------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give the address of a server that lets `answer` do what it likes with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    try:
                        answer(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()


def http(status: int, body: bytes, kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body


def ask_a_stranger(tmp_path: Path, signer: Signer, url: str, *, timeout_s: float = 5.0) -> None:
    other = Signer.open_or_create(tmp_path / "w.key", KeyType.COSIGNATURE)
    with Log(tmp_path / "log") as log:
        log.append_many([b"a", b"b", b"c"])
        signed = log.sign(signer)
        ask(url, other.verifier, signed, log.consistency, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(200, b""), BadSignature),
        (http(200, b"hello\n"), BadSignature),
        (http(200, "\u2014 w AAAAAAAA\n".encode()), BadSignature),
        (http(200, b"x" * (witnesses.MAX_ANSWER_BYTES + 1)), Unavailable),
        (http(302, b"", "text/plain\r\nlocation: /elsewhere"), Unavailable),
        (http(500, b"sorry"), Unavailable),
        (http(409, b"1\n"), Unavailable),
        (http(409, b"01\n", "text/x.tlog.size"), Unavailable),
        (http(409, b"9999999999999999999\n", "text/x.tlog.size"), Unavailable),
        (http(409, b"4\n", "text/x.tlog.size"), Conflict),
        (http(409, b"0\n", "text/x.tlog.size"), Conflict),
        (http(409, b"2\n", "text/x.tlog.size"), Conflict),
        (http(422, b"no"), BadProof),
        (b"nonsense", Unavailable),
        (b"", Unavailable),
    ],
)
def test_what_no_witness_answers_is_an_error_of_its_kind(
    tmp_path: Path, signer: Signer, answer: bytes, kind: type[ServiceError]
) -> None:
    with answering(lambda connection: connection.sendall(answer)) as url, pytest.raises(kind):
        ask_a_stranger(tmp_path, signer, url)


def test_a_witness_that_drips_is_given_up(tmp_path: Path, signer: Signer) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
        for _ in range(600):
            connection.sendall(b"x")
            time.sleep(0.05)

    with answering(drip) as url, pytest.raises(Unavailable, match="too long"):
        ask_a_stranger(tmp_path, signer, url, timeout_s=0.3)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://", "nonsense", "ftp://127.0.0.1"])
def test_where_nobody_answers_it_says_so(tmp_path: Path, signer: Signer, url: str) -> None:
    with pytest.raises(Unavailable, match="cannot reach the witness"):
        ask_a_stranger(tmp_path, signer, url)
