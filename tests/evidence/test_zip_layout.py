"""Bytes that travel in a zip and belong to no file of it."""

import io
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from evidence.archive import ZipPack, zip_chunks
from evidence.errors import IntegrityError
from evidence.pack import list_files
from evidence.report import Verdict
from tests.evidence.judging import check, judge

END = b"PK\5\6"
DIRECTORY = b"PK\1\2"


def moved_directory(data: bytes, junk: bytes) -> bytes:
    """Put bytes before the directory of a zip and mend the offset that its end tells."""
    start, end = data.index(DIRECTORY), data.rindex(END)
    offset = struct.pack("<L", start + len(junk))
    return data[:start] + junk + data[start:end] + data[end : end + 16] + offset + data[end + 20 :]


def commented(data: bytes, junk: bytes) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as target:
        target.comment = junk
    return file.getvalue()


def member_commented(data: bytes, junk: bytes) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as target:
        target.infolist()[0].comment = junk
        target.comment = b"x"
        target.comment = b""
    return file.getvalue()


def folder_with_bytes(data: bytes, junk: bytes) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as target:
        target.writestr("checkpoints/", junk)
    return file.getvalue()


@pytest.mark.parametrize(
    "hide",
    [
        lambda data, junk: junk + data,
        lambda data, junk: data + junk,
        moved_directory,
        commented,
        member_commented,
        folder_with_bytes,
    ],
)
@pytest.mark.parametrize("junk", [b"x", b"0123456789abcdef", b"MZ" * 500])
def test_bytes_that_belong_to_no_file_are_found(
    hide: Callable[[bytes, bytes], bytes], junk: bytes, pack: Path
) -> None:
    data = b"".join(zip_chunks(pack))
    ZipPack(io.BytesIO(data), name="x.zip")
    hidden = io.BytesIO(hide(data, junk))
    assert zipfile.ZipFile(hidden).read("config.json") == (pack / "config.json").read_bytes()
    with pytest.raises(IntegrityError, match="bytes"):
        ZipPack(hidden, name="x.zip")


def test_bytes_between_two_members_are_found(pack: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for i, path in enumerate(list_files(pack)):
            target.write(pack / path, path)
            if i == 2:
                file.write(b"hidden")
                target.start_dir = file.tell()
    assert zipfile.ZipFile(file).testzip() is None
    with pytest.raises(IntegrityError, match="behind the member at byte"):
        ZipPack(file, name="x.zip")


def test_a_zip_with_64_bit_sizes_passes(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name in list_files(pack):
            with target.open(name, "w", force_zip64=True) as member:
                member.write((pack / name).read_bytes())
    assert judge(path).verdict is Verdict.PASSED


@pytest.mark.skipif(which("zip") is None, reason="there is no zip program here")
def test_a_zip_of_the_zip_program_passes(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    subprocess.run(["zip", "-qr", str(path), "."], cwd=pack, check=True)
    assert judge(path).verdict is Verdict.PASSED


def test_a_folder_without_files_in_a_zip_is_found(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"".join(zip_chunks(pack)))
    with zipfile.ZipFile(path, "a") as target:
        target.mkdir("seal")
        target.mkdir("notes")
    assert check(path, "files.complete").where == "notes"
