import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.log import merkle, tree_head
from evidence.log.note import Verifier
from evidence.log.store import Log

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from evidence.log.note import KeyType, Signer
from evidence.log.store import Log

folder, key = map(Path, sys.argv[1:])
signer = Signer.open_or_create(key, KeyType.ED25519)
with Log(folder) as log:
    while True:
        log.append_many(b"%d" % number for number in range(log.size, log.size + 90))
        head = log.sign(signer)
        print(log.size, log.root().hex(), flush=True)
"""
"""Appends and signs until it is killed; each line on its output is a promise."""


@pytest.mark.slow
def test_a_log_keeps_what_it_signed_however_often_its_writer_is_killed(tmp_path: Path) -> None:
    key = tmp_path / "log.key"
    promises: dict[int, bytes] = {}
    for lines in (1, 4, 2):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "log"), str(key)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        promises |= {
            int(size): bytes.fromhex(root)
            for size, root in (line.split() for line in told if line.endswith("\n"))
        }
        with Log(tmp_path / "log") as log:
            assert log.head is not None
            assert log.size >= log.head.head.size >= max(promises)
            for size, root in promises.items():
                assert log.root(size) == root
                merkle.require_consistent(
                    old_size=size,
                    old_root=root,
                    size=log.size,
                    root=log.root(),
                    proof=log.consistency(size),
                )
            assert [log.entry(at) for at in (0, log.size - 1)] == [b"0", b"%d" % (log.size - 1)]
            verifier = Verifier.parse((tmp_path / "log.vkey").read_text().strip())
            assert tree_head.verify(log.head.note.data, verifier).head == log.head.head
    assert len(promises) >= 7
