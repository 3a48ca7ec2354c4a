"""What a proof of the transparency log costs, and how fast entries are appended.

One log of the plan's size, of small entries, is written to a disk; proofs are made from its hashes
in memory and verified as an auditor does. There is no peer: the bytes of a proof follow from RFC
6962, the times say that neither a service nor an auditor notices them.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.outcome import Row
from evidence.log import merkle, tree_head
from evidence.log.note import KeyType, Signer
from evidence.log.proof import InclusionProof
from evidence.log.store import Log
from evidence.log.tree_head import SignedTreeHead

_Result = TypeVar("_Result")

_ENTRY_BYTES = 200
_SPREAD = 7_919
"""A prime: places of entries that are far from each other and of no pattern in the tree."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much."""

    entries: int
    batch: int
    """Entries between two syncs."""
    singles: int
    """Entries that are signed for one at a time, at the end."""
    proofs: int


FULL = Plan(entries=1_000_000, batch=10_000, singles=300, proofs=300)
QUICK = Plan(entries=2000, batch=500, singles=20, proofs=50)


def measure(plan: Plan) -> list[Row]:
    """Return one row a figure."""
    with tempfile.TemporaryDirectory(prefix="zpb-") as name:
        folder = Path(name)
        signer = Signer.open_or_create(folder / "log.key", KeyType.ED25519)
        with Log(folder / "log") as log:
            begun = time.perf_counter()
            for entries in _batches(plan):
                log.append_many(entries)
                log.sync()
            in_bulk = plan.entries / (time.perf_counter() - begun)
            signed = log.sign(signer)
            rows = _of_proofs(plan, log, signer, signed)
            singly = _singly(plan, log, signer)
        begun = time.perf_counter()
        with Log(folder / "log"):
            opened_s = time.perf_counter() - begun
    return [
        *rows,
        Row(f"append, {plan.batch:,} to a sync", "entries/s", in_bulk),
        Row("append and sign a tree head each", "ms", statistics.median(singly),
            samples={"ours": singly}),
        Row(f"open {plan.entries:,} entries of {_ENTRY_BYTES} bytes, all hashed", "s", opened_s),
    ]  # fmt: skip


def _of_proofs(plan: Plan, log: Log, signer: Signer, signed: bytes) -> list[Row]:
    """Return size and time of proofs in the log as it was signed."""
    size, head = log.size, SignedTreeHead.parse(signed)
    places = [number * _SPREAD % size for number in range(plan.proofs)]
    sizes = [1 + place for place in places]
    proofs, made = _timed(lambda place: log.inclusion(place, size), places)
    paths, traced = _timed(lambda old: log.consistency(old, size), sizes)
    leaves = [merkle.leaf_hash(log.entry(place)) for place in places]
    roots = [log.root(old) for old in sizes]
    _, verified = _timed(
        lambda at: merkle.require_included(
            leaves[at], index=places[at], size=size, proof=proofs[at], root=head.head.root
        ),
        range(plan.proofs),
    )
    _, compared = _timed(
        lambda at: merkle.require_consistent(
            old_size=sizes[at],
            old_root=roots[at],
            size=size,
            root=head.head.root,
            proof=paths[at],
        ),
        range(plan.proofs),
    )
    _, heads = _timed(lambda _: tree_head.verify(signed, signer.verifier), range(plan.proofs))
    texts = [
        len(InclusionProof(place, tuple(proof), head).data)
        for place, proof in zip(places, proofs, strict=True)
    ]
    where = f"of {size:,}"
    return [
        Row(f"inclusion {where}: hashes", "hashes", max(map(len, proofs)), note="the longest"),
        Row(f"inclusion {where}: with its tree head", "bytes", max(texts), note="the longest"),
        Row(f"consistency {where}: hashes", "hashes", max(map(len, paths)), note="the longest"),
        _times(f"inclusion {where}: make", made),
        _times(f"inclusion {where}: verify", verified),
        _times(f"consistency {where}: make", traced),
        _times(f"consistency {where}: verify", compared),
        _times("tree head: verify the signature", heads),
    ]


def _timed(
    call: Callable[[int], _Result], numbers: Iterable[int]
) -> tuple[list[_Result], list[float]]:
    """Return what each call gave, and the milliseconds that each took."""
    results, times_ms = [], []
    for number in numbers:
        begun = time.perf_counter()
        results.append(call(number))
        times_ms.append(1000 * (time.perf_counter() - begun))
    return results, times_ms


def _times(workload: str, times_ms: list[float]) -> Row:
    return Row(workload, "ms", statistics.median(times_ms), samples={"ours": times_ms})


def _singly(plan: Plan, log: Log, signer: Signer) -> list[float]:
    """Return the milliseconds that each entry took to the disk, with its tree head."""

    def append(number: int) -> None:
        log.append(b"single %d" % number)
        log.sign(signer)

    return _timed(append, range(plan.singles))[1]


def _batches(plan: Plan) -> Iterator[list[bytes]]:
    for begin in range(0, plan.entries, plan.batch):
        end = min(begin + plan.batch, plan.entries)
        yield [b"%d " % number + b"x" * (_ENTRY_BYTES - 8) for number in range(begin, end)]
