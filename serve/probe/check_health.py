"""Checks of what a service says of itself: derived, live, and of the code that it names."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from serve.honesty.scan import Scan, scan
from serve.probe.capture import Exchange
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.seen import Seen
from trainers.data import catalog
from trainers.provenance import REPOSITORY

HEALTH = "/api/healthz"
LARGEST_ERROR = 1e-3
"""Error of a device's probe against numpy above which its kernel did not compute."""

_ROUTES = ("/api/healthz", "/healthz", "/api/readyz", "/readyz")
_CANARY = "canary"
"""The check that is done in the background: only its failure says that something is wrong."""

_CHECKS = frozenset({"manager", "disk", "data", "devices", "scope", "honesty", _CANARY})
_STATES_OF_A_RUN = 3
"""Changes of state that a run has at least: queued, running, succeeded."""


def backed(seen: Seen) -> Finder:
    """`status` and `mocks` follow from checks, each of which tells what it rests on."""
    for answers in (seen.before, seen.after):
        for route in _ROUTES:
            yield from _derived(answers[route])
        yield from _rests_on_something(answers[HEALTH], answers["/api/nodes"])
        yield from _published(answers["/api/datasets"])
    return f"{2 * len(_ROUTES)} answers, each with {len(_CHECKS)} checks"


def _derived(answer: Exchange) -> Iterator[Discrepancy]:
    health = answer.json
    checks: dict[str, Any] = health["checks"]
    if set(checks) != _CHECKS:
        yield _of(answer, "/checks", ", ".join(sorted(_CHECKS)), ", ".join(sorted(checks)))
        return
    good = {name for name, check in checks.items() if _is_good(name, check)}
    for name in sorted(set(checks) - good):
        found = f"{checks[name]['state']}: {checks[name]['detail']}"
        yield _of(answer, f"/checks/{name}", "passed", found)
    expected = "ok" if good == set(checks) else "not_ready"
    if health["status"] != expected:
        yield _of(answer, "/status", f"{expected}, as the checks say", health["status"])
    has_mocks = bool(checks["honesty"]["findings"])
    if health["mocks"] is not has_mocks:
        yield _of(answer, "/mocks", f"{has_mocks}, as the findings say", health["mocks"])


def _is_good(name: str, check: dict[str, Any]) -> bool:
    if name == _CANARY:
        return bool(check["state"] != "failed")
    return check["state"] == "passed" and not check.get("violations")


def _rests_on_something(answer: Exchange, nodes: Exchange) -> Iterator[Discrepancy]:
    checks = answer.json["checks"]
    for name in ("rules", "files"):
        if not checks["honesty"][name] > 0:
            yield _of(answer, f"/checks/honesty/{name}", "above 0", checks["honesty"][name])
    if not checks["disk"]["free_bytes"] >= checks["disk"]["min_free_bytes"]:
        yield _of(answer, "/checks/disk/free_bytes", "enough", checks["disk"]["free_bytes"])
    told = checks["devices"]["devices"]
    found = {}
    for node in nodes.json["nodes"]:
        for device in node["devices"]:
            found[f"{node['node_id']}/{device['device']}"] = device["state"]
            if device["state"] == "usable":
                yield from _computed(nodes, device)
    if told != found:
        yield _of(answer, "/checks/devices/devices", f"{found}, as /api/nodes says", told)


def _computed(nodes: Exchange, device: dict[str, Any]) -> Iterator[Discrepancy]:
    probe = device["probe"]
    error = probe["details"]["largest_error"]
    if probe["usable"] is not True or not 0 <= error < LARGEST_ERROR:
        field = f"/nodes/{device['device']}/probe"
        yield _of(nodes, field, f"usable, with an error below {LARGEST_ERROR}", str(probe))


def _published(answer: Exchange) -> Iterator[Discrepancy]:
    """Yield data files that are there and are not those that their authors published."""
    views = {view["name"]: view for view in answer.json["datasets"]}
    for name in catalog.names():
        for file, digest in catalog.entry(name).digests.items():
            found = views[name]["files"][file]["found"]
            if found not in {None, digest}:
                yield _of(answer, f"/datasets/{name}/files/{file}/found", digest, found)


def live(seen: Seen) -> Finder:
    """What health tells moves with what happens."""
    runs = len(seen.require_runs())
    for route in _ROUTES:
        earlier, answer = seen.before[route], seen.after[route]
        before, after = _manager(earlier), _manager(answer)
        moved = after["audit_seq"] - before["audit_seq"]
        if moved < _STATES_OF_A_RUN * runs:
            expected = f"at least {_STATES_OF_A_RUN * runs} more than before the runs"
            yield _of(answer, "/checks/manager/audit_seq", expected, f"{moved} more")
        grown = after["runs"]["succeeded"] - before["runs"]["succeeded"]
        if grown < runs:
            expected = f"at least {runs} more than before the runs"
            yield _of(answer, "/checks/manager/runs/succeeded", expected, f"{grown} more")
    return f"{len(_ROUTES)} routes, before and after {runs} runs"


def code(seen: Seen) -> Finder:
    """The scan that health rests on read the files of this checkout."""
    answer = seen.after[HEALTH]
    health = answer.json
    ours, theirs = _scanned(), health["checks"]["honesty"]["sha256"]
    if theirs == ours.sha256:
        return f"{ours.files} files"
    if health["commit"] != seen.commit or seen.commit is None:
        raise CannotTell(
            f"the service runs commit {health['commit']}, this is {seen.commit}: "
            "probe it from a checkout of its own commit"
        )
    why = "the service runs other code than its commit"
    yield _of(answer, "/checks/honesty/sha256", ours.sha256, theirs, why=why)
    return f"{ours.files} files"


@cache
def _scanned() -> Scan:
    """Return the scan of this checkout, whose files do not change while a process runs."""
    return scan(REPOSITORY)


def _manager(answer: Exchange) -> dict[str, Any]:
    told: dict[str, Any] = answer.json["checks"]["manager"]
    return told


def _of(
    answer: Exchange, field: str, expected: object, found: object, *, why: str = ""
) -> Discrepancy:
    return differs(answer.place, expected, found, field=field, file=answer.file, why=why)
