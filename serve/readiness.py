"""Whether the service can do what it promises: the checks behind healthz and readyz.

The checks decide from plain values; `Readiness` alone asks the manager. Numbers in a check are for
the reader, `state` and `violations` decide.

    manager    it answers
    disk       there is space for another run
    data       every byte of training data is published, approved, or marked synthetic
    devices    what is called usable ran a kernel and a gradient; at least one is
    scope      the routes and recipes are those of scope.toml
    honesty    the scan of the shipped packages found nothing
    canary     training learned from true labels and nothing from shuffled ones
"""

import asyncio
import math
import tomllib
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError

from cluster.asking import answer
from cluster.settings import Settings
from evidence.errors import ServiceError, Unavailable
from serve.honesty.scan import Scan, scan
from serve.schemas import Health
from serve.version import VERSION
from trainers import recipes
from trainers.data import catalog
from trainers.provenance import REPOSITORY

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from cluster.manager_actor import ManagerActor

SCOPE_FILE = Path(__file__).with_name("scope.toml")
"""What the service offers."""

CANARY = "canary"
"""The check that only a failure of makes the service not ready."""

LARGEST_PROBE_ERROR = 1e-3
"""Error against numpy above which a probe's kernel did not compute; as trainers.kernel_probe."""

Answer = TypeVar("Answer")
State = Literal["passed", "failed", "pending", "running", "no data"]
Check = dict[str, Any]
"""`state`, `detail`, `violations` where there are some, and what the check looked at."""

Published = Mapping[str, Collection[str]]
"""SHA-256 digests of the raw files of each data set, by name."""


class Scope(BaseModel):
    """The routes and recipes that the service offers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    routes: frozenset[str]
    """As `METHOD /path`."""
    recipes: frozenset[str]
    """Names."""


def read_scope(file: Path = SCOPE_FILE) -> Scope:
    """Return the scope that a file lists.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no scope.
    """
    return Scope.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))


def published_digests() -> Published:
    """Return the digests that the catalog of data sets publishes."""
    return {name: catalog.entry(name).digests.values() for name in catalog.names()}


# -- the checks --------------------------------------------------------------------------------


def check_manager(known: Mapping[str, Any]) -> Check:
    """Tell what the manager answered; that it did is what passes."""
    told = {name: known[name] for name in ("runs", "audit_seq", "key_id")}
    return _check("passed", "the manager answers", **told)


def check_disk(known: Mapping[str, Any]) -> Check:
    """Pass if the evidence disk has space for another run."""
    free, least = known["free_bytes"], known["min_free_bytes"]
    return _check(
        "passed" if free >= least else "failed",
        f"{free} bytes are free, at least {least} are needed",
        free_bytes=free,
        min_free_bytes=least,
    )


def check_data(
    datasets: Sequence[Mapping[str, Any]],
    published: Published,
    *,
    approved: Collection[str] = frozenset(),
) -> Check:
    """Pass if no data set is damaged and every file's digest is published or approved.

    Args:
        datasets: Views of the data sets; `files` holds the digest `found` of each raw file.
        published: What the authors of the data published.
        approved: Digests that the data manifest approves.
    """
    violations = []
    for view in datasets:
        good = {*published.get(view["name"], ()), *approved}
        if view["state"] == "damaged":
            violations.append(f"{view['name']}: damaged, fetch it again")
        violations += [
            f"{view['name']}/{file}: SHA-256 {entry['found']} is neither published nor approved"
            for file, entry in view["files"].items()
            if entry["found"] is not None and entry["found"] not in good
            if view.get("synthetic") is not True
        ]
    states = {view["name"]: view["state"] for view in datasets}
    return _verdict(violations, "every file of training data is published", datasets=states)


def check_devices(nodes: Sequence[Mapping[str, Any]]) -> Check:
    """Pass if each usable device has a probe behind it and there is one; wait while probing."""
    devices = [(node["node_id"], device) for node in nodes for device in node["devices"]]
    states = {f"{node_id}/{device['device']}": device["state"] for node_id, device in devices}
    violations = [
        f"{node_id}/{device['device']}: called usable, but its probe kernel did not run"
        for node_id, device in devices
        if device["state"] == "usable" and not is_proven(device)
    ]
    if not violations and "usable" not in states.values():
        if "probing" in states.values():
            return _check("pending", "devices are being probed", devices=states)
        violations = ["no node has a usable device", *map(_failure, devices)]
    return _verdict(violations, "a kernel and a gradient ran on usable devices", devices=states)


def is_proven(device: Mapping[str, Any]) -> bool:
    """Return whether a device's probe ran a kernel and a gradient that agreed with numpy."""
    probe = device["probe"] or {}
    details = probe.get("details") or {}
    error = details.get("largest_error", math.nan)
    names = {device["device"], probe.get("device"), details.get("device")}
    return probe.get("usable") is True and len(names) == 1 and error < LARGEST_PROBE_ERROR


def check_scope(scope: Scope, *, routes: Collection[str], recipe_names: Collection[str]) -> Check:
    """Pass if the routes and recipes are those of the scope, no more and no fewer."""
    violations = [
        *_differences("route", scope.routes, routes),
        *_differences("recipe", scope.recipes, recipe_names),
    ]
    counts = {"routes": len(routes), "recipes": len(recipe_names)}
    return _verdict(violations, "routes and recipes are those of scope.toml", **counts)


