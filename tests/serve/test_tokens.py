"""The token: one for all processes, in a file for its owner alone."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.errors import ConfigError
from serve import tokens

ROOT = Path(__file__).parents[2]
PROGRAM = """
import pathlib, sys
from serve import tokens
print(tokens.read_or_create(pathlib.Path(sys.argv[1])))
"""


def test_a_token_is_made_once(tmp_path: Path) -> None:
    assert tokens.read_or_create(tmp_path) == tokens.read_or_create(tmp_path)


def test_two_homes_have_two_tokens(tmp_path: Path) -> None:
    assert tokens.read_or_create(tmp_path / "a") != tokens.read_or_create(tmp_path / "b")


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    tokens.read_or_create(tmp_path)
    assert stat.S_IMODE(tokens.path_of(tmp_path).stat().st_mode) == 0o600


def test_it_is_long_enough_not_to_be_guessed(tmp_path: Path) -> None:
    assert len(tokens.read_or_create(tmp_path)) >= 43


def test_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    tokens.read_or_create(tmp_path)
    tokens.read_or_create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [tokens.FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    tokens.read_or_create(tmp_path)
    tokens.path_of(tmp_path).chmod(mode)
    with pytest.raises(ConfigError, match=f"expected mode 0600, found {mode:04o}"):
        tokens.read_or_create(tmp_path)


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    tokens.path_of(tmp_path).touch(mode=0o600)
    with pytest.raises(ConfigError, match="found nothing"):
        tokens.read_or_create(tmp_path)


@pytest.mark.parametrize("content", [b"two words", b"caf\xc3\xa9", b"\xff\xfe", b"a\x00b"])
def test_what_is_no_single_printable_word_is_no_token(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "README.md"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="expected one token, found something else"):
        tokens.read_file(file)


def test_reading_makes_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tokens.read(tmp_path)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in started}) == 1
