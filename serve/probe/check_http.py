"""Checks of the answers as answers: schema, headers, problems, what moves and what does not."""

from collections.abc import Iterator
from typing import Any

from evidence.subject import first_difference
from serve.probe.capture import Exchange
from serve.probe.contract import JSON, PROBLEM
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.seen import Seen, require

OK, NO_CONTENT, UNAUTHORIZED, NOT_FOUND, UNPROCESSABLE = 200, 204, 401, 404, 422

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_DISPOSITIONS = ("inline", "attachment")


def schema(seen: Seen) -> Finder:
    """Every answer has a status, a media type and a body that the contract states."""
    for exchange in seen.exchanges:
        if not exchange.status:
            yield _of(exchange, "", "an answer", exchange.error)
            continue
        for breach in seen.contract.breaches(
            exchange.method,
            exchange.route,
            status=exchange.status,
            content_type=exchange.headers.get("content-type", ""),
            body=exchange.body,
        ):
            yield _of(exchange, breach.field, breach.expected, breach.found)
    return f"{len(seen.exchanges)} answers"


def headers(seen: Seen) -> Finder:
    """Every answer has the headers of docs/api.md, and JSON says its charset."""
    answered = [exchange for exchange in seen.exchanges if exchange.status]
    for exchange in answered:
        for name, value in _HEADERS.items():
            if exchange.headers.get(name) != value:
                yield _of(exchange, name, value, exchange.headers.get(name, "none"))
        disposition = exchange.headers.get("content-disposition", "none")
        if disposition.partition(";")[0] not in _DISPOSITIONS:
            yield _of(exchange, "content-disposition", " or ".join(_DISPOSITIONS), disposition)
        media = exchange.headers.get("content-type", "none")
        if media.partition(";")[0] in {JSON, PROBLEM} and not media.endswith("; charset=utf-8"):
            yield _of(exchange, "content-type", "a charset of utf-8", media)
    return f"{len(answered)} answers"


def routes(seen: Seen) -> Finder:
    """Every GET route of the contract was answered well at least once."""
    good = {one.route for one in seen.exchanges if one.status in {OK, NO_CONTENT}}
    wanted = seen.contract.get_routes
    for route in wanted:
        if route not in good:
            tried = [one for one in seen.exchanges if one.route == route]
            statuses = ", ".join(sorted({str(one.status) for one in tried})) or "not asked"
            file = tried[-1].file if tried else ""
            yield differs(f"GET {route}", "200 at least once", statuses, field="status", file=file)
    return f"{len(wanted)} routes"


def openapi(seen: Seen) -> Finder:
    """The service states the contract of this checkout."""
    answer = seen.before["/api/openapi.json"]
    stated = answer.json
    if stated != seen.contract.document:
        pointer, expected, found = first_difference(seen.contract.document, stated)
        yield _of(answer, pointer, expected, found, why="the service states another API")
    return f"{len(seen.contract.document['paths'])} paths"


def token(seen: Seen) -> Finder:
    """The token is asked for, and stands in no answer."""
    if not seen.token_given:
        raise CannotTell("no token was given")
    anonymous = require(seen.anonymous, "a route without a token")
    yield from _problem(anonymous, status=UNAUTHORIZED, code="unauthenticated")
    for exchange in seen.leaks:
        yield _of(exchange, "", "no token", "the token of the request")
    return f"{len(seen.exchanges)} answers"


def unknown_run(seen: Seen) -> Finder:
    """A run that there is not gives 404 and a problem document on every route."""
    for exchange in seen.unknown_run:
        yield from _problem(exchange, status=NOT_FOUND, code="not_found")
    return f"{len(seen.unknown_run)} routes"


def wrong_field(seen: Seen) -> Finder:
    """A wrong value gives 422 and a problem document that names the field."""
    for exchange, field in seen.wrong:
        yield from _problem(exchange, status=UNPROCESSABLE, field=field)
    return f"{len(seen.wrong)} requests"


def far_future(seen: Seen) -> Finder:
    """A stream of a sealed run behind a sequence number of the future has nothing: 204."""
    runs = seen.require_runs()
    for run in runs:
        answer = require(run.beyond, "a stream of the future")
        if answer.status != NO_CONTENT:
            yield _of(answer, "status", str(NO_CONTENT), str(answer.status))
    return f"{len(runs)} streams"


