"""Lines from values, purely: nothing here reads, waits or prints. No line is wider than asked."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from rich.text import Text

from evidence.records import RunState
from serve.cli import units
from serve.cli.glyphs import STYLES, WORDS, Glyphs, of_state
from serve.cli.progress import Progress
from serve.client import Link

LABEL_WIDTH = 14
"""Columns of a phase's name."""

_BAR_WIDTH = 39
_LEAST_BAR = 8
_CHART_WIDTH = 11
_INDENT = "  "
_GAP = "   "


class Mark(StrEnum):
    """What a phase's sign says; the value is its colour. Green is kept for what was verified."""

    DONE = "default"
    VERIFIED = "green"
    FAILED = "red"
    RUNNING = "blue"
    WARNING = "yellow"
    ENDED = "dim"
    HELP = "bold"
    """What to do about the line above."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What lines are fitted into."""

    glyphs: Glyphs
    width: int
    """Columns, at least 40."""


def phase(frame: Frame, mark: Mark, label: str, detail: str = "", right: str = "") -> Text:
    """Return `sign label detail ... right`, the detail cut where it does not fit."""
    glyphs = frame.glyphs
    sign = _sign(glyphs, mark)
    if glyphs is WORDS:
        told = f"{label}: {detail}" if detail else label
        left = f"{sign} {told}"
        return Text(_cut(left + (f"; {right}" if right else ""), frame.width, glyphs))
    room = frame.width - len(right) - (2 if right else 0)
    left = _cut(f"{sign} {label:<{LABEL_WIDTH}}{detail}".rstrip(), room, glyphs)
    line = Text(left + right.rjust(frame.width - len(left)) if right else left)
    line.stylize(mark.value, 0, 1)
    return line


def train_block(frame: Frame, run: Progress) -> list[Text]:
    """Return the block of a run: who it is, how far it is, how well it does."""
    dot = f" {frame.glyphs.dot} "
    parts = [f"run {run.run_id}", run.name, *([run.device] if run.device else [])]
    mark = Mark.RUNNING if run.state in {RunState.RUNNING, RunState.QUEUED} else _mark(run.state)
    head = phase(frame, mark, "train", dot.join(parts))
    if run.state is RunState.QUEUED:
        told = _cut(f"{_INDENT}queued{dot}{run.told_state}", frame.width, frame.glyphs)
        return [head, Text(told, "dim")]
    return [head, bar_line(frame, run), measures_line(frame, run)]


def bar_line(frame: Frame, run: Progress) -> Text:
    """Return the progress bar with steps, time left and the state of the connection."""
    eta = f"eta {units.duration(run.eta_s)}" if run.eta_s is not None else ""
    right = [f"{run.step:,}/{run.steps:,} steps", eta.ljust(8), _link(frame.glyphs, run)]
    words = (_GAP + " ").join(part for part in right if part.strip())
    room = frame.width - len(_INDENT) - len(words) - 2
    line = Text(_INDENT)
    if frame.glyphs.bar and room >= _LEAST_BAR:
        line.append(bar(frame.glyphs, run.step, run.steps, width=min(_BAR_WIDTH, room)))
        line.append("  ")
    line.append(words)
    line.truncate(frame.width)
    return line


