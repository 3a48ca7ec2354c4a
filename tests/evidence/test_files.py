import shutil
from pathlib import Path

import pytest

from evidence import files
from evidence.errors import StorageFull
from tests.evidence.disks import small_disk


def test_a_file_is_replaced_by_the_new_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old")
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


class Stop(BaseException):
    """Ends a write as a kill would, without any handler of OSError running."""


@pytest.mark.parametrize(
    ("phase", "left"), [("temp", b"old"), ("fsync", b"old"), ("rename", b"new")]
)
def test_after_a_stop_the_file_is_old_or_new(phase: str, left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old")

    def stop(reached: str) -> None:
        if reached == phase:
            raise Stop

    with pytest.raises(Stop):
        files.write_atomic(path, b"new", after=stop)
    assert path.read_bytes() == left
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        path = disk / "a.json"
        files.write_atomic(path, b"old")
        (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 4096))
        with pytest.raises(StorageFull, match=r"a\.json: the disk is full"):
            files.write_atomic(path, b"x" * 20_000)
        assert path.read_bytes() == b"old"
        assert sorted(p.name for p in disk.iterdir()) == ["a.json", "ballast"]


def test_other_errors_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "nowhere" / "a.json", b"x")


def test_only_unfinished_files_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".writing-a").touch()
    (tmp_path / "b").touch()
    assert files.sweep(tmp_path) == [".writing-a"]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
