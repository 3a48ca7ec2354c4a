"""Build the console: types from the API, the check of every source, then the bundle.

    .venv/bin/python web/build.py [TARGET]

Users never need this: the bundle is committed. It needs Node 20 or newer, and the packages of
`package-lock.json`, which `npm ci` puts beside this file. TARGET is a folder for the bundle, the
committed one without it; the same sources give the same bytes wherever they stand.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
TYPES = WEB / "src" / "lib" / "api" / "schema.d.ts"
STATIC = ROOT / "serve" / "console" / "static"
MARK = "// Made by web/build.py from the OpenAPI document with SHA-256 "


def main() -> int:
    """Build; return the exit status."""
    sys.path.insert(0, str(ROOT))
    if not (WEB / "node_modules").is_dir():
        run("npm", "ci", "--no-audit", "--no-fund")
    TYPES.write_text(types(), encoding="utf-8")
    run("npm", "run", "--silent", "check")
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else STATIC
    run("npm", "run", "--silent", "build", CONSOLE_TARGET=str(target))
    return 0


def document() -> str:
    """Return the OpenAPI document as text that is the same for the same API."""
    from serve import app  # noqa: PLC0415 - after the path is known

    return json.dumps(app.openapi(), sort_keys=True)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def types() -> str:
    """Return the TypeScript types of the API."""
    text = document()
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "openapi.json"), Path(folder, "schema.d.ts")
        source.write_text(text, encoding="utf-8")
        run("npx", "openapi-typescript", source, "-o", made, "--default-non-nullable", "false")
        return f"{MARK}{digest_of(text)}\n{made.read_text(encoding='utf-8')}"


def run(*command: str | Path, **variables: str) -> None:
    """Run a program of Node in `web/`.

    Raises:
        SystemExit: It failed; it has said why.
    """
    done = subprocess.run(command, cwd=WEB, env={**os.environ, **variables}, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
