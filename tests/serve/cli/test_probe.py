"""zpctl probe as a process, without a service; with one it is in tests/fraud/test_zoo.py."""

from pathlib import Path

import pytest

from tests.serve.cli.running import require_explained, zpctl

pytestmark = pytest.mark.slow


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-of-this-test", encoding="ascii")
    file.chmod(0o644)
    result = zpctl("probe", "http://127.0.0.1:1", "--token-file", "token", home=tmp_path)
    cause = "token: expected mode 0600, found 0644"
    require_explained(result, status=2, error="invalid configuration", cause=cause)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="ascii")
    result = zpctl("probe", "http://127.0.0.1:1", "--output", "mine", home=tmp_path)
    cause = "mine: expected nothing but an earlier report"
    require_explained(result, status=2, error="conflict", cause=cause)
    assert (tmp_path / "mine" / "thesis.txt").exists()
