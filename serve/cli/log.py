"""`zpctl log` and `zpctl rotate`: the transparency log, and the key that signs."""

from pathlib import Path
from typing import Annotated

import typer

from cluster import home_lock
from evidence import keyring
from evidence.errors import InvalidInput
from evidence.files import write_atomic
from evidence.log import merkle, note, tree_head
from evidence.log.note import Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.trust import read_verifier
from serve.cli import connection, documents, options, render
from serve.cli.options import ExitCode, JsonOption


def show(
    context: typer.Context,
    *,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the present tree head there.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tree head that you kept: did it only grow?"),
    ] = None,
    prove: Annotated[
        str | None, typer.Option(metavar="A:B", help="Print the proof that size B goes on from A.")
    ] = None,
    log_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The log's key that you know, or a file with it."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Show the transparency log, and check that it only grew.

    Keep a tree head (--save) where the operator cannot reach it. Later, --since asks the service to
    prove that its log goes on from there, and exits with 1 where it cannot.
    """
    given = options.of(context)
    with connection.connect(given) as client:
        if prove is not None:
            old_size, size = _sizes(prove)
            for one in client.log_consistency(old_size, size)["hashes"]:
                given.terminal.result(one)
            return ExitCode.GOOD
        view, data = client.log(), client.log_head()
        verifier = read_verifier(log_key) if log_key else Verifier.parse(view["key"])
        head = tree_head.verify(data, verifier)
        if since is not None:
            kept = tree_head.verify(since.read_bytes(), verifier)
            _require_grown(kept, head, client.log_consistency(kept.head.size, head.head.size))
            given.terminal.progress(f"it only grew, from {kept.head.size} to {head.head.size}")
    if save is not None:
        write_atomic(save, data)
    if json:
        documents.print_document(given.terminal, {**view, "head": data.decode()})
        return ExitCode.GOOD
    facts = {
        "Key": view["key"],
        "Entries": str(head.head.size),
        "Root": note.to_base64(head.head.root),
        "Cosigned": f"by {len(head.note.signatures) - 1} of {len(view['witnesses'])} witnesses",
    }
    for label, value in facts.items():
        given.terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    return ExitCode.GOOD


def _sizes(text: str) -> tuple[int, int]:
    old_size, _, size = text.partition(":")
    if not (old_size.isdecimal() and size.isdecimal()):
        raise InvalidInput(f"--prove: expected two sizes as A:B, found {text[:40]!r}")
    return int(old_size), int(size)


def _require_grown(kept: SignedTreeHead, head: SignedTreeHead, told: dict[str, object]) -> None:
    """Raise unless a proof shows that the log only grew.

    Raises:
        BadProof: It does not.
    """
    hashes = told["hashes"]
    assert isinstance(hashes, list), "the client checked the answer"
    merkle.require_consistent(
        old_size=kept.head.size,
        old_root=kept.head.root,
        size=head.head.size,
        root=head.head.root,
        proof=[note.from_base64(str(one), what="proof") for one in hashes],
    )


def rotate_key(context: typer.Context) -> int:
    """Replace the key that signs, while the service is stopped.

    The old key signs the new one, so that whoever trusts the old one can trust what comes; then its
    private half is deleted. The log's own key never changes.
    """
    given = options.of(context)
    home = connection.settings().home
    keys = home / "keys"
    if not (keys / keyring.SERVICE_KEY).exists():
        raise InvalidInput(f"{home}: there is no service with a key", cure="zpctl up makes one")
    with home_lock.hold(home):
        old = keyring.Keyring.open_or_create(keys).key.key_id
        new = keyring.rotate(keys).key.key_id
    given.terminal.result(f"  {'Old':<{render.LABEL_WIDTH}}  {old}")
    given.terminal.result(f"  {'New':<{render.LABEL_WIDTH}}  {new}")
    return ExitCode.GOOD
