"""The policy: what it takes, and that one which cannot be read is an error that stops runs."""

from pathlib import Path

import pytest

from evidence.errors import PolicyUnreadable
from governance import policy
from tests.governance import small

TEXT = policy.SHIPPED.read_text()


def test_the_shipped_policy_is_one_and_its_version_is_its_digest() -> None:
    first, again = small.policy(), small.policy()
    assert first == again
    assert small.policy("v = 1", "v = 1 # said again").sha256 != first.sha256


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("v = 1", "v = 2", "v"),
        ("least_score = 0.7", "least_score = 7", "pii.least_score"),
        ('"MIT"', '"mit"', "licences.allowed"),
        ("US_SSN = 0", "SSN = 0", "pii.most.SSN"),
        ('unapproved = "deny"', 'unapproved = "maybe"', "datasets.unapproved"),
        ("[proposals]", "[wishes]", "wishes"),
    ],
)
def test_an_error_names_the_field(old: str, new: str, field: str) -> None:
    with pytest.raises(PolicyUnreadable) as caught:
        small.policy(old, new)
    assert str(caught.value.field).startswith(field)
    assert "no run is started" in caught.value.detail


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"v = ", b"#" * ((1 << 20) + 1)])
def test_what_is_no_policy_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(data)
    with pytest.raises(PolicyUnreadable, match=r"policy\.toml"):
        policy.read(path)


def test_a_policy_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyUnreadable, match=r"absent\.toml") as caught:
        policy.read(tmp_path / "absent.toml")
    assert "ZEROPOINT_POLICY" in str(caught.value.cure)
