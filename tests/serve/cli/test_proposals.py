"""`zpctl proposals` against a service: drafted from a run, reviewed, voted on, shown."""

import json
from pathlib import Path

import pytest

from serve.client import Client
from serve.local import LocalService
from tests.governance.proposing import ETHICS
from tests.serve.cli.running import zpctl
from tests.serve.cli.test_accounts import told

pytestmark = pytest.mark.ray


@pytest.fixture
def run_id(client: Client) -> str:
    """A run of this service that has succeeded."""
    submitted = client.submit({"recipe": "mnist_mlp", "overrides": {"steps": 60}})
    for _ in client.follow(submitted["run_id"]):
        pass
    return str(submitted["run_id"])


def submitted(service: LocalService, run_id: str, tmp_path: Path) -> str:
    """Return the id of a proposal that was drafted from a run and filled in."""
    draft = json.loads(told(service, "proposals", "draft", run_id).stdout)
    draft |= {"title": "Again", "summary": "The same run once more.", "ethics": ETHICS}
    file = tmp_path / "draft.json"
    file.write_text(json.dumps(draft), encoding="utf-8")
    return told(service, "proposals", "submit", str(file)).stdout.strip()


def test_a_draft_that_nobody_filled_in_is_refused_with_the_field(
    service: LocalService, run_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "draft.json"
    draft = told(service, "proposals", "draft", run_id).stdout
    file.write_text(draft, encoding="utf-8")
    result = zpctl("proposals", "submit", str(file), home=Path(service.home))
    assert (result.returncode, "title" in result.stderr) == (2, True)


def test_a_proposal_goes_from_a_run_to_a_vote(
    service: LocalService, client: Client, run_id: str, tmp_path: Path
) -> None:
    proposal_id = submitted(service, run_id, tmp_path)
    client.add_user("erin", role="reviewer")
    token = tmp_path / "token"
    token.write_text(client.add_key("erin", days=1)["token"], encoding="ascii")
    as_erin = ("--url", service.url, "--token-file", str(token), "proposals")
    mine = zpctl(
        "proposals", "vote", proposal_id, "pass", "--reason", "Mine.", home=Path(service.home)
    )
    assert (mine.returncode, mine.stderr.startswith("error: forbidden")) == (2, True)
    cast = zpctl(*as_erin, "vote", proposal_id, "fail", "--reason", "No need.", home=tmp_path)
    assert cast.returncode == 0, cast.stderr
    shown = told(service, "proposals", "show", proposal_id).stdout
    assert "rejected" in shown
    assert "No need." in shown
    listed = json.loads(told(service, "proposals", "list", "--state", "rejected", "--json").stdout)
    assert proposal_id in {one["proposal_id"] for one in listed["proposals"]}
    assert "Rejected" in told(service, "proposals", "stats").stdout
    again = zpctl(*as_erin, "vote", proposal_id, "pass", "--reason", "Oh.", home=tmp_path)
    assert (again.returncode, again.stderr.startswith("error: conflict")) == (2, True)


def test_the_reviewer_verifies_the_run_and_does_a_window_of_it_again(
    service: LocalService, client: Client, run_id: str, tmp_path: Path
) -> None:
    proposal_id = submitted(service, run_id, tmp_path)
    before = client.audits()["total"]
    result = zpctl("proposals", "validate", proposal_id, home=Path(service.home))
    assert result.returncode == 0, result.stderr
    assert client.audits()["total"] == before + 1
    assert client.audits()["audits"][0]["report"]["verdict"] == "passed"
    view = client.proposal(proposal_id)
    assert view["state"] == "under_review"
    assert "rules alone" in view["votes"]["ai"]["reasons"][-1]
