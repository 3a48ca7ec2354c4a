"""`zpctl users` and `zpctl keys`: who may ask a service, by which keys, and what these used."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from evidence.errors import InvalidInput
from governance.accounts import AccountKind, Quota, Role
from serve.cli import app, connection, documents, live, options, render, units
from serve.cli.options import ExitCode, JsonOption, Options
from serve.cli.render import Column

users = app.group("Manage who may ask this service.")
keys = app.group("Manage the keys of accounts, and show what these used.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of an account.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A key's id.")]


@users.command("list")
def list_users(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the accounts; the owner, who can read the token file, has no record."""
    given = options.of(context)
    with connection.connect(given) as client:
        answer = client.users()
    rows = [
        [one["name"], one["kind"], one["role"], "disabled" if one["disabled"] else "good"]
        for one in answer["users"]
    ]
    return _show(given, answer, ("NAME", "KIND", "ROLE", "STATE"), rows, "accounts", json=json)


@users.command("add")
def add_user(
    context: typer.Context,
    name: NameArgument,
    *,
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.VIEWER,
    kind: Annotated[AccountKind, typer.Option(help="A person, or a program.")] = AccountKind.USER,
    json: JsonOption = False,
) -> int:
    """Make an account; it needs a key before it can do anything."""
    given = options.of(context)
    with connection.connect(given) as client:
        made = client.add_user(name, kind=kind, role=role)
    return _told(given, made, f"{name} is a {kind} with the role {role}", json=json)


@users.command("change")
def change_user(
    context: typer.Context,
    name: NameArgument,
    *,
    role: Annotated[Role | None, typer.Option(help="The role from now on.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether it is refused.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Give an account another role, disable it, or let it in again."""
    if role is None and disabled is None:
        raise InvalidInput(
            "expected --role, --disable or --enable, found none", cure="zpctl users change --help"
        )
    given = options.of(context)
    with connection.connect(given) as client:
        changed = client.change_user(name, role=role, disabled=disabled)
    state = "disabled" if changed["disabled"] else "good"
    return _told(given, changed, f"{name} has the role {changed['role']}, {state}", json=json)


@keys.command("list")
def list_keys(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the keys; their tokens were shown once."""
    given = options.of(context)
    with connection.connect(given) as client:
        answer = client.keys_of_accounts()
    rows = [
        [one["key_id"], one["account"], _state(one), one["expires"][:10], one["label"]]
        for one in answer["keys"]
    ]
    titles = ("KEY", "ACCOUNT", "STATE", "EXPIRES", "LABEL")
    return _show(given, answer, titles, rows, "keys", json=json)


@keys.command("add")
def add_key(
    context: typer.Context,
    name: NameArgument,
    *,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int, typer.Option(metavar="N", help="Its life, 1 to 366 days.")] = 90,
    quota: Annotated[
        list[str] | None,
        typer.Option("--quota", metavar="PART=N", help="A limit; may be given again."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Make a key of an account and print its token, once.

    Parts of a quota: live_runs, runs_per_day, steps_per_day, device_s_per_day, stored_bytes. The
    token is the whole of standard output, so that `> FILE` keeps it; set a umask of 077 first.
    """
    given = options.of(context)
    with connection.connect(given) as client:
        made = client.add_key(name, label=label, days=days, quota=_quota(quota or ()))
    if json:
        documents.print_document(given.terminal, made)
        return ExitCode.GOOD
    given.terminal.progress(f"{made['key_id']} of {name}, good until {made['expires'][:10]}")
    given.terminal.result(made["token"])
    return ExitCode.GOOD


@keys.command("revoke")
def revoke_key(context: typer.Context, key: KeyArgument, *, json: JsonOption = False) -> int:
    """Refuse a key, and the sessions that it opened, from now on."""
    given = options.of(context)
    with connection.connect(given) as client:
        revoked = client.revoke_key(key)
    return _told(given, revoked, f"{key} of {revoked['account']} is revoked", json=json)


@keys.command("usage")
def show_usage(context: typer.Context, *, json: JsonOption = False) -> int:
    """Show what keys have used: all of them to an admin, else those of the own account."""
    given = options.of(context)
    with connection.connect(given) as client:
        answer = client.usage()
    rows = [
        [
            one["account"], one["key_id"] or "", str(one["runs"]), str(one["live_runs"]),
            str(one["steps"]), f"{one['device_s']:.0f} s", units.size(one["bytes"]),
        ]
        for one in answer["usage"]
    ]  # fmt: skip
    titles = ("ACCOUNT", "KEY", "#RUNS", "#LIVE", "#STEPS", "#DEVICE", "#SIZE")
    return _show(given, answer, titles, rows, "usage", json=json)


def _quota(parts: Sequence[str]) -> dict[str, int]:
    quota = {}
    for part in parts:
        name, _, most = part.partition("=")
        if name not in Quota.model_fields or not most.isdecimal():
            raise InvalidInput(
                f"--quota: expected one of {', '.join(Quota.model_fields)}, `=` and a number, "
                f"found {part!r}",
                field="quota",
                cure="zpctl keys add NAME --quota live_runs=2",
            )
        quota[name] = int(most)
    return quota


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked"] is not None:
        return "revoked"
    return "good" if key["in_force"] else "refused"


def _told(given: Options, answer: Mapping[str, Any], words: str, *, json: bool) -> int:
    if json:
        documents.print_document(given.terminal, answer)
    else:
        given.terminal.result(words)
    return ExitCode.GOOD


def _show(
    given: Options,
    answer: Mapping[str, Any],
    titles: Sequence[str],
    rows: Sequence[list[str]],
    what: str,
    *,
    json: bool,
) -> int:
    """Print an answer as a document, or its rows as a table."""
    if json:
        documents.print_document(given.terminal, answer)
        return ExitCode.GOOD
    if not rows:
        given.terminal.result(f"no {what}")
        return ExitCode.GOOD
    columns = [Column(title.lstrip("#"), is_number=title.startswith("#")) for title in titles]
    for line in render.table(live.frame_of(given.terminal), columns, rows):
        given.terminal.result(line)
    return ExitCode.GOOD