def check_honesty(result: Scan) -> Check:
    """Pass if the scan found nothing."""
    violations = [f"{one.file}:{one.line}: {one.rule}: {one.detail}" for one in result.findings]
    return _verdict(
        violations,
        f"{result.rules} rules found nothing in {result.files} files",
        rules=result.rules,
        files=result.files,
        sha256=result.sha256,
        exceptions=result.exceptions,
        findings=[asdict(finding) for finding in result.findings],
    )


def status_of(checks: Mapping[str, Check]) -> Literal["ok", "not_ready"]:
    """Return `ok` if every check passed; one that is pending is not ready.

    The canary takes a while and gives way to runs: it is in the way only where it failed.
    """
    is_ready = all(
        check["state"] == "passed" or (name == CANARY and check["state"] != "failed")
        for name, check in checks.items()
    )
    return "ok" if is_ready else "not_ready"


def _check(state: State, detail: str, **told: Any) -> Check:
    return {"state": state, "detail": detail, **told}


def _verdict(violations: Sequence[str], good: str, **told: Any) -> Check:
    state: State = "failed" if violations else "passed"
    detail = "; ".join(violations)[:1000] if violations else good
    return _check(state, detail, violations=list(violations), **told)


def _failure(of_node: tuple[str, Mapping[str, Any]]) -> str:
    node_id, device = of_node
    reason = (device["probe"] or {}).get("reason") or device["probe"]
    return f"{node_id}/{device['device']}: {reason}"


def _differences(kind: str, listed: Collection[str], offered: Collection[str]) -> list[str]:
    unlisted = [f"{kind} {one}: offered, not listed" for one in sorted(set(offered) - set(listed))]
    missing = [f"{kind} {one}: listed, not offered" for one in sorted(set(listed) - set(offered))]
    return unlisted + missing


# -- asking --------------------------------------------------------------------------------------


class Readiness:
    """Answers for one replica process.

    The shipped files and scope.toml do not change while a process runs: they are read once, at the
    first question, in a thread.

    Args:
        settings: For the phase.
        commit: Of the code that runs; None if it cannot be known.
        routes: What the application offers, as `METHOD /path`.
        root: Folder of the packages to scan.
        answer_s: Seconds that the manager has for one answer.
    """

    def __init__(
        self,
        settings: Settings,
        commit: str | None,
        routes: frozenset[str],
        *,
        root: Path = REPOSITORY,
        answer_s: float = 10.0,
    ) -> None:
        self._phase = settings.phase
        self._commit = commit
        self._routes = routes
        self._root = root
        self._answer_s = answer_s
        self._reading: asyncio.Task[tuple[Scan, Scope]] | None = None

    async def health(self, manager: "ActorProxy[ManagerActor]") -> Health:
        """Return the state of every dependency; never raises because one is away."""
        reading, (of_manager, phase), of_nodes = await asyncio.gather(
            self._read_once(),
            self._manager_checks(manager.health.remote()),
            self._device_check(manager.nodes.remote()),
        )
        result, scope = reading
        checks = {
            **of_manager,
            "devices": of_nodes,
            "scope": check_scope(scope, routes=self._routes, recipe_names=recipes.names()),
            "honesty": check_honesty(result),
        }
        return Health(
            status=status_of(checks),
            version=VERSION,
            commit=self._commit,
            phase=phase,
            mocks=bool(result.findings),
            checks=checks,
        )

    async def _read_once(self) -> tuple[Scan, Scope]:
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
        return await asyncio.shield(self._reading)

    def _read(self) -> tuple[Scan, Scope]:
        return scan(self._root), read_scope()

    async def _manager_checks(
        self, reference: Awaitable[dict[str, Any]]
    ) -> tuple[dict[str, Check], str]:
        """Return what rests on the manager's answer, and the phase that it is in."""
        try:
            known = await self._answer_in_time(reference)
        except ServiceError as error:
            unknown = _check("pending", "only the manager knows")
            names = ("disk", "data", CANARY)
            return {"manager": _unanswered(error), **dict.fromkeys(names, unknown)}, self._phase
        checks = {
            "manager": check_manager(known),
            "disk": check_disk(known),
            "data": check_data(known["datasets"], published_digests()),
            CANARY: dict(known["canary"]),
        }
        self._phase = known["phase"]
        return checks, self._phase

    async def _device_check(self, reference: Awaitable[list[dict[str, Any]]]) -> Check:
        try:
            return check_devices(await self._answer_in_time(reference))
        except ServiceError as error:
            return _unanswered(error)

    async def _answer_in_time(self, reference: Awaitable[Answer]) -> Answer:
        """Return what the manager answers.

        Raises:
            ServiceError: What it raised, or Unavailable.
        """
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer(reference)
        except TimeoutError as error:
            raise Unavailable(f"no answer from the manager within {self._answer_s} s") from error
        except RayError as error:
            raise Unavailable(f"{type(error).__name__}: {error}"[:500]) from error


def _unanswered(error: ServiceError) -> Check:
    return _check("failed", error.detail)
