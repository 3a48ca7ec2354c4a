"""What an approval must say, and when it holds."""

from typing import Any

import pytest
from pydantic import ValidationError

from governance.approvals import Approval, digest_of_model

WHOLE: dict[str, Any] = {
    "proposal_id": "prop-01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "dataset": "digits",
    "dataset_digests": {"train.npy": "a" * 64},
    "model": "mlp",
    "model_digest": digest_of_model({"architecture": "mlp", "hidden": [128]}),
    "most_steps": 100,
    "accepted_at": "2026-01-01T00:00:00.000Z",
    "expires_at": "2026-02-01T00:00:00.000Z",
    "record_digest": "b" * 64,
}


def test_an_approval_holds_from_its_acceptance_to_just_before_its_end() -> None:
    approval = Approval.model_validate(WHOLE)
    assert not approval.is_current("2025-12-31T23:59:59.999Z")
    assert approval.is_current("2026-01-01T00:00:00.000Z")
    assert approval.is_current("2026-01-31T23:59:59.999Z")
    assert not approval.is_current("2026-02-01T00:00:00.000Z")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_digests": None},
        {"dataset_digests": {}},
        {"dataset": None},
        {"model_digest": None},
        {"expires_at": "2026-01-01T00:00:00.000Z"},
        {"proposal_id": "prop-1"},
        {"proposal_id": "prop-01ARZ3NDEKTSV4RRFFQ69G5FAU"},
        {"proposal_id": "prop-01ARZ3NDEKTSV4RRFFQ69G5FAV\n"},
        {"most_steps": 0},
        {"votes": 2},
    ],
)
def test_an_approval_that_is_not_bound_or_not_whole_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Approval.model_validate({**WHOLE, **changes})


def test_another_model_has_another_digest() -> None:
    assert digest_of_model({"hidden": [128]}) != digest_of_model({"hidden": [129]})
