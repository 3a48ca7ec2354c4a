"""One probe, from the first request to the report: ask everything, then judge, then write.

captures/     every exchange
report.json   every check, canonical JSON; the last file that is written
report.md     the same for people
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evidence import clock
from evidence.clock import Clock
from evidence.errors import Conflict, InvalidInput, ServiceError
from evidence.files import is_temporary, write_atomic
from evidence.printable import printable
from evidence.subject import DescribeModel
from serve.probe import owners, report
from serve.probe.capture import CAPTURES, Captures
from serve.probe.contract import Contract
from serve.probe.finding import conclude
from serve.probe.report import Check, Facts, Report
from serve.probe.rules import Rule, rules
from serve.probe.seen import Seen
from serve.probe.tour import DATASET, Draw, Tell, Tour
from serve.probe.wire import Wire
from trainers.data import load
from trainers.data.images import Dataset

_OWN = frozenset({CAPTURES, report.JSON_FILE, report.MARKDOWN_FILE})


@dataclass(frozen=True)
class Probe:
    """What a probe is made with.

    Args:
        url: Base address of the service.
        token: Sent with each request; None sends none.
        contract: What answers are held against.
        commit: Of this checkout; None if it cannot be known.
        folder: Where captures and report go.
        cache: Where the data set may be.
        draw: Where nonces, names and ids come from.
        describe_model: For the check of a pack that builds its model; None leaves that one out.
        tell: Told what goes on.
        wall: The time of day.
    """

    url: str
    token: str | None
    contract: Contract
    commit: str | None
    folder: Path
    cache: Path
    draw: Draw
    describe_model: DescribeModel | None = None
    tell: Tell = lambda _: None
    wall: Clock = clock.utc_now

    def run(self) -> Report:
        """Ask, judge and write.

        Raises:
            Unavailable: Nothing answers.
            Unauthenticated: The token is missing or wrong.
            Conflict: The folder holds something else.
            ServiceError: The report cannot be written.
            OSError: As above.
        """
        team = owners.read()
        _make_room(self.folder)
        begun, stopwatch = self.wall(), _stopwatch()
        seen = self._look(stopwatch)
        checks = [self._judge(rule, seen, team) for rule in rules(self.describe_model)]
        made = Report(
            verdict=report.verdict_of(checks),
            facts=Facts(
                url=self.url,
                commit=self.commit,
                service_commit=_stated(seen, "commit"),
                service_version=_stated(seen, "version"),
                runs=tuple(run.run_id for run in seen.runs.values() if run.run_id),
                begun=clock.timestamp(begun),
                ended=clock.timestamp(self.wall()),
                seconds=round(stopwatch(), 3),
                exchanges=len(seen.exchanges),
            ),
            checks=tuple(checks),
        )
        write_atomic(self.folder / report.MARKDOWN_FILE, report.as_markdown(made).encode())
        write_atomic(self.folder / report.JSON_FILE, made.data)
        return made

    def _look(self, stopwatch: Callable[[], float]) -> Seen:
        captures = Captures(self.folder, secret=self.token, clock=self.wall)
        data, no_data = _data(self.cache)
        seen = Seen(
            contract=self.contract,
            commit=self.commit,
            exchanges=captures.exchanges,
            leaks=captures.leaks,
            token_given=self.token is not None,
            data=data,
            no_data=no_data,
        )
        with Wire(self.url, token=self.token, captures=captures, now=stopwatch) as wire:
            Tour(wire, seen, self.draw, stopwatch, self.tell).go()
        return seen

    def _judge(self, rule: Rule, seen: Seen, team: owners.Owners) -> Check:
        self.tell(f"check {rule.number}: {rule.title}")
        stopwatch = _stopwatch()
        outcome = conclude(lambda: rule.find(seen))
        return report.check_of(rule, outcome, owners=team, seconds=stopwatch())


def _stopwatch() -> Callable[[], float]:
    begun = time.monotonic()
    return lambda: time.monotonic() - begun


def _data(cache: Path) -> tuple[Dataset | None, str]:
    """Return the data set, or why it is not here."""
    try:
        found = load.load(DATASET, cache)
    except (ServiceError, OSError) as error:
        return None, f"{DATASET} is not here, zpctl fetch {DATASET} brings it: {error}"
    assert isinstance(found, Dataset)
    return found, ""


def _stated(seen: Seen, name: str) -> str | None:
    """Return what the service says of itself, at most 100 characters of it."""
    try:
        value = seen.before["/api/healthz"].json[name]
    except (InvalidInput, KeyError, TypeError):
        return None
    return None if value is None else printable(str(value))[:100]


def _make_room(folder: Path) -> None:
    """Make a folder ready for a report; an earlier report there goes away.

    Raises:
        Conflict: It holds other things.
        OSError: It cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    other = sorted(
        path.name for path in folder.iterdir() if path.name not in _OWN and not is_temporary(path)
    )
    if other:
        raise Conflict(
            f"{folder}: expected nothing but an earlier report, found {other[0]}",
            cure="name another folder with --output",
        )
    (folder / report.JSON_FILE).unlink(missing_ok=True)
    (folder / report.MARKDOWN_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / CAPTURES, ignore_errors=True)
