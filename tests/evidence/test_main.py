import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from evidence import canonical
from evidence.__main__ import main
from evidence.archive import zip_chunks
from evidence.report import WIDTH, Result, as_text
from evidence.seal import finalise
from evidence.signing import SigningKey
from tests.evidence import genuine
from tests.evidence.judging import judge


def test_a_genuine_pack_exits_0(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(pack)]) == 0
    out, err = capsys.readouterr()
    assert "PASSED, 11 of 21 checks" in out
    assert "not checked" in out
    assert err == ""


def test_a_spoiled_pack_exits_1_and_says_where(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pack / "config.json").write_bytes(b"{}")
    assert main(["verify", str(pack)]) == 1
    assert "FAILED at check 2 of 21" in capsys.readouterr().out


def test_an_unsealed_pack_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(genuine.write(tmp_path / "run"))]) == 4
    assert "NOT SEALED" in capsys.readouterr().out


def test_json_and_text_say_the_same(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pack / "metrics.jsonl").write_bytes(b"x\n")
    assert main(["verify", str(pack), "--json"]) == 1
    told = canonical.decode_canonical(capsys.readouterr().out.strip().encode())
    assert main(["verify", str(pack)]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert told["summary"] in text
    for check in told["checks"]:
        assert f"{check['number']} {check['title']}" in text
        assert check["meaning"] in text
        assert check["expected"] in text


def test_no_pack_exits_2_in_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "/nowhere/at/all"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line[:6] for line in lines] == ["error:", "cause:", "help: "]


def test_a_file_that_is_no_zip_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"x")
    assert main(["verify", str(path)]) == 2
    assert "expected a zip file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [[], ["notes.txt"], ["pack/config.json"]])
def test_what_is_not_a_pack_exits_2_and_says_so(
    content: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file.zip"
    folder.mkdir()
    with zipfile.ZipFile(file, "w") as target:
        for name in content:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"{}")
            target.write(folder / name, name)
    for path in (folder, file):
        assert main(["verify", str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert f"{path} is not a pack" in err
        assert [line[:6] for line in err.splitlines()] == ["error:", "cause:", "help: "]


def test_a_folder_of_sockets_is_not_a_pack_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["verify", str(tmp_path)]) == 2
    assert "is not a pack" in capsys.readouterr().err


def test_an_empty_argument_is_not_the_present_folder(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pack)
    with pytest.raises(SystemExit) as caught:
        main(["verify", ""])
    assert caught.value.code == 2
    assert "found nothing" in capsys.readouterr().err
    assert main(["verify", "."]) == 0


def test_a_folder_with_a_link_exits_1(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pack / "more").symlink_to("config.json")
    assert main(["verify", str(pack)]) == 1
    assert "found a link" in capsys.readouterr().err


def test_a_missing_key_file_exits_2(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(pack), "--public-key", "/nowhere"]) == 2
    assert "cannot read /nowhere" in capsys.readouterr().err


def test_the_trusted_key_is_named_by_file(
    pack: Path, tmp_path: Path, key: SigningKey, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted, stranger = tmp_path / "key.pub", tmp_path / "stranger.pub"
    trusted.write_bytes(key.public.pem)
    stranger.write_bytes(SigningKey.open_or_create(tmp_path / "other").public.pem)
    assert main(["verify", str(pack), "--public-key", str(trusted)]) == 0
    assert main(["verify", str(pack), "--public-key", str(stranger)]) == 1
    assert "another key than the given one" in capsys.readouterr().out


def test_wrong_use_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: python -m evidence" in capsys.readouterr().err


def test_the_command_runs_in_a_pipe_without_escapes_on_a_zip(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(b"".join(zip_chunks(pack)))
    done = subprocess.run(
        [sys.executable, "-m", "evidence", "verify", str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert b"\r" not in done.stdout


def test_evidence_loads_neither_ray_nor_tinygrad_nor_servers() -> None:
    program = (
        "import sys, evidence.__main__, evidence.verify, evidence.seal; "
        "print(sorted({'ray', 'tinygrad', 'fastapi', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


SURROGATE = b'{"\\ud800":1,"\\ud800":2}'


@pytest.mark.parametrize(
    "path", ["config.json", "events.jsonl", "manifest.json", "model.json", "provenance.json"]
)
def test_a_lone_surrogate_in_any_json_is_a_finding(
    path: str, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pack / path).write_bytes(SURROGATE)
    assert main(["verify", str(pack)]) == 1
    assert main(["verify", str(pack), "--json"]) == 1
    assert capsys.readouterr().err == ""


def test_escape_codes_in_names_do_not_reach_the_terminal(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pack / "a\x1b[2J\nEvidence of x  PASSED").write_bytes(b"x")
    assert main(["verify", str(pack)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert not [line for line in out.splitlines() if line.startswith("Evidence of x")]
    assert "\\x1b[2J\\nEvidence" in out
    renamed = pack.rename(pack.with_name("p\x1b[2J"))
    assert main(["verify", str(renamed)]) == 1
    assert "\x1b" not in capsys.readouterr().out
    (renamed / "b\x1b[2J").symlink_to("config.json")
    assert main(["verify", str(renamed)]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_a_name_that_is_no_utf_8_is_a_finding(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.fsdecode(os.fsencode(pack) + b"/\xff\xfe")).write_bytes(b"x")
    assert main(["verify", str(pack), "--json"]) == 1
    told = canonical.decode_canonical(capsys.readouterr().out.strip().encode())
    assert told["checks"][0]["where"] == "\\udcff\\udcfe"
    assert main(["verify", str(pack)]) == 1


def test_losses_beyond_reason_are_no_crash(
    pack: Path, key: SigningKey, capsys: pytest.CaptureFixture[str]
) -> None:
    def swing(records: list[dict[str, Any]]) -> None:
        for i, record in enumerate(r for r in records if r.get("split") == "test"):
            record["loss"] = 1.7e308 * (-1) ** i

    genuine.rewrite_events(pack, swing)
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert main(["verify", str(pack)]) == 0
    assert "PASSED, 11 of 21 checks" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["config.json", "metrics.jsonl", "manifest.json", "model.json"])
def test_no_line_is_wider_than_80_columns(path: str, pack: Path) -> None:
    assert max(map(len, as_text(judge(pack)).splitlines())) <= WIDTH
    (pack / path).write_bytes(b'{"a":"' + b"x" * 300 + b'"}\n')
    assert max(map(len, as_text(judge(pack)).splitlines())) <= WIDTH


def test_colour_never_speaks_alone(pack: Path) -> None:
    report = judge(pack)
    plain, coloured = as_text(report), as_text(report, colour=True)
    for escape in ("\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"):
        coloured = coloured.replace(escape, "")
    assert coloured == plain
    assert {check.result for check in report.checks} == {Result.PASSED, Result.NOT_CHECKED}
