"""`zpctl`, also `python -m serve.cli`. A command's module is loaded when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve.cli.app import Command

COMMANDS = {
    "up": ("serve.cli.service:up", "Start a service that stays."),
    "down": ("serve.cli.service:down", "Stop it."),
    "status": ("serve.cli.service:status", "Say where the service is and whether it is ready."),
    "doctor": ("serve.cli.doctor:doctor", "Find what this machine lacks, and how to mend it."),
    "demo": ("serve.cli.demo:demo", "Train MNIST for real, prove it, leave nothing behind."),
    "train": ("serve.cli.train:train", "Submit a run and follow it to its end."),
    "runs": ("serve.cli.runs:runs", "List runs, newest first."),
    "watch": ("serve.cli.runs:watch", "Follow a run, or show all runs."),
    "logs": ("serve.cli.runs:logs", "Print what a run has to say."),
    "cancel": ("serve.cli.runs:cancel", "End a run for good."),
    "resume": ("serve.cli.runs:resume", "Go on with an interrupted or failed run."),
    "predict": ("serve.cli.predict:predict", "Classify images with a run's model."),
    "verify": ("serve.cli.verify:verify", "Make every check of an evidence pack."),
    "audit": ("serve.cli.audit:audit", "Do windows of a run again, and compare every bit."),
    "evidence": ("serve.cli.verify:evidence", "Download the evidence pack of a run."),
    "log": ("serve.cli.log:show", "Show the transparency log, and whether it only grew."),
    "rotate": ("serve.cli.log:rotate_key", "Replace the key that signs."),
    "probe": ("serve.cli.probe:probe", "Ask a service everything, and find what is not so."),
    "report": ("serve.cli.report:report", "Write how far the first phase is, all computed."),
    "witness": ("serve.cli.witness:run", "Watch logs and cosign what only ever grows."),
    "recipes": ("serve.cli.catalog:recipes", "List what can be trained."),
    "datasets": ("serve.cli.catalog:datasets", "List data sets and whether they are here."),
    "fetch": ("serve.cli.catalog:fetch", "Fetch a data set and verify it."),
    "data": ("serve.cli.data:data", "Add, scan, check, approve and show data."),
    "nodes": ("serve.cli.catalog:nodes", "List nodes and what their devices can do."),
    "models": ("serve.cli.catalog:models", "List the models of runs that succeeded."),
    "proposals": ("serve.cli.proposals:group", "Propose changes, review them, vote."),
    "users": ("serve.cli.accounts:users", "Manage who may ask this service."),
    "keys": ("serve.cli.accounts:keys", "Manage their keys, and show what these used."),
    "audit-log": ("serve.cli.audit_log:group", "Read the audit journal, and verify it."),
    "gc": ("serve.cli.collect:collect", "Delete old runs; each leaves a tombstone."),
    "completion": ("serve.cli.completion:completion", "Print the completion script of a shell."),
}
"""Each command: where its function is, and what it does in one line."""

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        from serve.cli import app

        given = list(sys.argv[1:] if arguments is None else arguments)
        summaries = {name: summary for name, (_, summary) in COMMANDS.items()}
        return app.run(given, summaries, load)
    except KeyboardInterrupt:
        return INTERRUPTED


def load(name: str) -> "Command":
    """Return the function of a command, or the group of its sub-commands."""
    module, _, function = COMMANDS[name][0].partition(":")
    command: Command = getattr(import_module(module), function)
    return command


if __name__ == "__main__":
    sys.exit(main())
