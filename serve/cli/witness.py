"""`zpctl witness`: watches logs of other services and cosigns what only ever grows."""

from pathlib import Path
from typing import Annotated

import typer

from evidence.errors import InvalidInput
from evidence.trust import read_verifier
from serve import ports, witness
from serve.cli import options, render, signals
from serve.cli.options import ExitCode

PORT = 8300
"""Where a witness listens unless it is told otherwise."""


def run(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    home: Annotated[Path, typer.Option(metavar="DIR", help="Where its key and what it saw stay.")],
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Key of a log to watch, or a file with it; repeatable."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 is any that is free.")
    ] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = ports.LOOPBACK,
    name: Annotated[
        str | None, typer.Option(help="Name of a new key, such as witness.example.org/w1.")
    ] = None,
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print the witness's key and end.")
    ] = False,
) -> int:
    """Watch logs: cosign each tree head that goes on from the last one, refuse all others.

    Runs until Ctrl-C, without the service and best on another machine. Its key is made on the first
    start; hand what --show-key prints to the operators of the logs, and get theirs.
    """
    terminal = options.of(context).terminal
    signer = witness.open_key(home, name=name)
    if show_key:
        terminal.result(signer.verifier.text)
        return ExitCode.GOOD
    logs = [read_verifier(text) for text in log or []]
    if not logs:
        raise InvalidInput(
            "expected --log KEY, found none",
            cure="the operator of a service hands out the key of its log, keys/log.vkey",
        )
    with (
        signals.stopping_once(),
        witness.opened(home, signer, logs) as one,
        witness.listen(host, port) as listener,
    ):
        facts = {"Key": signer.verifier.text, "Address": witness.address_of(listener)}
        for label, value in facts.items():
            terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
        for each in logs:
            seen = one.seen(each.name).size
            terminal.progress(f"  {'Log':<{render.LABEL_WIDTH}}  {each.name}, {seen} entries seen")
        witness.run(one, listener)
    return ExitCode.GOOD
