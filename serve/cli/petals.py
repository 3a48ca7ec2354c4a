"""`zpctl petals`: the bridge to a private swarm."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from evidence.errors import InvalidInput, of_code
from serve.cli import app, connection, documents, live, options, petals_demo, render, units
from serve.cli.options import ExitCode, JsonOption
from serve.cli.render import Column
from serve.cli.terminal import Terminal

group = app.group("Join, host and use a private Petals swarm.")
_cache = app.group("Show and fill the local cache of blocks.")
group.add_typer(_cache, name="cache")
group.command("demo")(petals_demo.demo)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name of an approved model.")]
PeerArgument = Annotated[str, typer.Argument(metavar="PEER", help="A libp2p peer id.")]


@group.command("status")
def status(context: typer.Context, *, json: JsonOption = False) -> int:
    """Show mode, identity, swarm, model, cache, and where it would compute now."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _show_status(given.terminal, client.petals.status(), json=json)


@group.command("join")
def join(context: typer.Context, model: ModelArgument, *, json: JsonOption = False) -> int:
    """Join the swarm of ZEROPOINT_PETALS_PEERS as a client, for one model."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _show_status(given.terminal, client.petals.join(model), json=json)


@group.command("host")
def host(
    context: typer.Context,
    model: ModelArgument,
    blocks: Annotated[str, typer.Argument(metavar="BEGIN:END", help="E.g. 0:16.")],
    *,
    json: JsonOption = False,
) -> int:
    """Serve blocks of a model to listed peers."""
    given = options.of(context)
    begin, end = _span(blocks)
    with connection.connect(given) as client:
        return _show_status(given.terminal, client.petals.host(model, begin, end), json=json)


@group.command("leave")
def leave(context: typer.Context, *, json: JsonOption = False) -> int:
    """Leave the swarm and stop serving."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _show_status(given.terminal, client.petals.leave(), json=json)


@group.command("peers")
def peers(context: typer.Context, *, json: JsonOption = False) -> int:
    """List peers: who they are, what they may, what was measured of them."""
    given = options.of(context)
    with connection.connect(given) as client:
        answer = client.petals.peers()
    if json:
        documents.print_document(given.terminal, answer)
        return ExitCode.GOOD
    rows = [_peer_cells(peer) for peer in answer["peers"]]
    titles = ("PEER", "LABEL", "RIGHTS", "BLOCKS", "BREAKER", "#RTT MS", "#ERRORS")
    return _table(given.terminal, titles, rows, none="no peers")


