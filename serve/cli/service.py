"""`zpctl up`, `down`, `status`: the local service."""

from pathlib import Path
from typing import Any

import typer

from evidence.errors import ConfigError
from serve import local
from serve.cli import connection, documents, live, options, phases, render, signals
from serve.cli.options import ExitCode, JsonOption
from serve.cli.render import Mark
from serve.cli.terminal import Terminal
from serve.client import Client
from serve.local import LocalService

_MARKS = {"passed": Mark.VERIFIED, "failed": Mark.FAILED, "pending": Mark.WARNING}


def up(context: typer.Context) -> int:
    """Start a service that stays, or say where it runs already.

    Its state is below $ZEROPOINT_HOME (default ./var). The token that clients need stands in a
    file; its path is printed, the token never.
    """
    terminal = options.of(context).terminal
    settings = connection.settings()
    running, cleared = _present(settings.home)
    if cleared:
        terminal.progress(cleared)
    if running is None:
        with (
            signals.stopping_once(),
            phases.phase(terminal, "service", "starting Ray and Serve") as this,
        ):
            running = local.start(settings)
            this.done = "started"
    facts = {
        "API": f"{running.url}/api",
        "API docs": f"{running.url}/api/docs",
        "Dashboard": running.dashboard_url,
        "Token file": running.token_file,
        "Ray token": running.ray_token_file,
        "Evidence": running.evidence_root,
        "Stop it": "make down",
    }
    _print_facts(terminal, facts)
    return ExitCode.GOOD


def down(context: typer.Context) -> int:
    """Stop the local service; runs that go on are interrupted and can be resumed."""
    terminal = options.of(context).terminal
    home = connection.settings().home
    with signals.stopping_once():
        service, cleared = _present(home)
        ended = local.stop(service) if service is not None else 0
    if service is None:
        terminal.result(cleared or f"no service runs in {home}")
        return ExitCode.GOOD
    left = len(service.processes())
    if left:
        terminal.result(f"{left} processes of the service do not end")
        return ExitCode.FAILED
    terminal.result(f"service stopped, {ended} processes ended")
    return ExitCode.GOOD


def _present(home: Path) -> tuple[LocalService | None, str]:
    """Return the service of a home, if any, and what was cleared away, in words.

    What runs for a home whose `service.json` is damaged or gone is ended.
    """
    try:
        service = local.find(home)
        damage = f"{local.STATE_FILE} is missing"
    except ConfigError as error:
        service, damage = None, error.detail
    if service is not None:
        return service, ""
    was_there = (home / local.STATE_FILE).exists()
    ended = local.clear(home)
    if not ended and not was_there:
        return None, ""
    return None, f"{damage}; cleared away, {ended} processes ended"


def status(context: typer.Context, *, json: JsonOption = False) -> int:
    """Say where the service is, what belongs to it, and whether it is ready."""
    given = options.of(context)
    known = _of_url(given.url) if given.url else _of_local(connection.require_local())
    if json:
        documents.print_document(given.terminal, known)
        return ExitCode.GOOD
    frame = live.frame_of(given.terminal)
    mark, word = (Mark.DONE, "ready") if known["ready"] else (Mark.WARNING, "not ready")
    given.terminal.result(render.phase(frame, mark, "service", f"{known['url']} {word}"))
    hidden = {"url", "ready", "checks"}
    facts = {name: value for name, value in known.items() if name not in hidden}
    _print_facts(given.terminal, {name.replace("_", " "): v for name, v in facts.items()})
    for name, check in known["checks"].items():
        line = render.phase(frame, _MARKS[check["state"]], name, check["detail"])
        given.terminal.result(line)
    return ExitCode.GOOD


def _of_local(service: LocalService) -> dict[str, Any]:
    return {
        "url": service.url,
        "dashboard_url": service.dashboard_url,
        "ray_address": service.ray_address,
        "home": service.home,
        "evidence_root": service.evidence_root,
        "token_file": service.token_file,
        "ray_token_file": service.ray_token_file,
        "processes": len(service.processes()),
        **_health(service.url),
    }


def _of_url(url: str) -> dict[str, Any]:
    return {"url": url, **_health(url)}


def _health(url: str) -> dict[str, Any]:
    with Client(url, token=None) as client:
        health = client.readiness()
    checks = {
        name: {"state": check["state"], "detail": check["detail"]}
        for name, check in health["checks"].items()
    }
    told = {name: health[name] for name in ("version", "commit", "phase", "mocks")}
    return {"ready": health["status"] == "ok", **told, "checks": checks}


def _print_facts(terminal: Terminal, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if value is not None:
            told = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            terminal.result(f"  {name:<{render.LABEL_WIDTH}}  {told}")
