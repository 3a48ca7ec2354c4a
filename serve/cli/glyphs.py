"""Signs that say at a glance what words say too; and words, where signs are not wanted."""

from typing import NamedTuple

from evidence.records import RunState


class Glyphs(NamedTuple):
    """One sign, or word, for each thing to say."""

    done: str
    failed: str
    running: str
    waiting: str
    ended: str
    """Neither good nor bad: cancelled, left out."""
    warning: str
    reconnecting: str
    help: str
    """Before what to do."""
    dot: str
    """Between parts of a line."""
    cut: str
    """Where text was cut off."""
    bar: str
    """Done, just begun, and open parts of a progress bar; empty shows none."""
    levels: str
    """Heights of a small chart, lowest first; empty shows none."""


SIGNS = Glyphs(
    done="\N{CHECK MARK}",
    failed="\N{BALLOT X}",
    running="\N{BLACK CIRCLE}",
    waiting="\N{WHITE CIRCLE}",
    ended="\N{EN DASH}",
    warning="!",
    reconnecting="\N{CIRCLE WITH LEFT HALF BLACK}",
    help=" ",
    dot="\N{MIDDLE DOT}",
    cut="\N{HORIZONTAL ELLIPSIS}",
    bar="\N{BOX DRAWINGS HEAVY HORIZONTAL}\N{BOX DRAWINGS HEAVY LEFT AND LIGHT RIGHT}"
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}",
    levels="".join(chr(code) for code in range(0x2581, 0x2589)),
)

WORDS = Glyphs(
    done="done:",
    failed="failed:",
    running="running:",
    waiting="waiting:",
    ended="ended:",
    warning="warning:",
    reconnecting="reconnecting:",
    help="help:",
    dot="-",
    cut="...",
    bar="",
    levels="",
)

STYLES = {
    RunState.QUEUED: "dim",
    RunState.RUNNING: "blue",
    RunState.INTERRUPTED: "yellow",
    RunState.SUCCEEDED: "",
    RunState.FAILED: "red",
    RunState.CANCELLED: "dim",
}
"""Colours of states; green is kept for what was verified."""


def of_state(state: RunState, glyphs: Glyphs) -> str:
    """Return the sign of a run's state."""
    match state:
        case RunState.QUEUED:
            return glyphs.waiting
        case RunState.RUNNING:
            return glyphs.running
        case RunState.INTERRUPTED:
            return glyphs.warning
        case RunState.SUCCEEDED:
            return glyphs.done
        case RunState.FAILED:
            return glyphs.failed
        case RunState.CANCELLED:
            return glyphs.ended