def repeated(seen: Seen) -> Finder:
    """The same request twice gives the same of what does not change."""
    for route, again in seen.again.items():
        before = seen.after[route]
        if route in _STEADY and before.body != again.body:
            yield _changed(before, again)
    for route in _FIXED:
        if seen.before[route].body != seen.after[route].body:
            yield _changed(seen.before[route], seen.after[route])
    for run in seen.require_runs():
        view, again = require(run.view, "the run"), require(run.view_again, "the run")
        if view.body != again.body:
            yield _changed(view, again)
    return f"{len(_STEADY) + len(_FIXED) + len(seen.runs)} pairs"


_FIXED = ("/api/openapi.json", "/api/docs", "/api/recipes")
_STEADY = (*_FIXED, "/api/datasets")


def moving(seen: Seen) -> Finder:
    """What three runs change has changed: lists, counts, the log, the runs themselves."""
    runs = seen.require_runs()
    for route, name in (
        ("/api/training/runs", "total"),
        ("/api/models", "total"),
        ("/api/log", "size"),
    ):
        before, after = seen.before[route], seen.after[route]
        grown = after.json[name] - before.json[name]
        if grown < len(runs):
            yield _of(after, f"/{name}", f"{len(runs)} more than before", f"{grown} more")
    for run in runs:
        view = require(run.view, "the run")
        submitted = run.submitted.json
        if view.json["last_seq"] <= submitted["last_seq"]:
            found = f"{submitted['last_seq']}, then {view.json['last_seq']}"
            yield _of(view, "/last_seq", "a number that grows", found)
        if view.json["status"] == submitted["status"]:
            yield _of(view, "/status", "another than at first", view.json["status"])
    return f"3 lists, {len(runs)} runs"


def listed(seen: Seen) -> Finder:
    """What did not exist is not there, and is there afterwards: runs, checkpoints, evidence."""
    runs = seen.require_runs()
    known = {one["run_id"] for one in seen.before["/api/training/runs"].json["runs"]}
    later = seen.after["/api/training/runs"]
    now_known = {one["run_id"] for one in later.json["runs"]}
    for run in runs:
        if run.run_id in known:
            yield _of(run.submitted, "/run_id", "a new run", "one that was listed before")
        if run.run_id not in now_known:
            yield _of(later, "/runs", run.run_id, "other runs")
        checkpoint, view, evidence = run.early
        yield from _problem(checkpoint, status=NOT_FOUND, code="not_found")
        final = run.downloads[run.asked.steps, "model.safetensors"]
        if final.status != OK:
            yield _of(final, "status", str(OK), str(final.status))
        if view.json["step"] >= run.asked.steps:
            yield _of(view, "/step", f"below {run.asked.steps}", str(view.json["step"]))
        sealed = require(run.files, "the evidence")
        if evidence.json["sealed"] is not False or sealed.json["sealed"] is not True:
            found = f"{evidence.json['sealed']}, then {sealed.json['sealed']}"
            yield _of(sealed, "/sealed", "false, then true", found)
    return f"{len(runs)} runs"


def _problem(
    exchange: Exchange, *, status: int, code: str | None = None, field: str | None = None
) -> Iterator[Discrepancy]:
    """Yield what an answer lacks of a problem document."""
    if exchange.status != status:
        yield _of(exchange, "status", str(status), str(exchange.status))
        return
    media = exchange.headers.get("content-type", "none")
    if media.partition(";")[0] != PROBLEM:
        yield _of(exchange, "content-type", PROBLEM, media)
        return
    body: dict[str, Any] = exchange.json
    expected = {"status": status, "instance": exchange.target.partition("?")[0]}
    expected |= {"code": code} if code else {}
    expected |= {"field": field} if field else {}
    expected["type"] = f"urn:zeropoint:problem:{body.get('code')}"
    for name, value in expected.items():
        if body.get(name) != value:
            yield _of(exchange, f"/{name}", str(value), str(body.get(name)))


def _changed(before: Exchange, after: Exchange) -> Discrepancy:
    pointer, first, second = first_difference(before.json, after.json)
    return _of(after, pointer, first, second, why="it does not change, and did")


def _of(exchange: Exchange, field: str, expected: str, found: str, *, why: str = "") -> Discrepancy:
    return differs(exchange.place, expected, found, field=field, file=exchange.file, why=why)
