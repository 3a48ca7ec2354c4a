"""What a probe has seen of a service: the material of every check, nothing judged yet."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evidence import archive, canonical
from evidence.archive import ZipPack
from serve.probe.capture import Exchange
from serve.probe.contract import Contract
from serve.probe.events import Arrival
from serve.probe.finding import CannotTell
from trainers.data.images import Dataset

FIRST, AGAIN, OTHER = "first", "again", "other"
"""The runs of a probe: one, the same once more, and one with another nonce."""

RUN = "/api/training/runs/{run_id}"
"""Route of a run."""


@dataclass(frozen=True)
class Asked:
    """What a run was asked to be."""

    name: str
    """first, again or other."""
    request: Mapping[str, Any]
    """As it was sent."""
    config: Mapping[str, Any]
    """The RunConfig that this checkout makes of it, every default filled in."""

    @property
    def steps(self) -> int:
        """Updates."""
        return int(self.config["steps"])

    @property
    def checkpoint_steps(self) -> list[int]:
        """Steps that must have a checkpoint and an evaluation."""
        every = int(self.config["checkpoint_every"])
        return sorted({*range(every, self.steps + 1, every), self.steps})


@dataclass
class SeenRun:
    """One run, from its submission to its pack."""

    asked: Asked
    submitted: Exchange
    run_id: str
    """Empty where the service named none."""
    early: list[Exchange] = field(default_factory=list)
    """View, evidence and the last checkpoint, asked for at once after the submission."""
    during: Exchange | None = None
    """View when the first metric came."""
    streams: list[Exchange] = field(default_factory=list)
    """Event streams while it ran, each behind the one before it."""
    view: Exchange | None = None
    view_again: Exchange | None = None
    metrics: list[Exchange] = field(default_factory=list)
    """Pages."""
    logs: Exchange | None = None
    checkpoints: Exchange | None = None
    files: Exchange | None = None
    """The evidence as a list."""
    pack: Exchange | None = None
    """The evidence as a zip."""
    signed: Exchange | None = None
    """Its signed records."""
    downloads: dict[tuple[int, str], Exchange] = field(default_factory=dict)
    """Files of checkpoints, by step and name."""
    rest: Exchange | None = None
    """The stream from its middle, after the end."""
    rest_after: int = 0
    beyond: Exchange | None = None
    """The stream behind a sequence number that is far in the future."""
    predicted: Exchange | None = None
    images: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 28, 28), np.uint8))
    """What was to be classified, (n, C, H, W), uint8."""

    @property
    def events(self) -> list[Arrival]:
        """Every event that came while it ran."""
        return [event for stream in self.streams for event in stream.events]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The journal lines of the events.

        Raises:
            InvalidInput: One is no JSON object.
        """
        return [event.record for event in self.events]

    @property
    def last_stream(self) -> str:
        """The capture of the last stream, for discrepancies of the events as a whole."""
        return self.streams[-1].file if self.streams else self.submitted.file

    @cached_property
    def zip(self) -> ZipPack:
        """The pack.

        Raises:
            CannotTell: There is no answer to look into; another check says so.
            ServiceError: It is no zip that an honest writer makes.
        """
        answer = require(self.pack, "a pack")
        return ZipPack(io.BytesIO(answer.body), name=f"{self.run_id}.zip")

    def pack_bytes(self, path: str) -> bytes:
        """Return a file of the pack.

        Raises:
            CannotTell: There is no pack.
            NotFound: It has no such file.
        """
        return archive.read(self.zip, path)

    def pack_json(self, path: str) -> dict[str, Any]:
        """Return a JSON file of the pack; raises as `pack_bytes`, or InvalidInput."""
        return canonical.decode_object(self.pack_bytes(path))

    def pack_lines(self, path: str) -> list[dict[str, Any]]:
        """Return the lines of a journal of the pack; raises as `pack_bytes`, or InvalidInput."""
        return [canonical.decode_object(line) for line in self.pack_bytes(path).splitlines()]


@dataclass
class Seen:
    """Everything."""

    contract: Contract
    commit: str | None
    """Of this checkout."""
    exchanges: list[Exchange]
    """All of them."""
    leaks: list[Exchange]
    """Those whose answer held the token."""
    token_given: bool
    anonymous: Exchange | None = None
    """A route that was asked for without a token."""
    before: dict[str, Exchange] = field(default_factory=dict)
    """Answers before the runs, by route."""
    after: dict[str, Exchange] = field(default_factory=dict)
    """Answers after them."""
    again: dict[str, Exchange] = field(default_factory=dict)
    """Answers right behind those of `after`."""
    unknown_run: list[Exchange] = field(default_factory=list)
    """Routes of a run that there is not."""
    wrong: list[tuple[Exchange, str]] = field(default_factory=list)
    """Requests with a wrong value, and the field that the answer must name."""
    runs: dict[str, SeenRun] = field(default_factory=dict)
    resubmitted: Exchange | None = None
    """The first request once more, with its idempotency key."""
    reused: Exchange | None = None
    """Another config with that key."""
    audit: Exchange | None = None
    """The service's audit of the first run, as it was seen last."""
    growth: Exchange | None = None
    """Proof of consistency of the log before and after."""
    growth_of_packs: dict[str, Exchange] = field(default_factory=dict)
    """Proof of consistency of the log before and in the pack of a run."""
    inclusion: list[Exchange] = field(default_factory=list)
    """Proofs of inclusion of the first run's records."""
    tile: Exchange | None = None
    """The bundle with the first entry of the first run."""
    bundle_first: int = 0
    """Place of the first entry of that bundle."""
    data: Dataset | None = None
    """The data set, where it is here."""
    no_data: str = ""
    """Why it is not."""

    def require_runs(self) -> list[SeenRun]:
        """Return the runs that the service named.

        Raises:
            CannotTell: None was taken in.
        """
        named = [run for run in self.runs.values() if run.run_id]
        if not named:
            raise CannotTell("the service took in no run")
        return named

    def require_data(self) -> Dataset:
        """Return the data set.

        Raises:
            CannotTell: It is not here.
        """
        if self.data is None:
            raise CannotTell(self.no_data)
        return self.data


def require(exchange: Exchange | None, thing: str) -> Exchange:
    """Return an exchange that was made.

    Raises:
        CannotTell: It was not, since something before it failed.
    """
    if exchange is None:
        raise CannotTell(f"{thing} was not asked for: what comes before it failed")
    return exchange
