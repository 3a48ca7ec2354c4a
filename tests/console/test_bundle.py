"""What is committed follows from the sources: types from the API, the bundle from `web/`."""

import filecmp
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve.console.site import STATIC
from serve.version import VERSION

WEB = Path(__file__).parents[2] / "web"
BUILD = runpy.run_path(str(WEB / "build.py"))


def test_the_types_are_those_of_this_api() -> None:
    first = BUILD["TYPES"].read_text(encoding="utf-8").partition("\n")[0]
    now = BUILD["digest_of"](BUILD["document"]())
    assert first == f"{BUILD['MARK']}{now}", "the API changed: `make console` makes the types again"


@pytest.mark.slow
def test_the_committed_bundle_is_what_the_sources_give(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (WEB / "node_modules").is_dir():
        pytest.skip("web/node_modules is not there: `npm ci` in web/ fetches it")
    types = BUILD["TYPES"].read_bytes()
    done = subprocess.run(
        [sys.executable, WEB / "build.py", tmp_path / "made"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert BUILD["TYPES"].read_bytes() == types
    assert _differences(STATIC, tmp_path / "made") == []


def _differences(one: Path, other: Path) -> list[str]:
    names = {
        path.relative_to(root).as_posix()
        for root in (one, other)
        for path in root.rglob("*")
        if path.is_file()
    }
    _, differing, missing = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    return [*differing, *missing]


def test_the_console_has_the_version_of_the_service() -> None:
    package = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == VERSION
