"""`python -m serve.probe` prints the OpenAPI document of this checkout.

In a process of its own: making it loads Ray, which `zpctl` never does.
"""

import sys


def main() -> None:
    """Write the document as canonical JSON."""
    from evidence import canonical
    from serve import app

    sys.stdout.buffer.write(canonical.encode(app.openapi()))


if __name__ == "__main__":
    main()
