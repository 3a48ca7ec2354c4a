"""What a fake service knows: the captured exchanges of a real one, read from their files."""

import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Sent:
    """One event of a stream."""

    at_s: float
    id: str
    kind: str
    data: str

    @property
    def record(self) -> Json:
        found: Json = json.loads(self.data)
        return found

    def with_record(self, record: Json) -> "Sent":
        return Sent(self.at_s, self.id, self.kind, json.dumps(record, separators=(",", ":")))


@dataclass
class RunLoot:
    """A run that was real once."""

    run_id: str
    submitted: Reply
    events: list[Sent] = field(default_factory=list)

    @property
    def metrics(self) -> list[Json]:
        return [event.record for event in self.events if event.kind == "metric"]


class Loot:
    """Reads the captures in a folder.

    Args:
        folder: What a probe of a real service wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runs: list[RunLoot] = []
        self.proposals: list[Sent] = []
        """Events of the stream of proposals."""
        self._first: dict[tuple[str, str], Reply] = {}
        self._last: dict[tuple[str, str], Reply] = {}
        for path in sorted((folder / "captures").glob("*.json")):
            self._read(json.loads(path.read_bytes()))

    def _read(self, record: Json) -> None:
        method, target = record["request"]["method"], record["request"]["target"]
        reply = Reply(record["status"], record["headers"], self._body(record["body"]))
        if "events" in record:
            self._add_events(target, record["events"]["file"])
        elif method == "POST" and target == "/api/training/runs" and reply.status == 200:
            if reply.json["run_id"] not in [run.run_id for run in self.runs]:
                self.runs.append(RunLoot(reply.json["run_id"], reply))
        elif reply.status in {200, 204}:
            self._first.setdefault((method, target), reply)
            self._last[method, target] = reply

    def _body(self, told: Json) -> bytes:
        if "file" in told:
            return Path(self._folder, told["file"]).read_bytes()
        return str(told["text"]).encode()

    def _add_events(self, target: str, file: str) -> None:
        if "proposals" in target:
            for line in (self._folder / file).read_text(encoding="utf-8").splitlines():
                told = json.loads(line)
                self.proposals.append(Sent(told["at_s"], told["id"], told["event"], told["data"]))
            return
        (run,) = [run for run in self.runs if run.run_id in target]
        for line in (self._folder / file).read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            if int(told["id"]) == len(run.events) + 1:
                run.events.append(Sent(told["at_s"], told["id"], told["event"], told["data"]))

    def first(self, target: str, method: str = "GET") -> Reply | None:
        """What was answered before the runs."""
        return self._first.get((method, target))

    def last(self, target: str, method: str = "GET") -> Reply | None:
        """What was answered at last."""
        return self._last.get((method, target))

    def path_of(self, beginning: str, method: str = "POST") -> Reply:
        """The first answer to a target that begins so."""
        return next(
            reply
            for (verb, target), reply in self._first.items()
            if verb == method and target.startswith(beginning)
        )

    @cached_property
    def problem_headers(self) -> dict[str, str]:
        """The headers of any answer, for answers that are made up."""
        known = self.first("/api/healthz")
        assert known is not None
        return known.headers


def rezipped(data: bytes, changed: dict[str, bytes]) -> bytes:
    """Return a zip with some files replaced, otherwise as it was."""
    target = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            new.writestr(member, changed.get(member.filename, old.read(member)))
    return target.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(data)) as held:
        return {name: held.read(name) for name in held.namelist()}
