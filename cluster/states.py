"""The states of a run, and the one rule for moving between them."""

from typing import Final

from evidence.errors import Conflict
from evidence.records import MOVES, RunState

LIVE: Final = frozenset({RunState.QUEUED, RunState.RUNNING})
"""States in which the service is going to do something with the run by itself."""

RESUMABLE: Final = frozenset({RunState.INTERRUPTED, RunState.FAILED})
"""States from which `resume` puts the run back into the queue."""


def advance(state: RunState, to: RunState) -> RunState:
    """Return `to`.

    Raises:
        Conflict: The move is not legal; the legal ones stand in the message.
    """
    if to not in MOVES[state]:
        allowed = ", ".join(sorted(MOVES[state])) or "nothing: it is final"
        raise Conflict(
            f"a run that is {state} cannot become {to}; it can become {allowed}",
            field="status",
            expected=allowed,
            found=to,
        )
    return to
