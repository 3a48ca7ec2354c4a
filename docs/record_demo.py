"""Record the demo as the README's picture: `python docs/record_demo.py` writes docs/demo.svg.

Runs the real demo with colour and without animation, and draws what it printed.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 80


def main() -> int:
    """Run the demo and write the picture; return the demo's exit status."""
    environ = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    environ.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-m", "serve.cli", "demo"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi("$ make demo\n" + done.stdout.decode().rstrip()))
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
