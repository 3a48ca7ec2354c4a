"""`python -m evidence verify PACK`: checks an evidence pack with nothing but the pack.

Exit status: 0 every check passed, 1 a check failed, 2 wrong use or no such pack, 4 cannot tell
(the pack is not sealed, or a check that is required could not be made).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evidence import canonical, trust
from evidence.archive import open_pack
from evidence.errors import IntegrityError, ServiceError
from evidence.printable import printable
from evidence.report import as_text
from evidence.verify import RULES, verify

FAILED = 1
WRONG_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        given = trust.Given(
            public_key=options.public_key,
            log_key=options.log_key,
            tree_head=options.tree_head,
            consistency=options.consistency,
            witness_keys=options.witness_key,
            require=options.require,
        )
        trusted = trust.read(given, checks=[rule.id for rule in RULES])
        with open_pack(options.pack) as pack:
            report = verify(
                pack,
                public_key=trusted.public_key,
                known_log=trusted.known_log,
                required=trusted.required,
            )
    except ServiceError as error:
        print(_explained(error.detail, error.cure), file=sys.stderr)
        return FAILED if isinstance(error, IntegrityError) else WRONG_USE
    except OSError as error:
        print(_explained(f"cannot read {error.filename}", error.strerror), file=sys.stderr)
        return WRONG_USE
    if options.json:
        print(canonical.encode(report.model_dump(mode="json")).decode())
    else:
        print(as_text(report, colour=_wants_colour()), end="")
    return report.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evidence", description="Checks evidence packs of training runs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "verify",
        help="make every check of a pack and print the report",
        epilog="exit status: 0 passed, 1 a check failed, 2 wrong use, "
        "4 cannot tell (not sealed, or a required check could not be made)",
    )
    command.add_argument("pack", type=_path, metavar="PACK", help="a run folder, or a zip of one")
    command.add_argument("--json", action="store_true", help="print the report as one JSON object")
    command.add_argument(
        "--public-key", type=Path, metavar="FILE", help="PEM of the key that must have signed"
    )
    command.add_argument("--log-key", metavar="KEY", help="verifier key of the log, or its file")
    command.add_argument(
        "--tree-head", type=Path, metavar="FILE", help="tree head of that log that you kept"
    )
    command.add_argument(
        "--consistency",
        type=Path,
        metavar="FILE",
        help="proof that it and the pack's are of one log",
    )
    command.add_argument(
        "--witness-key", action="append", default=[], metavar="KEY",
        help="verifier key of a witness that must have cosigned; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--require", action="append", default=[], metavar="CHECK",
        help="id of a check without which the pack does not pass; may be repeated",
    )  # fmt: skip
    return parser


def _path(text: str) -> Path:
    """Return the path that an argument names; an empty one would name the present folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a run folder or a zip of one, found nothing")
    return Path(text)


def _wants_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _explained(cause: str, cure: str | None) -> str:
    help_text = cure or "python -m evidence verify --help"
    return f"error: cannot verify the pack\ncause: {printable(cause)}\nhelp:  {help_text}"


if __name__ == "__main__":
    sys.exit(main())
