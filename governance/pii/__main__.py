"""Scan a file for personal data: `python -m governance.pii FILE`, findings as JSON lines.

With `--order` it reads an order of a service from standard input, a JSON object with `name`,
`paths`, `key_file` and `now`, and prints the report: a scan has processes of its own, whatever the
process is that wants it.
"""

import sys


def main() -> int:
    """Run and return the exit status."""
    import json
    from pathlib import Path

    from evidence import canonical
    from evidence.errors import ServiceError
    from governance.pii.scan import read_or_make_key, report_on, scan

    arguments = sys.argv[1:]
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if arguments[0] == "--order":
            order = json.load(sys.stdin)
            paths = {name: Path(path) for name, path in order["paths"].items()}
            key = read_or_make_key(Path(order["key_file"]))
            report = report_on(order["name"], paths, key=key, now=order["now"])
            sys.stdout.buffer.write(canonical.encode(report.model_dump(mode="json")))
            return 0
        for piece in scan(Path(arguments[0])):
            for one in piece.found:
                told = one._asdict()
                told.pop("hash")
                print(json.dumps(told))
    except (ServiceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
