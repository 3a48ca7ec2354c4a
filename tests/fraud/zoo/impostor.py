"""The fake that all others are made from: it replays, in time, what a real service once answered.

It asks for its token, refuses wrong fields, takes in runs and echoes their configs, sends events as
if they happened now, classifies images, and keeps its log and its health in step. What it cannot do
is train: its runs have the nonce of the runs that it was recorded from.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from tests.fraud.zoo import network
from tests.fraud.zoo.loot import Json, Loot, Reply, RunLoot, Sent

TOKEN = "zoo-token-5d1f0c"  # noqa: S105 - of a fake
RUNS = "/api/training/runs"
OPEN = ("healthz", "readyz", "openapi.json", "docs", "zeropoint/keys")
PACE = 0.8
"""Part of the time between two events that it waits."""

LONGEST_GAP_S = 0.5
_RUN_ID = re.compile(r"[0-9a-f]{12}")
_STATES = ("queued", "running", "succeeded", "failed", "interrupted", "cancelled")


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found


@dataclass
class Run:
    """One run that the fake pretends to do."""

    loot: RunLoot
    config: Json
    begun: float
    events: list[Sent]
    """With the moments at which they are sent, in seconds since the submission."""

    @property
    def sent(self) -> int:
        """How many events have happened by now."""
        passed = time.monotonic() - self.begun
        return sum(event.at_s <= passed for event in self.events)

    @property
    def is_over(self) -> bool:
        return self.sent == len(self.events)


@dataclass
class Impostor:
    """A fake service.

    Args:
        loot: What it knows.
    """

    loot: Loot
    runs: list[Run] = field(default_factory=list)
    keys: dict[str, tuple[Json, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    name: ClassVar[str] = "replay"

    # -- what a liar overrides -----------------------------------------------------------------

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        """Change an answer on its way out."""
        _ = asked
        return reply

    def lie_in_event(self, run: Run, event: Sent) -> Sent:
        """Change an event on its way out."""
        _ = run
        return event

    def paced(self, events: list[Sent]) -> list[Sent]:
        """Return events with the moments at which they are to be sent."""
        at_s, before, paced = 0.0, events[0].at_s, []
        for event in events:
            at_s += min(LONGEST_GAP_S, PACE * (event.at_s - before))
            before = event.at_s
            paced.append(replace(event, at_s=at_s))
        return paced

    def loot_of(self, number: int) -> RunLoot:
        """Return what to show as the run of that number, from 0."""
        return self.loot.runs[number % len(self.loot.runs)]

    # -- answers -------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Reply:
        return self.lie(asked, self._answer(asked))

    def _answer(self, asked: Asked) -> Reply:
        is_open = asked.path.endswith(OPEN)
        if not is_open and asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.problem(asked, 401, "unauthenticated")
        if asked.method == "POST":
            return self._answer_post(asked)
        wrong = self._wrong_query(asked)
        if wrong:
            return self.problem(asked, 422, "invalid_input", field=wrong)
        run_id = self._run_id(asked)
        if run_id is None:
            return self._of_service(asked)
        run = self.run(run_id)
        if run is None:
            return self.problem(asked, 404, "not_found")
        return self._of_run(asked, run)

    def _wrong_query(self, asked: Asked) -> str:
        if asked.query.get("limit") == "0":
            return "limit"
        return "status" if asked.query.get("status", "queued") not in _STATES else ""

    def _run_id(self, asked: Asked) -> str | None:
        if not asked.path.startswith((RUNS + "/", "/api/events")):
            return None
        found = _RUN_ID.search(asked.target)
        return found[0] if found else None

    def run(self, run_id: str) -> Run | None:
        return next((run for run in self.runs if run.loot.run_id == run_id), None)

    @property
    def is_over(self) -> bool:
        """Whether all runs are over: then the service shows what it showed at last."""
        return len(self.runs) == len(self.loot.runs) and all(run.is_over for run in self.runs)

    def _of_service(self, asked: Asked) -> Reply:
        read = self.loot.last if self.is_over else self.loot.first
        known = read(asked.target)
        return known or self.problem(asked, 404, "not_found")

    def _of_run(self, asked: Asked, run: Run) -> Reply:
        rest = asked.path.removeprefix(f"{RUNS}/{run.loot.run_id}")
        if not run.is_over and rest in {"", "/evidence"}:
            return self.json(self.view(run) if not rest else self._unsealed(run))
        if not run.is_over:
            return self.problem(asked, 404, "not_found")
        known = self.loot.last(asked.target)
        if known is None:
            return self.problem(asked, 404, "not_found")
        return self.json({**known.json, "config": run.config}) if not rest else known

    def view(self, run: Run) -> Json:
        """Return the run as it is now."""
        seen = [event.record for event in run.events[: run.sent]]
        steps = [record["step"] for record in seen if record["kind"] == "metric"]
        states = [record["state"] for record in seen if record["kind"] == "status"]
        view: Json = {**run.loot.submitted.json, "config": run.config}
        if states:
            view |= {"status": states[-1], "last_seq": len(seen), "step": max(steps, default=0)}
        return view

    def _unsealed(self, run: Run) -> Json:
        about = {"run_id": run.loot.run_id, "sealed": False}
        return {**about, "manifest_sha256": None, "files": []}

    def _answer_post(self, asked: Asked) -> Reply:
        if asked.path == RUNS:
            return self._submit(asked)
        if asked.path.endswith("/predict"):
            return self.predict(asked)
        return self.loot.path_of(asked.path)

    def _submit(self, asked: Asked) -> Reply:
        overrides = asked.json["overrides"]
        wrong = self.wrong_field(overrides)
        if wrong:
            return self.problem(asked, 422, "config_error", field=wrong)
        key = asked.headers.get("idempotency-key")
        with self.lock:
            if key in self.keys:
                known, run_id = self.keys[key]
                if known != overrides:
                    return self.problem(asked, 409, "conflict")
                run = self.run(run_id)
            else:
                run = self._begin(overrides)
            if key:
                self.keys[key] = (overrides, run.loot.run_id if run else "")
        return self.json(self.view(run)) if run else self.problem(asked, 404, "not_found")

    def wrong_field(self, overrides: Json) -> str:
        """Return the field that a run config cannot have so; empty where there is none."""
        if overrides.get("steps", 3) < 3:
            return "steps"
        if overrides.get("optimizer", {}).get("lr", 0) > 10:
            return "optimizer.lr"
        config = self.loot.runs[0].submitted.json["config"]
        return next((name for name in overrides if name not in config), "")

    def _begin(self, overrides: Json) -> Run:
        loot = self.loot_of(len(self.runs))
        config = {**loot.submitted.json["config"], **overrides}
        run = Run(loot, config, time.monotonic(), self.paced(loot.events))
        self.runs.append(run)
        return run

    def predict(self, asked: Asked) -> Reply:
        run_id = self._run_id(asked)
        run = self.run(run_id) if run_id else None
        if run is None:
            return self.problem(asked, 404, "not_found")
        step = run.config["steps"]
        target = f"{RUNS}/{run_id}/checkpoints/{step}?file=model.safetensors"
        known = self.loot.last(target)
        if known is None:
            return self.problem(asked, 404, "not_found")
        rows = network.probabilities(network.tensors(known.body), asked.json["images"])
        best = [max(range(len(row)), key=row.__getitem__) for row in rows]
        told = [
            {"label": label, "name": str(label), "probabilities": row}
            for label, row in zip(best, rows, strict=True)
        ]
        return self.json({"run_id": run_id, "step": step, "predictions": told})

    # -- streams -------------------------------------------------------------------------------

    def stream(self, asked: Asked, run: Run, write: Any) -> None:
        """Send the events of a run behind the reader's, each when it happens."""
        after = int(asked.headers.get("last-event-id") or 0)
        write(b"retry: 1000\n")
        for event in run.events[after:]:
            wait = run.begun + event.at_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            write(as_frame(self.lie_in_event(run, event)))

    def opened(self, asked: Asked) -> Reply | Run:
        """Return the run whose stream is asked for, or the answer in its place."""
        reply = self._refused_stream(asked)
        return reply or self.run(self._run_id(asked) or "") or self.problem(asked, 404, "not_found")

    def _refused_stream(self, asked: Asked) -> Reply | None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.problem(asked, 401, "unauthenticated")
        last = asked.headers.get("last-event-id", "0")
        if not last.isdecimal():
            return self.problem(asked, 422, "invalid_input", field="Last-Event-ID")
        run = self.run(self._run_id(asked) or "")
        if run and run.is_over and int(last) >= len(run.events):
            headers = dict(self.loot.problem_headers)
            headers.pop("content-type")
            return Reply(204, headers, b"")
        return None

    # -- making answers ------------------------------------------------------------------------

    def json(self, value: Any, status: int = 200) -> Reply:
        headers = {**self.loot.problem_headers, "content-type": "application/json; charset=utf-8"}
        return Reply(status, headers, json.dumps(value).encode())

    def problem(self, asked: Asked, status: int, code: str, *, field: str | None = None) -> Reply:
        body = {
            "type": f"urn:zeropoint:problem:{code}",
            "title": code,
            "status": status,
            "detail": "no",
            "instance": asked.path,
            "code": code,
        }
        made = self.json(body | ({"field": field} if field else {}), status)
        kind = {"content-type": "application/problem+json; charset=utf-8"}
        return Reply(status, {**made.headers, **kind}, made.body)


