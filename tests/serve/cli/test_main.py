import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from serve.cli import __main__ as program
from serve.cli import app
from tests.serve.cli.running import DOCUMENT, REPOSITORY, zpctl

HEAVY = ("ray", "fastapi", "httpx", "numpy", "tinygrad")


def commands() -> dict[str, Any]:
    loaded = {name: program.load(name) for name in program.COMMANDS}
    summaries = {name: summary for name, (_, summary) in program.COMMANDS.items()}
    group = typer.main.get_group(app.build(summaries, loaded))
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        below = getattr(command, "commands", {})
        found |= {f"{name} {sub}": one for sub, one in below.items()} or {name: command}
    return found


def test_the_document_lists_every_command_and_option() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    options = {
        name for command in commands().values() for one in command.params for name in one.opts
    }
    missing = [name for name in commands() if f"`zpctl {name}" not in text]
    missing += [name for name in options if name.startswith("-") and name not in text]
    assert missing == []


def test_the_document_lists_every_global_option() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    group = typer.main.get_group(app.build({"up": ""}, {"up": program.load("up")}))
    names = [name for one in group.params for name in (*one.opts, *one.secondary_opts)]
    assert len(names) > 5
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_command_says_what_it_is_for() -> None:
    assert [name for name, command in commands().items() if not command.help] == []


@pytest.mark.slow
def test_help_is_wholly_within_eighty_columns_and_plain(tmp_path: Path) -> None:
    result = zpctl("--help", home=tmp_path)
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout
    assert all(re.search(rf"^  {name} ", result.stdout, re.MULTILINE) for name in program.COMMANDS)


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from serve.cli.__main__ import main; main(['--help']);"
        f"sys.exit(', '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr == "\n"


@pytest.mark.slow
def test_no_command_loads_ray_or_tinygrad() -> None:
    code = (
        "import sys; from serve.cli.__main__ import COMMANDS, load; [load(n) for n in COMMANDS];"
        "sys.exit(', '.join(name for name in ('ray', 'tinygrad') if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr == "\n"


@pytest.mark.slow
def test_no_arguments_print_the_help(tmp_path: Path) -> None:
    assert zpctl(home=tmp_path).stdout.startswith("Usage: zpctl")


@pytest.mark.slow
def test_the_version_is_that_of_the_project(tmp_path: Path) -> None:
    assert re.fullmatch(r"zpctl \d+\.\d+\.\d+\n", zpctl("--version", home=tmp_path).stdout)


@pytest.mark.slow
def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    command = zpctl(
        home=tmp_path, _ZPCTL_COMPLETE="complete_bash", COMP_WORDS="zpctl wa", COMP_CWORD="1"
    )
    option = zpctl(
        home=tmp_path,
        _ZPCTL_COMPLETE="complete_bash",
        COMP_WORDS="zpctl train --no",
        COMP_CWORD="2",
    )
    assert command.stdout.split() == ["watch"]
    assert option.stdout.split() == ["--no-follow"]


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(tmp_path: Path, shell: str) -> None:
    assert "_ZPCTL_COMPLETE" in zpctl("completion", shell, home=tmp_path).stdout
