import subprocess
import sys
from pathlib import Path

import pytest

from evidence import files
from evidence.errors import BadSignature, IntegrityError
from evidence.pack import list_files
from evidence.report import Verdict
from evidence.seal import PHASES, finalise, require_sealed
from evidence.signing import SigningKey
from tests.evidence import genuine
from tests.evidence.judging import judge

KILLED = """
import os, sys
from pathlib import Path
from evidence import files
from evidence.seal import finalise
from evidence.signing import SigningKey

root, key, wanted = Path(sys.argv[1]), SigningKey.open_or_create(Path(sys.argv[2])), sys.argv[3]
write, count = files.write_atomic, 0

def stop_at(name):
    global count
    count += 1
    if f"{name}" == wanted or f"write {count}" == wanted:
        os.kill(os.getpid(), 9)

def counted(path, data, **_):
    write(path, data, after=lambda phase: stop_at(f"{path.name} {phase}"))

files.write_atomic = counted
import evidence.pack
evidence.pack.write_atomic = counted
finalise(root, key, run_id="7f3a91c2", after=stop_at)
"""

WRITES = [
    f"{name} {phase}"
    for name in (
        "run.json",
        "loss_curve.csv",
        "tinygrad.jsonl",
        "manifest.json",
        "manifest.sha256",
        "service.pub",
        "manifest.dsse.json",
    )
    for phase in ("temp", "fsync", "rename")
]


@pytest.mark.parametrize("moment", [*PHASES, *WRITES])
def test_sealing_again_after_a_kill_gives_the_same_bytes(
    moment: str, sealed_once: Path, tmp_path: Path, key_path: Path, key: SigningKey
) -> None:
    root = genuine.write(tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(key_path), moment],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -9
    finalise(root, key, run_id=genuine.RUN_ID)
    assert judge(root).verdict is Verdict.PASSED
    for path in list_files(sealed_once):
        assert (root / path).read_bytes() == (sealed_once / path).read_bytes()
    assert sorted(p.name for p in root.rglob(files.TEMPORARY_PREFIX + "*")) == []


def test_sealing_twice_changes_nothing(pack: Path, key: SigningKey) -> None:
    before = {path: (pack / path).read_bytes() for path in list_files(pack)}
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert {path: (pack / path).read_bytes() for path in list_files(pack)} == before


def test_a_seal_of_another_manifest_is_refused(pack: Path, key: SigningKey) -> None:
    envelope = (pack / "seal" / "manifest.dsse.json").read_bytes()
    finalise(pack, key, run_id="other")
    manifest = (pack / "manifest.json").read_bytes()
    with pytest.raises(BadSignature, match="another manifest"):
        require_sealed(envelope, manifest=manifest, public_key=key.public)


def test_a_manifest_of_another_format_is_not_sealed(pack: Path, key: SigningKey) -> None:
    envelope = (pack / "seal" / "manifest.dsse.json").read_bytes()
    with pytest.raises(IntegrityError):
        require_sealed(envelope, manifest=b'{"v":2}', public_key=key.public)
