"""Checks of the transparency log and of the keys, as one who kept a tree head makes them."""

from evidence.errors import ServiceError
from evidence.keyring import read_history
from evidence.log import merkle, tiles, tree_head
from evidence.log.note import Verifier, from_base64, to_base64
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import RECORDS, SEAL_ENVELOPE, SEAL_INCLUSION, SEAL_KEY, SEAL_KEYS
from serve.probe.capture import Exchange
from serve.probe.check_packs import HEAD, KEYS, LOG
from serve.probe.finding import CannotTell, Discrepancy, Finder, differs
from serve.probe.seen import FIRST, Seen, SeenRun, require


def grown(seen: Seen) -> Finder:
    """The log of before the runs is the beginning of the log of after them, and it has grown."""
    verifier = Verifier.parse(seen.before[LOG].json["key"])
    if seen.after[LOG].json["key"] != verifier.text:
        yield _of(seen.after[LOG], "/key", verifier.text, seen.after[LOG].json["key"])
        return "a log of another key"
    old, new = (_head(answers[HEAD], verifier) for answers in (seen.before, seen.after))
    due = sum(len(_entries(run)) for run in seen.require_runs())
    if new.head.size < old.head.size + due:
        expected = f"at least {old.head.size} + {due} entries"
        yield _of(seen.after[HEAD], "line 2", expected, new.head.size)
    told = seen.after[LOG].json["size"]
    if told < new.head.size:
        yield _of(seen.after[LOG], "/size", f"at least {new.head.size}", told)
    if old.head.size:
        proof = require(seen.growth, "a proof")
        try:
            merkle.require_consistent(
                old_size=old.head.size,
                old_root=old.head.root,
                size=new.head.size,
                root=new.head.root,
                proof=_hashes(proof),
            )
        except ServiceError as error:
            why = "the log was rewritten between two tree heads"
            yield _of(proof, "/hashes", "a proof that leads to both roots", error.detail, why=why)
    return f"{old.head.size} to {new.head.size} entries"


def included(seen: Seen) -> Finder:
    """Every signed record of the first run is in the log as it is now, byte for byte."""
    run = seen.runs[FIRST]
    entries = _entries(run)
    verifier = Verifier.parse(seen.after[LOG].json["key"])
    head = _head(seen.after[HEAD], verifier).head
    if len(seen.inclusion) != len(entries):
        raise CannotTell(f"{SEAL_INCLUSION} names no place for each of {len(entries)} records")
    bundle = require(seen.tile, "a bundle")
    held = tiles.split_bundle(bundle.body, name="the bundle")
    for answer, entry in zip(seen.inclusion, entries, strict=True):
        proof = answer.json
        try:
            merkle.require_included(
                merkle.leaf_hash(entry),
                index=proof["index"],
                size=head.size,
                proof=_hashes(answer),
                root=head.root,
            )
        except ServiceError as error:
            yield _of(answer, "/hashes", "a proof of the record's inclusion", error.detail)
        if proof["root"] != to_base64(head.root):
            yield _of(answer, "/root", to_base64(head.root), proof["root"])
        place = proof["index"] - seen.bundle_first
        if 0 <= place < len(held) and held[place] != entry:
            why = "the log holds another entry than the pack"
            yield _of(bundle, f"entry {proof['index']}", "the record of the pack", "other", why=why)
    return f"{len(entries)} records at {head.size} entries"


def keys(seen: Seen) -> Finder:
    """The history of keys only grows, and its last key signed every pack."""
    before, after = seen.before[KEYS], seen.after[KEYS]
    history = read_history(after.body)
    if not after.body.startswith(before.body):
        yield _of(after, "", "the history of before, and perhaps more", "another history")
    runs = seen.require_runs()
    for run in runs:
        file = require(run.pack, "the pack").file
        if run.pack_bytes(SEAL_KEY) != history[-1].pem:
            why = "the service shows another key than the one that signs its packs"
            expected = f"key {history[-1].key_id}"
            yield differs(f"pack/{SEAL_KEY}", expected, "another", file=file, why=why)
        if not after.body.startswith(run.pack_bytes(SEAL_KEYS)):
            yield differs(f"pack/{SEAL_KEYS}", "the beginning of the history", "other", file=file)
    return f"{len(history)} keys, {len(runs)} packs"


def _entries(run: SeenRun) -> list[bytes]:
    """Return the signed records of a pack and its seal, as the log has them."""
    return [*run.pack_bytes(RECORDS).splitlines(), run.pack_bytes(SEAL_ENVELOPE)]


def _head(answer: Exchange, verifier: Verifier) -> SignedTreeHead:
    return tree_head.verify(answer.body, verifier)


def _hashes(answer: Exchange) -> list[bytes]:
    return [from_base64(one, what="hashes") for one in answer.json["hashes"]]


def _of(
    answer: Exchange, field: str, expected: object, found: object, *, why: str = ""
) -> Discrepancy:
    return differs(answer.place, expected, found, field=field, file=answer.file, why=why)
