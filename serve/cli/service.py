"""`zpctl up`, `down`, `status`: the local service."""

from typing import Any

import typer

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
    running = local.find(settings.home)
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
    service = local.find(home)
    if service is None:
        terminal.result(f"no service runs in {home}")
        return ExitCode.GOOD
    with signals.stopping_once():
        ended = local.stop(service)
    terminal.result(f"service stopped, {ended} processes ended")
    return ExitCode.GOOD


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
    return {"url": url, "dashboard_url": None, **_health(url)}


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
        terminal.result(f"  {name:<{render.LABEL_WIDTH}}  {value}".rstrip())
