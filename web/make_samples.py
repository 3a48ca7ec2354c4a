"""Make the two sample packs of the console from the pack of a real run.

    .venv/bin/python web/make_samples.py PACK.zip

`genuine.zip` is that pack. `tampered.zip` is the same, with the loss of its middle metric made ten
times smaller and the manifest written again to match, as somebody would who has the files and not
the key.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "web" / "static" / "console"


def main() -> int:
    """Make both; return the exit status."""
    sys.path.insert(0, str(ROOT))
    from evidence import archive, canonical, pack  # noqa: PLC0415 - after the path is known

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with zipfile.ZipFile(sys.argv[1]) as packed:
            packed.extractall(root)
        (run,) = [path.parent for path in root.rglob("manifest.json")]
        (TARGET / "genuine.zip").write_bytes(b"".join(archive.zip_chunks(run)))
        metrics = run / "metrics.jsonl"
        lines = metrics.read_bytes().splitlines(keepends=True)
        middle = len(lines) // 2
        record = canonical.decode_object(lines[middle].rstrip())
        record["loss"] /= 10
        lines[middle] = canonical.encode(record) + b"\n"
        metrics.write_bytes(b"".join(lines))
        run_id = canonical.decode_object((run / "manifest.json").read_bytes())["run_id"]
        pack.write_manifest(run, run_id=run_id)
        (TARGET / "tampered.zip").write_bytes(b"".join(archive.zip_chunks(run)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
