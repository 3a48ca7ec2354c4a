"""Which lines of the audit journal a reader asks for; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Filter:
    """What a line must match; None matches every line."""

    action: str | None = None
    """The action, or what it begins with where this ends with a dot: `run.`."""
    who: str | None = None
    """Account, `service`, or a job."""
    key: str | None = None
    """Key id."""
    thing: str | None = None
    """Id or name of what it was done to, in whatever field it stands."""
    since: str | None = None
    """Moment in UTC, inclusive: a timestamp, or the beginning of one down to the day."""
    until: str | None = None
    """Moment in UTC, exclusive."""

    def matches(self, line: Mapping[str, Any]) -> bool:
        """Return whether a line is asked for."""
        return (
            self._is_action(line["action"])
            and self.who in {None, line["who"]}
            and self.key in {None, line.get("key")}
            and (self.thing is None or self.thing in _names(line))
            and (self.since is None or _plain(line["timestamp"]) >= _plain(self.since))
            and (self.until is None or _plain(line["timestamp"]) < _plain(self.until))
        )

    def _is_action(self, action: str) -> bool:
        if self.action is None:
            return True
        return (
            action.startswith(self.action) if self.action.endswith(".") else action == self.action
        )


def _plain(stamp: str) -> str:
    """Return a timestamp so that the order of characters is that of moments."""
    return stamp.removesuffix("Z")


_NAMING = ("run_id", "audit_id", "proposal_id", "account", "key_id", "dataset")


def _names(line: Mapping[str, Any]) -> set[Any]:
    return {line[name] for name in _NAMING if name in line}
