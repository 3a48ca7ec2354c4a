"""The questions of a probe, in order: the service as it is, three runs, the service afterwards."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evidence import canonical
from evidence.errors import InvalidInput, ServiceError, Unauthenticated, Unavailable
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import SEAL_INCLUSION, SEAL_TREE_HEAD
from governance.proposals.schema import Harm
from serve.probe.capture import Exchange, Stopwatch
from serve.probe.events import Arrival
from serve.probe.finding import CannotTell
from serve.probe.seen import AGAIN, FIRST, OTHER, RUN, Asked, Seen, SeenRun
from serve.probe.wire import EVENTS, Wire
from trainers import recipes

RECIPE = "mnist_mlp"
DATASET = "mnist"
STEPS = 400
"""Updates of each run: a second or two of training, four checkpoints."""

PATIENCE_S = 180.0
"""Longest time that the three runs may take together."""

AUDIT_PATIENCE_S = 60.0
"""Longest time that the service's audit may take."""

FAR_FUTURE = 2**40
"""A sequence number that no run reaches."""

CUT_AFTER = 60
"""Events after which the stream of the second run is cut."""

BUNDLE = 256
"""Entries of a full bundle of the log."""

MAX_PLACE = 256_000
"""Places in the log that are asked for: those whose bundle has a name of one group of digits."""

FILES = ("model.safetensors", "optimizer.safetensors", "state.safetensors")

_LIMIT = 250
_MOST_PAGES = 100
_RETRY_S = 0.3
_MOST_SILENT = 10
_STATIC = (
    "/api/openapi.json",
    "/api/docs",
    "/api/recipes",
    "/api/datasets",
    "/api/nodes",
)
_MOVING = (
    "/api/health",
    "/api/healthz",
    "/healthz",
    "/api/readyz",
    "/readyz",
    "/api/audits",
    "/api/models",
    "/api/training/runs",
    "/api/log",
    "/api/log/checkpoint",
    "/.well-known/zeropoint/keys",
    "/api/session",
    "/api/users",
    "/api/keys",
    "/api/usage",
    "/api/audit",
    "/api/proposals",
    "/api/proposals/stats",
)

Draw = Callable[[int], str]
"""Returns so many random bytes as hex digits; nobody else knows them."""

Tell = Callable[[str], None]
"""Takes what goes on now, for people."""


