"""The one typed client of the HTTP API: the command line uses it, and notebooks can.

from serve.client import Client
with Client.of_home("var") as client:
run = client.submit({"recipe": "mnist_mlp"})
for event in client.follow(run["run_id"]):
print(event.kind, event.data)
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx
import httpx_sse

from evidence import canonical
from evidence.errors import ServiceError, Unavailable, of_code
from evidence.records import EventKind

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_SILENCE_S = 30.0
_RECONNECT_S = 0.5
_CHUNK_BYTES = 1 << 16
_PROXY_STATUSES = frozenset({502, 503, 504})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    seq: int | None
    """Sequence number; None for the end of a run that may be resumed."""
    kind: str
    """status, metric, checkpoint, log or end."""
    data: Json
    """The journal line."""


class Link(StrEnum):
    """State of the connection behind a followed stream."""

    LIVE = "live"
    RECONNECTING = "reconnecting"


def _ignore(_: Link) -> None:
    """Take no notice of the connection."""


class Client:
    """Calls the API of one service.

    Args:
        url: Base address, e.g. http://127.0.0.1:8000.
        token: The service's token; None for the open routes only.
        verify: Whether TLS certificates are checked, or the path of a CA file.
        is_gone: Says, when the connection is lost, whether the service was stopped for good;
            following a run then ends at once.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        verify: bool | str = True,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._is_gone = is_gone
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=_TIMEOUT, verify=verify, trust_env=False
        )

    @classmethod
    def of_home(cls, home: str | Path) -> "Client":
        """Return a client of the local service of a home.

        Raises:
            Unavailable: No service runs there.
        """
        from serve import local  # noqa: PLC0415 - a remote notebook needs no process tools

        service = local.find(Path(home))
        if service is None:
            raise Unavailable(f"no service runs in {home}", cure="make up")
        return cls(service.url, token=service.token(), is_gone=service.is_gone)

    # -- runs ----------------------------------------------------------------------------------

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Submit a run: {"recipe", "overrides"} or a full RunConfig; return its view."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return self._json("POST", "/api/training/runs", json=dict(request), headers=headers)

    def runs(self, *, status: str | None = None, offset: int = 0, limit: int = 20) -> Json:
        """Return one page of runs, newest first."""
        query = {"offset": offset, "limit": limit} | ({"status": status} if status else {})
        return self._json("GET", "/api/training/runs", params=query)

    def table(self, **query: str | int) -> Json:
        """Return one page of the table of runs; `query` as `serve.schemas.TableQuery`."""
        return self._json("GET", "/api/training/table", params=query)

    def run(self, run_id: str) -> Json:
        """Return one run."""
        return self._json("GET", f"/api/training/runs/{run_id}")

    def metrics(self, run_id: str, *, after: int = 0, limit: int = 1000) -> Json:
        """Return metric records with a sequence number above `after`."""
        query = {"after": after, "limit": limit}
        return self._json("GET", f"/api/training/runs/{run_id}/metrics", params=query)

    def curves(self, run_id: str, *, after: int = 0, limit: int = 10_000) -> Json:
        """Return metrics with a sequence number above `after`, as columns."""
        query = {"after": after, "limit": limit}
        return self._json("GET", f"/api/training/runs/{run_id}/curves", params=query)

    def logs(self, run_id: str, *, after: int = 0, limit: int = 1000) -> Json:
        """Return log and status records with a sequence number above `after`."""
        query = {"after": after, "limit": limit}
        return self._json("GET", f"/api/training/runs/{run_id}/logs", params=query)

    def checkpoints(self, run_id: str) -> Json:
        """Return the checkpoint records of a run."""
        return self._json("GET", f"/api/training/runs/{run_id}/checkpoints")

    def checkpoint(self, run_id: str, step: int, *, file: str = "model.safetensors") -> bytes:
        """Return one file of a checkpoint."""
        path = f"/api/training/runs/{run_id}/checkpoints/{step}"
        return self._answer("GET", path, params={"file": file}).content

    def evidence(self, run_id: str) -> Json:
        """Return the files of a run's pack with size and digest."""
        return self._json("GET", f"/api/training/runs/{run_id}/evidence")

    def download_evidence(self, run_id: str, target: Path) -> int:
        """Write the pack as a zip to `target`; return its size in bytes.

        Raises:
            Unavailable: The connection broke; what came stands in `target`.
            ServiceError: The service refused.
        """
        try:
            return self._download(f"/api/training/runs/{run_id}/evidence", target)
        except httpx.TransportError as error:
            raise _away(self.url, error) from error

    def _download(self, path: str, target: Path) -> int:
        with self._http.stream("GET", path, params={"format": "zip"}) as answer:
            if answer.is_error:
                answer.read()
            _require_success(answer)
            with target.open("wb") as file:
                return sum(file.write(piece) for piece in answer.iter_bytes(_CHUNK_BYTES))

    def checks(self) -> Json:
        """Return the checks that a verification makes."""
        return self._json("GET", "/api/checks")

    def cancel(self, run_id: str) -> Json:
        """End a run for good."""
        return self._json("POST", f"/api/training/runs/{run_id}/cancel")

    def resume(self, run_id: str) -> Json:
        """Put an interrupted or failed run back into the queue."""
        return self._json("POST", f"/api/training/runs/{run_id}/resume")

    def predict(self, run_id: str, images: list[Any], *, step: int | None = None) -> Json:
        """Classify images with a checkpoint of a run."""
        body = {"images": images, "step": step}
        return self._json("POST", f"/api/training/runs/{run_id}/predict", json=body, timeout=120.0)

    def collect(self, policy: Mapping[str, Any], *, dry_run: bool) -> Json:
        """Delete ended runs beyond a policy, or only say which."""
        body = {**policy, "dry_run": dry_run}
        return self._json("POST", "/api/training/collect", json=body)

    # -- everything else -----------------------------------------------------------------------

    def health(self) -> Json:
        """Return what the service says of itself; needs no token."""
        return self._json("GET", "/api/healthz")

    def readiness(self) -> Json:
        """Return the readiness checks, passed or not; needs no token."""
        answer = self._send("GET", "/api/readyz")
        if not answer.headers.get("content-type", "").startswith("application/json"):
            _require_success(answer)  # a problem, or a proxy's own words
        return cast("Json", answer.json())

    def datasets(self) -> Json:
        """Return the data sets."""
        return self._json("GET", "/api/datasets")

    def fetch_dataset(self, name: str) -> Json:
        """Start to fetch a data set."""
        return self._json("POST", f"/api/datasets/{name}/fetch")

    def recipes(self) -> Json:
        """Return the recipes."""
        return self._json("GET", "/api/recipes")

    def models(self, *, offset: int = 0, limit: int = 20) -> Json:
        """Return one page of finished models, newest first."""
        return self._json("GET", "/api/models", params={"offset": offset, "limit": limit})

    def audit(self, run_id: str, **windows: Any) -> Json:
        """Have windows of a run trained again; see `AuditRequest` for what can be asked."""
        return self._json("POST", "/api/audits", json={"run_id": run_id, **windows})

    def audits(self, *, offset: int = 0, limit: int = 20) -> Json:
        """Return one page of audits, newest first."""
        return self._json("GET", "/api/audits", params={"offset": offset, "limit": limit})

    def audit_of(self, audit_id: str) -> Json:
        """Return one audit."""
        return self._json("GET", f"/api/audits/{audit_id}")

    def challenge(self, recipe: str, *, nonce: str, steps: int = 100) -> Json:
        """Have a recipe trained with a nonce of the caller's."""
        wanted = {"recipe": recipe, "nonce": nonce, "steps": steps}
        return self._json("POST", "/api/challenges", json=wanted)

    def records(self, run_id: str) -> bytes:
        """Return the signed records of a run so far, a line each."""
        return self._answer("GET", f"/api/training/runs/{run_id}/records").content

    def log(self) -> Json:
        """Return key, size and witnesses of the transparency log."""
        return self._json("GET", "/api/log")

    def log_head(self) -> bytes:
        """Return the present tree head of the log; no signature was verified."""
        return self._answer("GET", "/api/log/checkpoint").content

    def log_tile(self, path: str) -> bytes:
        """Return a tile of the log, e.g. `0/000.p/5` or `entries/000.p/5`."""
        return self._answer("GET", f"/api/log/tile/{path}").content

    def log_inclusion(self, index: int, size: int) -> Json:
        """Return the proof that an entry is in the log."""
        query = {"index": index, "size": size}
        return self._json("GET", "/api/log/proof/inclusion", params=query)

    def log_consistency(self, old_size: int, size: int) -> Json:
        """Return the proof that the log only grew between two sizes."""
        query = {"old_size": old_size, "size": size}
        return self._json("GET", "/api/log/proof/consistency", params=query)

    def keys(self) -> bytes:
        """Return the history of the service's public keys."""
        return self._answer("GET", "/.well-known/zeropoint/keys").content

    def nodes(self) -> Json:
        """Return the nodes and their devices."""
        return self._json("GET", "/api/nodes")

    # -- accounts ------------------------------------------------------------------------------

    def session(self) -> Json:
        """Return who asks."""
        return self._json("GET", "/api/session")

    def users(self) -> Json:
        """Return every account but the owner."""
        return self._json("GET", "/api/users")

    def add_user(self, name: str, *, kind: str = "user", role: str = "viewer") -> Json:
        """Make an account."""
        return self._json("POST", "/api/users", json={"name": name, "kind": kind, "role": role})

    def change_user(
        self, name: str, *, role: str | None = None, disabled: bool | None = None
    ) -> Json:
        """Give an account another role, disable it, or let it in again."""
        wanted = {"role": role, "disabled": disabled}
        return self._json("PATCH", f"/api/users/{name}", json=wanted)

    def keys_of_accounts(self) -> Json:
        """Return every key, without its token."""
        return self._json("GET", "/api/keys")

    def add_key(
        self,
        account: str,
        *,
        label: str = "",
        days: int = 90,
        quota: Mapping[str, int] | None = None,
    ) -> Json:
        """Make a key; `token` of the answer is shown this once."""
        wanted = {"account": account, "label": label, "days": days, "quota": dict(quota or {})}
        return self._json("POST", "/api/keys", json=wanted)

    def revoke_key(self, key_id: str) -> Json:
        """Refuse a key from now on."""
        return self._json("DELETE", f"/api/keys/{key_id}")

    def usage(self) -> Json:
        """Return what keys have used."""
        return self._json("GET", "/api/usage")

    def audit_journal(self, *, after: int = 0, limit: int = 1000, **wanted: str | None) -> Json:
        """Return lines of the audit journal; `wanted` are the filters of GET /api/audit."""
        query = {name: value for name, value in wanted.items() if value is not None}
        return self._json("GET", "/api/audit", params={**query, "after": after, "limit": limit})

    # -- proposals -----------------------------------------------------------------------------

    def propose(self, draft: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Submit a proposal (`governance.proposals.schema.Draft`); return its view."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return self._json("POST", "/api/proposals", json=dict(draft), headers=headers)

    def proposals(
        self,
        wanted: Mapping[str, str | None] | None = None,
        *,
        offset: int = 0,
        limit: int = 20,
    ) -> Json:
        """Return one page of proposals, newest first; `wanted` holds state, author and so on."""
        query = {name: value for name, value in (wanted or {}).items() if value is not None}
        page = {"offset": offset, "limit": limit}
        return self._json("GET", "/api/proposals", params={**query, **page})

    def proposal(self, proposal_id: str) -> Json:
        """Return one proposal."""
        return self._json("GET", f"/api/proposals/{proposal_id}")

    def proposal_stats(self) -> Json:
        """Return counts of proposals."""
        return self._json("GET", "/api/proposals/stats")

    def vote(
        self, proposal_id: str, verdict: str, reasons: Sequence[str], *, side: str = "human"
    ) -> Json:
        """Record a vote: `pass` or `fail`."""
        given = {"side": side, "verdict": verdict, "reasons": list(reasons)}
        return self._json("POST", f"/api/proposals/{proposal_id}/consensus", json=given)

    # -- streams -------------------------------------------------------------------------------

    def follow(
        self,
        run_id: str | None,
        *,
        after: int = 0,
        patience_s: float = 120.0,
        on_link: Callable[[Link], None] = _ignore,
    ) -> Iterator[Event]:
        """Yield events until the run ends, each once, through disconnects and restarts.

        Args:
            run_id: A run, or None for the status changes of all runs (never ends by itself).
            after: Sequence number to go on behind.
            patience_s: Seconds without any connection after which it gives up.
            on_link: Told when the connection is lost and when it is back.

        Raises:
            Unavailable: The service was stopped, or did not come back.
            ServiceError: The service refused.
        """
        lost_at: float | None = None
        while True:
            try:
                with self._stream(run_id, after) as events:
                    if events is None:
                        return
                    if lost_at is not None:
                        on_link(Link.LIVE)
                        lost_at = None
                    for event in events:
                        after = event.seq or after
                        yield event
                        if event.kind == EventKind.END and run_id is not None:
                            return
            except (httpx.TransportError, Unavailable) as error:
                lost_at = lost_at or time.monotonic()
                self._require_hope(error, until=lost_at + patience_s)
                on_link(Link.RECONNECTING)
                time.sleep(_RECONNECT_S)

    def _require_hope(self, error: Exception, *, until: float) -> None:
        """Make sure that it makes sense to connect again.

        Raises:
            Unavailable: The service was stopped, or the time is over.
        """
        if self._is_gone():
            raise _stopped(self.url) from error
        if time.monotonic() > until:
            raise _away(self.url, error) from error

    @contextmanager
    def _stream(self, run_id: str | None, after: int) -> Iterator[Iterator[Event] | None]:
        """Open a stream behind `after`; None if the run has ended and there is nothing more."""
        query = {"run_id": run_id} if run_id else {}
        with httpx_sse.connect_sse(
            self._http,
            "GET",
            "/api/events/training",
            params=query,
            headers={"last-event-id": str(after)},
            timeout=httpx.Timeout(_SILENCE_S, connect=5.0),
        ) as source:
            if source.response.is_error:
                source.response.read()
                _require_success(source.response)
            is_over = source.response.status_code == httpx.codes.NO_CONTENT
            yield None if is_over else map(_event, source.iter_sse())

    # -- plumbing ------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **options: Any) -> Json:
        return cast("Json", self._answer(method, path, **options).json())

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._send(method, path, **options)
        _require_success(answer)
        return answer

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise _away(self.url, error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _event(message: httpx_sse.ServerSentEvent) -> Event:
    data = canonical.decode_object(message.data.encode())
    return Event(data.get("seq"), message.event, data)


def _require_success(answer: httpx.Response) -> None:
    """Raise the error that a problem document names.

    Raises:
        ServiceError: The answer is an error; field, expected, found and cure are as sent.
    """
    if not answer.is_error:
        return
    try:
        document = canonical.decode_object(answer.content)
    except ServiceError:
        is_away = answer.status_code in _PROXY_STATUSES
        code = Unavailable.code if is_away else ServiceError.code
        document = {"code": code, "detail": f"HTTP {answer.status_code}"}
    error = of_code(str(document.get("code")), str(document.get("detail")))
    error.field = document.get("field")
    error.expected = document.get("expected")
    error.found = document.get("found")
    error.cure = document.get("cure")
    raise error


def _stopped(url: str) -> Unavailable:
    return Unavailable(
        f"the service at {url} was stopped",
        found="runs that had not ended are interrupted and can be resumed",
        cure="make up            starts it again\nzpctl resume RUN   goes on with a run",
    )


def _away(url: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"cannot reach the service at {url}",
        found=str(error) or type(error).__name__,
        cure="make up starts it; zpctl doctor finds what is missing",
    )
