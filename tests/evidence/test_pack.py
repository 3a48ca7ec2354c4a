from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical, digest, pack
from evidence.errors import IntegrityError, InvalidInput
from evidence.pack import PackPaths, checkpoint_name, checkpoint_step, inventory, is_known
from tests.evidence import genuine


@given(st.integers(0, 10**16 - 1))
def test_a_checkpoint_name_gives_its_step_again(step: int) -> None:
    assert checkpoint_step(checkpoint_name(step)) == step


def test_a_checkpoint_name_has_six_digits_at_least() -> None:
    assert checkpoint_name(100) == "step_000100"
    assert checkpoint_name(12_345_678) == "step_12345678"


@pytest.mark.parametrize("name", ["step_100", "step_0000100", "step_00010x", "xstep_000100", ""])
def test_another_name_is_no_checkpoint(name: str) -> None:
    with pytest.raises(InvalidInput):
        checkpoint_step(name)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("config.json", True),
        ("checkpoints/step_000100/model.safetensors", True),
        ("checkpoints/step_0000100/model.safetensors", False),
        ("checkpoints/step_000100/other.safetensors", False),
        ("checkpoints/step_000100", False),
        ("manifest.json", False),
        ("seal/service.pub", False),
        ("CONFIG.JSON", False),
    ],
)
def test_only_files_of_the_format_are_known(path: str, known: object) -> None:
    assert is_known(path) is known


def test_the_manifest_lists_every_file_but_itself_its_digest_and_the_seal(pack: Path) -> None:
    manifest = canonical.decode_canonical((pack / "manifest.json").read_bytes())
    files = {p.relative_to(pack).as_posix() for p in pack.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == {
        path
        for path in files
        if path not in {"manifest.json", "manifest.sha256"} and not path.startswith("seal/")
    }
    assert (pack / "manifest.sha256").read_text() == (digest.of_file(pack / "manifest.json") + "\n")


def test_a_run_folder_without_a_required_file_cannot_be_sealed(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    with pytest.raises(IntegrityError, match=r"missing files \['run.json'"):
        pack.write_manifest(root, run_id="x")


def test_the_inventory_of_a_run_that_goes_on_has_sizes_and_digests(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "run")
    (root / ".writing-provenance.json").touch()
    found = dict(inventory(root))
    assert found["config.json"].sha256 == digest.of_file(root / "config.json")
    assert found["events.jsonl"].bytes == (root / "events.jsonl").stat().st_size
    assert ".writing-provenance.json" not in found
    assert not pack.is_sealed(root)


def test_a_sealed_folder_is_sealed(pack: Path) -> None:
    assert PackPaths(pack).seal_envelope.is_file()