@dataclass(frozen=True)
class Tour:
    """Asks everything.

    Args:
        wire: The way to the service.
        seen: Where what comes is put.
        draw: Where nonces, names and ids come from.
        now: Seconds since the probe began.
        tell: Told what goes on.
        wait: Waits for so many seconds.
    """

    wire: Wire
    seen: Seen
    draw: Draw
    now: Stopwatch
    tell: Tell
    wait: Callable[[float], None] = time.sleep

    def go(self) -> None:
        """Ask everything there is to ask.

        Raises:
            Unavailable: Nothing answers.
            Unauthenticated: The token is missing or wrong.
        """
        self.tell("asking for every route")
        self._require_answer()
        self.seen.before = {route: self.wire.get(route) for route in (*_STATIC, *_MOVING)}
        self._ask_for_what_is_not()
        self.tell(f"training {STEPS} steps three times")
        self._train()
        self.tell("fetching what the runs left")
        audit_id = self._begin_audit()
        for run in self.seen.runs.values():
            if run.run_id:
                self._collect(run)
        if audit_id:
            self._await_audit(audit_id)
        self._propose()
        self.seen.after = {route: self.wire.get(route) for route in (*_STATIC, *_MOVING)}
        self.seen.again = {route: self.wire.get(route) for route in _STATIC}
        self._ask_the_log()

    def _require_answer(self) -> None:
        health = self.wire.get("/api/healthz")
        if not health.status:
            raise Unavailable(
                f"cannot reach the service at {self.wire.url}",
                found=health.error,
                cure="check the address, and that the service runs",
            )
        if self.wire.get("/api/training/runs").status == 401:  # noqa: PLR2004 - HTTP
            raise Unauthenticated(
                "the service takes no request without its token",
                cure="zpctl probe URL --token-file FILE",
            )

    def _ask_for_what_is_not(self) -> None:
        self.seen.anonymous = self.wire.get("/api/training/runs", anonymous=True)
        unknown = self.draw(6)
        routes = [route for route in self.seen.contract.get_routes if route.startswith(RUN)]
        self.seen.unknown_run = [self.wire.get(route, run_id=unknown, step=1) for route in routes]
        self.seen.unknown_run.append(self.wire.get(EVENTS, query={"run_id": unknown}))
        runs = "/api/training/runs"
        bogus = f"bogus_{self.draw(4)}"
        self.seen.wrong = [
            (self._post({"steps": -1}), "steps"),
            (self._post({bogus: 1}), bogus),
            (self._post({"optimizer": {"lr": 1e9}}), "optimizer.lr"),
            (self.wire.get(runs, query={"limit": 0}), "limit"),
            (self.wire.get(runs, query={"status": bogus}), "status"),
            (self.wire.get(EVENTS, headers={"last-event-id": bogus}), "Last-Event-ID"),
        ]

    def _post(self, overrides: Mapping[str, Any], **headers: str) -> Exchange:
        body = {"recipe": RECIPE, "overrides": dict(overrides)}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.wire.post("/api/training/runs", body, headers=named)

    # -- the runs ------------------------------------------------------------------------------

    def _train(self) -> None:
        common = {"steps": STEPS, "seed": int(self.draw(6), 16), "name": f"probe-{self.draw(4)}"}
        nonce, key = self.draw(16), f"probe-{self.draw(8)}"
        first = {**common, "nonce": nonce}
        self._submit(FIRST, first, idempotency_key=key)
        self._submit(AGAIN, first)
        self._submit(OTHER, {**common, "nonce": self.draw(16)})
        followers = [
            threading.Thread(target=self._follow, args=(run,), name=f"follow-{run.asked.name}")
            for run in self.seen.runs.values()
            if run.run_id
        ]
        for follower in followers:
            follower.start()
        self.seen.resubmitted = self._post(first, idempotency_key=key)
        self.seen.reused = self._post({**first, "batch_size": 32}, idempotency_key=key)
        for follower in followers:
            follower.join()

    def _submit(self, name: str, overrides: Mapping[str, Any], **headers: str) -> None:
        request = {"recipe": RECIPE, "overrides": dict(overrides)}
        asked = Asked(name, request, recipes.resolve(request).as_json())
        answer = self._post(overrides, **headers)
        run = SeenRun(asked, answer, _id_in(answer, "run_id"))
        self.seen.runs[name] = run
        if run.run_id:
            last = f"{RUN}/checkpoints/{{step}}"
            run.early = [
                self.wire.get(last, run_id=run.run_id, step=asked.steps),
                self.wire.get(RUN, run_id=run.run_id),
                self.wire.get(f"{RUN}/evidence", run_id=run.run_id),
            ]

    def _follow(self, run: SeenRun) -> None:
        """Read the events of a run to its end; that of the second run is cut once on purpose."""
        deadline = self.now() + PATIENCE_S
        after, silent = "", 0
        is_to_cut = run.asked.name == AGAIN
        while self.now() < deadline and silent < _MOST_SILENT:
            cut = CUT_AFTER if is_to_cut else None
            stream = self.wire.stream(
                run.run_id, after=after, until=self._until(run, deadline=deadline, cut=cut)
            )
            run.streams.append(stream)
            if stream.events and stream.events[-1].kind == "end":
                return
            if stream.status not in {0, 200, 503}:
                return
            is_to_cut = is_to_cut and not stream.events
            silent = 0 if stream.events else silent + 1
            after = stream.events[-1].id if stream.events else after
            if silent:
                self.wait(_RETRY_S)

    def _until(
        self, run: SeenRun, *, deadline: float, cut: int | None
    ) -> Callable[[Arrival], bool]:
        count = 0

        def is_last(arrival: Arrival) -> bool:
            nonlocal count
            count += 1
            if arrival.kind == "metric" and run.during is None:
                run.during = self.wire.get(RUN, run_id=run.run_id)
            return arrival.kind == "end" or count == cut or self.now() > deadline

        return is_last

    def _collect(self, run: SeenRun) -> None:
        """Fetch everything that the service tells of a run that has ended."""
        run_id = run.run_id
        get = self.wire.get
        run.view = get(RUN, run_id=run_id)
        run.metrics = self._pages(f"{RUN}/metrics", run_id)
        run.logs = get(f"{RUN}/logs", run_id=run_id)
        run.checkpoints = get(f"{RUN}/checkpoints", run_id=run_id)
        run.files = get(f"{RUN}/evidence", run_id=run_id)
        run.signed = get(f"{RUN}/records", run_id=run_id)
        run.pack = get(f"{RUN}/evidence", query={"format": "zip"}, run_id=run_id)
        download = f"{RUN}/checkpoints/{{step}}"
        wanted = [(step, FILES[0]) for step in run.asked.checkpoint_steps]
        wanted += [(run.asked.steps, name) for name in FILES[1:]]
        for step, name in wanted:
            query = {"file": name}
            run.downloads[step, name] = get(download, query=query, run_id=run_id, step=step)
        deadline = self.now() + PATIENCE_S
        run.rest_after = len(run.events) // 2
        run.rest = self.wire.stream(
            run_id,
            after=str(run.rest_after),
            until=self._until(run, deadline=deadline, cut=None),
        )
        run.beyond = self.wire.get(
            EVENTS, query={"run_id": run_id}, headers={"last-event-id": str(FAR_FUTURE)}
        )
        run.view_again = get(RUN, run_id=run_id)
        if run.asked.name == FIRST:
            self._predict(run)

    def _pages(self, route: str, run_id: str) -> list[Exchange]:
        pages: list[Exchange] = []
        after = 0
        while len(pages) < _MOST_PAGES:
            page = self.wire.get(route, query={"after": after, "limit": _LIMIT}, run_id=run_id)
            pages.append(page)
            following, records = _field(page, "next_after"), _field(page, "metrics")
            is_full = isinstance(records, list) and len(records) == _LIMIT
            if not is_full or not isinstance(following, int) or following <= after:
                return pages
            after = following
        return pages

    def _predict(self, run: SeenRun) -> None:
        rng = np.random.default_rng(int(self.draw(8), 16))
        noise = rng.integers(0, 256, (8, 1, 28, 28), np.uint8)
        data = self.seen.data
        known = noise[:0]
        if data is not None:
            known = data.test_images[rng.choice(len(data.test_labels), 24, replace=False)]
        run.images = np.concatenate([noise, known])
        body = {"images": run.images[:, 0].tolist()}
        run.predicted = self.wire.post(f"{RUN}/predict", body, run_id=run.run_id)

    def _begin_audit(self) -> str:
        """Ask for an audit of the first run; return its id, empty where there is none."""
        body = {"run_id": self.seen.runs[FIRST].run_id or self.draw(6), "windows": 1}
        self.seen.audit = self.wire.post("/api/audits", body)
        return _id_in(self.seen.audit, "audit_id")

    def _await_audit(self, audit_id: str) -> None:
        self.tell("waiting for the service's own audit")
        deadline = self.now() + AUDIT_PATIENCE_S
        while self.now() < deadline:
            self.seen.audit = self.wire.get("/api/audits/{audit_id}", audit_id=audit_id)
            if _field(self.seen.audit, "status") not in {"queued", "running"}:
                return
            self.wait(_RETRY_S)

    def _propose(self) -> None:
        """Propose what the first run did, once more, and leave it open: nobody votes on it."""
        none = {"answer": "none", "note": ""}
        written = {
            "title": f"Probe {self.draw(4)}",
            "summary": "Made by a probe of this service; it changes nothing.",
            "change_type": "research",
            "from_run": self.seen.runs[FIRST].run_id or self.draw(6),
            "ethics": {
                "compliance_score": 0.0,
                "bias_assessment": "A probe assesses nothing.",
                "harms": {harm.value: none for harm in Harm},
            },
        }
        proposal_id = _id_in(self.wire.post("/api/proposals", written), "proposal_id")
        if proposal_id:
            self.wire.get("/api/proposals/{proposal_id}", proposal_id=proposal_id)
            self.wire.stream_proposals(until=lambda _: True)

    # -- the log -------------------------------------------------------------------------------

    def _ask_the_log(self) -> None:
        old = _size_of(self.seen.before["/api/log/checkpoint"].body)
        new = max(1, _size_of(self.seen.after["/api/log/checkpoint"].body))
        self.seen.growth = self._consistency(old or 1, new)
        for run in self.seen.runs.values():
            size = _size_of(_of_pack(run, SEAL_TREE_HEAD))
            if 0 < old < size:
                self.seen.growth_of_packs[run.asked.name] = self._consistency(old, size)
        places = _places(self.seen.runs.get(FIRST)) or [0]
        for index in places:
            query = {"index": index, "size": new}
            self.seen.inclusion.append(self.wire.get("/api/log/proof/inclusion", query=query))
        bundle = places[0] // BUNDLE
        width = min(BUNDLE, new - bundle * BUNDLE)
        name = f"{bundle:03}" if width == BUNDLE else f"{bundle:03}.p/{width}"
        self.seen.bundle_first = bundle * BUNDLE
        self.seen.tile = self.wire.get("/api/log/tile/{path}", path=f"entries/{name}")

    def _consistency(self, old_size: int, size: int) -> Exchange:
        query = {"old_size": old_size, "size": size}
        return self.wire.get("/api/log/proof/consistency", query=query)


def _field(exchange: Exchange, name: str) -> Any:
    try:
        value = exchange.json
    except InvalidInput:
        return None
    return value.get(name) if isinstance(value, dict) else None


def _id_in(answer: Exchange, name: str) -> str:
    """Return an id that an answer names; empty where it names none that fits a path."""
    value = _field(answer, name)
    return value if isinstance(value, str) and value.replace("-", "").isalnum() else ""


def _size_of(tree_head: bytes) -> int:
    try:
        return SignedTreeHead.parse(tree_head).head.size
    except InvalidInput:
        return 0


def _of_pack(run: SeenRun, path: str) -> bytes:
    """Return a file of a run's pack; nothing where it cannot be had, which a check tells."""
    try:
        return run.pack_bytes(path)
    except (CannotTell, ServiceError):
        return b""


def _places(run: SeenRun | None) -> list[int]:
    """Return where the records of a run stand in the log, as its pack says."""
    try:
        told = canonical.decode_object(_of_pack(run, SEAL_INCLUSION)) if run else {}
        places = [int(entry["index"]) for entry in told.get("entries", [])]
    except (KeyError, ServiceError, TypeError, ValueError):
        return []
    return [place for place in places if 0 <= place < MAX_PLACE]
