"""JSON for programs: one document, or one line for each event."""

import json
from collections.abc import Mapping
from typing import Any

from serve.cli.terminal import Terminal


def print_document(terminal: Terminal, value: Mapping[str, Any]) -> None:
    """Print the one document of a command."""
    terminal.result(json.dumps(value, indent=2, sort_keys=True))


def print_line(terminal: Terminal, value: Mapping[str, Any]) -> None:
    """Print one of many documents, on a line of its own."""
    terminal.result(json.dumps(value, sort_keys=True))
