"""How well and how quickly personal data is found, against Presidio's pattern mode in the same run.

Three sets of texts. The labelled one of presidio-research, found by SHA-256 on ZEROPOINT_DATA_PATH;
the third of its templates that nobody looked at while the detectors were written; and a set that is
made here from a seed (`pii_held_back`). Presidio runs without a language model, so it has no
pattern for persons and streets: those rows have no peer. A finding counts as right where it
overlaps a label of its type.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers, pii_held_back
from benchmarks.outcome import Goal, Row, compare
from benchmarks.peers import Peers
from cluster.library import shipped_checksums
from evidence import digest
from evidence.errors import NotFound
from governance.pii.entities import Entity
from governance.pii.scan import scan
from trainers.provenance import REPOSITORY

PRESIDIO = Peers(
    "presidio-analyzer",
    REPOSITORY / ".venv-presidio",
    REPOSITORY / "benchmarks" / "requirements-presidio.txt",
    (),
)
_PEER = "presidio-analyzer 2.2.366, patterns"

PATTERNED = (
    "CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN",
    "US_DRIVER_LICENSE",
)  # fmt: skip
"""Labelled types that Presidio has a pattern for."""

RULED = ("PERSON", "STREET_ADDRESS")
"""Labelled types that our detectors have rules for, and Presidio's patterns none."""

_ALL = "all with a pattern"
_HELD_THIRD = 3
_COPIES = 20
"""Of a set, for our speed: once through it takes too short a time."""

Text = dict[str, Any]
Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run."""

    rounds: int
    texts: int


FULL = Plan(3, 1500)
QUICK = Plan(1, 60)


@dataclass(slots=True)
class Score:
    """How well a type is found."""

    true: int = 0
    false: int = 0
    missed: int = 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, [0, 1]."""
        return 2 * self.true / max(1, 2 * self.true + self.false + self.missed)

    def __str__(self) -> str:
        precision = self.true / max(1, self.true + self.false)
        recall = self.true / max(1, self.true + self.missed)
        return f"precision {precision:.3f}, recall {recall:.3f}"


def measure(plan: Plan) -> list[Row]:
    """Return the rows: F1 by set and type, and the speed on each set."""
    python = peers.require(PRESIDIO)
    return [row for name, texts in _sets(plan.texts) for row in _rows(name, texts, python, plan)]


def _rows(name: str, texts: list[Text], python: Path, plan: Plan) -> Iterable[Row]:
    size = sum(len(text["full_text"].encode()) for text in texts) / 1e6
    theirs: list[list[Span]] = []
    their_speed, patterned, alone, together = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        once, often = Path(folder, "once.json"), Path(folder, "often.json")
        once.write_text(json.dumps(texts))
        often.write_text(json.dumps(texts * _COPIES))
        ours = _ours(once, len(texts))
        for _ in range(plan.rounds):
            theirs, seconds = _presidio(python, texts)
            their_speed.append(size / seconds)
            patterned.append(size * _COPIES / _seconds(often, 1, PATTERNED))
            alone.append(size * _COPIES / _seconds(often, 1))
            together.append(size * _COPIES / _seconds(often, None))
    our_scores, their_scores = score(texts, ours), score(texts, theirs)
    for entity in (*PATTERNED, _ALL):
        mine, other = our_scores[entity], their_scores[entity]
        if mine.true + mine.missed or entity == _ALL:
            yield compare(
                f"{name}: {entity}",
                "F1",
                ours=[mine.f1],
                peer=(_PEER, [other.f1]),
                goal=Goal("above 1", least=1.000001) if entity == _ALL else None,
                note=f"ours: {mine}; the peer's: {other}",
            )
    for entity in RULED:
        mine = our_scores[entity]
        if mine.true + mine.missed:
            yield Row(f"{name}: {entity}", "F1", ours=mine.f1, note=f"ours: {mine}")
    peer = (_PEER, their_speed)
    goal = Goal("at least 20", least=20.0)
    what = f"{name}: speed"
    yield compare(f"{what}, types with a pattern", "MB/s", ours=patterned, peer=peer, goal=goal)
    yield compare(f"{what}, all our types", "MB/s", ours=alone, peer=peer)
    yield compare(f"{what}, all our types, a process a CPU", "MB/s", ours=together, peer=peer)


def score(texts: list[Text], found: list[list[Span]]) -> dict[str, Score]:
    """Return how well each type was found, and all types with a pattern together."""
    scores = {entity: Score() for entity in (*PATTERNED, *RULED, _ALL)}
    for text, spans in zip(texts, found, strict=True):
        labels = [
            (one["start_position"], one["end_position"], one["entity_type"])
            for one in text["spans"]
        ]
        for entity in (*PATTERNED, *RULED):
            true, false, missed = _judged(
                [label for label in labels if label[2] == entity],
                [span for span in spans if span[2] == entity],
            )
            for one in (scores[entity], *([scores[_ALL]] if entity in PATTERNED else [])):
                one.true += true
                one.false += false
                one.missed += missed
    return scores


def _judged(labels: list[Span], spans: list[Span]) -> tuple[int, int, int]:
    left = list(labels)
    true = 0
    for start, end, _ in spans:
        hit = next((label for label in left if label[0] < end and start < label[1]), None)
        if hit is not None:
            left.remove(hit)
            true += 1
    return true, len(spans) - true, len(left)


def _ours(path: Path, count: int) -> list[list[Span]]:
    spans: list[list[Span]] = [[] for _ in range(count)]
    for piece in scan(path, processes=1):
        for one in piece.found:
            spans[one.record].append((one.start, one.end, one.type.value))
    return spans


def _seconds(path: Path, processes: int | None, types: Iterable[str] = tuple(Entity)) -> float:
    wanted = [Entity(name) for name in types]
    begun = time.perf_counter()
    for _ in scan(path, processes=processes, types=wanted):
        pass
    return time.perf_counter() - begun


def _presidio(python: Path, texts: list[Text]) -> tuple[list[list[Span]], float]:
    done = subprocess.run(
        [str(python), str(REPOSITORY / "benchmarks" / "pii_peer.py")],
        input=json.dumps([text["full_text"] for text in texts]),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    answer = json.loads(done.stdout)
    spans = [[(start, end, kind) for start, end, kind in text] for text in answer["spans"]]
    return spans, float(answer["seconds"])


def _sets(count: int) -> Iterable[tuple[str, list[Text]]]:
    labelled = _labelled()[:count]
    yield "labelled", labelled
    yield "labelled, unseen templates", [text for text in labelled if _is_unseen(text)]
    yield "made", pii_held_back.texts(count)


def _is_unseen(text: Text) -> bool:
    """Return whether a text's template was not looked at while the detectors were written."""
    name = f"template {text['template_id']}".encode()
    return hashlib.sha256(name).digest()[0] % _HELD_THIRD == 0


def _labelled() -> list[Text]:
    """Return the labelled texts.

    Raises:
        NotFound: They are not on ZEROPOINT_DATA_PATH.
    """
    ((file, wanted),) = shipped_checksums()["presidio_research"].items()
    for folder in os.environ.get("ZEROPOINT_DATA_PATH", "").split(os.pathsep):
        for path in Path(folder).rglob("*.json") if folder else ():
            if path.stat().st_size == wanted.bytes and digest.of_file(path) == wanted.sha256:
                found: list[Text] = json.loads(path.read_text())
                return found
    raise NotFound(f"{file} (SHA-256 {wanted.sha256}) is not on ZEROPOINT_DATA_PATH")
