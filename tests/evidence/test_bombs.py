"""Small packs that ask for much memory: each must be judged in little."""

import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evidence.pack import MAX_DOCUMENT_BYTES, MAX_MANIFEST_BYTES, list_files, write_manifest
from evidence.seal import seal_pack
from evidence.signing import SigningKey
from tests.evidence import genuine
from tests.evidence.judging import check, failed

NEEDS_PROC = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
)

ROOM = 3 << 30
"""Address space of a verification, in bytes; numpy alone reserves about 1 GiB."""

BOMB = 1 << 30
"""Bytes of a file that is blown up."""


PROGRAM = """
import sys
from pathlib import Path
from evidence.__main__ import main
status = main(sys.argv[1:])
print(*(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
sys.exit(status)
"""


def verified(path: Path) -> subprocess.CompletedProcess[str]:
    """Verify in a process of its own, which has ROOM; its last line is its peak memory in kB.

    That is the kernel's `VmHWM`: the maximum that getrusage tells is also that of the process which
    forked it, here the whole test run.
    """
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "verify", str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM)),
    )


def peak_bytes(done: subprocess.CompletedProcess[str]) -> int:
    _, kilobytes, unit = done.stdout.splitlines()[-1].split()
    assert unit == "kB"
    return int(kilobytes) * 1024


@NEEDS_PROC
def test_a_genuine_pack_is_verified_in_little_memory(pack: Path) -> None:
    done = verified(pack)
    assert done.returncode == 0, done.stderr
    assert peak_bytes(done) < BOMB // 4


@NEEDS_PROC
@pytest.mark.parametrize(
    "path", ["run.json", "loss_curve.csv", "config.json", "events.jsonl", "metrics.jsonl"]
)
def test_a_file_of_blanks_is_not_taken_into_memory(path: str, pack: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    blanks = b" " * (1 << 20)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name in list_files(pack):
            if name != path:
                target.write(pack / name, name)
        with target.open(path, "w", force_zip64=True) as member:
            for _ in range(BOMB // len(blanks)):
                member.write(blanks)
    done = verified(bomb)
    assert done.returncode == 1, done.stderr
    assert peak_bytes(done) < BOMB // 4


@pytest.mark.parametrize(
    "path", ["config.json", "model.json", "provenance.json", "seal/service.pub"]
)
def test_a_document_beyond_its_bound_is_not_read(path: str, pack: Path) -> None:
    with (pack / path).open("ab") as file:
        file.write(b" " * MAX_DOCUMENT_BYTES)
    assert any(
        found.detail == f"{path} is too large; it was not read"
        for found in (check(pack, name) for name in failed(pack))
    )


def test_a_manifest_beyond_its_bound_is_not_read(pack: Path) -> None:
    (pack / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    assert check(pack, "files.digests").detail == "manifest.json is too large; it was not read"


@pytest.mark.parametrize(
    ("path", "finder"),
    [
        ("run.json", "derived.files"),
        ("checkpoints/step_000002/model.safetensors", "checkpoints.digests"),
    ],
)
def test_a_file_much_larger_than_listed_is_not_read_again(
    path: str, finder: str, pack: Path
) -> None:
    with (pack / path).open("ab") as file:
        file.truncate((pack / path).stat().st_size + MAX_DOCUMENT_BYTES + 1)
    assert failed(pack)[0] == "files.digests"
    found = check(pack, finder)
    assert found.detail == f"{path} is too large; it was not read"


def test_a_derived_file_that_was_blown_up_and_sealed_is_not_read(
    pack: Path, key: SigningKey
) -> None:
    with (pack / "run.json").open("ab") as file:
        file.truncate(64 << 20)
    write_manifest(pack, run_id=genuine.RUN_ID)
    seal_pack(pack, key)
    assert failed(pack) == ["derived.files"]
    assert check(pack, "derived.files").detail == "run.json is too large; it was not read"
