"""Writes the pack that this version seals: python -m tests.evidence.make_release_vector FOLDER.

Made once a release, with a key that everyone knows; never made again, or it proves nothing.
"""

import sys
from pathlib import Path

from evidence.seal import finalise
from tests.evidence import genuine
from tests.evidence.genuine import Run


def main(folder: Path) -> None:
    """Train, write and seal a small pack with one pruned checkpoint."""
    genuine.write(folder, Run(config={**genuine.CONFIG, "keep_last": 2}))
    finalise(folder, genuine.fixed_key(), run_id=genuine.RUN_ID)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
