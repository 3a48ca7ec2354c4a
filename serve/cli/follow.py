"""Follows one run from its event stream to its end, and shows it meanwhile."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from evidence.errors import ServiceError
from evidence.records import RunState
from serve.cli import live, render
from serve.cli.options import ExitCode
from serve.cli.progress import Progress
from serve.cli.terminal import Terminal
from serve.client import Client, Link

_ASK_EVERY_S = 2.0


def follow(
    client: Client,
    view: Mapping[str, Any],
    terminal: Terminal,
    *,
    with_events: bool = False,
) -> Progress:
    """Return what became of a run, when it has ended.

    Args:
        client: Where it runs.
        view: The run, as the API shows it.
        terminal: Where its progress goes.
        with_events: Whether the last events are shown below the block.

    Raises:
        Unavailable: The service went away and did not come back.
    """
    run = Progress.of_view(view)
    frame = live.frame_of(terminal)

    def block() -> Sequence[Text]:
        lines = render.train_block(frame, run)
        return lines + (render.newest_lines(frame, run) if with_events else [])

    def note_link(link: Link) -> None:
        run.link = link

    def line() -> str:
        return render.plain_line(run, live.time_of_day())

    try:
        with _asking_why_it_waits(client, run), live.showing(terminal, block, line):
            for event in client.follow(run.run_id, on_link=note_link):
                run.take_in(event)
    except KeyboardInterrupt:
        terminal.progress(render.left_line(frame, run))
        raise
    if with_events:
        for shown in block():
            terminal.progress(shown)
    return run


@contextmanager
def _asking_why_it_waits(client: Client, run: Progress) -> Iterator[None]:
    """Ask now and then what a queued run waits for: no event tells."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(_ASK_EVERY_S):
            if run.state is not RunState.QUEUED:
                continue
            try:
                run.waits_for = client.run(run.run_id)["pending_reason"] or ""
            except (ServiceError, RuntimeError) as error:  # RuntimeError: the client was closed
                run.waits_for = f"what for is not known: {error}"

    threading.Thread(target=ask, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def exit_code(state: RunState) -> ExitCode:
    """Return the exit status of a command that followed a run to this state."""
    return ExitCode.GOOD if state is RunState.SUCCEEDED else ExitCode.FAILED
