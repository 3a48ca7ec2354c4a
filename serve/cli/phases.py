"""A phase of a longer command: shown while it goes on, one line that stays when it has ended."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from rich.text import Text

from serve.cli import live, render, units
from serve.cli.render import Mark
from serve.cli.terminal import Terminal


@dataclass(slots=True)
class Phase:
    """One phase; whoever does it says what it is doing, and at last what was done."""

    label: str
    doing: str
    """What goes on now."""
    done: str = ""
    """What was done, once it is."""
    begun: float = field(default_factory=time.monotonic)

    @property
    def took(self) -> str:
        """How long it has taken."""
        return units.duration(time.monotonic() - self.begun)


@contextmanager
def phase(terminal: Terminal, label: str, doing: str) -> Iterator[Phase]:
    """Show a phase while it is done, and its last line when it ended, well or not."""
    frame = live.frame_of(terminal)
    this = Phase(label, doing)
    try:
        with _shown(terminal, this):
            yield this
    except KeyboardInterrupt:
        terminal.progress(render.phase(frame, Mark.WARNING, label, "stopped", this.took))
        raise
    except Exception:
        terminal.progress(render.phase(frame, Mark.FAILED, label, this.doing, this.took))
        raise
    terminal.progress(render.phase(frame, Mark.DONE, label, this.done or doing, this.took))


@contextmanager
def passing(terminal: Terminal, label: str, doing: str) -> Iterator[Phase]:
    """Show a phase while it is done; the result that follows says the rest."""
    this = Phase(label, doing)
    with _shown(terminal, this):
        yield this


def _shown(terminal: Terminal, this: Phase) -> AbstractContextManager[None]:
    frame = live.frame_of(terminal)

    def block() -> Sequence[Text]:
        return [render.phase(frame, Mark.RUNNING, this.label, this.doing, this.took)]

    def line() -> str:
        return f"{live.time_of_day()} {this.label}: {this.doing}, {this.took}"

    return live.showing(terminal, block, line)