def as_frame(event: Sent) -> bytes:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {event.data}\n\n".encode()


class Server:
    """A fake on a free port of loopback, served by threads of this process."""

    def __init__(self, fake: Impostor) -> None:
        class Handler(_Handler):
            impostor = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    impostor: ClassVar[Impostor]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        """Say nothing."""

    def do_GET(self) -> None:
        asked = self._asked()
        if asked.path == "/api/events/proposals":
            self._stream(lambda write: [write(as_frame(e)) for e in self.impostor.loot.proposals])
            return
        if asked.path != "/api/events/training":
            self._send(self.impostor.answer(asked))
            return
        found = self.impostor.opened(asked)
        if isinstance(found, Reply):
            self._send(self.impostor.lie(asked, found))
            return
        self._stream(lambda write: self.impostor.stream(asked, found, write))

    def do_POST(self) -> None:
        self._send(self.impostor.answer(self._asked()))

    def _asked(self) -> Asked:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Asked(self.command, self.path, headers, body)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            if name not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        if reply.status != 204:
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _stream(self, send: Callable[[Any], object]) -> None:
        self.close_connection = True
        self.send_response(200)
        known = self.impostor.loot.problem_headers
        kept = ("cache-control", "x-content-type-options", "content-disposition", "referrer-policy")
        for name, value in known.items():
            if name in kept:
                self.send_header(name, value)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

        def write(data: bytes) -> None:
            self.wfile.write(data)
            self.wfile.flush()

        try:
            send(write)
        except (BrokenPipeError, ConnectionResetError):
            return
