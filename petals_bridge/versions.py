"""The environment that Petals lives in: whether it is there, and what is in it.

    .venv-petals/bin/python -m petals_bridge.versions REPORT

imports all that the bridge uses of it and writes the versions; `make petals` runs it once.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evidence.errors import NotInstalled

STAMP = ".installed"
"""File in the environment with the report, written when everything was imported."""

PYTHON = (3, 11)
"""The Python that Petals runs on; a Ray worker has the Python of its cluster."""

REPORTED = ("petals", "hivemind", "torch", "transformers", "ray", "pydantic", "numpy")


class Report(BaseModel):
    """The versions in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    petals: str
    hivemind: str
    torch: str
    transformers: str
    ray: str
    pydantic: str
    numpy: str


def require(python: Path) -> Report:
    """Return the report of the environment whose interpreter is `python`.

    Raises:
        NotInstalled: There is none, its set-up was not finished, or this Python is another one.
    """
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise NotInstalled(
            f"the Petals bridge needs a service on Python 3.11, this one runs on {found}",
            expected="Python 3.11",
            found=found,
            cure="make PYTHON=python3.11 setup petals",
        )
    folder = python.parent.parent
    try:
        return Report.model_validate_json((folder / STAMP).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotInstalled(
            f"the Petals environment {folder} is not set up",
            expected=str(python),
            cure="make petals",
        ) from error


def main(path: Path) -> None:
    """Import what the bridge uses, and write the versions."""
    # It exists in that environment alone.
    from petals_bridge import bridge  # noqa: PLC0415

    assert bridge.Bridge is not None
    path.write_text(json.dumps({name: version(name) for name in REPORTED}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
