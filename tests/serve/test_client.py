"""The client against real servers on loopback: errors as they were raised, streams over breaks."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evidence.errors import (
    ConfigError,
    Conflict,
    NotFound,
    RateLimited,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from serve import client as client_module
from serve import ports
from serve.client import Client, Event, Link
from tests.cluster import small
from tests.cluster.here import Here
from tests.serve import inside

Work = Callable[[Client], Any]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_RECONNECT_S", 0.01)


def with_service(home: Path, work: Work, *, token: str | None = inside.TOKEN, cpus: int = 2) -> Any:
    """Call `work` with a client of the whole application, served for real; return its answer."""

    async def go() -> Any:
        async with (
            inside.application(home, Here(cpus=cpus)) as (behind, _),
            inside.served(behind) as url,
        ):
            return await asyncio.to_thread(call, work, url, token)

    return asyncio.run(asyncio.wait_for(go(), 60))


def with_server(server: Any, work: Work) -> Any:
    """Call `work` with a client of a bare ASGI server."""

    async def go() -> Any:
        async with inside.served(server) as url:
            return await asyncio.to_thread(call, work, url, None)

    return asyncio.run(asyncio.wait_for(go(), 60))


def call(work: Work, url: str, token: str | None) -> Any:
    with Client(url, token=token) as client:
        return work(client)


# -- the whole service ---------------------------------------------------------------------------


def finished(client: Client) -> tuple[str, list[Event]]:
    run_id = client.submit(small.request(), idempotency_key="k")["run_id"]
    return run_id, list(client.follow(run_id))


def test_a_run_is_submitted_and_followed_to_its_end(tmp_path: Path) -> None:
    _, events = with_service(tmp_path, finished)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[-1].kind, events[-1].data["state"]) == ("end", "succeeded")
    assert [event.data["step"] for event in events if event.kind == "checkpoint"] == [2, 4, 6]


def test_following_from_the_end_of_an_ended_run_returns_at_once(tmp_path: Path) -> None:
    def work(client: Client) -> list[Event]:
        run_id, events = finished(client)
        return list(client.follow(run_id, after=events[-1].seq or 0, patience_s=1))

    assert with_service(tmp_path, work) == []


def test_every_question_about_a_run_has_its_answer(tmp_path: Path) -> None:
    def work(client: Client) -> list[Any]:
        run_id, _ = finished(client)
        size = client.download_evidence(run_id, tmp_path / "pack.zip")
        return [
            client.run(run_id)["status"],
            client.runs(status="succeeded")["total"],
            client.metrics(run_id)["total"],
            len(client.logs(run_id)["logs"]),
            len(client.checkpoints(run_id)["checkpoints"]),
            len(client.checkpoint(run_id, 6)) > 100,
            client.evidence(run_id)["sealed"],
            size == (tmp_path / "pack.zip").stat().st_size,
            len(client.models()["models"]),
            len(client.recipes()["recipes"]),
            len(client.nodes()["nodes"]),
            len(client.datasets()["datasets"]),
            len(client.collect({"keep_runs": 0}, dry_run=True)["deleted"]),
        ]

    assert with_service(tmp_path, work) == [
        "succeeded", 1, 9, 3, 3, True, True, True, 1, 5, 1, 3, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("work", "kind", "field"),
    [
        (lambda client: client.run("0" * 12), NotFound, "run_id"),
        (lambda client: client.submit(small.request(steps=10_001)), ConfigError, "steps"),
        (
            lambda client: client.resume(client.submit(small.request())["run_id"]),
            Conflict,
            "status",
        ),
        (lambda client: list(client.follow("0" * 12)), NotFound, "run_id"),
        (lambda client: client.download_evidence("0" * 12, Path("/nowhere")), NotFound, "run_id"),
    ],
)
def test_an_error_arrives_as_the_class_that_was_raised(
    tmp_path: Path, work: Work, kind: type[ServiceError], field: str
) -> None:
    with pytest.raises(kind) as caught:
        with_service(tmp_path, work, cpus=0)
    assert type(caught.value) is kind
    assert caught.value.field == field


def test_an_error_keeps_what_was_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        with_service(tmp_path, lambda client: client.submit(small.request(steps=10_001)))
    assert (caught.value.expected, caught.value.found) == ("at most 10000", "10001")


def test_without_a_token_nothing_but_the_open_routes_answers(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated) as caught:
        with_service(tmp_path, lambda client: client.runs(), token=None)
    assert caught.value.cure


def test_a_service_that_was_stopped_is_not_waited_for() -> None:
    url = f"http://127.0.0.1:{ports.free(1)[0]}"
    with (
        Client(url, token=None, is_gone=lambda: True) as client,
        pytest.raises(Unavailable, match="was stopped"),
    ):
        list(client.follow("0" * 12))


# -- servers that fail ---------------------------------------------------------------------------


class Journal:
    """A server with ten events that breaks the connection after every third.

    Args:
        answers: Status codes given before anything else, one a request.
    """

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        after = int(headers.get(b"last-event-id", b"0"))
        self.asked.append(after)
        status = self.answers.pop(0) if self.answers else 200
        kind = b"text/event-stream" if status == 200 else b"text/plain"
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"content-type", kind)]})
        if status != 200:
            await send({"type": "http.response.body", "body": b"the proxy knows nothing"})
            return
        for seq in range(after + 1, min(after + 3, 10) + 1):
            name = b"end" if seq == 10 else b"metric"
            body = b'id: %d\nevent: %s\ndata: {"seq":%d}\n\n' % (seq, name, seq)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if after + 3 < 10:
            raise ConnectionAbortedError("a server that breaks the connection")
        await send({"type": "http.response.body", "body": b""})


def seqs(client: Client) -> list[int | None]:
    return [event.seq for event in client.follow("7f3a91c20b1d", patience_s=20)]


def test_a_stream_over_many_breaks_loses_and_doubles_nothing() -> None:
    journal = Journal()
    assert with_server(journal, seqs) == list(range(1, 11))
    assert journal.asked == [0, 3, 6, 9]


def test_a_proxy_that_has_no_service_yet_is_waited_for() -> None:
    assert with_server(Journal(502, 503, 504), seqs) == list(range(1, 11))


def test_a_break_and_the_return_are_told() -> None:
    told: list[Link] = []

    def work(client: Client) -> None:
        for _ in client.follow("7f3a91c20b1d", on_link=told.append):
            pass

    with_server(Journal(), work)
    assert told == [Link.RECONNECTING, Link.LIVE] * 3


def test_another_refusal_ends_the_stream() -> None:
    with pytest.raises(ServiceError, match="HTTP 418"):
        with_server(Journal(418), seqs)


def test_a_refusal_with_words_of_its_own_is_what_it_says() -> None:
    async def server(_scope: Any, _receive: Any, send: Any) -> None:
        body = b'{"code":"rate_limited","detail":"2000 streams are open","field":"max_streams"}'
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with pytest.raises(RateLimited, match="2000 streams are open"):
        with_server(server, seqs)


def test_patience_is_counted_from_the_last_connection() -> None:
    silent = 5

    async def server(scope: Any, receive: Any, send: Any) -> None:
        nonlocal silent
        silent -= 1
        if silent < 0:
            await journal(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b": alive\n", "more_body": True})
        await asyncio.sleep(0.3)
        raise ConnectionAbortedError("a server that breaks the connection")

    def work(client: Client) -> list[int | None]:
        return [event.seq for event in client.follow("7f3a91c20b1d", patience_s=1)]

    journal = Journal()
    assert with_server(server, work) == list(range(1, 11))


def test_a_service_that_does_not_come_back_is_given_up() -> None:
    url = f"http://127.0.0.1:{ports.free(1)[0]}"
    with (
        Client(url, token=None) as client,
        pytest.raises(Unavailable, match="cannot reach the service"),
    ):
        list(client.follow("7f3a91c20b1d", patience_s=0.05))


@pytest.mark.parametrize(
    "work",
    [
        lambda client: client.health(),
        lambda client: client.readiness(),
        lambda client: client.download_evidence("7f3a91c20b1d", Path("/nowhere")),
    ],
)
def test_no_service_is_said_with_what_to_do(work: Work) -> None:
    url = f"http://127.0.0.1:{ports.free(1)[0]}"
    with Client(url, token=None) as client, pytest.raises(Unavailable) as caught:
        work(client)
    assert caught.value.cure


def test_readiness_behind_a_proxy_without_service_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="HTTP 503"):
        with_server(Journal(503), lambda client: client.readiness())


def test_a_home_without_service_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no service runs in"):
        Client.of_home(tmp_path)