@group.command("allow")
def allow(
    context: typer.Context,
    peer: PeerArgument,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Who it is.")],
    *,
    rights: Annotated[str, typer.Option(help="serve, use, or serve,use.")] = "serve,use",
    expires: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="RFC 3339; from then on it may nothing.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """List a peer, or change its entry; the new list is signed and in force at once."""
    given = options.of(context)
    wanted = [right.strip() for right in rights.split(",")]
    with connection.connect(given) as client:
        view = client.petals.allow(peer, label, wanted, expires=expires)
    return _show_list(given.terminal, view, json=json)


@group.command("deny")
def deny(context: typer.Context, peer: PeerArgument, *, json: JsonOption = False) -> int:
    """Take a peer off the list; streams that it has open are cut."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _show_list(given.terminal, client.petals.deny(peer), json=json)


@group.command("generate")
def generate(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Text to continue.")] = "",
    *,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of the answer.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    local: Annotated[bool, typer.Option("--local", help="Compute here alone.")] = False,
    json: JsonOption = False,
) -> int:
    """Continue a text, and show fallbacks as they happen."""
    given = options.of(context)
    request = {
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "prefer": "local" if local else "swarm",
    }
    text, last = prompt, {}
    with connection.connect(given) as client:
        for event in client.petals.generate(**request):
            last = event.data
            if event.kind in {"token", "end"}:
                text += last.get("text" if event.kind == "token" else "rest", "")
            elif event.kind == "petals.fallback":
                given.terminal.progress(
                    f"fallback after {last['silence_s']:.2f} s without an answer: {last['cause']}"
                )
            elif event.kind == "error":
                raise of_code(last["code"], last["detail"])
    if json:
        documents.print_document(given.terminal, {**last, "text": text})
    else:
        given.terminal.result(text)
    return ExitCode.GOOD


@_cache.command("show")
def show_cache(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the blocks that are here."""
    given = options.of(context)
    with connection.connect(given) as client:
        cache = client.petals.status()["cache"]
    return _show_cache(given.terminal, cache, json=json)


@_cache.command("warm")
def warm_cache(
    context: typer.Context,
    model: ModelArgument,
    *,
    blocks: Annotated[
        str | None, typer.Option(metavar="BEGIN:END", help="Only these; else all.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Put blocks of a model into the cache, so that they are here when peers are not."""
    given = options.of(context)
    wanted = range(*_span(blocks)) if blocks is not None else None
    with connection.connect(given) as client:
        cache = client.petals.warm(model, wanted)["cache"]
    return _show_cache(given.terminal, cache, json=json)


def _span(text: str) -> tuple[int, int]:
    begin, _, end = text.partition(":")
    if not (begin.isdecimal() and end.isdecimal()):
        raise InvalidInput(f"blocks: expected BEGIN:END, found {text[:40]!r}", field="blocks")
    return int(begin), int(end)


def _show_status(terminal: Terminal, view: Mapping[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(terminal, view)
        return ExitCode.GOOD
    model, hosting, fallback = view["model"], view["hosting"], view["fallback"]
    facts = {
        "Mode": view["mode"],
        "Client": view["identity"]["client"],
        "Server": view["identity"]["server"],
        "Model": f"{model['name']}, {model['blocks']} blocks" if model else "none",
        "Peers": f"{view['swarm']['announced_peers']} announce blocks",
        "Fallback": f"{fallback['state']}: {fallback['why']}",
    }
    if view["swarm"]["error"]:
        facts["Swarm"] = view["swarm"]["error"]
    if hosting:
        facts["Serves"] = f"{hosting['begin']}:{hosting['end']}"
        for address in hosting["addresses"]:
            facts["Address"] = address
        reachable = hosting["reachable"] or {"ok": False, "why": "not tried"}
        facts["Reachable"] = "yes" if reachable["ok"] else f"no: {reachable['why']}"
    for label, value in facts.items():
        terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    return ExitCode.GOOD


def _show_list(terminal: Terminal, view: Mapping[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(terminal, view)
        return ExitCode.GOOD
    rows = [
        [peer["id"], peer["label"], ",".join(peer["rights"]), peer["expires"] or "never"]
        for peer in view["peers"]
    ]
    terminal.progress(f"allowlist {view['counter']}")
    return _table(terminal, ("PEER", "LABEL", "RIGHTS", "EXPIRES"), rows, none="nobody is listed")


def _show_cache(terminal: Terminal, cache: Mapping[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(terminal, cache)
        return ExitCode.GOOD
    rows = [
        [one["model"][:12], str(one["block"]), units.size(one["bytes"]), _yes(one["pinned"])]
        for one in cache["blocks"]
    ]
    return _table(terminal, ("MODEL", "#BLOCK", "#SIZE", "IN USE"), rows, none="no blocks")


def _peer_cells(peer: Mapping[str, Any]) -> list[str]:
    span = peer["blocks"]
    rtt = f"{1e3 * peer['rtt_s']:.1f}" if peer["rtt_s"] is not None else ""
    rate = peer["error_rate"]
    state = "expelled" if peer["expelled"] else ",".join(peer["rights"]) or "stranger"
    return [
        peer["peer_id"],
        peer["label"] or "",
        state,
        f"{span[0]}:{span[1]}" if span else "",
        peer["breaker"],
        rtt,
        units.percent(rate) if rate is not None else "",
    ]


def _table(
    terminal: Terminal, titles: Sequence[str], rows: Sequence[list[str]], *, none: str
) -> int:
    columns = [Column(one.lstrip("#"), is_number=one.startswith("#")) for one in titles]
    if not rows:
        terminal.result(none)
        return ExitCode.GOOD
    for line in render.table(live.frame_of(terminal), columns, rows):
        terminal.result(line)
    return ExitCode.GOOD


def _yes(value: bool) -> str:  # noqa: FBT001 - a cell of a table
    return "yes" if value else ""
