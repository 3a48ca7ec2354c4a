import json
from pathlib import Path

from evidence.clock import utc_now
from serve.probe.capture import REDACTED, Captures, Exchange, Request
from serve.probe.events import Arrival

SECRET = "s3cret-of-this-test"  # noqa: S105 - of this test


def keep(folder: Path, *, body: bytes, events: tuple[Arrival, ...] = ()) -> tuple[Captures, Path]:
    captures = Captures(folder, secret=SECRET, clock=utc_now)
    sent = {"authorization": f"Bearer {SECRET}", "x-note": f"is {SECRET}"}
    request = Request("GET", "/api/x/{id}", f"/api/x/1?t={SECRET}", sent)
    number, file = captures.next_name(request)
    headers = {"content-type": "text/plain", "set-cookie": "id=1"}
    exchange = Exchange(
        number, "GET", request.route, request.target, 200, headers, body, 0.0, 1.0, file,
        events=events,
    )  # fmt: skip
    captures.keep(request, exchange)
    return captures, folder / file


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_an_exchange_is_kept_whole_without_the_token(tmp_path: Path) -> None:
    captures, file = keep(tmp_path, body=b"good")
    record = json.loads(file.read_bytes())
    assert file.name == "0001-get-api-x-id.json"
    assert record["body"]["text"] == "good"
    assert record["request"]["headers"] == {"authorization": REDACTED, "x-note": f"is {REDACTED}"}
    assert record["headers"]["set-cookie"] == REDACTED
    assert SECRET.encode() not in all_bytes(tmp_path)
    assert captures.leaks == []


def test_a_body_that_is_no_text_is_a_file_of_its_digest(tmp_path: Path) -> None:
    _, file = keep(tmp_path, body=b"\xff\x00" * 10)
    told = json.loads(file.read_bytes())["body"]
    assert (tmp_path / told["file"]).read_bytes() == b"\xff\x00" * 10
    assert told["file"].endswith(told["sha256"])


def test_an_answer_with_the_token_is_withheld_and_told(tmp_path: Path) -> None:
    captures, file = keep(tmp_path, body=f"\xff you sent {SECRET}".encode("latin-1"))
    assert json.loads(file.read_bytes())["body"]["text"] == REDACTED
    assert SECRET.encode() not in all_bytes(tmp_path)
    assert len(captures.leaks) == 1


def test_a_token_in_an_event_is_found_too(tmp_path: Path) -> None:
    event = Arrival(0.5, "1", "log", f'{{"message": "{SECRET}"}}')
    captures, file = keep(tmp_path, body=b"", events=(event,))
    assert json.loads(file.read_bytes())["events"]["count"] == 1
    assert SECRET.encode() not in all_bytes(tmp_path)
    assert len(captures.leaks) == 1
