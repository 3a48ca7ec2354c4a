"""Model signatures: ours, and what OpenSSF Model Signing's own tool says of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from evidence import canonical
from evidence.archive import open_pack
from evidence.errors import BadSignature, ConfigError, InvalidInput
from evidence.model_signature import ModelKey, ModelPublicKey, require_signed
from evidence.pack import PackPaths
from evidence.report import Result
from evidence.seal import finalise, prove
from evidence.verify import verify
from tests.cluster import bound, small

FILES = {"model.safetensors": "1" * 64, "state.safetensors": "2" * 64}


@pytest.fixture
def key(tmp_path: Path) -> ModelKey:
    return ModelKey.open_or_create(tmp_path / "model.key")


def failed(root: Path) -> list[str]:
    with open_pack(root) as pack:
        return [check.id for check in verify(pack).checks if check.result is Result.FAILED]


def reseal(root: Path) -> None:
    notary = small.notary(root.parent)
    finalise(root, notary.keyring.key, run_id=root.name, authority=notary.authority)
    paths = PackPaths(root)
    entries = [*paths.records.read_bytes().splitlines(), paths.seal_envelope.read_bytes()]
    proof = notary.prove(entries)
    prove(root, tree_head=proof.tree_head, inclusion=proof.inclusion)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path, key: ModelKey) -> None:
    path = tmp_path / "model.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert ModelKey.open_or_create(path).public.pem == key.public.pem
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0640"):
        ModelKey.open_or_create(path)


def test_signing_again_gives_the_same_bytes(key: ModelKey) -> None:
    assert key.sign("step_000002", FILES) == key.sign("step_000002", FILES)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("step_000004", FILES),
        ("step_000002", {**FILES, "model.safetensors": "3" * 64}),
        ("step_000002", {**FILES, "more": "3" * 64}),
        ("step_000002", {}),
    ],
)
def test_another_folder_is_not_signed(key: ModelKey, name: str, files: dict[str, str]) -> None:
    signed = key.sign("step_000002", FILES)
    require_signed(signed, key.public, name="step_000002", files=FILES)
    with pytest.raises(BadSignature):
        require_signed(signed, key.public, name=name, files=files)


def test_another_key_and_a_changed_byte_do_not_verify(tmp_path: Path, key: ModelKey) -> None:
    signed = key.sign("a", FILES)
    other = ModelKey.open_or_create(tmp_path / "other.key")
    with pytest.raises(BadSignature):
        require_signed(signed, other.public, name="a", files=FILES)
    for spoiled in (b"", b"{}", signed[:-1], signed.replace(b'"sig":"M', b'"sig":"N')):
        with pytest.raises(BadSignature):
            require_signed(spoiled, key.public, name="a", files=FILES)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    notary = small.notary(tmp_path)
    with pytest.raises(InvalidInput):
        ModelPublicKey.from_pem(notary.keyring.key.public.pem)


def test_each_checkpoint_that_is_kept_is_signed(tmp_path: Path) -> None:
    root = bound.sealed(tmp_path, keep_last=2)
    signed = sorted(path.parent.name for path in root.glob("checkpoints/*/model.sig"))
    assert signed == ["step_000004", "step_000006"]
    assert failed(root) == []


def test_a_signature_of_another_checkpoint_is_found(tmp_path: Path) -> None:
    root = bound.sealed(tmp_path)
    first, second = sorted(root.glob("checkpoints/*/model.sig"))[:2]
    first.write_bytes(second.read_bytes())
    reseal(root)
    assert failed(root) == ["model.signature"]


def test_a_missing_signature_is_found(tmp_path: Path) -> None:
    root = bound.sealed(tmp_path)
    next(iter(root.glob("checkpoints/*/model.sig"))).unlink()
    reseal(root)
    assert failed(root) == ["model.signature"]


def test_a_replaced_key_is_found(tmp_path: Path) -> None:
    root = bound.sealed(tmp_path)
    other = ModelKey.open_or_create(tmp_path / "other.key")
    (root / "seal" / "model.pub").write_bytes(other.public.pem)
    assert failed(root) == ["model.signature"]


def test_the_peers_own_tool_accepts_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    tool = shutil.which("model_signing")
    if tool is None:
        pytest.skip("model_signing is not here: pip install model-signing pyOpenSSL")
    root = bound.sealed(tmp_path)
    folder = root / "checkpoints" / "step_000006"
    command = [
        tool, "verify", "key", str(folder), "--signature", str(folder / "model.sig"),
        "--public_key", str(root / "seal" / "model.pub"),
    ]  # fmt: skip
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with (folder / "state.safetensors").open("ab") as file:
        file.write(b"\0")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert canonical.decode_object((folder / "model.sig").read_bytes())["mediaType"]
