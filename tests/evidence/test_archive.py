import io
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence import archive, canonical
from evidence.archive import FolderPack, ZipPack, open_pack, zip_chunks
from evidence.errors import IntegrityError, InvalidInput, NotFound, ServiceError, TooLarge
from evidence.journal import Journal
from evidence.pack import list_files
from evidence.report import Verdict
from tests.evidence import genuine
from tests.evidence.judging import judge


def zip_of(fill: Callable[[zipfile.ZipFile], object]) -> io.BytesIO:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as target:
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of duplicates
        fill(target)
    return file


def write_twice(target: zipfile.ZipFile) -> None:
    target.writestr("config.json", b"{}")
    target.writestr("config.json", b"[]")


def write_link(target: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("config.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    target.writestr(link, b"/etc/passwd")


def write_backslash(target: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("x")
    member.filename = member.orig_filename = "seal\\service.pub"
    target.writestr(member, b"x")


def write_three(target: zipfile.ZipFile) -> None:
    for name in ("config.json", "model.json", "run.json"):
        target.writestr(name, b"{}")


@pytest.mark.parametrize(
    "fill",
    [
        lambda z: z.writestr("../config.json", b"{}"),
        lambda z: z.writestr("/config.json", b"{}"),
        lambda z: z.writestr("seal/../../config.json", b"{}"),
        lambda z: z.writestr("seal//service.pub", b"{}"),
        lambda z: z.writestr("./config.json", b"{}"),
        lambda z: z.writestr("C:/config.json", b"{}"),
        write_backslash,
        write_twice,
        write_link,
        lambda z: z.writestr("config.json", b"{}", zipfile.ZIP_BZIP2),
    ],
)
def test_a_zip_with_tricks_is_refused(fill: Callable[[zipfile.ZipFile], object]) -> None:
    with pytest.raises(IntegrityError):
        ZipPack(zip_of(fill), name="x.zip")


def test_a_bomb_is_refused_by_its_directory() -> None:
    bomb = zip_of(lambda z: z.writestr("config.json", b"\0" * 1_000_000, zipfile.ZIP_DEFLATED))
    assert len(bomb.getvalue()) < 2000
    with pytest.raises(TooLarge, match="at most 1000 bytes, found 1000000"):
        ZipPack(bomb, name="x.zip", max_total_bytes=1000)


def test_a_bomb_that_lies_about_its_size_gives_no_more_than_it_says() -> None:
    bomb = zip_of(lambda z: z.writestr("config.json", b"\0" * 1_000_000, zipfile.ZIP_DEFLATED))
    lie = bomb.getvalue().replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    pack = ZipPack(io.BytesIO(lie), name="x.zip")
    with pytest.raises(IntegrityError):
        archive.read(pack, "config.json")


def test_a_zip_with_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    many = zip_of(write_three)
    with pytest.raises(TooLarge, match="at most 2 files"):
        ZipPack(many, name="x.zip")


def test_a_damaged_member_is_an_integrity_error() -> None:
    file = zip_of(lambda z: z.writestr("config.json", b"0123456789"))
    data = file.getvalue().replace(b"0123456789", b"0123456780")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        archive.read(ZipPack(io.BytesIO(data), name="x.zip"), "config.json")


def test_what_is_no_zip_is_wrong_input(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"hello")
    with pytest.raises(InvalidInput, match="expected a zip file"), open_pack(path):
        pass


def test_no_pack_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound), open_pack(tmp_path / "nowhere"):
        pass


def test_a_link_in_a_folder_is_refused(pack: Path) -> None:
    (pack / "config.json").rename(pack.parent / "aside.json")
    (pack / "config.json").symlink_to(pack.parent / "aside.json")
    with pytest.raises(IntegrityError, match="found a link"):
        FolderPack(pack)


@pytest.mark.parametrize("path", ["nowhere", "../config.json", "/etc/passwd"])
def test_only_listed_files_are_opened(path: str, pack: Path) -> None:
    with pytest.raises(NotFound):
        FolderPack(pack).open(path)
    zipped = ZipPack(io.BytesIO(b"".join(zip_chunks(pack))), name="x.zip")
    with pytest.raises(NotFound):
        zipped.open(path)


def test_equal_packs_give_equal_zips_without_status(pack: Path) -> None:
    first, second = b"".join(zip_chunks(pack)), b"".join(zip_chunks(pack))
    assert first == second
    held = zipfile.ZipFile(io.BytesIO(first))
    assert held.testzip() is None
    assert sorted(held.namelist()) == sorted(list_files(pack))
    assert {info.compress_type for info in held.infolist()} == {zipfile.ZIP_STORED}


def test_a_zip_that_was_compressed_anew_still_passes(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.mkdir("seal")
        for name in list_files(pack):
            target.write(pack / name, name)
    assert judge(path).verdict is Verdict.PASSED


def test_the_zip_of_a_run_that_goes_on_says_so_and_is_a_snapshot(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    before = (root / "events.jsonl").read_bytes()
    chunks = zip_chunks(root)
    head = next(chunks)
    with (root / "events.jsonl").open("ab") as file:
        file.write(b"more\n")
    held = zipfile.ZipFile(io.BytesIO(head + b"".join(chunks)))
    assert held.namelist()[0] == "status.json"
    assert canonical.decode(held.read("status.json"))["sealed"] is False
    assert held.read("events.jsonl") == before


def test_files_pruned_meanwhile_are_left_out(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    chunks = zip_chunks(root)
    head = next(chunks)
    (root / "checkpoints" / "step_000004" / "model.safetensors").unlink()
    names = zipfile.ZipFile(io.BytesIO(head + b"".join(chunks))).namelist()
    assert "checkpoints/step_000004/model.safetensors" not in names
    assert "checkpoints/step_000006/model.safetensors" in names


def test_the_zip_of_a_run_that_goes_on_never_passes(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    path.write_bytes(b"".join(zip_chunks(genuine.write(tmp_path / "run"))))
    assert judge(path).verdict is Verdict.CANNOT_TELL


def test_a_large_file_is_streamed_in_pieces(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    (root / "model.json").write_bytes(b"x" * 5_000_000)
    assert max(map(len, zip_chunks(root))) < 2_000_000


def test_a_growing_journal_is_read_up_to_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path, genesis="0" * 64) as writer:
        writer.append({"a": 1})
        pack = FolderPack(tmp_path)
        before = path.read_bytes()
        writer.append({"a": 2})
        assert archive.read(pack, "events.jsonl") == before


def test_a_file_that_grows_meanwhile_is_found(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(b"1234")
    pack = FolderPack(tmp_path)
    (tmp_path / "model.json").write_bytes(b"12345678")
    with pytest.raises(IntegrityError, match="expected 4 bytes, found more"):
        archive.read(pack, "model.json")


def test_a_member_that_claims_more_than_its_bytes_can_give_is_refused() -> None:
    honest = zip_of(lambda z: z.writestr("config.json", b"x" * 100, zipfile.ZIP_DEFLATED))
    lie = honest.getvalue().replace((100).to_bytes(4, "little"), (1 << 30).to_bytes(4, "little"))
    with pytest.raises(IntegrityError, match="claims 1073741824 bytes, more than its"):
        ZipPack(io.BytesIO(lie), name="x.zip")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 3)
    (tmp_path / "model.json").write_bytes(b"1234")
    with pytest.raises(TooLarge):
        archive.read(FolderPack(tmp_path), "model.json")


def test_hostile_zips_end_the_check_and_never_raise_foreign_errors(
    pack: Path, tmp_path: Path
) -> None:
    whole = b"".join(zip_chunks(pack))
    path = tmp_path / "x.zip"
    for offset in range(0, len(whole), 997):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0xFF]) + whole[offset + 1 :])
        try:
            judge(path)
        except ServiceError as error:
            assert error.code  # noqa: PT017 - any error of the tree will do, no other may come


@pytest.mark.slow
def test_a_small_pack_verifies_in_little_memory() -> None:
    pack = Path(__file__).parents[1] / "vectors" / "releases" / "0.1.0"
    program = (
        "import resource, sys\n"
        "from evidence.__main__ import main\n"
        "limit = 2 << 30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "sys.exit(main(['verify', sys.argv[1]]))\n"
    )
    command = [sys.executable, "-c", program, str(pack)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