def bar(glyphs: Glyphs, done: int, total: int, *, width: int) -> Text:
    """Return a bar of `width` columns, its part `done` of `total` filled."""
    full, begun, rest = tuple(glyphs.bar)
    filled = min(width, width * done // max(1, total))
    line = Text(full * filled, "blue")
    if filled < width:
        line.append(begun, "blue")
        line.append(rest * (width - filled - 1), "dim")
    return line


def measures_line(frame: Frame, run: Progress) -> Text:
    """Return the newest loss with its course, accuracy, speed, memory: what fits, in that order."""
    parts = [
        f"loss {run.losses[-1]:.4f}" if run.losses else _no_step(run),
        chart(frame.glyphs, run.losses),
        f"test {100 * run.test_accuracy:.1f} %" if run.test_accuracy is not None else "",
        f"{run.samples_s:,.0f} samples/s" if run.samples_s is not None else "",
        units.size(run.memory_bytes) if run.memory_bytes is not None else "",
    ]
    line = _INDENT
    for part in (part for part in parts if part):
        extended = line + (_GAP if line.strip() else "") + part
        if len(extended) > frame.width:
            break
        line = extended
    return Text(line)


def chart(glyphs: Glyphs, values: Sequence[float], *, width: int = _CHART_WIDTH) -> str:
    """Return the course of `values` as levels: each column is the mean of an equal share."""
    if not glyphs.levels or not values:
        return ""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    lowest, span = min(means), max(means) - min(means)
    top = len(glyphs.levels) - 1
    return "".join(
        glyphs.levels[round((mean - lowest) / span * top) if span else 0] for mean in means
    )


def plain_line(run: Progress, now: str) -> str:
    """Return the run's progress as one line that stays, for where nothing is redrawn."""
    if run.state is RunState.QUEUED:
        return f"{now} queued: {run.told_state}"
    parts = [
        f"{now} step {run.step}/{run.steps}",
        f"loss {run.losses[-1]:.4f}" if run.losses else _no_step(run),
        f"test {100 * run.test_accuracy:.1f} %" if run.test_accuracy is not None else "",
        f"{run.samples_s:,.0f} samples/s" if run.samples_s is not None else "",
        f"eta {units.duration(run.eta_s)}" if run.eta_s is not None else "",
        "reconnecting" if run.link is Link.RECONNECTING else "",
    ]
    return " ".join(part for part in parts if part)


def newest_lines(frame: Frame, run: Progress) -> list[Text]:
    """Return the last events of a run."""
    return [Text(_INDENT + _cut(line, frame.width - 2, frame.glyphs), "dim") for line in run.newest]


def outcome_lines(frame: Frame, run: Progress) -> list[Text]:
    """Return how a run ended, in lines that stay true: a reason whole, on lines of its own."""
    mark = _mark(run.state)
    took = units.duration(run.elapsed_s) if run.elapsed_s is not None else ""
    if run.state is RunState.SUCCEEDED:
        reached = f", test accuracy {units.percent(run.test_accuracy)}" if run.test_accuracy else ""
        return [phase(frame, mark, "train", f"{run.steps:,} steps{reached}", took)]
    told = phase(frame, mark, "train", f"{run.state} at step {run.step:,}", took)
    return [told, *map(Text, wrapped(frame, run.told_state, indent=_INDENT))]


def paragraph(frame: Frame, mark: Mark, label: str, detail: str) -> list[Text]:
    """Return `sign label detail`, the detail whole, on as many lines as it takes."""
    sign = _sign(frame.glyphs, mark)
    if frame.glyphs is WORDS:
        lead, indent = f"{sign} {label}: " if label else f"{sign} ", _INDENT
    else:
        lead, indent = f"{sign} {label:<{LABEL_WIDTH}}", " " * (LABEL_WIDTH + 2)
    lines = [Text(line) for line in wrapped(frame, detail, lead=lead, indent=indent)]
    lines[0].stylize(mark.value, 0, 1)
    return lines


def wrapped(frame: Frame, text: str, *, indent: str, lead: str | None = None) -> list[str]:
    """Return a text as lines that fit; only a word that is too long for a line is wider.

    Args:
        frame: What to fit into.
        text: Any; what fits keeps its columns.
        indent: Before each line.
        lead: Before the first line, if that is another.
    """
    lead = indent if lead is None else lead
    if len(lead) + len(text) <= frame.width and len(text.splitlines()) <= 1:
        return [(lead + text).rstrip()]
    return textwrap.wrap(
        " ".join(text.split()),
        frame.width,
        initial_indent=lead,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]


def left_line(frame: Frame, run: Progress) -> Text:
    """Return where a run stood when following it was stopped."""
    return phase(frame, Mark.WARNING, "train", f"left at step {run.step:,} of {run.steps:,}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    is_number: bool = False
    """Numbers are set to the right."""


def table(
    frame: Frame, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, most: int = 10_000
) -> list[Text]:
    """Return a table of at most `most` rows, its last column cut to fit; the rest is counted."""
    shown = rows[:most]
    widths = [
        max(len(cells[i]) for cells in [[column.title for column in columns], *shown])
        for i, column in enumerate(columns)
    ]
    lines = [Text(_row(frame, columns, widths, [column.title for column in columns]), "dim")]
    lines += [Text(_row(frame, columns, widths, row)) for row in shown]
    if len(rows) > most:
        lines.append(Text(f"+{len(rows) - most} more", "dim"))
    return lines


def state_cell(glyphs: Glyphs, state: str) -> str:
    """Return a run's state as sign and word."""
    return f"{of_state(RunState(state), glyphs)} {state}" if glyphs is not WORDS else state


def state_style(state: str) -> str:
    """Return the colour of a run's state."""
    return STYLES[RunState(state)]


def _row(
    frame: Frame, columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]
) -> str:
    fitted = [
        cell.rjust(width) if column.is_number else cell.ljust(width)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    ]
    return _cut("  ".join(fitted).rstrip(), frame.width, frame.glyphs)


def _cut(text: str, room: int, glyphs: Glyphs) -> str:
    text = " ".join(text.splitlines())
    if len(text) <= room:
        return text
    return text[: max(0, room - len(glyphs.cut))] + glyphs.cut


def _sign(glyphs: Glyphs, mark: Mark) -> str:
    match mark:
        case Mark.DONE | Mark.VERIFIED:
            return glyphs.done
        case Mark.FAILED:
            return glyphs.failed
        case Mark.RUNNING:
            return glyphs.running
        case Mark.WARNING:
            return glyphs.warning
        case Mark.ENDED:
            return glyphs.ended
        case Mark.HELP:
            return glyphs.help


def _mark(state: RunState) -> Mark:
    match state:
        case RunState.SUCCEEDED:
            return Mark.DONE
        case RunState.FAILED:
            return Mark.FAILED
        case RunState.INTERRUPTED:
            return Mark.WARNING
        case RunState.CANCELLED:
            return Mark.ENDED
        case RunState.QUEUED | RunState.RUNNING:
            return Mark.RUNNING


def _no_step(run: Progress) -> str:
    if run.state is RunState.RUNNING and not run.is_over:
        return "no step yet: kernels are being compiled"
    return "no step was made"


def _link(glyphs: Glyphs, run: Progress) -> str:
    if run.is_over:
        return f"{glyphs.ended} ended" if glyphs is not WORDS else "ended"
    if run.link is Link.RECONNECTING:
        return f"{glyphs.reconnecting} reconnecting" if glyphs is not WORDS else "reconnecting"
    return f"{glyphs.running} live" if glyphs is not WORDS else "live"
