"""Shows what goes on: a block that is redrawn, or, where nothing can be, a line each 10 s."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from evidence.clock import utc_now
from serve.cli.render import Frame
from serve.cli.terminal import Terminal

REDRAWS_PER_S = 4
LINE_EVERY_S = 10.0


def frame_of(terminal: Terminal) -> Frame:
    """Return what lines on this terminal are fitted into."""
    return Frame(terminal.glyphs, terminal.width)


def time_of_day() -> str:
    """Return the time of day in the zone of this machine."""
    return utc_now().astimezone().strftime("%H:%M:%S")


@contextmanager
def showing(
    terminal: Terminal, block: Callable[[], Sequence[Text]], line: Callable[[], str]
) -> Iterator[None]:
    """Show how far something is while it is done; a redrawn block is gone afterwards.

    Args:
        terminal: Where to.
        block: Returns the lines of the block as of now.
        line: Returns the same in one plain line.
    """
    if terminal.is_quiet:
        yield
    elif terminal.is_live:
        with _redrawn(terminal, block):
            yield
    else:
        with _in_lines(terminal, line):
            yield


@contextmanager
def _redrawn(terminal: Terminal, block: Callable[[], Sequence[Text]]) -> Iterator[None]:
    console = Console(
        file=terminal.err,
        force_terminal=True,
        color_system="standard" if terminal.is_err_coloured else None,
        highlight=False,
        soft_wrap=False,
    )
    with Live(
        console=console,
        get_renderable=lambda: Group(*block()),
        refresh_per_second=REDRAWS_PER_S,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    ):
        yield


@contextmanager
def _in_lines(terminal: Terminal, line: Callable[[], str]) -> Iterator[None]:
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(LINE_EVERY_S):
            terminal.progress(line())

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()
