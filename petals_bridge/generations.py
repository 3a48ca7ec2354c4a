"""Generations on the disk: a hash-chained journal each, from which one is taken up again.

The first line is the request, then come routes, tokens, fallbacks, and at last `end`. A journal
without `end` is of a generation that was cut off; its tokens are where it goes on.
"""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evidence import digest
from evidence import journal as journals
from evidence.clock import Clock, timestamp
from evidence.errors import NotFound
from evidence.journal import Journal

GENERATION_ID = re.compile(r"[0-9a-f]{16}")

MAX_KEPT = 1_000
"""Ended generations that are kept; older ones are deleted."""

Prompt = Annotated[str, Field(max_length=1 << 16)]


class GenerationRequest(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Prompt = ""
    """Text; the empty one begins with the model's begin mark alone."""
    max_tokens: Annotated[int, Field(ge=1, le=1 << 20)] = 128
    """Most tokens of the answer; the model's context bounds it too."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """Of the draws, where temperature is above 0."""
    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
                    Field(max_length=4)] = ()  # fmt: skip
    """Sequences that end the answer."""
    prefer: Literal["swarm", "local"] = "swarm"
    """`local` computes on this machine alone, out of the cache."""


class GenerationLog:
    """The journal of one generation, held open while it goes on.

    Args:
        path: The file.
        clock: Where timestamps come from.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.id = path.stem
        if path.exists():
            journals.recover(path)
        self._clock = clock
        self.lines: list[bytes] = []
        """Every line, oldest first; the n-th has sequence number n."""
        self.records: list[dict[str, Any]] = []
        self._journal = Journal(path, genesis=digest.of_bytes(self.id.encode()), each=self._keep)

    def append(self, kind: str, body: dict[str, Any]) -> None:
        """Write one record.

        Raises:
            StorageFull: The disk took no more.
        """
        self._keep(
            self._journal.append({"kind": kind, "timestamp": timestamp(self._clock()), **body})
        )

    def close(self) -> None:
        """Sync and close the file."""
        self._journal.close()

    def _keep(self, line: journals.Line) -> None:
        self.lines.append(line.data)
        self.records.append(line.record)

    @property
    def has_ended(self) -> bool:
        """Whether the last record is its end."""
        return bool(self.records) and self.records[-1]["kind"] == "end"

    @property
    def request(self) -> GenerationRequest:
        """What was asked for."""
        return GenerationRequest.model_validate(self.records[0]["request"])

    @property
    def prompt_tokens(self) -> list[int]:
        """The tokens of the prompt."""
        return list(self.records[0]["prompt_tokens"])

    @property
    def tokens(self) -> list[int]:
        """The tokens of the answer so far."""
        return [record["token"] for record in self.records if record["kind"] == "token"]


class GenerationBook:
    """All generations of a bridge.

    Args:
        folder: Where the journals are; made if it is not there.
        clock: Where timestamps come from.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._open: dict[str, GenerationLog] = {}

    def begin(self, body: dict[str, Any]) -> GenerationLog:
        """Make a generation; its first record has its id.

        Raises:
            StorageFull: The disk took no more.
        """
        generation_id = secrets.token_hex(8)
        log = GenerationLog(self._folder / f"{generation_id}.jsonl", clock=self._clock)
        self._open[generation_id] = log
        log.append("generation", {"generation_id": generation_id, **body})
        self._retain()
        return log

    def find(self, generation_id: str) -> GenerationLog:
        """Return a generation.

        Raises:
            NotFound: There is none of that id.
            BrokenChain: Its journal is damaged.
        """
        if generation_id in self._open:
            return self._open[generation_id]
        path = self._folder / f"{generation_id}.jsonl"
        if not GENERATION_ID.fullmatch(generation_id) or not path.exists():
            raise NotFound(f"generation: there is no {generation_id[:40]!r}", field="generation_id")
        log = GenerationLog(path, clock=self._clock)
        if log.has_ended:
            log.close()
        else:
            self._open[generation_id] = log
        return log

    def unfinished(self) -> Iterator[GenerationLog]:
        """Yield the generations that were cut off; those that go on now are none of them."""
        for path in sorted(self._folder.glob("*.jsonl")):
            if path.stem not in self._open:
                log = self.find(path.stem)
                if not log.records:  # cut off before the first line was whole: nobody knows its id
                    self._open.pop(log.id).close()
                    path.unlink()
                elif not log.has_ended:
                    yield log

    def done(self, log: GenerationLog) -> None:
        """Let go of a generation that has ended, or is to be taken up again later."""
        log.close()
        self._open.pop(log.id, None)

    def close(self) -> None:
        """Let go of all of them; those that have not ended are taken up again later."""
        for log in list(self._open.values()):
            self.done(log)

    def _retain(self) -> None:
        paths = sorted(self._folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        for path in paths[:-MAX_KEPT]:
            if path.stem not in self._open:
                path.unlink(missing_ok=True)
